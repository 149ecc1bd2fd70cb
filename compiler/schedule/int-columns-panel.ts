// The right side of columns of small integers (int-columns.ts): four rows at a time, brought into the panel so that the bytes of a
// column are side by side, and what belongs to whole rows beside it.
import { floorDiv, Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { partsOf, quad, rightInts, rowPart, rowParts } from './int-columns-plan.ts';
import { side, type Strips, vector } from './int-columns-strips.ts';
import { type Piece, restOf } from './pieces.ts';
import { loop } from './nests.ts';

/** Brings a piece of depth of all strips into the panel. */
export function fillPanel(p: Strips, deep: Piece): void {
  const { panel, perRow } = p.at;
  const lo = p.lo;
  const { depth } = p.plan;
  if (perRow) fillPerRow(p, deep);
  p.touch(perRow);
  const whole = p.whole;
  loop(
    lo,
    whole ? depth : depth.add(quad - 1),
    quad,
    false,
    (k) => {
      const at = Array.from({ length: quad }, (_, i) =>
        whole || i === 0 ? k.add(i) : inside(p, k.add(i)),
      );
      p.eachItem((item) =>
        p.eachStrip((strip) => {
          const place = (v: number): Poly => p.inPanel(p.strip(item, strip), k.sub(deep.from), v);
          if (p.rest) fillRest(p, item, at, place(0));
          else fillStrip(p, item, strip, at, place);
        }),
      );
    },
    deep.from,
    'k',
    undefined,
    whole ? deep.to : deep.to.add(quad - 1),
  );
  p.touch(panel);
}

/** What belongs to whole rows, sixteen leading indices or strips at once where there are so many. */
function fillPerRow(p: Strips, deep: Piece): void {
  const lo = p.lo;
  const { items, strips, format } = p.work;
  const along = p.whole ? format.perRow!.along : undefined;
  const piece = along === 'items' ? items : strips;
  if (!along) return p.eachItem((item) => p.eachStrip((strip) => perRowOf(p, item, strip, deep)));
  // Sixteen at a time, and what they leave one by one.
  const each = (body: (item: Poly, strip: Poly) => void, i: Poly): void =>
    along === 'items' ? body(i, strips.from) : p.eachItem((item) => body(item, i));
  const extent = along === 'items' ? p.plan.batch.at(-1)! : floorDiv(p.plan.columns, format.width);
  const many = (i: Poly): void => each((item, strip) => manyPerRow(p, item, strip, deep), i);
  if (piece.length.constant === vector) return many(piece.from);
  loop(lo, extent, vector, false, many, piece.from, 'many', undefined, piece.to);
  if (piece.length.multiple() % vector === 0) return;
  const rest = restOf(lo, piece.to, piece.from, vector);
  const one = (i: Poly): void => each((item, strip) => perRowOf(p, item, strip, deep), i);
  loop(lo, extent, 1, false, one, rest, 'one', undefined, piece.to);
}

function perRowOf(p: Strips, item: Poly, strip: Poly, deep: Piece): void {
  const lo = p.lo;
  const { op, depth } = p.plan;
  const { shift, perRow } = p.work.format;
  const first = p.strip(item, strip).mul(p.sizes.depth);
  loop(
    lo,
    depth,
    1,
    false,
    (k) => {
      const e = rightInts(lo, op, p.ids(item), k, p.column(strip), vector);
      const value = rowPart(partsOf(lo, e), shift, perRow!.minus);
      p.store(p.at.perRow!, first.add(k.sub(deep.from)), value);
    },
    deep.from,
    'k',
    undefined,
    deep.to,
  );
}

/** The same of sixteen, from `item` or `strip` on: four elements of depth of each are brought side by side. */
function manyPerRow(p: Strips, item: Poly, strip: Poly, deep: Piece): void {
  const lo = p.lo;
  const { em } = lo;
  const { op, depth } = p.plan;
  const { shift, perRow, width } = p.work.format;
  const { range, dtype, minus, along } = perRow!;
  const bytes = p.at.perRow!;
  const words: Buffer = { ...bytes, dtype: 'i32' };
  const gathered = em.newBuffer('gathered', dtype, 'temp', Poly.of(quad * vector));
  Object.assign(gathered, { range });
  const first = p.strip(item, strip);
  const lane = Poly.atom(lo.lane(vector));
  const ids = p.ids(along === 'items' ? item.add(lane) : item);
  const column = along === 'items' ? p.column(strip) : strip.add(lane).mul(width);
  loop(
    lo,
    depth,
    quad,
    false,
    (k) => {
      const rows = [0, 1, 2, 3].map((i) => {
        const at = k.add(i);
        const one = rightInts(lo, op, p.ids(item), at, p.column(strip), vector);
        const parts = partsOf(lo, one);
        return p.let('zeros', rowParts(lo, op, ids, at, column, vector, parts, shift, minus));
      }) as [Expr, Expr, Expr, Expr];
      transposed(rows, vector, (name, e) => p.let(name, e)).forEach((e, v) => {
        p.store(gathered, Poly.of(v * vector), e, vector);
      });
      p.touch(gathered);
      const source: Buffer = { ...gathered, dtype: 'i32' };
      for (let i = 0; i < vector; i += 1) {
        const to = first.add(i).mul(p.sizes.depth).add(k.sub(deep.from)).over(quad)!;
        p.store(words, to, L.load(source, L.i32(i), 1, 1));
      }
    },
    deep.from,
    'k',
    undefined,
    deep.to,
  );
}

function inside(p: Strips, k: Poly): Poly {
  const { em } = p.lo;
  const { depth } = p.plan;
  const last = L.binary('sub', em.index(depth), L.i32(1));
  return em.asIndex(L.binary('min', em.index(k), last), depth);
}

function fillStrip(
  p: Strips,
  item: Poly,
  strip: Poly,
  at: readonly Poly[],
  place: (v: number) => Poly,
): void {
  const lo = p.lo;
  const { op } = p.plan;
  const { width, unit, flip, fields, lift } = p.work.format;
  const step = unit * fields;
  for (let c = 0; c < width; c += step) {
    const rows = at.map((k) => {
      const e = rightInts(lo, op, p.ids(item), k, p.column(strip).add(c), vector);
      const rest = partsOf(lo, e).rest!;
      if (fields > 1) return bytesOf(p, rest, unit);
      return p.let('w', lift ? L.binary('add', rest, L.constant(lift, 'i32', vector)) : rest);
    }) as [Expr, Expr, Expr, Expr];
    const first = (c / step) * (step / fields / side);
    transposed(rows, unit, (name, e) => p.let(name, e)).forEach((e, v) => {
      const flips = flip ? L.binary('xor', e, L.constant(flip, 'i32', vector)) : e;
      p.store(p.at.panel, place(first + v), flips, vector);
    });
  }
}

/** The bytes of memory that hold the codes of a load. */
function bytesOf(p: Strips, e: Expr, unit: number): Expr {
  const load = (e.kind === 'var' ? p.lo.em.definition(e.var) : e) as L.ExprOf<'load'>;
  const { bits } = dtypes[load.buffer.dtype];
  const buffer: Buffer = { ...load.buffer, dtype: 'u8' };
  const each = 8 / bits;
  const place = p.lo.em.polyOf(load.index);
  const index =
    place && place.multiple() % each === 0
      ? p.lo.em.index(place.over(each)!)
      : L.binary('shr', load.index, L.i32(Math.log2(each)));
  const bytes = L.load(buffer, index, unit, 1);
  return unit === vector ? p.let('w', bytes) : bytes;
}

/** One column after the other: the last ones. */
function fillRest(p: Strips, item: Poly, at: readonly Poly[], place: Poly): void {
  const lo = p.lo;
  const { op, columns } = p.plan;
  const { shift } = p.work.format;
  const { panel } = p.at;
  const rest = p.rest!;
  const count = L.binary('min', lo.em.index(columns.sub(rest)), L.i32(vector));
  const to = lo.em.asIndex(lo.em.bind(count, 'count'), Poly.of(vector + 1));
  loop(
    lo,
    Poly.of(vector),
    1,
    false,
    (c) => {
      at.forEach((k, i) => {
        const e = rightInts(lo, op, p.ids(item), k, rest.add(c), 1);
        const value = L.binary('sub', e, L.i32(shift));
        p.store(panel, place.add(c.mul(quad)).add(i), value);
      });
    },
    Poly.of(0),
    'c',
    undefined,
    to,
  );
}

/** Four rows of bytes, so that the four of a column are side by side: vectors of four columns each. */
function transposed(
  [a, b, c, d]: readonly [Expr, Expr, Expr, Expr],
  unit: number,
  name: (name: string, e: Expr) => Expr,
): readonly Expr[] {
  const parts = Array.from({ length: unit / 8 }, (_, i) => 8 * i);
  return parts.flatMap((from) => {
    const first = name('pair', L.zip(a, b, 1, from, vector));
    const second = name('pair', L.zip(c, d, 1, from, vector));
    return [0, 8].map((at) => L.zip(first, second, 2, at, vector));
  });
}
