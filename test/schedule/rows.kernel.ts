import {
  abs,
  amax,
  amin,
  argmax,
  argmin,
  at,
  concat,
  cos,
  dim,
  exp,
  i8,
  iota,
  log,
  materialize,
  mean,
  reshape,
  shape,
  sin,
  slice,
  sqrt,
  sum,
  tanh,
  transpose,
} from 'quern';
import type { Dim, f32, Tensor } from 'quern';

export function rowMax<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return amax(x, 1);
}
export function rowMin<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return amin(x, 1);
}
export function columnMax<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return amax(x, 0);
}
export function columnMin<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return amin(x, 0, { keepdims: true });
}
export function rowArgmax<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return argmax(x, 1);
}
export function rowArgmin<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return argmin(x, 1);
}
export function rowSum<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return sum(x, 1);
}
export function columnMean<M extends Dim, N extends Dim>(
  x: Tensor<f32, [M, N]>,
  w: Tensor<f32, [N]>,
) {
  return mean(x * w, 0) + w;
}
export function batchSum<B extends Dim, M extends Dim, N extends Dim>(x: Tensor<f32, [B, M, N]>) {
  return sum(x, 1) * 2;
}
export function softmax<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  const e = exp(x - amax(x, 1, { keepdims: true }));
  return e / sum(e, 1, { keepdims: true });
}
export function softmaxDown<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  const e = exp(x - amax(x, 0, { keepdims: true }));
  return e / sum(e, 0, { keepdims: true });
}
/** Two dear values, of which the second is made of the first. */
export function twoStages<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  const z = x / (1 + exp(-x));
  const e = exp(z - amax(z, 1, { keepdims: true }));
  return (e - mean(e, 1, { keepdims: true })) / sum(e, 1, { keepdims: true });
}
export function layerNorm<M extends Dim, N extends Dim>(
  x: Tensor<f32, [M, N]>,
  w: Tensor<f32, [N]>,
) {
  const off = x - mean(x, 1, { keepdims: true });
  return (off / sqrt(mean(off * off, 1, { keepdims: true }) + 1e-5)) * w;
}
/** Pairs of each head of 24, turned by their position: rows that are joined of two parts. */
export function turned<T extends Dim, E extends Dim>(x: Tensor<f32, [T, E]>) {
  const [rows, width] = shape(x);
  const heads = reshape(x, [rows, width / 24, 24]);
  const low = slice(heads, 0, 12, 2);
  const high = slice(heads, 12, 24, 2);
  const angle = reshape(iota(rows), [rows, 1, 1]) * (iota(12) * 0.1);
  const c = cos(angle);
  const s = sin(angle);
  return reshape(concat([low * c - high * s, low * s + high * c], 2), shape(x));
}
/** Read side by side along another axis than the last of the result. */
export function flipped<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return transpose(x * 3);
}
/** The same in bytes, and with an axis in front and one in between. */
export function flippedBytes<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return i8(transpose(materialize(i8(x * 20))));
}
export function flippedBatch<B extends Dim, M extends Dim, N extends Dim>(
  x: Tensor<f32, [B, M, N]>,
  w: Tensor<f32, [N]>,
) {
  return transpose(x * w, [2, 0, 1]) + 1;
}

/** Dear values that are the same for all rows of a matrix, and for all of a row, behind views. */
export function waved<B extends Dim, M extends Dim, D extends Dim>(
  x: Tensor<f32, [B, M, D]>,
  phase: Tensor<f32, [B, D]>,
  gain: Tensor<f32, [M]>,
) {
  const wave = sin(phase) + exp(-abs(phase));
  const scale = log(abs(gain) + 1);
  return x * reshape(wave, [dim(x, 0), 1, dim(x, 2)]) + reshape(scale * scale, [dim(x, 1), 1]);
}

/** The same in front of a sum. */
export function wavedSums<B extends Dim, M extends Dim, D extends Dim>(
  x: Tensor<f32, [B, M, D]>,
  phase: Tensor<f32, [B, D]>,
) {
  return sum(x * tanh(at(phase, 0)), 2);
}
