// Gradients that workers send each other, made small, and what keeps that from hurting.
//
// Compressors: the k largest magnitudes, k at random (scaled to be unbiased, or not), stochastic rounding of a vector to
// levels of its norm (QSGD: Alistarh, Grubic, Li, Tomioka, Vojnovic, NeurIPS 2017, arXiv 1610.02132), and low rank
// (PowerSGD: Vogels, Karimireddy, Jaggi, NeurIPS 2019, arXiv 1905.13727): P = M Q, made orthonormal, Q = Mᵀ P, and Q is
// where the next step starts.
//
// Error feedback adds what compression has left out to the next gradient. EControl (Gao, Islamov, Stich: EControl: Fast
// Distributed Optimization with Compression and Error Control, ICLR 2024, arXiv 2311.05645) has every worker keep an
// estimate h of its gradient beside the error e, and send D = C(eta e + g - h): h grows by D, e by g - h. It finds the
// optimum where workers have unlike data, and error feedback alone stays away from it.
//
// L-GreCo (Markov, Vladu, Guo, Alistarh: L-GreCo: Layerwise-Adaptive Gradient Compression for Efficient and Accurate Deep
// Learning, MLSys 2024, arXiv 2210.17357) measures the error of every layer at every setting of a compressor, and takes
// those of least total size whose errors add up to no more than the uniform setting's: a knapsack over 10,000 steps of
// the error, each rounded up.

import type { Dim, Tensor } from 'quern';
import {
  abs,
  at,
  dim,
  f32,
  floor,
  i32,
  iota,
  map,
  matmul,
  max,
  min,
  range,
  reshape,
  set,
  shape,
  sign,
  slice,
  sqrt,
  sum,
  takeAlong,
  topk,
  transpose,
  u32,
  zeros,
  zerosLike,
} from 'quern';
import { scatterAdd } from '../arrays.ts';
import { qr } from '../linalg/index.ts';
import { permutation, uniform } from '../random.ts';

/** The k entries of largest magnitude of g [N], as a message: where they are and what they are. */
export function topK<N extends Dim>(g: Tensor<f32, [N]>, k: number) {
  const places = topk(abs(g), k).indices;
  return { places, values: takeAlong(g, places) };
}

/** k entries of g [N] at random; `unbiased` multiplies them by N / k, so that their mean is g. */
export function randK<N extends Dim>(
  g: Tensor<f32, [N]>,
  seed: Tensor<i32, []>,
  k: number,
  unbiased = false,
) {
  const places = slice(permutation(u32(seed), dim(g, 0)), 0, k);
  return { places, values: takeAlong(g, places) * (unbiased ? dim(g, 0) / k : 1) };
}

/** The vector of a message of {@link topK} or {@link randK}, of the length of `like`. */
export function fromMessage<N extends Dim, K extends Dim>(
  places: Tensor<i32, [K]>,
  values: Tensor<f32, [K]>,
  like: Tensor<f32, [N]>,
): Tensor<f32, [N]> {
  return scatterAdd(zerosLike(like), places, values);
}

/** The mean of the vectors of W messages, of the length of `like`. */
export function scatterMean<N extends Dim, W extends Dim, K extends Dim>(
  places: Tensor<i32, [W, K]>,
  values: Tensor<f32, [W, K]>,
  like: Tensor<f32, [N]>,
): Tensor<f32, [N]> {
  return scatterAdd(zerosLike(like), places, values) / dim(places, 0);
}

/** g [N] as signed levels 0 .. `levels` of its norm, each rounded up with the probability that keeps the mean. */
export function qsgd<N extends Dim>(g: Tensor<f32, [N]>, seed: Tensor<i32, []>, levels: number) {
  const norm = sqrt(sum(g * g));
  const x = norm > 0 ? (abs(g) / norm) * levels : 0;
  const low = floor(x);
  const up = uniform(u32(seed), [dim(g, 0)]) < x - low;
  return { norm, codes: i32(sign(g) * (low + f32(up))) };
}
/** What {@link qsgd} stands for. */
export function qsgdDecode<N extends Dim>(
  codes: Tensor<i32, [N]>,
  norm: Tensor<f32, []>,
  levels: number,
): Tensor<f32, [N]> {
  return codes * (norm / levels);
}

/** One step of error feedback with the k largest: what is sent, and the error to come back with. */
export function errorFeedback<N extends Dim>(
  g: Tensor<f32, [N]>,
  error: Tensor<f32, [N]>,
  k: number,
) {
  const wanted = g + error;
  const { places, values } = topK(wanted, k);
  // What is sent is exact, so that nothing of it is left.
  return { places, values, error: scatterAdd(wanted, places, -values) };
}

/** One step of EControl with the k largest: the message D, and the worker's estimate h and error e. */
export function eControl<N extends Dim>(
  g: Tensor<f32, [N]>,
  h: Tensor<f32, [N]>,
  error: Tensor<f32, [N]>,
  eta: Tensor<f32, []>,
  k: number,
) {
  const { places, values } = topK(eta * error + g - h, k);
  const estimate = scatterAdd(h, places, values);
  return { places, values, h: estimate, error: error + g - estimate };
}

/**
 * One step of PowerSGD for M [N, K] with what was left out before: p [N, R] and q [K, R], whose product p qᵀ is what is
 * sent; q starts the next step, `error` comes back with its gradient.
 */
export function powerSgd<N extends Dim, K extends Dim, R extends Dim>(
  gradient: Tensor<f32, [N, K]>,
  error: Tensor<f32, [N, K]>,
  start: Tensor<f32, [K, R]>,
) {
  const m = gradient + error;
  const p = qr(matmul(m, start)).q;
  const q = matmul(transpose(m), p);
  return { p, q, error: m - matmul(p, transpose(q)) };
}

/** Frobenius errors of a gradient [N, K] at ranks 1 .. R of PowerSGD from `start`: what L-GreCo tabulates. */
export function powerSgdErrors<N extends Dim, K extends Dim, R extends Dim>(
  gradient: Tensor<f32, [N, K]>,
  start: Tensor<f32, [K, R]>,
): Tensor<f32, [R]> {
  const p = qr(matmul(gradient, start)).q;
  const q = matmul(transpose(gradient), p);
  const rest = gradient - matmul(p, transpose(q));
  // Columns are orthonormal: the square of its q is what each that is left out adds. A difference of what the gradient has and
  // what columns take off would be lost in rounding where they take nearly all.
  const adds = sum(q * q, 0);
  const ranks = dim(start, 1);
  const isLeft = iota(ranks) > reshape(iota(ranks), [ranks, 1]);
  return sqrt(sum(rest * rest) + sum(isLeft ? adds : 0, 1));
}

/** Errors of a gradient [N] when the first counts[j] of its largest magnitudes are sent. */
export function topKErrors<N extends Dim, J extends Dim>(
  g: Tensor<f32, [N]>,
  counts: Tensor<i32, [J]>,
): Tensor<f32, [J]> {
  const sorted = topk(abs(g), dim(g, 0)).values;
  return map(dim(counts, 0), (j) => {
    const left = iota(dim(g, 0)) >= at(counts, j) ? sorted : 0;
    return sqrt(sum(left * left));
  });
}

const steps = 10000;

/**
 * For each of L layers one of J settings with `sizes` and `errors` [L, J]: the least total size whose errors add up to no
 * more than `budget`. Errors count as whole 10,000ths of the budget, rounded up, so that no sum is above it. Every layer
 * must have a setting within the budget together with the others; -1 where there is none.
 */
export function allocate<L extends Dim, J extends Dim>(
  sizes: Tensor<f32, [L, J]>,
  errors: Tensor<f32, [L, J]>,
  budget: Tensor<f32, []>,
) {
  const [layers, settings] = shape(errors);
  // Least size of the layers so far for every sum of errors, and the setting that the last of them has then.
  let best = map(steps + 1, () => f32(0));
  let chosen = zeros([layers, steps + 1], i32);
  const cost = (l: Tensor, j: Tensor): Tensor => {
    const share = (at(errors, l, j) / budget) * steps;
    const whole = floor(min(share, 2 * steps));
    return i32(whole) + i32(whole < share);
  };
  for (const l of range(layers)) {
    const next = map(steps + 1, (e) => {
      let least = f32(Infinity);
      let setting = i32(-1);
      for (const j of range(settings)) {
        const rest = e - cost(l, j);
        const size = rest >= 0 ? at(best, rest) + at(sizes, l, j) : Infinity;
        setting = size < least ? j : setting;
        least = min(least, size);
      }
      return { least, setting };
    });
    best = next.least;
    chosen = set(chosen, next.setting, l);
  }
  let settingsOf = zeros([layers], i32);
  let left = i32(steps);
  for (const back of range(layers)) {
    const l = layers - 1 - back;
    const setting = at(chosen, l, left);
    settingsOf = set(settingsOf, setting, l);
    left = max(left - cost(l, max(setting, 0)), 0);
  }
  return { settings: settingsOf, size: at(best, steps) };
}
