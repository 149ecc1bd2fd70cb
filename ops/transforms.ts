// Transforms of blocks: the fast Walsh-Hadamard transform, bit planes, convolution and pooling.

import type { Tensor } from 'quern';
import {
  amax,
  at,
  dim,
  i32,
  iota,
  map,
  matmul,
  pad,
  popcount,
  reshape,
  shape,
  sqrt,
  sum,
  u1,
  u32,
} from 'quern';
import { rowsAlong } from './arrays.ts';

/**
 * Walsh-Hadamard transform along an axis of 2^k elements, in natural order, times 1 / sqrt(n): its own inverse. Of
 * another length it is an error where that is known while compiling; otherwise elements without a partner pair with 0.
 */
export function fwht(x: Tensor, axis = -1): Tensor {
  const { rows, back } = rowsAlong(x, axis);
  const n = dim(rows, 1);
  if (Number.isInteger(n) && (n & (n - 1)) !== 0) throw new Error('fwht: a power of two');
  const scale = 1 / sqrt(n);
  const done = map(dim(rows, 0), (r) => {
    let row = at(rows, r) * 1;
    let half = i32(1);
    while (half < n) {
      row = map(n, (i) => {
        const other = i ^ half;
        const y = other < n ? at(row, other) : 0;
        return (i & half) === 0 ? at(row, i) + y : y - at(row, i);
      });
      half = half + half;
    }
    return row * scale;
  });
  return back(done);
}

/** Bit b of every element as plane b: [bits, ...shape(q)], u1. Negative numbers as two's complement. */
export const bitPlanes = (q: Tensor, bits: number): Tensor =>
  u1((i32(q) >> planeNumbers(bits, q)) & 1);
/** Whole numbers from planes of bits, i32: the inverse for unsigned numbers. */
export const fromPlanes = (planes: Tensor): Tensor =>
  sum(i32(planes) << planeNumbers(dim(planes, 0), at(planes, 0)), 0);
/** 0 .. bits - 1 along a new first axis of q. */
const planeNumbers = (bits: number, q: Tensor) =>
  reshape(iota(bits), [bits, ...shape(q).map(() => 1)]);

/** 32 bits a word along the last axis, the first in the lowest place: [..., n] to [..., n / 32], u32. */
export function packBits(mask: Tensor): Tensor {
  const dims = shape(mask);
  const words = reshape(u32(mask), [...dims.slice(0, -1), dims[dims.length - 1] / 32, 32]);
  return sum(words << u32(iota(32)), -1);
}
/** Number of places where both of two rows of words have a bit, summed over the last axis: i32. */
export const bitDot = (a: Tensor, b: Tensor): Tensor => sum(popcount(a & b), -1);

/** Windows of the last two axes of x [C, H, W] as columns: [C * kh * kw, oh * ow]. */
function columns(x: Tensor, kh: number, kw: number, oh: number, ow: number, stride: number) {
  const channels = dim(x, 0);
  const all = map([channels, kh, kw, oh, ow], (c, i, j, p, q) =>
    at(x, c, p * stride + i, q * stride + j),
  );
  return reshape(all, [channels * (kh * kw), oh * ow]);
}
const padded = (x: Tensor, by: number, value: Tensor = 0) =>
  by === 0 ? x : pad(pad(x, by, by, { value }), by, by, { axis: 1, value });

export interface Window {
  /** Step between windows; the sizes must come out whole. 1 by default. */
  readonly stride?: number;
  /** Elements added on each side. 0 by default. */
  readonly padding?: number;
}

/** Two-dimensional convolution (cross-correlation) of x [C, H, W] with w [O, C, kh, kw]: [O, oh, ow]. */
export function conv2d(x: Tensor, w: Tensor, { stride = 1, padding = 0 }: Window = {}): Tensor {
  const [out, channels, kh, kw] = shape(w);
  const wide = padded(x, padding);
  const oh = (dim(wide, 1) - kh) / stride + 1;
  const ow = (dim(wide, 2) - kw) / stride + 1;
  const cols = columns(wide, kh, kw, oh, ow, stride);
  return reshape(matmul(reshape(w, [out, channels * (kh * kw)]), cols), [out, oh, ow]);
}

/** One-dimensional convolution of x [C, T] with w [O, C, k]: [O, ot]. */
export function conv1d(x: Tensor, w: Tensor, { stride = 1, padding = 0 }: Window = {}): Tensor {
  const [out, channels, k] = shape(w);
  const wide = padding === 0 ? x : pad(x, padding, padding);
  const steps = (dim(wide, 1) - k) / stride + 1;
  const cols = map([channels, k, steps], (c, i, p) => at(wide, c, p * stride + i));
  return matmul(reshape(w, [out, channels * k]), reshape(cols, [channels * k, steps]));
}

/** Largest element of each window of size x size of x [C, H, W]. */
export function maxPool2d(
  x: Tensor,
  size: number,
  { stride = size, padding = 0 }: Window = {},
): Tensor {
  const wide = padded(x, padding, -Infinity);
  const oh = (dim(wide, 1) - size) / stride + 1;
  const ow = (dim(wide, 2) - size) / stride + 1;
  return map([dim(x, 0), oh, ow], (c, p, q) =>
    amax(map([size, size], (i, j) => at(wide, c, p * stride + i, q * stride + j))),
  );
}
/** Mean of each window of size x size of x [C, H, W]; padding counts as zeros. */
export function meanPool2d(
  x: Tensor,
  size: number,
  { stride = size, padding = 0 }: Window = {},
): Tensor {
  const wide = padded(x, padding);
  const oh = (dim(wide, 1) - size) / stride + 1;
  const ow = (dim(wide, 2) - size) / stride + 1;
  return map(
    [dim(x, 0), oh, ow],
    (c, p, q) =>
      sum(map([size, size], (i, j) => at(wide, c, p * stride + i, q * stride + j))) / (size * size),
  );
}
