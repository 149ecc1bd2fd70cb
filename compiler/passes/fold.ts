// Values of ops on known numbers, rounded as the interpreter does: operands first take the dtype in
// which the op computes, the result is put on the grid of its own.
import { castValue, type DType, isFloat, promote, roundToFloat, wrapInt } from '../ir/dtype.ts';
import { binaryMeaning, compareMeaning, unaryMeaning } from '../ir/meaning.ts';
import type { BinaryName, CompareName, UnaryName } from '../ir/ops.ts';

/** The value that a literal has as a constant of `dtype`. */
export const literalValue = (value: number, dtype: DType): number =>
  castValue(isFloat(dtype) ? 'f32' : 'i32', dtype, value);

/** What is left of a computed value once it is stored as `dtype`. */
const stored = (value: number, dtype: DType): number =>
  isFloat(dtype) ? roundToFloat(dtype, value) : wrapInt(dtype, value);
/** An operand in the dtype that the op computes in. */
const as = (value: number, from: DType, to: DType): number =>
  from === to ? value : castValue(from, to, value);

export function foldUnary(name: UnaryName, x: number, from: DType, result: DType): number {
  const operand = result === 'f32' ? as(x, from, 'f32') : x;
  return stored(unaryMeaning[name](operand, from), result);
}

export function foldBinary(
  name: BinaryName,
  [a, b]: readonly [number, number],
  from: readonly DType[],
  result: DType,
): number {
  const f = binaryMeaning[name];
  return stored(f(as(a, from[0]!, result), as(b, from[1]!, result), result), result);
}

export function foldCompare(
  name: CompareName,
  [a, b]: readonly [number, number],
  from: readonly DType[],
): number {
  const [p, q] = from as readonly [DType, DType];
  const both = p === q ? p : promote(p, q);
  return compareMeaning[name](as(a, p, both), as(b, q, both)) ? 1 : 0;
}

export const foldCast = (x: number, from: DType, to: DType): number => castValue(from, to, x);
