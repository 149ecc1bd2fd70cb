// Shapes, views, indexing and constant tensors. Axes count from 0; negative ones from the end. Bounds of slices
// are checked while compiling; indices known only when the kernel runs are clamped into the axis.
import { builtin } from './builtin.ts';
import type { Cast } from './casts.ts';
import type { Dim, DType, Operand, Sizes, Tensor } from './types.ts';

// biome-ignore lint/suspicious/noExplicitAny: what tsc does not know fits everywhere
type Any = any;
/** Numbers, nested once for each axis beyond the first. */
export type Nested = readonly (number | Nested)[];
export interface PadOptions {
  /** The axis to pad; the last by default. */
  readonly axis?: number;
  /** The value of the new elements; 0 by default. */
  readonly value?: Tensor;
}

/**
 * The dims of x, as an array known at compile time. `const [m, k] = shape(x)`. Dims compute with `+ - *`, with `/` where
 * the quotient is exact (which becomes a condition of the kernel), and with `>>` where it is not: `(m + 127) >> 7`.
 */
export const shape: <S extends readonly Dim[] = Any>(x: Operand<Any, S>) => Sizes<S> =
  builtin('shape');
/** One dim of x. `x / dim(x, -1)` */
export const dim: (x: Operand, axis: number) => number = builtin('dim');
/** Same elements in row-major order, other dims; -1 is computed, once at most. `reshape(x, [-1, 8])` */
export const reshape: <D extends DType = Any>(x: Operand<D>, dims: readonly number[]) => Tensor<D> =
  builtin('reshape');
/**
 * x as it is, computed once and stored in row-major order in front of whatever reads it; otherwise the compiler decides
 * which values are stored and which are computed anew where they are used. `materialize(transpose(scales))`
 */
export const materialize: <D extends DType = Any, S extends readonly Dim[] = Any>(
  x: Operand<D, S>,
) => Tensor<D, S> = builtin('materialize');
/** Splits the last axis: [..., K] to [..., K / size, size]. `amax(abs(group(x, 32)), -1)` */
export const group: <D extends DType = Any>(x: Operand<D>, size: number) => Tensor<D> =
  builtin('group');
/** Swaps the last two axes, or orders all of them by `perm`. `transpose(w)`, `transpose(x, [1, 0, 2])` */
export const transpose: {
  <D extends DType = Any, A extends Dim = Any, B extends Dim = Any>(
    x: Tensor<D, [A, B]>,
  ): Tensor<D, [B, A]>;
  <D extends DType = Any>(x: Operand<D>, perm?: readonly number[]): Tensor<D>;
} = builtin('transpose');
/** Elements start to end (exclusive) of an axis, the first by default. `slice(q, 0, 16)` */
export const slice: <D extends DType = Any>(
  x: Operand<D>,
  start: number,
  end: number,
  axis?: number,
) => Tensor<D> = builtin('slice');
/** Joins tensors along an axis, the first by default; the other dims agree. `concat([low, high])` */
export const concat: <D extends DType = Any>(
  parts: readonly Operand<D>[],
  axis?: number,
) => Tensor<D> = builtin('concat');
/** Joins tensors of one shape along a new axis, the first by default. `stack([re, im], -1)` */
export const stack: <D extends DType = Any>(
  parts: readonly Operand<D>[],
  axis?: number,
) => Tensor<D> = builtin('stack');
/** Adds `low` elements before and `high` after, on the last axis by default. `pad(x, 0, 3, { value: 1 })` */
export const pad: <D extends DType = Any>(
  x: Operand<D>,
  low: number,
  high: number,
  options?: PadOptions,
) => Tensor<D> = builtin('pad');
/**
 * The element, row or block at scalar indices into the leading axes. Indices are clamped; a literal negative
 * one counts from the end. `at(x, i, j)`, `at(x, -1)`
 */
export const at: <D extends DType = Any>(
  x: Operand<D>,
  ...indices: readonly [Tensor, ...Tensor[]]
) => Tensor<D> = builtin('at');
/** Elements of an axis by a tensor of indices: the axis becomes their shape. Clamped. `gather(codebook, q)` */
export const gather: <D extends DType = Any>(
  x: Operand<D>,
  indices: Tensor,
  axis?: number,
) => Tensor<D> = builtin('gather');
/** Repeats dims of 1 up to `dims`, as NumPy. `broadcastTo(bias, [m, n])` */
export const broadcastTo: <D extends DType = Any>(
  x: Operand<D>,
  dims: readonly number[],
) => Tensor<D> = builtin('broadcastTo');
/** 0, 1, ..., n - 1 as i32. `iota(dim(x, 0))` */
export const iota: (n: number) => Tensor<'i32'> = builtin('iota');
/** A tensor of zeros, f32 by default. `zeros([m, n], i32)` */
export const zeros: <D extends DType = 'f32'>(
  dims: readonly number[],
  dtype?: Cast<D>,
) => Tensor<D> = builtin('zeros');
/** Zeros of the shape and the dtype of x. `zerosLike(codes)` */
export const zerosLike: <D extends DType = Any, S extends readonly Dim[] = Any>(
  x: Operand<D, S>,
) => Tensor<D, S> = builtin('zerosLike');
/** A tensor of one value; the dtype is that of the value unless given. `full([k], -Infinity, f32)` */
export const full: <D extends DType = Any>(
  dims: readonly number[],
  value: Operand,
  dtype?: Cast<D>,
) => Tensor<D> = builtin('full');
/** A constant table, f32 by default; nested arrays give more axes. `tensor([-1, 0, 1], i8)` */
export const tensor: <D extends DType = 'f32'>(values: Nested, dtype?: Cast<D>) => Tensor<D> =
  builtin('tensor');
/** Same bits, other dtype: narrower appends an axis, wider removes it; little-endian. `bitcast(f16(d), u8)` */
export const bitcast: <D extends DType>(x: Tensor, dtype: Cast<D>) => Tensor<D> =
  builtin('bitcast');
