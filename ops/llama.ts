// The layers of a llama-style transformer. Weights come either in a format (`Encoded`) or as plain f32;
// every kernel that takes a format fuses its decode, whatever the format is.
import {
  amax,
  argmax,
  at,
  concat,
  cos,
  decode,
  dim,
  encode,
  exp,
  gather,
  iota,
  matmul,
  pow,
  reshape,
  shape,
  sin,
  slice,
  sqrt,
  sum,
  transpose,
} from 'quern';
import type { Dim, Encoded, Format, Scalar, Tensor, f32, i32 } from 'quern';
import { q8_0 } from './formats/q8_0.ts';
import * as nn from './nn.ts';

/** x / rms(x) * w, row by row. */
export function rmsnorm<M extends Dim, D extends Dim>(
  x: Tensor<f32, [M, D]>,
  w: Tensor<f32, [D]>,
  eps: number,
): Tensor<f32, [M, D]> {
  return nn.rmsNorm(x, w, eps);
}

/** Turns the interleaved pairs (x[2i], x[2i+1]) of the last axis of x [T, H, D] by their position's angle. */
function rotate(x: Tensor<f32>, start: Scalar, theta: number) {
  const [rows, heads, size] = shape(x);
  const half = size / 2;
  const pairs = reshape(x, [rows, heads, half, 2]);
  const even = slice(pairs, 0, 1, 3);
  const odd = slice(pairs, 1, 2, 3);
  const frequency = pow(theta, iota(half) * (-1 / half));
  const angle = reshape(iota(rows) + start, [rows, 1, 1, 1]) * reshape(frequency, [half, 1]);
  const c = cos(angle);
  const s = sin(angle);
  return reshape(concat([even * c - odd * s, even * s + odd * c], 3), [rows, heads, size]);
}

/** Rotary positions of keys, head by head; row t is at position start + t. */
export function ropeKeys<T extends Dim, E extends Dim>(
  x: Tensor<f32, [T, E]>,
  start: Scalar,
  headDim: number,
  theta: number,
): Tensor<f32, [T, E]> {
  return reshape(rotate(reshape(x, [dim(x, 0), -1, headDim]), start, theta), shape(x));
}

/**
 * Rotary positions of queries, `groups` heads to one key-value head. The result is [T, groups, E]: the heads that
 * share a key-value head are apart, so that each of the groups lies as the keys do.
 */
export function ropeQueries<T extends Dim, C extends Dim>(
  x: Tensor<f32, [T, C]>,
  start: Scalar,
  headDim: number,
  groups: number,
  theta: number,
) {
  const [rows, width] = shape(x);
  const turned = rotate(reshape(x, [rows, -1, headDim]), start, theta);
  const grouped = reshape(turned, [rows, width / (groups * headDim), groups, headDim]);
  return reshape(transpose(grouped, [0, 2, 1, 3]), [rows, groups, width / groups]);
}

/**
 * Causal attention of T queries over S cached positions; q is as ropeQueries gives it. Query t stands at position
 * start + t and sees the positions up to its own. The heads come out in the order of the model.
 */
export function attention<T extends Dim, R extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [T, R, E]>,
  k: Tensor<f32, [S, E]>,
  v: Tensor<f32, [S, E]>,
  start: Scalar,
  headDim: number,
) {
  const [rows, groups, width] = shape(q);
  const slots = dim(k, 0);
  const heads = width / headDim;
  const queries = transpose(reshape(q, [rows, groups, heads, headDim]), [2, 1, 0, 3]);
  const keys = transpose(reshape(k, [slots, heads, 1, headDim]), [1, 2, 3, 0]);
  const values = transpose(reshape(v, [slots, heads, 1, headDim]), [1, 2, 0, 3]);
  const scores = matmul(queries, keys) * (1 / sqrt(headDim));
  const visible = iota(slots) <= reshape(iota(rows) + start, [rows, 1]);
  const masked = visible ? scores : -1e30;
  const weights = exp(masked - amax(masked, -1, { keepdims: true }));
  const mixed = matmul(weights, values) / sum(weights, -1, { keepdims: true });
  return reshape(transpose(mixed, [2, 0, 1, 3]), [rows, groups * width]);
}

/**
 * What activations are before they meet weights: f32, or rounded to 8 bits with a scale every 32 of a row (q8_0), so
 * that weights in integers are multiplied as integers. Rounding moves each value by at most 1/254 of the largest
 * magnitude among its 32; rows must be a multiple of 32 wide.
 */
export type Activations = 'f32' | 'q8';

const rounded = (x: Tensor<f32>, activations: Activations): Tensor<f32> =>
  activations === 'q8' ? decode(encode(q8_0, x)) : x;

/** x wᵀ */
export function linear<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
  activations: Activations = 'f32',
): Tensor<f32, [M, N]> {
  return matmul(rounded(x, activations), transpose(decode(w)));
}

/** x wᵀ for weights that are not compressed. */
export function linearPlain<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(w));
}

/** r + x wᵀ: a projection back onto the residual stream. */
export function linearAdd<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
  r: Tensor<f32, [M, N]>,
  activations: Activations = 'f32',
): Tensor<f32, [M, N]> {
  return r + matmul(rounded(x, activations), transpose(decode(w)));
}

/** r + x wᵀ for weights that are not compressed. */
export function linearAddPlain<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [N, K]>,
  r: Tensor<f32, [M, N]>,
): Tensor<f32, [M, N]> {
  return r + matmul(x, transpose(w));
}

/** nn.silu(gate) * up, where the two matrices are stored in unlike ways. */
export function gated<M extends Dim, N extends Dim>(
  gate: Tensor<f32, [M, N]>,
  up: Tensor<f32, [M, N]>,
): Tensor<f32, [M, N]> {
  return nn.silu(gate) * up;
}

/** silu(x gateᵀ) * (x upᵀ), in one kernel. */
export function swiglu<
  F extends Format,
  G extends Format,
  M extends Dim,
  N extends Dim,
  K extends Dim,
>(
  x: Tensor<f32, [M, K]>,
  gate: Encoded<F, [N, K]>,
  up: Encoded<G, [N, K]>,
  activations: Activations = 'f32',
): Tensor<f32, [M, N]> {
  const a = rounded(x, activations);
  return nn.silu(matmul(a, transpose(decode(gate)))) * matmul(a, transpose(decode(up)));
}

/**
 * The first half of a layer in one call: rmsnorm, the three projections of one (rounded) input, rotary positions.
 * `q` is as {@link ropeQueries} gives it.
 */
export function layerIn<
  Q extends Format,
  K extends Format,
  V extends Format,
  T extends Dim,
  D extends Dim,
  C extends Dim,
  E extends Dim,
>(
  x: Tensor<f32, [T, D]>,
  norm: Tensor<f32, [D]>,
  wq: Encoded<Q, [C, D]>,
  wk: Encoded<K, [E, D]>,
  wv: Encoded<V, [E, D]>,
  start: Scalar,
  eps: number,
  headDim: number,
  groups: number,
  theta: number,
  activations: Activations = 'f32',
) {
  const a = rounded(rmsnorm(x, norm, eps), activations);
  return {
    q: ropeQueries(matmul(a, transpose(decode(wq))), start, headDim, groups, theta),
    k: ropeKeys(matmul(a, transpose(decode(wk))), start, headDim, theta),
    v: matmul(a, transpose(decode(wv))),
  };
}

/**
 * The end of a layer in one call, from what attention mixed: the projection onto the residual stream x, rmsnorm, the
 * gated feed-forward and its residual.
 */
export function layerOut<
  O extends Format,
  G extends Format,
  U extends Format,
  W extends Format,
  T extends Dim,
  C extends Dim,
  D extends Dim,
  H extends Dim,
>(
  mixed: Tensor<f32, [T, C]>,
  x: Tensor<f32, [T, D]>,
  wo: Encoded<O, [D, C]>,
  norm: Tensor<f32, [D]>,
  gate: Encoded<G, [H, D]>,
  up: Encoded<U, [H, D]>,
  down: Encoded<W, [D, H]>,
  eps: number,
  activations: Activations = 'f32',
): Tensor<f32, [T, D]> {
  const middle = x + matmul(rounded(mixed, activations), transpose(decode(wo)));
  const inner = swiglu(rmsnorm(middle, norm, eps), gate, up, activations);
  return middle + matmul(rounded(inner, activations), transpose(decode(down)));
}

/** silu(x gateᵀ) * (x upᵀ) for weights that are not compressed. */
export function swigluPlain<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  gate: Tensor<f32, [N, K]>,
  up: Tensor<f32, [N, K]>,
): Tensor<f32, [M, N]> {
  return nn.silu(matmul(x, transpose(gate))) * matmul(x, transpose(up));
}

export function add<M extends Dim, D extends Dim>(
  a: Tensor<f32, [M, D]>,
  b: Tensor<f32, [M, D]>,
): Tensor<f32, [M, D]> {
  return a + b;
}

/** The rows `ids` of a table. Only those rows are decoded. */
export function embed<F extends Format, T extends Dim, V extends Dim, D extends Dim>(
  table: Encoded<F, [V, D]>,
  ids: Tensor<i32, [T]>,
): Tensor<f32, [T, D]> {
  return gather(decode(table), ids, 0);
}

export function embedPlain<T extends Dim, V extends Dim, D extends Dim>(
  table: Tensor<f32, [V, D]>,
  ids: Tensor<i32, [T]>,
): Tensor<f32, [T, D]> {
  return gather(table, ids, 0);
}

/** -log softmax(logits)[target] of each row, in nats. */
export function crossEntropy<M extends Dim, V extends Dim>(
  logits: Tensor<f32, [M, V]>,
  target: Tensor<i32, [M]>,
): Tensor<f32, [M]> {
  return nn.crossEntropy(logits, target);
}

/** The most likely token after the last row. */
export function greedy<M extends Dim, V extends Dim>(logits: Tensor<f32, [M, V]>): Tensor<i32, []> {
  return argmax(at(logits, -1));
}

/** The last row, as a matrix of one row: only its logits are needed while generating. */
export function lastRow<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<f32, [1, D]> {
  return slice(x, dim(x, 0) - 1, dim(x, 0), 0);
}
