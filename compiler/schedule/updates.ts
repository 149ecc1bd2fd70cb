// Updates of a part of a tensor at run-time indices, in place where inplace.ts allows it. An index outside of its
// axis replaces nothing.
import { type Dim, Poly, provablyBelow } from '../ir/algebra.ts';
import type { Op, Value } from '../ir/ir.ts';
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { placeFor } from './carried.ts';
import { Readers, replaces, takeOver } from './inplace.ts';
import { type Lowering, nameOf } from './lowering.ts';
import { keep, storeScratch, storeTensor } from './regions.ts';

/** An index into an axis, and the condition under which it is inside where that is not certain. */
function indexInto(lo: Lowering, v: Value, size: Dim): { at: Poly; inside?: Expr } {
  const { em } = lo;
  const known = lo.staticIndex(v);
  const top = size.constant;
  if (known) {
    const [low, high] = known.bounds();
    if (low >= 0 && ((top !== undefined && high < top) || provablyBelow(known, size)))
      return { at: known };
  }
  const e = lo.emit(v, [], 1);
  const i = em.bind(e.type.scalar === 'i32' ? e : L.bits(e, 'i32'), nameOf(v));
  // Below zero counts as far above: one comparison does for both ends.
  const inside = L.compare('lt', L.bits(i, 'u32'), L.bits(em.index(size), 'u32'));
  if (i.kind === 'const') return { at: Poly.of(i.value), inside };
  if (i.kind !== 'var') throw new Error('an index is not bound');
  return { at: Poly.atom(em.atom(i.var, size)), inside };
}

export function lowerSet(lo: Lowering, op: Op<'set'>): void {
  const { em } = lo;
  const [x, value, ...ids] = op.operands as [Value, Value, ...Value[]];
  const own = takeOver(lo, x, []);
  const buffer = own ?? placeFor(lo, op.results[0]!);
  const { shape } = x.type;
  if (!own) storeTensor(lo, x, buffer, [], shape, false);
  // What the update reads of the old contents comes before it changes them.
  const places = ids.map((v, i) => indexInto(lo, v, shape[i]!));
  if (value.type.shape.length === 0) lo.emit(value, [], 1);
  else if (
    own &&
    new Readers(lo, own).has(value) &&
    !lo.storage.has(value) &&
    !replaces(lo, value, own, ids.length)
  )
    keep(lo, value, storeScratch(lo, value));
  const inside = places.flatMap((p) => (p.inside ? [p.inside] : []));
  const store = (): void =>
    storeTensor(
      lo,
      value,
      buffer,
      places.map((p) => p.at),
      shape,
      false,
    );
  if (inside.length === 0) store();
  else {
    const cond = em.bind(
      inside.reduce((a, b) => L.binary('and', a, b)),
      'inside',
    );
    em.push({ kind: 'if', cond, then: em.scope(store), else: [] });
  }
  keep(lo, op.results[0]!, buffer);
}
