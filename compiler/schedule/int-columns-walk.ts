// Brings a piece of the right side of columns of small integers (int-columns.ts) near before it is taken apart: one byte of each line
// of memory is read, row by row. Taking rows apart keeps the processor too busy to ask for many lines ahead, and
// between pieces memory rests while products are computed; so short a loop as this one asks as fast as memory answers.
import { Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { partsOf, rightInts } from './int-columns-plan.ts';
import { type Strips, vector } from './int-columns-strips.ts';
import type { Piece } from './pieces.ts';
import { loop } from './nests.ts';

/** Bytes of a line of memory: what most processors have. */
const line = 64;
/** Bytes that the processor asks for in time anyway. */
const few = 2048;

/** Reads a byte of every line of a piece of depth, where codes are read from memory as they are. */
export function walkRows(p: Strips, deep: Piece): void {
  const { lo } = p;
  const bytes = p.at.panel.size.constant!;
  if (p.rest || bytes <= few) return;
  const [items, strips] = p.lo.em.trial(() => {
    let steps: readonly [number, number] | undefined;
    lo.em.scope(() => {
      loop(lo, p.plan.depth, 1, false, (k) =>
        p.eachItem((item) =>
          p.eachStrip((strip) => {
            const place = byteAt(p, item, strip, k)?.place;
            steps = place && [linesTo(place, item), linesTo(place, strip)];
          }),
        ),
      );
    });
    return steps ?? [0, 0];
  });
  if (!items || !strips) return;
  const walked = p.here('local', 'walked', L.i32(0));
  const { from, to } = deep;
  loop(
    lo,
    p.plan.depth,
    1,
    false,
    (k) =>
      p.eachItem(
        (item) =>
          p.eachStrip((strip) => {
            const { buffer, place } = byteAt(p, item, strip, k)!;
            const byte = L.load(buffer, lo.em.index(place), 1, 1);
            const value = L.binary('or', L.variable(walked), byte);
            lo.em.push({ kind: 'set', var: walked, value });
          }, strips),
        items,
      ),
    from,
    'k',
    undefined,
    to,
  );
  const last: Expr = L.variable(walked);
  lo.em.push({ kind: 'store', buffer: p.at.walked, index: L.i32(0), value: last, align: 1 });
}

/** How many indices on the next line is, where they are a known distance apart; else each is on a line of its own. */
function linesTo(place: Poly, index: Poly): number {
  const [own] = index.atoms();
  const next = place.substitute((a) => (a.key === own?.key ? Poly.atom(a).add(1) : undefined));
  const bytes = next.sub(place).constant;
  return bytes === undefined || bytes <= 0 ? 1 : Math.max(1, Math.floor(line / bytes));
}

/** The byte in which the codes of a strip start. */
function byteAt(
  p: Strips,
  item: Poly,
  strip: Poly,
  k: Poly,
): { readonly buffer: Buffer; readonly place: Poly } | undefined {
  const { em } = p.lo;
  const ints = rightInts(p.lo, p.plan.op, p.ids(item), k, p.column(strip), vector);
  const { rest } = partsOf(p.lo, ints);
  const load = rest?.kind === 'var' ? em.definition(rest.var) : rest;
  if (load?.kind !== 'load') return undefined;
  const { bits } = dtypes[load.buffer.dtype];
  const place = em.polyOf(load.index);
  if (!place || 8 % bits !== 0 || place.multiple() % (8 / bits) !== 0) return undefined;
  return { buffer: { ...load.buffer, dtype: 'u8' }, place: place.over(8 / bits)! };
}
