// Reductions: they remove the axes they name (or keep them as 1), and without an axis reduce all of them to a
// scalar. Axes count from 0; negative ones from the end. Sums of integers are i32 and wrap; floats sum as f32.
import { builtin } from './builtin.ts';
import type { Dim, DType, Operand, Tensor, Widened } from './types.ts';

/** One axis or several. */
export type Axis = number | readonly number[];
export interface ReduceOptions {
  /** Keep the reduced axes as dims of 1, so that the result broadcasts against the operand. */
  readonly keepdims?: boolean;
}

// biome-ignore lint/suspicious/noExplicitAny: what tsc does not know fits everywhere
type Any = any;
interface Reduction {
  <D extends DType = Any>(x: Operand<D>): Tensor<Widened<D>, []>;
  <D extends DType = Any>(
    x: Operand<D>,
    axis: Axis | undefined,
    options?: ReduceOptions,
  ): Tensor<Widened<D>>;
}
interface FloatReduction {
  (x: Operand): Tensor<'f32', []>;
  (x: Operand, axis: Axis | undefined, options?: ReduceOptions): Tensor<'f32'>;
}
type TruthReduction = (
  x: Operand<'bool'>,
  axis?: Axis | undefined,
  options?: ReduceOptions,
) => boolean;
interface IndexReduction {
  <S extends readonly Dim[] = Any>(x: Tensor<Any, S>): Tensor<'i32', []>;
  (x: Tensor, axis: number): Tensor<'i32'>;
}

/** Sum over the axes; of a mask, the number of true elements. f32, i32 or u32. `sum(x * x, 1)` */
export const sum: Reduction = builtin('sum');
/** Mean over the axes, always f32. `mean(x, -1, { keepdims: true })` */
export const mean: FloatReduction = builtin('mean');
/** Smallest element along the axes; NaN if any is NaN. `amin(x, 1)` */
export const amin: Reduction = builtin('amin');
/** Largest element along the axes; NaN if any is NaN. `amax(abs(x))` */
export const amax: Reduction = builtin('amax');
/** Whether any element is true: a mask. `if (any(isnan(x))) …` */
export const any: TruthReduction = builtin('any');
/** Whether every element is true: a mask. `all(x >= 0, 1)` */
export const all: TruthReduction = builtin('all');
/**
 * Index of the smallest element along one axis, i32; the first on ties, the first NaN if there is one.
 * Without an axis: the index into the flattened tensor. `argmin(abs(codebook - x))`
 */
export const argmin: IndexReduction = builtin('argmin');
/**
 * Index of the largest element along one axis, i32; the first on ties, the first NaN if there is one.
 * Without an axis: the index into the flattened tensor. `at(x, argmax(abs(x)))`
 */
export const argmax: IndexReduction = builtin('argmax');
