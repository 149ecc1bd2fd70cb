// The meaning of each operation of loop IR on single numbers, for the evaluator: f32 results are rounded after
// every operation, as targets do, and integers wrap.
import type { Scalar } from '../ir/dtype.ts';
import { bitsOfF32, f32OfBits } from '../ir/dtype.ts';
import { binaryMeaning, compareMeaning, unaryMeaning } from '../ir/meaning.ts';
import type { BinaryName, CompareName, UnaryName } from '../ir/ops.ts';
import type { ReduceOp } from './loops.ts';

/** The representative of a number in a scalar type. */
export function wrap(x: number, scalar: Scalar): number {
  switch (scalar) {
    case 'f32':
      return Math.fround(x);
    case 'i32':
      return x | 0;
    case 'u32':
      return x >>> 0;
    case 'bool':
      return x ? 1 : 0;
  }
}

export const unaryLane = (op: UnaryName, x: number, from: Scalar, to: Scalar): number =>
  wrap(unaryMeaning[op](x, from), to);

/** Loop IR has whole division as well: it truncates, and x / 0 is 0. */
export function binaryLane(op: BinaryName, a: number, b: number, scalar: Scalar): number {
  if (op === 'div' && scalar !== 'f32') return b === 0 ? 0 : wrap(Math.trunc(a / b), scalar);
  return wrap(binaryMeaning[op](a, b, scalar), scalar);
}

export const compareLane = (op: CompareName, a: number, b: number): number =>
  compareMeaning[op](a, b) ? 1 : 0;

export function convertLane(x: number, from: Scalar, to: Scalar): number {
  if (from !== 'f32' || to === 'f32' || to === 'bool')
    return to === 'bool' ? (x !== 0 ? 1 : 0) : wrap(x, to);
  if (Number.isNaN(x)) return 0;
  const [low, high] = to === 'i32' ? [-0x80000000, 0x7fffffff] : [0, 0xffffffff];
  return Math.min(Math.max(Math.trunc(x), low), high) + 0;
}

export function bitsLane(x: number, from: Scalar, to: Scalar): number {
  const raw = from === 'f32' ? bitsOfF32(x) : x;
  return to === 'f32' ? f32OfBits(raw >>> 0) : wrap(raw, to);
}

/** Halves at a time: lane i meets lane i + n/2, so that every target can add in the same order. */
export const foldLanes = (op: ReduceOp, lanes: readonly number[], scalar: Scalar): number[] =>
  [0, 1, 2, 3].map((j) => {
    let sum = lanes[j]!;
    for (let i = 4 + j; i < lanes.length; i += 4) sum = binaryLane(op, sum, lanes[i]!, scalar);
    return sum;
  });

export const dotLanes = (a: readonly number[], b: readonly number[]): number[] =>
  [0, 1, 2, 3].map((j) => {
    let sum = 0;
    for (let i = 2 * j; i < a.length; i += 8) sum += a[i]! * b[i]! + a[i + 1]! * b[i + 1]!;
    return sum | 0;
  });

export function reduceLanes(op: ReduceOp, lanes: readonly number[], scalar: Scalar): number {
  let list = lanes;
  while (list.length > 1) {
    const half = list.length / 2;
    list = list.slice(0, half).map((x, i) => binaryLane(op, x, list[i + half]!, scalar));
  }
  return list[0]!;
}
