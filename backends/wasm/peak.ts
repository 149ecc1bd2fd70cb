// The element of the largest magnitude of a block (`peak`). As integers, numbers without a sign grow with their
// magnitude, and those with a sign do when taken as unsigned and are above all others: two instructions for four elements find
// both ends, and the larger magnitude wins. Where both are equally large the first one in memory counts, and of NaNs the
// first one too: for these rare blocks the elements are walked one by one.
import type { Expr, ExprOf } from '../../compiler/loops/loops.ts';
import { place } from './addresses.ts';
import type { Ref } from './binaryen.ts';
import { chunk, fault, scalar, transposed } from './expressions.ts';
import { chunksOf, type Frame } from './frame.ts';

type Peak = ExprOf<'peak'>;
const magnitude = 0x7fffffff;
const infinity = 0x7f800000;

/** Lanes of the elements that end up in one, those without a sign (`signed`) or with one on top. */
function ends(f: Frame, e: Peak, signed: boolean): Ref {
  const { i32x4 } = f.m;
  let all = chunk(f, e.a, 0);
  for (let c = 1; c < chunksOf(e.a.type.lanes); c += 1) {
    const next = chunk(f, e.a, c);
    all = signed ? i32x4.max_s(all, next) : i32x4.max_u(all, next);
  }
  return all;
}

/** The peaks of four blocks, one a lane. */
export const peaksOf = (f: Frame, four: readonly Peak[]): Ref =>
  largest(
    f,
    (signed, combine) => {
      const { m, types } = f;
      const locals = four.map(() => f.local(types.v128));
      const setup = four.map((e, i) => m.local.set(locals[i]!, ends(f, e, signed)));
      const get = (i: number): Ref => m.local.get(locals[i]!, types.v128);
      return m.block(null, [...setup, transposed(f, get, combine)], types.v128);
    },
    four,
  );

/** The peak of one block. */
export const peakOf = (f: Frame, e: Peak): Ref => {
  const { m, types } = f;
  const across = (v: Ref, combine: Combine, order: readonly number[]): Ref => {
    const [x, again] = f.twice(v, types.v128);
    const bytes = order.flatMap((i) => [0, 1, 2, 3].map((b) => 4 * i + b));
    const moved = m.i8x16.shuffle(x, again(), bytes);
    return combine(moved, again());
  };
  const both = (signed: boolean, combine: Combine): Ref =>
    across(across(ends(f, e, signed), combine, [2, 3, 0, 1]), combine, [1, 0, 3, 2]);
  return m.f32x4.extract_lane(largest(f, both, [e]), 0);
};

type Combine = (a: Ref, b: Ref) => Ref;

/**
 * The element at the end that is farther from zero, lane by lane; `both` gives the one or the other end. Lanes in which that
 * does not tell are those of `blocks`, which are then walked.
 */
function largest(
  f: Frame,
  both: (signed: boolean, combine: Combine) => Ref,
  blocks: readonly Peak[],
): Ref {
  const { m, types } = f;
  const { i32x4, v128 } = m;
  const mask = (): Ref => f.vectorI32(new Array<number>(4).fill(magnitude));
  const [plus, plusAgain] = f.twice(
    both(true, (x, y) => i32x4.max_s(x, y)),
    types.v128,
  );
  const [a, aAgain] = f.twice(v128.and(plus, mask()), types.v128);
  const [minus, minusAgain] = f.twice(
    both(false, (x, y) => i32x4.max_u(x, y)),
    types.v128,
  );
  const [b, bAgain] = f.twice(v128.and(minus, mask()), types.v128);
  const [result, isNegative] = [f.local(types.v128), f.local(types.v128)];
  const get = (): Ref => m.local.get(result, types.v128);
  const negative = m.local.set(isNegative, i32x4.lt_s(a, b));
  const chosen = v128.bitselect(minusAgain(), plusAgain(), m.local.get(isNegative, types.v128));
  const find = [negative, m.local.set(result, chosen)];
  const equal = v128.andnot(i32x4.eq(aAgain(), bAgain()), i32x4.eq(plusAgain(), minusAgain()));
  const most = f.vectorI32(new Array<number>(4).fill(infinity));
  const unclear = v128.or(equal, i32x4.gt_s(i32x4.max_s(aAgain(), bAgain()), most));
  const walked = blocks.map((e, i) => {
    const element = walk(f, e);
    return m.local.set(result, m.f32x4.replace_lane(get(), i, element));
  });
  const slow = m.if(v128.any_true(unclear), m.block(null, walked));
  return m.block(null, [...find, slow, get()], types.v128);
}

/** What a block is loaded from. */
function source(f: Frame, e: Expr): ExprOf<'load'> {
  if (e.kind === 'load' && e.buffer.dtype === 'f32') return e;
  const from = e.kind === 'var' ? f.definition(e.var) : undefined;
  if (!from) throw fault('the elements of a peak are in no memory');
  return source(f, from);
}

/** Element after element, as long as no NaN has been met: the first of the largest. */
function walk(f: Frame, e: Peak): Ref {
  const { m, types } = f;
  const from = source(f, e.a);
  const [at, end, best] = [f.local(types.i32), f.local(types.i32), f.local(types.i32)];
  const get = (local: number): Ref => m.local.get(local, types.i32);
  const size = (x: Ref): Ref => m.i32.and(x, m.i32.const(magnitude));
  const label = f.label();
  return f.inRegion(() => {
    const { ptr, offset } = place(f, (x) => scalar(f, x), from.buffer, from.index);
    const next = (): Ref => m.i32.load(offset, 4, get(at));
    const isLarger = m.i32.and(
      m.i32.gt_u(size(next()), size(get(best))),
      m.i32.le_u(size(get(best)), m.i32.const(infinity)),
    );
    return m.block(
      null,
      [
        m.local.set(at, ptr),
        m.local.set(end, m.i32.add(get(at), m.i32.const(4 * e.a.type.lanes))),
        m.local.set(best, next()),
        m.loop(
          label,
          m.block(null, [
            m.local.set(best, m.select(isLarger, next(), get(best))),
            m.local.set(at, m.i32.add(get(at), m.i32.const(4))),
            m.br_if(label, m.i32.lt_u(get(at), get(end))),
          ]),
        ),
        m.f32.reinterpret(get(best)),
      ],
      types.f32,
    );
  });
}
