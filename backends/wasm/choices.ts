// Choices among small integers, sixteen at a time: conditions as masks of bytes, which floats are compared for in four
// vectors of four and then narrowed.
import type { Expr, ExprOf } from '../../compiler/loops/loops.ts';
import { intRange } from '../../compiler/loops/ranges.ts';
import type { Ref } from './binaryen.ts';
import { bytes } from './bytes.ts';
import { chunk } from './expressions.ts';
import type { Frame } from './frame.ts';

const isFrom = (f: Frame, e: Expr, least: number, most: number): boolean => {
  const [lo, hi] = intRange(e, f.definition);
  return lo >= least && hi <= most;
};

/** Whether a choice is between integers that fit unsigned bytes. */
export const isByteChoice = (f: Frame, e: ExprOf<'select'>): boolean =>
  e.type.scalar === 'i32' && isFrom(f, e.a, 0, 255) && isFrom(f, e.b, 0, 255);

/** Lanes 16c .. 16c+15 of a choice. Operands are made in the order in which they are evaluated. */
export function choiceBytes(f: Frame, e: ExprOf<'select'>, c: number): Ref {
  const { v128 } = f.m;
  const added = addedBy(e);
  if (added) {
    const b = bytes(f, e.b, c);
    const mask = maskBytes(f, e.c, c);
    return v128.or(b, v128.and(mask, bytes(f, added, c)));
  }
  const a = bytes(f, e.a, c);
  const b = bytes(f, e.b, c);
  return v128.bitselect(a, b, maskBytes(f, e.c, c));
}

/** Bits that a choice adds to a number, or not. */
export function addedBy({ a, b }: ExprOf<'select'>): Expr | undefined {
  if (a.kind !== 'binary' || a.op !== 'or' || a.type.scalar === 'f32') return undefined;
  return a.a === b && a.b.kind === 'const' ? a.b : undefined;
}

/** All ones or zero in each of the bytes of lanes 16c .. 16c+15 of a condition. */
function maskBytes(f: Frame, e: Expr, c: number): Ref {
  const { m } = f;
  if (e.kind === 'binary' && (e.op === 'and' || e.op === 'or' || e.op === 'xor')) {
    const a = maskBytes(f, e.a, c);
    return m.v128[e.op](a, maskBytes(f, e.b, c));
  }
  if (e.kind === 'compare' && isFrom(f, e.a, -128, 127) && isFrom(f, e.b, -128, 127)) {
    const compare = {
      eq: m.i8x16.eq,
      ne: m.i8x16.ne,
      lt: m.i8x16.lt_s,
      le: m.i8x16.le_s,
      gt: m.i8x16.gt_s,
      ge: m.i8x16.ge_s,
    }[e.op];
    if (e.a.type.scalar === 'i32') {
      const a = bytes(f, e.a, c);
      return compare(a, bytes(f, e.b, c));
    }
  }
  const pair = (i: number): Ref => {
    const a = chunk(f, e, 4 * c + i);
    return m.i16x8.narrow_i32x4_s(a, chunk(f, e, 4 * c + i + 1));
  };
  const low = pair(0);
  return m.i8x16.narrow_i16x8_s(low, pair(2));
}
