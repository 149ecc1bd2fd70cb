// Extents that are gone over piece by piece, where each is short enough for scratch, and pieces that are gone over in
// steps of a few sizes.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, gcd, Poly } from '../ir/algebra.ts';
import * as L from '../loops/loops.ts';
import type { Lowering } from './lowering.ts';
import { loop, type Range } from './nests.ts';

/** One piece of an extent: at most `size` from `from` on; `length` of them, which the extent's whole multiples divide. */
export interface Piece extends Range {
  readonly length: Poly;
}

/** Goes over an extent piece by piece. */
export function pieces(
  lo: Lowering,
  extent: Dim,
  size: number,
  parallel: boolean,
  name: string,
  body: (p: Piece) => void,
): void {
  const { em } = lo;
  const c = extent.constant;
  if (c !== undefined && c <= size) return body({ from: Poly.of(0), to: extent, length: extent });
  const count = floorDiv(extent.add(size - 1), size);
  loop(
    lo,
    count,
    1,
    parallel,
    (i) => {
      const from = i.mul(size);
      if (extent.multiple() % size === 0)
        return body({ from, to: from.add(size), length: Poly.of(size) });
      // What divides both divides the last piece too, and vectors need to know.
      const unit = gcd(extent.multiple(), size);
      const left = extent.sub(from).over(unit) ?? extent.sub(from);
      const units = L.binary('min', em.index(left), L.i32(size / unit));
      const length = em.asIndex(em.bind(units, 'length'), Poly.of(size / unit + 1)).mul(unit);
      body({ from, to: em.asIndex(em.index(from.add(length))), length });
    },
    Poly.of(0),
    name,
  );
}

/** Goes over a piece of an extent in pieces that are smaller still; its length is known, or at least what divides it. */
export function within(
  lo: Lowering,
  extent: Dim,
  piece: Piece,
  size: number,
  name: string,
  body: (p: Piece) => void,
): void {
  const { em } = lo;
  const length = piece.length.constant;
  if (length !== undefined && length <= size) return body(piece);
  const unit = gcd(piece.length.multiple(), size);
  const each = (at: Poly): void => {
    const from = at.mul(unit);
    if (piece.length.multiple() % size === 0)
      return body({ from, to: from.add(size), length: Poly.of(size) });
    const left = em.index(piece.to.sub(from));
    const units = L.binary('min', em.quotient(left, L.i32(unit)), L.i32(size / unit));
    const own = em.asIndex(em.bind(units, 'length'), Poly.of(size / unit + 1)).mul(unit);
    body({ from, to: em.asIndex(em.index(from.add(own))), length: own });
  };
  // Full steps only: a last one that is not full has to begin before the end as well.
  const last = piece.from
    .add(piece.length)
    .over(unit)!
    .add(size / unit - 1);
  const first = piece.from.over(unit)!;
  loop(lo, floorDiv(extent, unit).add(1), size / unit, false, each, first, name, undefined, last);
}

/** The first of the elements from `from` to `to` that whole steps leave. */
export function restOf(lo: Lowering, to: Poly, from: Poly, step: number): Poly {
  const { em } = lo;
  const length = to.sub(from);
  if (length.constant !== undefined) return from.add(length.constant - (length.constant % step));
  const whole = L.binary('mul', em.quotient(em.index(length), L.i32(step)), L.i32(step));
  return em.asIndex(L.binary('add', em.index(from), whole));
}

/** Goes over `length` elements in steps of the first size, what they leave in steps of the next, and so on down to 1. */
export function inSteps<S extends number>(
  lo: Lowering,
  length: Dim,
  sizes: readonly S[],
  name: string,
  body: (from: Poly, size: S) => void,
): void {
  let from = Poly.of(0);
  for (const size of sizes) {
    const left = length.sub(from).constant;
    if (left !== undefined && left < size) continue;
    loop(lo, length, size, false, (i) => body(i, size), from, name);
    if (length.multiple() % size === 0) return;
    from = restOf(lo, length, from, size);
  }
}

/** `length` elements of an axis, from `from` on. */
export interface Stretch {
  readonly extent: Dim;
  readonly from: Poly;
  readonly length: Dim;
}
export const allOf = (extent: Dim): Stretch => ({ extent, from: Poly.of(0), length: extent });

/** The index on the axis of element `p` of a stretch, where `step` divides both: what is read there knows that it is inside. */
export function inAxis(
  lo: Lowering,
  { extent, from, length }: Stretch,
  p: Poly,
  step: number,
): Poly {
  if (length.equals(extent)) return p;
  const { em } = lo;
  const steps = em.quotient(em.index(from.add(p)), L.i32(step));
  return em.asIndex(em.bind(steps, 'at'), floorDiv(extent, step)).mul(step);
}
