// Concrete tensors, as the interpreter computes them: logical values (one array entry an element),
// row-major, never changed once made, so that views may share the array of their operand.
import { type DType, dtypes } from '../ir/dtype.ts';

export type Data = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array;

/** Floats hold values on the dtype's grid; bool holds 0 and 1. */
export interface Concrete {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Data;
}

/**
 * f32: every float op is rounded, as on a device. f64: only casts round, to measure what rounding
 * costs.
 */
export type Precision = 'f32' | 'f64';

export const count = (shape: readonly number[]): number => shape.reduce((p, n) => p * n, 1);

/** An array whose stores do the final rounding: to f32 for floats, modulo 2^32 for integers. */
export function allocate(dtype: DType, length: number, precision: Precision): Data {
  switch (dtypes[dtype].kind) {
    case 'float':
      return precision === 'f64' ? new Float64Array(length) : new Float32Array(length);
    case 'int':
      return new Int32Array(length);
    case 'uint':
      return new Uint32Array(length);
    case 'bool':
      return new Uint8Array(length);
  }
}

export function stridesOf(shape: readonly number[]): number[] {
  const out = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    out[i] = step;
    step *= shape[i]!;
  }
  return out;
}

/** Strides that read `from` as if it had the larger shape `to`: 0 along every axis that repeats. */
export function broadcastStrides(from: readonly number[], to: readonly number[]): number[] {
  const own = stridesOf(from);
  const shift = to.length - from.length;
  return to.map((_, i) => (i < shift || from[i - shift] === 1 ? 0 : own[i - shift]!));
}

/** Offsets of all elements of `shape` in row-major order, for the given strides. */
export function offsets(
  shape: readonly number[],
  strides: readonly number[],
  base = 0,
): Int32Array {
  const out = new Int32Array(count(shape));
  if (out.length === 0) return out;
  out[0] = base;
  // Each axis, from the last to the first, repeats the block that the axes after it have filled.
  let filled = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const step = strides[axis]!;
    for (let n = 1; n < shape[axis]!; n++) {
      const at = n * filled;
      for (let i = 0; i < filled; i++) out[at + i] = out[i]! + n * step;
    }
    filled *= shape[axis]!;
  }
  return out;
}

export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((n, i) => n === b[i]);

/** The elements of `x` at the given offsets. */
export function pick(x: Concrete, shape: readonly number[], at: Int32Array): Concrete {
  const data = x.data.constructor as new (n: number) => Data;
  const out = new data(at.length);
  for (let i = 0; i < at.length; i++) out[i] = x.data[at[i]!]!;
  return { dtype: x.dtype, shape, data: out };
}
