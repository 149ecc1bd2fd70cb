// Kernels of the benchmarks: parsed by Quern, never executed.

import type { Dim, Encoded, Format, Tensor } from 'quern';
import {
  abs,
  amax,
  decode,
  dim,
  encode,
  exp,
  f32,
  factors,
  format,
  i8,
  matmul,
  materialize,
  reshape,
  round,
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

/** Numbers rounded to 8 bits, with an f32 scale for 32 of them. */
export const rounded = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = amax(abs(x)) * (1 / 127);
    return { d: f32(d), q: i8(round(x * (d === 0 ? 0 : 1 / d))) };
  },
  decode: ({ d, q }) => q * d,
});

/**
 * The same with integers multiplied, for formats that are integers times a scale for 32 of them. Along both sums the scale of
 * the cache varies (it belongs to a channel of keys, to a token of values), so it is multiplied onto the other side first,
 * and that is rounded to 8 bits: queries for each 32 tokens, weights for each 32 channels.
 */
export function attentionQ8<
  F extends Format,
  G extends Format,
  R extends Dim,
  S extends Dim,
  E extends Dim,
>(q: Tensor<f32, [R, E]>, k: Encoded<F, [E, S]>, v: Encoded<G, [S, E]>, headDim: number) {
  const [rows, width] = shape(q);
  const [keys, values] = [factors(k), factors(v)];
  for (const { integers, offset } of [keys, values])
    if (offset !== undefined || dim(integers, -1) !== 32)
      throw new Error('The cache must be integers times a scale for each 32.');
  const slots = dim(values.scale, 0);
  const heads = width / headDim;
  const [groups, parts] = [slots / 32, headDim / 32];

  const byHead = reshape(keys.scale, [heads, headDim, groups]) * (1 / sqrt(headDim));
  const perToken = materialize(transpose(byHead, [0, 2, 1]));
  const queries = transpose(reshape(q, [rows, heads, 1, headDim]), [1, 2, 0, 3]);
  const scaled = queries * reshape(perToken, [heads, groups, 1, headDim]);
  const codes = reshape(keys.integers, [heads, headDim, groups, 32]);
  const z = matmul(decode(encode(rounded, scaled)), f32(transpose(codes, [0, 2, 1, 3])));

  // Scores lie as they were made: [heads, groups of 32 tokens, rows, 32].
  const e = materialize(exp(z - amax(z, [1, 3], { keepdims: true })));
  const total = sum(e, [1, 3]);

  const perChannel = materialize(transpose(values.scale));
  const weights =
    reshape(transpose(e, [0, 2, 1, 3]), [heads, 1, rows, slots]) *
    reshape(perChannel, [heads, parts, 1, slots]);
  const left = reshape(decode(encode(rounded, weights)), [heads * parts, rows, slots]);
  const mixed = matmul(left, f32(transpose(values.integers, [1, 0, 2])));
  const y = reshape(mixed, [heads, parts, rows, 32]) / reshape(total, [heads, 1, rows, 1]);
  return reshape(transpose(y, [2, 0, 1, 3]), [rows, width]);
}
