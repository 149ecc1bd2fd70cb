// Kernels of the benchmarks: parsed by Quern, never executed.

import type { Dim, Encoded, Format, f32, Tensor } from 'quern';
import {
  amax,
  decode,
  dim,
  encode,
  exp,
  matmul,
  reshape,
  shape,
  sqrt,
  sum,
  transpose,
} from 'quern';
import { q8_0 } from 'quern/formats';

/** y = x · wᵀ with the weights decoded inside the kernel. */
export function linear<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(decode(w)));
}

/** The same with the activations rounded to 8 bits inside the kernel, so that integers can be multiplied. */
export function linearQ8<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(decode(encode(q8_0, x)), transpose(decode(w)));
}

/** The same product on weights that are f32 already. */
export function dense<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(w));
}

/** A small kernel: what a call costs besides the work. */
export function scale<N extends Dim>(x: Tensor<f32, [N]>): Tensor<f32, [N]> {
  return x * 2;
}

/**
 * One token's attention over S cached positions, `groups` query heads to each key-value head. Keys lie channel by channel, [E, S],
 * and values token by token, [S, E], as KIVI (Liu et al. 2024, arXiv 2402.02750) groups them for quantization.
 */
function attend(q: Tensor<f32>, keys: Tensor<f32>, values: Tensor<f32>, headDim: number) {
  const [groups, width] = shape(q);
  const slots = dim(values, 0);
  const heads = width / headDim;
  const queries = transpose(reshape(q, [groups, heads, headDim]), [1, 0, 2]);
  const byHead = transpose(reshape(values, [slots, heads, headDim]), [1, 0, 2]);
  const scores = matmul(queries, reshape(keys, [heads, headDim, slots])) * (1 / sqrt(headDim));
  const weights = exp(scores - amax(scores, -1, { keepdims: true }));
  const mixed = matmul(weights, byHead) / sum(weights, -1, { keepdims: true });
  return reshape(transpose(mixed, [1, 0, 2]), [groups, width]);
}

export function attention<R extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [R, E]>,
  k: Tensor<f32, [E, S]>,
  v: Tensor<f32, [S, E]>,
  headDim: number,
) {
  return attend(q, k, v, headDim);
}

/** The same over an encoded cache. */
export function attentionEncoded<
  F extends Format,
  G extends Format,
  R extends Dim,
  S extends Dim,
  E extends Dim,
>(q: Tensor<f32, [R, E]>, k: Encoded<F, [E, S]>, v: Encoded<G, [S, E]>, headDim: number) {
  return attend(q, decode(k), decode(v), headDim);
}
