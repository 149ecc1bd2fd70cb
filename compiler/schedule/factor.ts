// Factor block constants: a sum over a vector of products, some of whose factors are the same in every lane, is
// taken apart so that the lanes hold only what varies: sum((q - z) * s * x) = s * (sum(q * x) - z * sum(x)).
// Where what varies are small integers on both sides the sum is an exact integer dot product. Found by algebra
// and range analysis on the expressions, whatever format they come from. Rounding changes: the scale is applied
// to a sum of up to 64 products instead of to each, which is never less accurate by more than one rounding of
// the block's sum; an infinite or NaN scale spreads to the block either way, and a zero point that is taken out makes an
// infinite activation NaN.
import { dtypes } from '../ir/dtype.ts';
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { type Definition, intRange } from '../loops/ranges.ts';

/** scale * (product of integer vectors) * (product of f32 vectors); an empty product is 1. */
export interface Term {
  readonly scale: Expr | undefined;
  readonly ints: readonly Expr[];
  readonly floats: readonly Expr[];
}

const maxTerms = 4;
/** Elements of `dot` fit 16 signed bits. */
const small = 2 ** 15 - 1;

/** The product of two scales, of which either may be one a row. */
export function times(a: Expr | undefined, b: Expr | undefined): Expr | undefined {
  if (!a || !b) return a ?? b;
  const lanes = Math.max(a.type.lanes, b.type.lanes);
  return L.binary('mul', L.splat(a, lanes), L.splat(b, lanes));
}

/**
 * The terms that `e` is the sum of, or undefined when there would be too many. Apart: zero points of codes are terms of
 * their own.
 */
export function terms(e: Expr, defined?: Definition, apart = false): readonly Term[] | undefined {
  const of = (x: Expr): readonly Term[] | undefined => terms(x, defined, apart);
  const atom: readonly Term[] = [{ scale: undefined, ints: [], floats: [e] }];
  switch (e.kind) {
    case 'splat':
    case 'repeat':
      return [{ scale: e.a, ints: [], floats: [] }];
    case 'const':
      return [{ scale: L.constant(e.value, 'f32'), ints: [], floats: [] }];
    case 'convert': {
      if (e.a.type.scalar !== 'i32') return atom;
      if (apart && (e.a.kind === 'splat' || e.a.kind === 'const'))
        return [{ scale: L.convert(oneOf(e.a), 'f32'), ints: [], floats: [] }];
      if (e.a.kind === 'repeat') return [{ scale: L.convert(e.a.a, 'f32'), ints: [], floats: [] }];
      const [lo, hi] = intRange(e.a, defined);
      if (isSum(e.a) && (isRows(e.a.a) || isRows(e.a.b)) && Math.max(-lo, hi) < 2 ** 24)
        return of(L.binary(e.a.op, L.convert(e.a.a, 'f32'), L.convert(e.a.b, 'f32')));
      if (apart && isShifted(e.a) && holdsFloat(e.a.b, defined))
        return of(L.binary(e.a.op, L.convert(e.a.a, 'f32'), L.convert(e.a.b, 'f32')));
      const multiple = Math.max(-lo, hi) < 2 ** 24 ? multipleOf(e.a) : undefined;
      if (multiple) {
        const by = L.constant(multiple.by, 'f32', e.type.lanes);
        return of(L.binary('mul', L.convert(multiple.of, 'f32'), by));
      }
      return lo >= -small && hi <= small ? [{ scale: undefined, ints: [e.a], floats: [] }] : atom;
    }
    case 'unary': {
      if (e.op !== 'neg') return atom;
      return of(e.a)?.map((t) => ({ ...t, scale: times(t.scale, L.constant(-1, 'f32')) }));
    }
    case 'binary': {
      if (e.op !== 'add' && e.op !== 'sub' && e.op !== 'mul') return atom;
      const a = of(e.a);
      const b = of(e.b);
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

/** One number a row of a tile: of integers, sums and products are then taken apart like those of floats. */
const isRows = (e: Expr): boolean => e.kind === 'repeat';
const isSum = (e: Expr): e is L.ExprOf<'binary'> =>
  e.kind === 'binary' && (e.op === 'add' || e.op === 'sub' || e.op === 'mul');

/** One lane of a vector whose lanes are all the same. */
const oneOf = (e: L.ExprOf<'splat' | 'const'>): Expr =>
  e.kind === 'splat' ? e.a : L.constant(e.value, e.type.scalar);

/** Codes below a byte less a zero point that all of them share. */
const isShifted = (e: Expr): e is L.ExprOf<'binary'> =>
  e.kind === 'binary' &&
  (e.op === 'add' || e.op === 'sub') &&
  e.a.kind === 'load' &&
  dtypes[e.a.buffer.dtype].kind === 'uint' &&
  dtypes[e.a.buffer.dtype].bits < 8 &&
  (e.b.kind === 'const' || e.b.kind === 'splat');
const holdsFloat = (e: Expr, defined?: Definition): boolean =>
  intRange(e, defined).every((x) => Math.abs(x) <= 2 ** 24);

/** Integers as a literal multiple of others: the literal then belongs to the scale. */
function multipleOf(e: Expr): { readonly of: Expr; readonly by: number } | undefined {
  if (e.kind !== 'binary') return undefined;
  if (e.op === 'mul' && e.b.kind === 'const') return { of: e.a, by: e.b.value };
  if (e.op === 'mul' && e.a.kind === 'const') return { of: e.b, by: e.a.value };
  if (e.op === 'shl' && e.b.kind === 'const' && e.b.value >= 0 && e.b.value < 24)
    return { of: e.a, by: 2 ** e.b.value };
  return undefined;
}

/** Whether two expressions are written alike, over the same variables and buffers. */
export function sameExpr(a: Expr, b: Expr): boolean {
  if (a === b) return true;
  if (a.kind !== b.kind || a.type.scalar !== b.type.scalar || a.type.lanes !== b.type.lanes)
    return false;
  const own = ({ ...e }: Expr): [string, unknown][] =>
    Object.entries(e).filter(([, x]) => typeof x !== 'object');
  const fields = new Map(own(b));
  const reference = (e: Expr): unknown =>
    e.kind === 'var' ? e.var : e.kind === 'load' || e.kind === 'gather' ? e.buffer : undefined;
  const [x, y] = [L.operands(a), L.operands(b)];
  return (
    reference(a) === reference(b) &&
    own(a).every(([key, value]) => Object.is(fields.get(key), value)) &&
    x.length === y.length &&
    x.every((e, i) => sameExpr(e, y[i]!))
  );
}

/** Whether every integer on the way to `e` fits 16 bits, so that it can be computed in narrow lanes. */
function isNarrow(e: Expr, defined: Definition): boolean {
  const [lo, hi] = intRange(e, defined);
  if (lo < -small || hi > small) return false;
  if (e.kind === 'binary' && (e.op === 'add' || e.op === 'sub' || e.op === 'mul'))
    return isNarrow(e.a, defined) && isNarrow(e.b, defined);
  return true;
}

const magnitude = (e: Expr, defined: Definition): number =>
  Math.max(...intRange(e, defined).map(Math.abs));

/** A term of a sum over the lanes: `part` has the sums of what varies, four of them, `scale` what they are multiplied by. */
export interface Factored {
  readonly scale: Expr | undefined;
  readonly part: Expr;
}

/**
 * The sum over the lanes of `e`, block constants taken out; undefined when there is nothing to take out. `defined` tells
 * what a name stands for. Fused: products of floats may be added without being rounded. Apart: zero points of codes below a
 * byte are terms of their own, so that codes are factors as they are stored.
 */
export function factoredTerms(
  e: Expr,
  defined: Definition,
  { fused = false, apart = false } = {},
): readonly Factored[] | undefined {
  const lanes = e.type.lanes;
  if (lanes < 16 || e.type.scalar !== 'f32') return undefined;
  const parted = apart ? terms(e, defined, true) : undefined;
  // Sums of integers are exact with zero points and all.
  const isFloat = parted?.every((t) => t.floats.length > 0) && parted.length <= 2;
  const list = isFloat ? parted : terms(e, defined);
  if (!list?.some((t) => t.scale)) return undefined;
  // One vector pass a term: more than two pay only when they are integer dots.
  const allInt = list.every((t) => t.floats.length === 0);
  if (list.length > 2 && !allInt) return undefined;
  const made: Factored[] = [];
  for (const t of list) {
    const part = partial(t, lanes, defined, fused);
    if (!part) return undefined;
    made.push({ scale: t.scale, part });
  }
  return made;
}

/**
 * Adds the sum over the lanes of `e` to `acc` (f32x4) as {@link factoredTerms} says. `bind` names an expression in the
 * outermost scope that can hold it.
 */
export function factoredSum(
  acc: Expr,
  e: Expr,
  bind: (e: Expr) => Expr,
  defined: Definition,
): Expr | undefined {
  return factoredTerms(e, defined)?.reduce((sum, { scale, part }) => {
    const by = scale && bind(scale);
    return L.binary('add', sum, by ? L.binary('mul', part, L.splat(by, 4)) : part);
  }, acc);
}

/** What {@link factoredSum} does with an expression, in words. */
export function explainSum(e: Expr, defined: Definition): string {
  const list = terms(e, defined);
  if (e.type.lanes < 16)
    return 'block constants stay in the sum: its vectors are shorter than 16 lanes';
  if (!list?.some((t) => t.scale))
    return 'block constants stay in the sum: no factor is the same in every lane';
  if (factoredSum(L.constant(0, 'f32', 4), e, (x) => x, defined) === undefined)
    return 'block constants stay in the sum: taking them out would need more than two passes';
  const dots = list.filter((t) => partial(t, e.type.lanes, defined)?.kind === 'convert').length;
  const kind =
    dots === list.length
      ? 'integer dot products'
      : dots
        ? `${dots} integer dot products`
        : 'f32 sums';
  return `block constants are taken out of the sum: ${list.length === 1 ? 'one term' : `${list.length} terms`}, ${kind}`;
}

/** Four partial sums of the part of a term that varies. */
function partial(t: Term, lanes: number, defined: Definition, fused = false): Expr | undefined {
  if (t.floats.length === 0) {
    const [a, b] = t.ints;
    if (!a) return L.constant(lanes / 4, 'f32', 4);
    const other = b ?? L.constant(1, 'i32', lanes);
    const fits = magnitude(a, defined) * magnitude(other, defined) * lanes < 2 ** 31;
    if (t.ints.length <= 2 && fits && isNarrow(a, defined) && isNarrow(other, defined))
      return L.convert(L.dot(a, other), 'f32');
  }
  const factors = [...t.floats, ...t.ints.map((x) => L.convert(x, 'f32'))];
  const last = factors.at(-1)!;
  if (!fused || factors.length === 1)
    return L.fold(factors.reduce((p, x) => L.binary('mul', p, x)));
  const others = factors.slice(0, -1).reduce((p, x) => L.binary('mul', p, x));
  return L.fold(L.mulAdd(others, last, L.constant(0, 'f32', lanes)));
}

/**
 * As factoredSum, whatever `e` is: an element whose place is known may leave nothing to take out. The plain sum
 * then goes to the first lane.
 */
export function addSum(acc: Expr, e: Expr, bind: (e: Expr) => Expr, defined: Definition): Expr {
  const zero = L.constant(0, 'f32');
  return (
    factoredSum(acc, e, bind, defined) ??
    L.binary('add', acc, L.build([L.reduce('add', e), zero, zero, zero]))
  );
}
