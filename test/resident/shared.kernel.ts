import { decode, encode, exp, matmul, transpose } from 'quern';
import type { Dim, Encoded, Format, f32, Tensor } from 'quern';
import { q8_0 } from 'quern/formats';

const silu = (z: Tensor<f32>) => z / (1 + exp(-z));
const rounded = (x: Tensor<f32>) => decode(encode(q8_0, x));

/** A gated pair: both products in one kernel. */
export function gate<
  F extends Format,
  G extends Format,
  M extends Dim,
  N extends Dim,
  K extends Dim,
>(x: Tensor<f32, [M, K]>, a: Encoded<F, [N, K]>, b: Encoded<G, [N, K]>) {
  return silu(matmul(rounded(x), transpose(decode(a)))) * matmul(rounded(x), transpose(decode(b)));
}

/** Three products of one input, a kernel each. */
export function three<
  F extends Format,
  G extends Format,
  M extends Dim,
  N extends Dim,
  K extends Dim,
>(x: Tensor<f32, [M, K]>, a: Encoded<F, [N, K]>, b: Encoded<F, [N, K]>, c: Encoded<G, [N, K]>) {
  const y = rounded(x);
  return {
    a: matmul(y, transpose(decode(a))),
    b: matmul(y, transpose(decode(b))),
    c: matmul(y, transpose(decode(c))),
  };
}

/** Products of two inputs, and of one twice in a row. */
export function apart<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  y: Tensor<f32, [M, K]>,
  a: Encoded<F, [N, K]>,
) {
  return matmul(rounded(x), transpose(decode(a))) + matmul(rounded(y), transpose(decode(a)));
}
