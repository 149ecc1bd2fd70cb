// Factor block constants: a sum over a vector of products, some of whose factors are the same in every lane, is
// taken apart so that the lanes hold only what varies: sum((q - z) * s * x) = s * (sum(q * x) - z * sum(x)).
// Where what varies are small integers on both sides the sum is an exact integer dot product. Found by algebra
// and range analysis on the expressions, whatever format they come from. Rounding changes: the scale is applied
// to a sum of up to 64 products instead of to each, which is never less accurate by more than one rounding of
// the block's sum; an infinite or NaN scale spreads to the block either way.
import { dtypes } from '../ir/dtype.ts';
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';

/** scale * (product of integer vectors) * (product of f32 vectors); an empty product is 1. */
interface Term {
  readonly scale: Expr | undefined;
  readonly ints: readonly Expr[];
  readonly floats: readonly Expr[];
}

const maxTerms = 4;
/** Elements of `dot` fit 16 signed bits. */
const small = 2 ** 15 - 1;

const times = (a: Expr | undefined, b: Expr | undefined): Expr | undefined =>
  a && b ? L.binary('mul', a, b) : (a ?? b);

/** The terms that `e` is the sum of, or undefined when there would be too many. */
function terms(e: Expr): readonly Term[] | undefined {
  const atom: readonly Term[] = [{ scale: undefined, ints: [], floats: [e] }];
  switch (e.kind) {
    case 'splat':
      return [{ scale: e.a, ints: [], floats: [] }];
    case 'const':
      return [{ scale: L.constant(e.value, 'f32'), ints: [], floats: [] }];
    case 'convert': {
      if (e.a.type.scalar !== 'i32') return atom;
      const [lo, hi] = intRange(e.a);
      return lo >= -small && hi <= small ? [{ scale: undefined, ints: [e.a], floats: [] }] : atom;
    }
    case 'unary': {
      if (e.op !== 'neg') return atom;
      return terms(e.a)?.map((t) => ({ ...t, scale: times(t.scale, L.constant(-1, 'f32')) }));
    }
    case 'binary': {
      if (e.op !== 'add' && e.op !== 'sub' && e.op !== 'mul') return atom;
      const a = terms(e.a);
      const b = terms(e.b);
      if (!a || !b) return undefined;
      if (e.op === 'mul') {
        if (a.length * b.length > maxTerms) return atom;
        return a.flatMap((x) =>
          b.map((y) => ({
            scale: times(x.scale, y.scale),
            ints: [...x.ints, ...y.ints],
            floats: [...x.floats, ...y.floats],
          })),
        );
      }
      // A sum without a scale anywhere is best left whole.
      if (![...a, ...b].some((t) => t.scale)) return atom;
      if (a.length + b.length > maxTerms) return atom;
      const sign = e.op === 'sub' ? L.constant(-1, 'f32') : undefined;
      return [...a, ...b.map((t) => ({ ...t, scale: times(t.scale, sign) }))];
    }
    default:
      return atom;
  }
}

/** Inclusive bounds of an integer expression, from storage types and arithmetic. */
export function intRange(e: Expr): readonly [number, number] {
  const wide: readonly [number, number] = [-(2 ** 31), 2 ** 31 - 1];
  const both = (
    f: (a: readonly [number, number], b: readonly [number, number]) => number[],
  ): readonly [number, number] => {
    const all = f(intRange((e as L.ExprOf<'binary'>).a), intRange((e as L.ExprOf<'binary'>).b));
    const lo = Math.min(...all);
    const hi = Math.max(...all);
    return lo >= wide[0] && hi <= wide[1] ? [lo, hi] : wide;
  };
  switch (e.kind) {
    case 'const':
      return [e.value, e.value];
    case 'splat':
      return intRange(e.a);
    case 'load': {
      const { kind, bits, min, max } = dtypes[e.buffer.dtype];
      return kind !== 'float' && bits < 32 ? [min!, max!] : wide;
    }
    case 'gather': {
      const { data } = e.buffer;
      return data && dtypes[e.buffer.dtype].kind !== 'float' && data.length
        ? [Math.min(...data), Math.max(...data)]
        : wide;
    }
    case 'binary':
      switch (e.op) {
        case 'add':
          return both((a, b) => [a[0] + b[0], a[1] + b[1]]);
        case 'sub':
          return both((a, b) => [a[0] - b[1], a[1] - b[0]]);
        case 'mul':
          return both((a, b) => [a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]]);
        case 'and': {
          const mask = e.b.kind === 'const' ? e.b.value : e.a.kind === 'const' ? e.a.value : -1;
          return mask >= 0 ? [0, mask] : wide;
        }
        case 'shr': {
          const [lo, hi] = intRange(e.a);
          return lo >= 0 && e.b.kind === 'const' ? [0, hi >> e.b.value] : wide;
        }
        default:
          return wide;
      }
    default:
      return wide;
  }
}

/** Whether every integer on the way to `e` fits 16 bits, so that it can be computed in narrow lanes. */
function isNarrow(e: Expr): boolean {
  const [lo, hi] = intRange(e);
  if (lo < -small || hi > small) return false;
  if (e.kind === 'binary' && (e.op === 'add' || e.op === 'sub' || e.op === 'mul'))
    return isNarrow(e.a) && isNarrow(e.b);
  return true;
}

const magnitude = (e: Expr): number => Math.max(...intRange(e).map(Math.abs));

/**
 * Adds the sum over the lanes of `e` to `acc` (f32x4), block constants taken out; undefined when there is
 * nothing to take out. `bind` names an expression in the outermost scope that can hold it.
 */
export function factoredSum(acc: Expr, e: Expr, bind: (e: Expr) => Expr): Expr | undefined {
  const lanes = e.type.lanes;
  if (lanes < 16 || e.type.scalar !== 'f32') return undefined;
  const list = terms(e);
  if (!list?.some((t) => t.scale)) return undefined;
  // One vector pass a term: more than two pay only when they are integer dots.
  const allInt = list.every((t) => t.floats.length === 0);
  if (list.length > 2 && !allInt) return undefined;
  let sum = acc;
  for (const t of list) {
    const part = partial(t, lanes);
    if (!part) return undefined;
    const scale = t.scale ? bind(t.scale) : undefined;
    sum = L.binary('add', sum, scale ? L.binary('mul', part, L.splat(scale, 4)) : part);
  }
  return sum;
}

/** What {@link factoredSum} does with an expression, in words. */
export function explainSum(e: Expr): string {
  const list = terms(e);
  if (e.type.lanes < 16)
    return 'block constants stay in the sum: its vectors are shorter than 16 lanes';
  if (!list?.some((t) => t.scale))
    return 'block constants stay in the sum: no factor is the same in every lane';
  if (factoredSum(L.constant(0, 'f32', 4), e, (x) => x) === undefined)
    return 'block constants stay in the sum: taking them out would need more than two passes';
  const dots = list.filter((t) => partial(t, e.type.lanes)?.kind === 'convert').length;
  const kind =
    dots === list.length
      ? 'integer dot products'
      : dots
        ? `${dots} integer dot products`
        : 'f32 sums';
  return `block constants are taken out of the sum: ${list.length === 1 ? 'one term' : `${list.length} terms`}, ${kind}`;
}

/** Four partial sums of the part of a term that varies. */
function partial(t: Term, lanes: number): Expr | undefined {
  if (t.floats.length === 0) {
    const [a, b] = t.ints;
    if (!a) return L.constant(lanes / 4, 'f32', 4);
    const other = b ?? L.constant(1, 'i32', lanes);
    const fits = magnitude(a) * magnitude(other) * lanes < 2 ** 31;
    if (t.ints.length <= 2 && fits && isNarrow(a) && isNarrow(other))
      return L.convert(L.dot(a, other), 'f32');
  }
  const factors = [...t.floats, ...t.ints.map((x) => L.convert(x, 'f32'))];
  return L.fold(factors.reduce((p, x) => L.binary('mul', p, x)));
}

/**
 * As factoredSum, whatever `e` is: an element whose place is known may leave nothing to take out. The plain sum
 * then goes to the first lane.
 */
export function addSum(acc: Expr, e: Expr, bind: (e: Expr) => Expr): Expr {
  const zero = L.constant(0, 'f32');
  return (
    factoredSum(acc, e, bind) ??
    L.binary('add', acc, L.build([L.reduce('add', e), zero, zero, zero]))
  );
}
