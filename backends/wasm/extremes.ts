// The least or the greatest of many floats, four lanes at a time. The instruction that keeps one of two floats knows nothing of
// NaN and of zeros with unlike signs, and takes a quarter of the time of the one that does. A sum of the floats is no number if
// one of them is none; where it is not, or where the result is 0, the floats are looked at once more with care.
import type { ExprOf } from '../../compiler/loops/loops.ts';
import type { Ref } from './binaryen.ts';
import { chunk } from './expressions.ts';
import { chunksOf, type Frame } from './frame.ts';

type Fold = ExprOf<'fold'>;
/** What is kept of a fold: the extreme so far, and the sum. */
const [extreme, sum] = [0, 1];

export const isExtreme = (e: Fold): boolean =>
  (e.op === 'min' || e.op === 'max') && e.type.scalar === 'f32' && e.a.type.lanes > 4;

/** Takes chunk `c` in; the value is there after the last. */
export function extremeStep(f: Frame, e: Fold, c: number): Ref {
  const { m, types } = f;
  const [x, again] = f.twice(chunk(f, e.a, c), types.v128);
  const so = (part: number): Ref => f.kept(e, part, types.v128)!;
  if (c === 0) {
    const first = f.keep(e, extreme, types.v128, x);
    return m.block(null, [first, f.keep(e, sum, types.v128, again())]);
  }
  const [at, total] = [f.keptAt(e, extreme), f.keptAt(e, sum)];
  const keeps = e.op === 'max' ? m.f32x4.pmax : m.f32x4.pmin;
  // Operands in the order in which they are made.
  const steps = [
    m.local.set(at, keeps(x, so(extreme))),
    m.local.set(total, m.f32x4.add(so(sum), again())),
  ];
  if (c < chunksOf(e.a.type.lanes) - 1) return m.block(null, steps);
  const none = m.f32x4.ne(so(sum), so(sum));
  const zero = m.f32x4.eq(so(extreme), f.vectorF32([0, 0, 0, 0]));
  const careful = f.seldom(() => m.local.set(at, carefully(f, e)));
  return m.block(null, [...steps, m.if(m.v128.any_true(m.v128.or(none, zero)), careful)]);
}

/** With NaN, and with zeros as they are ordered. */
function carefully(f: Frame, e: Fold): Ref {
  const { f32x4 } = f.m;
  let all = chunk(f, e.a, 0);
  for (let c = 1; c < chunksOf(e.a.type.lanes); c += 1) {
    const next = chunk(f, e.a, c);
    all = e.op === 'max' ? f32x4.max(all, next) : f32x4.min(all, next);
  }
  return all;
}

/** All chunks at once. */
export function extremeOf(f: Frame, e: Fold): Ref {
  const { m, types } = f;
  const count = chunksOf(e.a.type.lanes);
  const steps = Array.from({ length: count }, (_, c) => extremeStep(f, e, c));
  return m.block(null, [...steps, f.kept(e, extreme, types.v128)!], types.v128);
}
