// What the systems for key-value caches share: groups on an asymmetric grid, and attention of a few queries over a cache
// whose keys and values are any expressions, so that decoding happens inside of the products.

import type { Dim, Tensor } from 'quern';
import * as nn from '../nn.ts';
import {
  amax,
  amin,
  clamp,
  concat,
  cos,
  dim,
  f16,
  f32,
  iota,
  type i32,
  matmul,
  pow,
  reshape,
  round,
  shape,
  sin,
  slice,
  sqrt,
  transpose,
} from 'quern';

/**
 * Whole numbers 0 .. 2^bits - 1 for groups along an axis, from the least to the largest of each: x is close to
 * codes * scale + low, both rounded to f16 first. `scale` and `low` keep the axis, with one element.
 */
export function asymmetric(x: Tensor, bits: number, axis = -1) {
  const top = 2 ** bits - 1;
  const low = f16(amin(x, axis, { keepdims: true }));
  const scale = f16((amax(x, axis, { keepdims: true }) - f32(low)) / top);
  const codes = clamp(round(scale > 0 ? (x - low) / scale : 0), 0, top);
  return { codes, scale, low };
}

/** The values of {@link asymmetric}, straight away. */
export function rounded(x: Tensor, bits: number, axis = -1): Tensor {
  const { codes, scale, low } = asymmetric(x, bits, axis);
  return codes * scale + low;
}

/**
 * Queries q [M, Q, E] by the head of the cache that they meet, [E / D, Q * M, D]: Q heads share one of the cache's, and
 * lie apart, as `ropeQueries` of quern/llama gives them.
 */
export function byHead(q: Tensor, headDim: number): Tensor {
  const [m, groups, width] = shape(q);
  const apart = reshape(q, [m, groups, width / headDim, headDim]);
  return reshape(transpose(apart, [2, 1, 0, 3]), [width / headDim, groups * m, headDim]);
}
/** The inverse of {@link byHead}, for m queries. */
export function together(y: Tensor, m: number): Tensor {
  const [kvHeads, rows, headDim] = shape(y);
  const apart = reshape(y, [kvHeads, rows / m, m, headDim]);
  return reshape(transpose(apart, [2, 1, 0, 3]), [m, rows / m, kvHeads * headDim]);
}

/** Rows of a cache [S, kv heads * D] head by head: [kv heads, S, D]. */
export const heads = (x: Tensor, headDim: number): Tensor =>
  transpose(reshape(x, [dim(x, 0), dim(x, 1) / headDim, headDim]), [1, 0, 2]);

/**
 * Probabilities of scores [kv heads, Q * M, S]. The last of M queries stands at position length - 1, and each sees
 * the positions up to its own.
 */
export function softmax(scores: Tensor, m: number, length: Tensor): Tensor {
  const [, rows, slots] = shape(scores);
  const query = reshape(iota(rows), [rows, 1]) % m;
  const visible = iota(slots) <= query + (length - m);
  return nn.softmax(visible ? scores : -1e30);
}

/** Causal attention of q [M, Q, E] over keys and values [S, E], the first `length` of them. */
export function attend(q: Tensor, k: Tensor, v: Tensor, length: Tensor, headDim: number): Tensor {
  const m = dim(q, 0);
  const queries = byHead(q, headDim);
  const scores = matmul(queries, transpose(heads(k, headDim), [0, 2, 1])) * (1 / sqrt(headDim));
  return together(matmul(softmax(scores, m, length), heads(v, headDim)), m);
}

/**
 * Interleaved pairs (x[2i], x[2i + 1]) of heads of x [S, E] turned by the angle of their position, row s at position s;
 * `back` turns them back.
 */
export function turned(x: Tensor, headDim: number, theta: number, back = false): Tensor {
  const [tokens, width] = shape(x);
  const half = headDim / 2;
  const pairs = reshape(x, [tokens, width / headDim, half, 2]);
  const [even, odd] = [slice(pairs, 0, 1, 3), slice(pairs, 1, 2, 3)];
  const angle = reshape(iota(tokens), [tokens, 1, 1, 1]) * reshape(turns(half, theta), [half, 1]);
  const [c, s] = [cos(angle), back ? -sin(angle) : sin(angle)];
  return reshape(concat([even * c - odd * s, even * s + odd * c], 3), [tokens, width]);
}
/** Radians that pair i of a head turns by from one position to the next. */
export const turns = (half: number, theta: number): Tensor => pow(theta, iota(half) * (-1 / half));

/** {@link turned} as a kernel. */
export function turnPairs<S extends Dim, E extends Dim>(
  x: Tensor<f32, [S, E]>,
  headDim: number,
  theta: number,
  back = false,
): Tensor<f32, [S, E]> {
  return turned(x, headDim, theta, back);
}

/** {@link attend} as a kernel: what the systems are held against. */
export function denseAttention<M extends Dim, Q extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [M, Q, E]>,
  k: Tensor<f32, [S, E]>,
  v: Tensor<f32, [S, E]>,
  length: Tensor<i32, []>,
  headDim: number,
): Tensor<f32, [M, Q, E]> {
  return attend(q, k, v, length, headDim);
}

/** x [S, E] rounded in groups of `group` tokens of a channel ('tokens') or channels of a token ('channels'). */
export function roundedCache<S extends Dim, E extends Dim>(
  x: Tensor<f32, [S, E]>,
  bits: number,
  group: number,
  along: 'tokens' | 'channels',
): Tensor<f32, [S, E]> {
  const [tokens, width] = shape(x);
  if (along === 'channels')
    return reshape(rounded(reshape(x, [tokens, width / group, group]), bits), [tokens, width]);
  return reshape(rounded(reshape(x, [tokens / group, group, width]), bits, 1), [tokens, width]);
}

/** Tokens of channels: the cache as Mustafar takes keys. */
export function transposeCache<S extends Dim, E extends Dim>(
  x: Tensor<f32, [S, E]>,
): Tensor<f32, [E, S]> {
  return transpose(x);
}
