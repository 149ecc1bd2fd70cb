// Seeded input arrays: every code of the narrow dtypes, the edges of all grids, and random values between.
import type { HostArray } from '../../compiler/index.ts';
import {
  type DType,
  castValue,
  dtypes,
  f32OfBits,
  floatOfBits,
  isFloat,
} from '../../compiler/ir/dtype.ts';

export type DTypes = readonly DType[];
export const allDTypes = Object.keys(dtypes) as DType[];

/** 32-bit integers from a seed (xorshift32). */
export function integers(seed: number): () => number {
  let s = seed * 2654435761 + 1;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return s >>> 0;
  };
}

/** Values where f32 functions, roundings and casts bend. */
export const edges: readonly number[] = [
  0,
  -0,
  1,
  -1,
  NaN,
  Infinity,
  -Infinity,
  0.5,
  -0.5,
  1.5,
  -1.5,
  2.5,
  -2.5,
  3.5,
  -3.5,
  0.49999997,
  -0.49999997,
  2 ** -149,
  -(2 ** -149),
  2 ** -126,
  2 ** -126 - 2 ** -149,
  2 ** -127,
  2 ** -128,
  3.4028234663852886e38,
  -3.4028234663852886e38,
  8388607.5,
  -8388607.5,
  8388608.5,
  8388609,
  16777215,
  16777216,
  2147483520,
  2147483648,
  -2147483648,
  -2147483904,
  4294967040,
  4294967296,
  1e10,
  -1e10,
  1e30,
  -1e30,
  127,
  127.5,
  128,
  -128,
  -128.5,
  -129,
  255,
  255.5,
  256,
  32767,
  32768,
  -32769,
  65504,
  65519.99,
  65520,
  -65520,
  65535,
  65536,
  448,
  464,
  465,
  -480,
  57344,
  61439,
  61440,
  7.5,
  7.75,
  28,
  30,
  6,
  5,
  5.01,
  0.25,
  0.75,
  0.125,
  0.0625,
  -0.0625,
  2 ** -14,
  2 ** -24,
  2 ** -25,
  1.0001 * 2 ** -25,
  2 ** -9,
  2 ** -10,
  2 ** -16,
  2 ** -17,
  15,
  16,
  -8,
  -9,
  7,
  3,
  4,
  -4,
  0.1,
  -0.3,
  1e-8,
  100,
  1e4,
].map(Math.fround);

const arrayOf = (d: DType, n: number): HostArray['data'] =>
  isFloat(d)
    ? new Float32Array(n)
    : d === 'bool'
      ? new Uint8Array(n)
      : dtypes[d].kind === 'uint'
        ? new Uint32Array(n)
        : new Int32Array(n);

export const size = (shape: readonly number[]): number => shape.reduce((p, n) => p * n, 1);

export function array(d: DType, shape: readonly number[], value: (i: number) => number): HostArray {
  const data = arrayOf(d, size(shape));
  for (let i = 0; i < data.length; i += 1) data[i] = value(i);
  return { dtype: d, shape, data };
}

/** Any value of a dtype: for f32 any bit pattern. */
export function anyValue(d: DType, next: () => number): number {
  const { bits, min, max, kind } = dtypes[d];
  if (kind === 'float') return d === 'f32' ? f32OfBits(next()) : floatOfBits(d, next() % 2 ** bits);
  return kind === 'bool' ? next() % 2 : min! + (next() % (max! - min! + 1));
}

/** All codes of a narrow dtype; else the edges, rounded to its grid, and random values. */
export function span(d: DType, seed = 1, extra = 60): number[] {
  const { bits, min, max, kind } = dtypes[d];
  const next = integers(seed);
  if (kind === 'bool') return [0, 1];
  if (bits <= 8)
    return Array.from({ length: 2 ** bits }, (_, i) =>
      kind === 'float' ? floatOfBits(d, i) : min! + i,
    );
  const random = Array.from({ length: extra }, () => anyValue(d, next));
  if (kind === 'float') return [...edges.map((x) => castValue('f32', d, x)), ...random];
  const near = [0, 1, 2, 3, 5, 7, 31, 32, 33, 255, 256, 32767, 65535];
  return [
    ...near,
    ...near.map((x) => (min! < 0 ? -x : max! - x)),
    min!,
    max!,
    max! - 1,
    ...random,
  ].map((x) => castValue('f32', d, x));
}

/** A vector of the span. */
export const vector = (d: DType, seed = 1): HostArray => {
  const values = span(d, seed);
  return array(d, [values.length], (i) => values[i]!);
};

/** Every pair of two lists, as two vectors. */
export function pairs(
  a: DType,
  b: DType,
  as: readonly number[],
  bs: readonly number[],
): HostArray[] {
  const n = as.length * bs.length;
  return [
    array(a, [n], (i) => as[Math.floor(i / bs.length)]!),
    array(b, [n], (i) => bs[i % bs.length]!),
  ];
}

/** Small whole numbers: sums of products of them are exact in f32, so that any order gives the same. */
export function whole(d: DType, shape: readonly number[], seed = 1, reach = 4): HostArray {
  const next = integers(seed);
  const { min } = dtypes[d];
  const low = min === undefined ? -reach : Math.max(min, -reach);
  const high = Math.min(dtypes[d].max ?? reach, reach);
  return array(d, shape, () => low + (next() % (high - low + 1)));
}

/** Numbers in (-1, 1) with all bits of f32 in use. */
export function unit(shape: readonly number[], seed = 1): HostArray {
  const next = integers(seed);
  return array('f32', shape, () => Math.fround(next() / 2 ** 31 - 1));
}

/** Any values of a dtype. */
export function random(d: DType, shape: readonly number[], seed = 1): HostArray {
  const next = integers(seed);
  return array(d, shape, () => anyValue(d, next));
}

export const scalar = (d: DType, value: number): HostArray => array(d, [], () => value);
