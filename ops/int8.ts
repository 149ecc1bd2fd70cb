// LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339): products of 8-bit rows in integers, but for the few columns of the
// activations that hold outliers.
import { abs, amax, decode, encode, matmul, transpose } from 'quern';
import type { Dim, Encoded, Format, Tensor, f32 } from 'quern';
import { int8_rows } from './formats/int8.ts';

/**
 * y = x · wᵀ. Columns of x with a magnitude of `threshold` or more in any row stay f32 and meet the decoded weights; the
 * rest is quantized row by row like the weights, for which the format `int8_rows` is meant.
 *
 * The paper gathers the outlier columns; how many there are is known only when the kernel runs, and shapes are not, so here
 * both products run over all columns and the other's are zeros. Numbers are the same; the cost of the second is not saved.
 */
export function llmInt8<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
  threshold = 6,
): Tensor<f32, [M, N]> {
  const isOutlier = amax(abs(x), 0) >= threshold;
  const regular = encode(int8_rows, isOutlier ? 0 : x);
  const weights = transpose(decode(w));
  return matmul(decode(regular), weights) + matmul(isOutlier ? x : 0, weights);
}
