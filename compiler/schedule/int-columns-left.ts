// The left side of columns of small integers (int-columns.ts), for a piece of depth: integers that cannot be read where they are,
// scales, and what the sums start with because of what belongs to whole rows of the right side.
import { floorDiv, Poly } from '../ir/algebra.ts';
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { leftOne, leftTerm, quad } from './int-columns-plan.ts';
import { side, type Strips, vector } from './int-columns-strips.ts';
import { inSteps, type Piece } from './pieces.ts';
import { loop } from './nests.ts';

/** The left side for a piece of depth: what is not read where it is, scales, and what the sums start with. */
export function prepareLeft(p: Strips, deep: Piece): void {
  const lo = p.lo;
  const { op } = p.plan;
  const { codes, scales, starts } = p.at;
  if (codes) p.eachItem((item) => p.eachRow((row, local) => copyCodes(p, item, row, local, deep)));
  p.touch(codes);
  if (scales)
    p.eachItem((item) =>
      p.eachRow((row, local) =>
        p.eachBlock(deep, (k, block) => {
          const ids = p.ids(item);
          const { scale } = p.whole
            ? leftTerm(lo, op, ids, row, k, quad)
            : leftOne(lo, op, ids, row, k);
          p.store(scales, p.inBlocks(p.item(item), local, block), scale!);
        }),
      ),
    );
  if (starts)
    p.eachItem((item) =>
      p.eachStrip((strip) =>
        p.eachRow((row, local) =>
          p.eachBlock(deep, (k, block) => {
            const start = startOf(p, item, strip, row, local, k, deep);
            p.store(starts, p.inBlocks(p.strip(item, strip), local, block), start);
          }),
        ),
      ),
    );
  p.touch(scales, starts);
}

function inCodes(p: Strips, item: Poly, row: Poly, k: Poly): Poly {
  return p.item(item).mul(p.work.rows.length).add(row).mul(p.sizes.depth).add(k);
}

/** Elements that are not there are zeros, up to whole vectors. */
function copyCodes(p: Strips, item: Poly, row: Poly, local: Poly, deep: Piece): void {
  const lo = p.lo;
  const { op, depth } = p.plan;
  const codes = p.at.codes!;
  const ids = p.ids(item);
  const to = (k: Poly): Poly => inCodes(p, item, local, k.sub(deep.from));
  if (p.whole) {
    loop(
      lo,
      depth,
      quad,
      false,
      (k) => p.store(codes, to(k), leftTerm(lo, op, ids, row, k, quad).ints[0]!, quad),
      deep.from,
      'k',
      undefined,
      deep.to,
    );
    if (depth.multiple() % vector === 0) return;
  } else
    loop(
      lo,
      depth,
      1,
      false,
      (k) => p.store(codes, to(k), leftOne(lo, op, ids, row, k).ints[0]!),
      deep.from,
      'k',
      undefined,
      deep.to,
    );
  const end = floorDiv(deep.length.add(vector - 1), vector).mul(vector);
  loop(
    lo,
    Poly.of(p.sizes.depth),
    1,
    false,
    (k) => p.store(codes, inCodes(p, item, local, k), L.i32(0)),
    deep.length,
    'k',
    undefined,
    end,
  );
}

/** `n` integers of the left side. */
export function codesOf(
  p: Strips,
  item: Poly,
  row: Poly,
  local: Poly,
  k: Poly,
  deep: Piece,
  n: number,
): Expr {
  const { codes } = p.at;
  if (codes) return p.load(codes, inCodes(p, item, local, k.sub(deep.from)), n);
  const [e] = leftTerm(p.lo, p.plan.op, p.ids(item), row, k, n).ints;
  return (e!.kind === 'var' && p.lo.em.definition(e!.var)) || e!;
}

/** The sum of the left side times what belongs to the rows of the right side, over a block. */
function startOf(
  p: Strips,
  item: Poly,
  strip: Poly,
  row: Poly,
  local: Poly,
  k: Poly,
  deep: Piece,
): Expr {
  const lo = p.lo;
  const { perRow } = p.at;
  const { block } = p.plan;
  const { shift, perRow: kind } = p.work.format;
  const own = (at: Poly, n: number): Expr =>
    perRow
      ? p.load(perRow, p.strip(item, strip).mul(p.sizes.depth).add(at.sub(deep.from)), n)
      : L.constant(1, 'i32', n);
  const sum = p.here('local', 'start', L.constant(0, 'i32', side));
  const step = (at: Poly, n: number): void => {
    const x = codesOf(p, item, row, local, at, deep, n);
    const value =
      n === vector && kind?.dtype !== 'i32'
        ? L.dot4(own(at, n), x)
        : L.fold(L.binary('mul', own(at, n), x));
    lo.em.push({ kind: 'set', var: sum, value: L.binary('add', L.variable(sum), value) });
  };
  if (block) {
    const n = block % vector === 0 ? vector : quad;
    for (let i = 0; i < block; i += n) step(k.add(i), n);
  } else steps(p, deep, step);
  const total = L.reduce('add', L.variable(sum));
  if (!perRow) return L.binary('mul', total, L.i32(shift));
  return kind?.minus ? L.unary('neg', total) : total;
}

/** Goes over a piece of depth in sixteens, then in fours; what is there beyond its end are zeros of the left side. */
export function steps(p: Strips, deep: Piece, body: (k: Poly, n: number) => void): void {
  const lo = p.lo;
  const length = p.whole ? deep.length : floorDiv(deep.length.add(quad - 1), quad).mul(quad);
  inSteps(lo, length.over(quad)!, [vector / quad, 1], 'k', (q, n) =>
    body(deep.from.add(q.mul(quad)), n * quad),
  );
}
