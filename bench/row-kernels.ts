// Kernels of the benchmarks that go along rows: reductions, normalisations and elementwise functions. Parsed by Quern, never
// executed.

import type { Dim, f32, i32, Tensor } from 'quern';
import {
  amax,
  argmax,
  concat,
  cos,
  dim,
  exp,
  iota,
  log,
  mean,
  pow,
  reshape,
  shape,
  sin,
  slice,
  sqrt,
  sum,
  tanh,
} from 'quern';

export function rowSum<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<f32, [M]> {
  return sum(x, 1);
}

export function rowMax<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<f32, [M]> {
  return amax(x, 1);
}

export function rowArgmax<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<i32, [M]> {
  return argmax(x, 1);
}

export function columnSum<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<f32, [D]> {
  return sum(x, 0);
}

export function columnMax<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<f32, [D]> {
  return amax(x, 0);
}

/** Of each row. */
export function variance<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<f32, [M]> {
  const off = x - mean(x, 1, { keepdims: true });
  return mean(off * off, 1);
}

/** Mean and variance of each row: two results of one kernel. */
export function moments<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>) {
  const center = mean(x, 1, { keepdims: true });
  const off = x - center;
  return { mean: reshape(center, [dim(x, 0)]), variance: mean(off * off, 1) };
}

export function softmax<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<f32, [M, D]> {
  const e = exp(x - amax(x, 1, { keepdims: true }));
  return e / sum(e, 1, { keepdims: true });
}

export function logSoftmax<M extends Dim, D extends Dim>(
  x: Tensor<f32, [M, D]>,
): Tensor<f32, [M, D]> {
  const shifted = x - amax(x, 1, { keepdims: true });
  return shifted - log(sum(exp(shifted), 1, { keepdims: true }));
}

/** -log softmax(x)[target] of each row, in nats. */
export function crossEntropy<M extends Dim, V extends Dim>(
  x: Tensor<f32, [M, V]>,
  target: Tensor<i32, [M]>,
): Tensor<f32, [M]> {
  const top = amax(x, 1, { keepdims: true });
  const normalizer = log(sum(exp(x - top), 1)) + reshape(top, [dim(x, 0)]);
  const isTarget = iota(dim(x, 1)) === reshape(target, [dim(x, 0), 1]);
  return normalizer - sum(isTarget ? x : 0, 1);
}

/** x / rms(x) * w, row by row. */
export function rmsNorm<M extends Dim, D extends Dim>(
  x: Tensor<f32, [M, D]>,
  w: Tensor<f32, [D]>,
): Tensor<f32, [M, D]> {
  return (x / sqrt(mean(x * x, 1, { keepdims: true }) + 1e-5)) * w;
}

export function layerNorm<M extends Dim, D extends Dim>(
  x: Tensor<f32, [M, D]>,
  w: Tensor<f32, [D]>,
  b: Tensor<f32, [D]>,
): Tensor<f32, [M, D]> {
  const off = x - mean(x, 1, { keepdims: true });
  const scale = 1 / sqrt(mean(off * off, 1, { keepdims: true }) + 1e-5);
  return off * scale * w + b;
}

export function silu<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<f32, [M, D]> {
  return x / (1 + exp(-x));
}

/** The usual approximation by tanh (Hendrycks and Gimpel, arXiv 1606.08415). */
export function gelu<M extends Dim, D extends Dim>(x: Tensor<f32, [M, D]>): Tensor<f32, [M, D]> {
  return 0.5 * x * (1 + tanh(sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
}

export function add<M extends Dim, D extends Dim>(
  a: Tensor<f32, [M, D]>,
  b: Tensor<f32, [M, D]>,
): Tensor<f32, [M, D]> {
  return a + b;
}

/** Turns the pairs (x[i], x[i + half]) of each head by their position's angle. */
export function rope<T extends Dim, E extends Dim>(
  x: Tensor<f32, [T, E]>,
  headDim: number,
): Tensor<f32, [T, E]> {
  const half = headDim / 2;
  const [rows, width] = shape(x);
  const heads = reshape(x, [rows, width / headDim, headDim]);
  const low = slice(heads, 0, half, 2);
  const high = slice(heads, half, headDim, 2);
  const angle = reshape(iota(rows), [rows, 1, 1]) * pow(10000, iota(half) * (-1 / half));
  const c = cos(angle);
  const s = sin(angle);
  return reshape(concat([low * c - high * s, low * s + high * c], 2), shape(x));
}
