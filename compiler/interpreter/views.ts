// Meaning of the ops that only move elements: each computes where every result element comes from.

import type { DType } from '../ir/dtype.ts';
import { castValue } from '../ir/dtype.ts';
import {
  allocate,
  broadcastStrides,
  type Concrete,
  count,
  offsets,
  type Precision,
  pick,
  sameShape,
  stridesOf,
} from './concrete.ts';
import { widen } from './elementwise.ts';

export const reshape = (x: Concrete, shape: readonly number[]): Concrete => ({ ...x, shape });

/** The type rule has checked that the shapes fit. */
export function broadcast(x: Concrete, shape: readonly number[]): Concrete {
  if (sameShape(x.shape, shape)) return x;
  return pick(x, shape, offsets(shape, broadcastStrides(x.shape, shape)));
}

/** Axis i of the result is axis perm[i] of `x`. */
export function transpose(x: Concrete, perm: readonly number[]): Concrete {
  const strides = stridesOf(x.shape);
  const shape = perm.map((p) => x.shape[p]!);
  return pick(
    x,
    shape,
    offsets(
      shape,
      perm.map((p) => strides[p]!),
    ),
  );
}

/** Bounds of symbolic slices are known only now. */
export function slice(x: Concrete, axis: number, start: number, size: number): Concrete {
  const extent = x.shape[axis]!;
  if (start < 0 || size < 0 || start + size > extent)
    throw new Error(`slice ${start} .. ${start + size} lies outside an axis of ${extent}`);
  const strides = stridesOf(x.shape);
  const shape = x.shape.map((n, i) => (i === axis ? size : n));
  return pick(x, shape, offsets(shape, strides, start * strides[axis]!));
}

/** Copies `x` into `out`, whose axis is longer, from position `low` of that axis on. */
function place(x: Concrete, out: Concrete, axis: number, low: number): void {
  const inner = count(x.shape.slice(axis + 1));
  const outer = count(x.shape.slice(0, axis));
  const from = x.shape[axis]!;
  const to = out.shape[axis]!;
  for (let o = 0; o < outer; o++) {
    const run = x.data.subarray(o * from * inner, (o + 1) * from * inner);
    out.data.set(run, (o * to + low) * inner);
  }
}

export function concat(
  xs: readonly Concrete[],
  axis: number,
  dtype: DType,
  shape: readonly number[],
  precision: Precision,
): Concrete {
  const out = { dtype, shape, data: allocate(dtype, count(shape), precision) };
  let low = 0;
  for (const x of xs) {
    place({ dtype, shape: x.shape, data: widen(x, dtype, precision) }, out, axis, low);
    low += x.shape[axis]!;
  }
  return out;
}

/** Negative padding cuts elements off. */
export function pad(
  x: Concrete,
  fill: Concrete,
  axis: number,
  low: number,
  high: number,
  precision: Precision,
): Concrete {
  const shape = x.shape.map((n, i) => (i === axis ? n + low + high : n));
  if (shape[axis]! < 0) throw new Error(`pad cuts ${-low - high} off an axis of ${x.shape[axis]}`);
  const out = { dtype: x.dtype, shape, data: allocate(x.dtype, count(shape), precision) };
  out.data.fill(castValue(fill.dtype, x.dtype, fill.data[0]!));
  const first = Math.max(0, -low);
  const last = x.shape[axis]! - Math.max(0, -high);
  if (last > first) place(slice(x, axis, first, last - first), out, axis, Math.max(0, low));
  return out;
}

/** Clamps an index into an axis; only an empty axis has no element to give. */
function clampIndex(index: number, extent: number): number {
  if (extent === 0) throw new Error('an axis without elements was indexed');
  return index < 0 ? 0 : index >= extent ? extent - 1 : index;
}

/** The axis gives way to all axes of the indices. */
export function gather(x: Concrete, indices: Concrete, axis: number): Concrete {
  const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
  const inner = count(x.shape.slice(axis + 1));
  const outer = count(x.shape.slice(0, axis));
  const extent = x.shape[axis]!;
  const at = new Int32Array(count(shape));
  let n = 0;
  if (at.length > 0)
    for (let o = 0; o < outer; o++)
      for (const index of indices.data) {
        const base = (o * extent + clampIndex(index, extent)) * inner;
        for (let i = 0; i < inner; i++) at[n++] = base + i;
      }
  return pick(x, shape, at);
}

/** The result is a window into the array of `x`: indexing a row costs nothing. */
export function at(x: Concrete, indices: readonly Concrete[]): Concrete {
  const shape = x.shape.slice(indices.length);
  const size = count(shape);
  let row = 0;
  indices.forEach((index, axis) => {
    row = row * x.shape[axis]! + clampIndex(index.data[0]!, x.shape[axis]!);
  });
  return { dtype: x.dtype, shape, data: x.data.subarray(row * size, (row + 1) * size) };
}
