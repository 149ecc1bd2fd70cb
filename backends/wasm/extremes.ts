// The least or the greatest of many floats, four lanes at a time. The instruction that keeps one of two floats knows nothing of
// NaN and of zeros with unlike signs, and takes a quarter of the time of the one that does. A sum of the floats is no number if
// one of them is none; where it is not, or where the result is 0, the floats are looked at once more with care.
import type { Expr, ExprOf } from '../../compiler/loops/loops.ts';
import { indexText } from './addresses.ts';
import type { Ref } from './binaryen.ts';
import { chunk } from './expressions.ts';
import { chunksOf, type Frame } from './frame.ts';

type Fold = ExprOf<'fold'>;
/** What is kept of a fold: the extreme so far, the sum, and from there on the elements. */
const [extreme, sum, element] = [0, 1, 1000];

/** The same for floats that are the same. */
function sourceText(a: Expr): string | undefined {
  if (a.kind === 'var') return `v${a.var.id}`;
  const text = a.kind === 'load' ? indexText(a.index) : undefined;
  return text === undefined || a.kind !== 'load'
    ? undefined
    : `${a.buffer.id}:${text}:${a.type.lanes}`;
}

export const isExtreme = (e: Fold): boolean =>
  (e.op === 'min' || e.op === 'max') && e.type.scalar === 'f32' && e.a.type.lanes > 4;

/** Takes chunk `c` in; the value is there after the last. `inTurn`: folds of the same floats take the same chunk right after. */
export function extremeStep(f: Frame, e: Fold, c: number, inTurn: boolean): Ref {
  const { m, types } = f;
  // The other extreme of the same floats has the same sum, and has seen them a moment ago.
  const text = inTurn ? sourceText(e.a) : undefined;
  const owner = text === undefined ? e : f.firstOf(`extreme of ${text}`, e);
  const x = (): Ref => f.once(owner, element + c, types.v128, () => chunk(f, e.a, c));
  const so = (part: number): Ref => f.kept(part === sum ? owner : e, part, types.v128)!;
  const sumOf = (): Ref[] => {
    if (owner !== e) return [];
    if (c === 0) return [f.keep(e, sum, types.v128, x())];
    return [m.local.set(f.keptAt(e, sum), m.f32x4.add(so(sum), x()))];
  };
  if (c === 0) {
    const first = f.keep(e, extreme, types.v128, x());
    return m.block(null, [first, ...sumOf()]);
  }
  const at = f.keptAt(e, extreme);
  const keeps = e.op === 'max' ? m.f32x4.pmax : m.f32x4.pmin;
  // Operands in the order in which they are made.
  const steps = [m.local.set(at, keeps(x(), so(extreme))), ...sumOf()];
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
  const steps = Array.from({ length: count }, (_, c) => extremeStep(f, e, c, false));
  return m.block(null, [...steps, f.kept(e, extreme, types.v128)!], types.v128);
}
