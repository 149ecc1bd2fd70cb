// Random numbers by counter: element i of a stream is a function of the seed and i alone, so any part can be made
// again, in any order, in parallel. Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers:
// As Easy as 1, 2, 3, SC 2011). Distributions use nothing but + - * / and sqrt of f32, which every device rounds
// alike: the same seed gives the same bits everywhere.

import type { Tensor } from 'quern';
import {
  argsort,
  bitcast,
  bool,
  exponent,
  f32,
  floor,
  i32,
  iota,
  min,
  reshape,
  sqrt,
  u32,
} from 'quern';

const rotations = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
];
const rotated = (x: Tensor, r: number) => (x << r) | (x >> (32 - r));

/** Threefry-2x32-20 of a counter (c0, c1) under a key (k0, k1), all u32 and broadcast: two words. */
export function threefry(k0: Tensor, k1: Tensor, c0: Tensor, c1: Tensor) {
  const keys = [k0, k1, k0 ^ k1 ^ u32(0x1bd11bda)];
  let x = c0 + k0;
  let y = c1 + k1;
  for (let round = 0; round < 5; round += 1) {
    for (const r of rotations[round % 2]) {
      x = x + y;
      y = rotated(y, r) ^ x;
    }
    x = x + keys[(round + 1) % 3];
    y = y + keys[(round + 2) % 3] + u32(round + 1);
  }
  return [x, y];
}

/** Two words for each element of `dims`, in row-major order of the counter. */
function words(seed: Tensor, dims: readonly number[], stream: Tensor) {
  const total = dims.reduce((n, d) => n * d, 1);
  const zero = u32(iota(total)) & 0;
  const [x, y] = threefry(u32(seed), u32(stream), u32(iota(total)), zero);
  return [reshape(x, dims), reshape(y, dims)];
}

/** 32 random bits an element, u32. `seed` and `stream` are integers; other streams are independent. */
export const bits = (seed: Tensor, dims: readonly number[], stream: Tensor = 0): Tensor =>
  words(seed, dims, stream)[0];

/** Uniform in [0, 1): multiples of 2^-24. */
const unit = (word: Tensor) => f32(word >> 8) * 2 ** -24;
/** Uniform in (0, 1): odd multiples of 2^-24. */
const inner = (word: Tensor) => (f32(word >> 9) + 0.5) * 2 ** -23;

/** Uniform in [0, 1), f32. */
export const uniform = (seed: Tensor, dims: readonly number[], stream: Tensor = 0): Tensor =>
  unit(bits(seed, dims, stream));

/** True with probability p. */
export const bernoulli = (
  seed: Tensor,
  dims: readonly number[],
  p: Tensor,
  stream: Tensor = 0,
): Tensor<'bool'> => bool(uniform(seed, dims, stream) < p);

/** Whole numbers 0 .. n - 1, i32, for n up to 2^24. */
export const randint = (
  seed: Tensor,
  dims: readonly number[],
  n: Tensor,
  stream: Tensor = 0,
): Tensor => min(i32(floor(uniform(seed, dims, stream) * n)), n - 1);

/** Natural logarithm of normal positive numbers to 2 ulp, by rounded basic operations only. */
function ln(x: Tensor) {
  const e = exponent(x);
  // The mantissa in [1, 2) has the bits of x and the exponent of 1.
  const m = bitcast((bitcast(x, i32) & 0x7fffff) | 0x3f800000, f32);
  const high = m > Math.SQRT2;
  const t = ((high ? m * 0.5 : m) - 1) / ((high ? m * 0.5 : m) + 1);
  const s = t * t;
  const series = 1 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * (1 / 11)))));
  return f32(e + i32(high)) * Math.LN2 + 2 * t * series;
}

/** Cosine of 2 pi u for u in [0, 1), by rounded basic operations only. */
function cosTurn(u: Tensor) {
  const k = i32(floor(u * 4 + 0.5));
  const x = (u - f32(k) * 0.25) * (2 * Math.PI);
  const s = x * x;
  const sine = x * (1 - s * (1 / 6 - s * (1 / 120 - s * (1 / 5040 - s * (1 / 362880)))));
  const cosine = 1 - s * (1 / 2 - s * (1 / 24 - s * (1 / 720 - s * (1 / 40320))));
  const value = (k & 1) === 1 ? sine : cosine;
  return (k & 3) === 1 || (k & 3) === 2 ? -value : value;
}

/** Standard normal, f32, by Box and Muller: at most 5.77 in magnitude. */
export function normal(seed: Tensor, dims: readonly number[], stream: Tensor = 0): Tensor {
  const [x, y] = words(seed, dims, stream);
  return sqrt(-2 * ln(inner(x))) * cosTurn(unit(y));
}

/** Standard Gumbel, f32: argmax(logits + gumbel(...)) samples from softmax(logits). */
export const gumbel = (seed: Tensor, dims: readonly number[], stream: Tensor = 0): Tensor =>
  -ln(-ln(inner(bits(seed, dims, stream))));

/** The numbers 0 .. n - 1 in a random order, i32. */
export const permutation = (seed: Tensor, n: number, stream: Tensor = 0): Tensor =>
  argsort(bits(seed, [n], stream));
