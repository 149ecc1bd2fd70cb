// Products of a few rows with a matrix whose rows are contiguous: lanes are its columns, and each of its rows is added by
// the factors that the left side has for it. A few rows of the matrix are taken at a time, so that they are as many
// streams of memory (and no more than a set of the nearest cache holds where they lie a power of two apart), by tiles of
// rows of the left side and vectors of columns, whose sums are in registers meanwhile. A matrix that has to be decoded
// is, those few rows at a time, into scratch.
import { type Dim, Poly } from '../ir/algebra.ts';
import type { Buffer, Expr, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Lowering } from './lowering.ts';
import { inAxis, inSteps, type Stretch } from './pieces.ts';
import { loop, vectorLoop } from './nests.ts';
import { chooseLanes, laneCandidates, probeIndex, slowness } from './vector-widths.ts';
import { storeAt } from './regions.ts';

/** Rows of the matrix that are added at once. */
const streams = 8;
/** Rows of the left side in a tile, and the vectors of columns that go with them: 8 sums, or 4. */
const tileRows = [4, 1] as const;
const vectorsOf = { 4: 2, 1: 4 } as const;

/** sums[r, x] += the sum over d of left[r, d] * right[d, x]. */
export interface Columns {
  readonly rows: Dim;
  readonly depth: Stretch;
  readonly across: Stretch;
  /** No stretch of columns is longer. */
  readonly most: Dim;
  /** One factor, which is in memory as f32; counted, as the sums are, from the beginning of the stretches. */
  readonly left: (r: Poly, d: Poly) => Expr;
  /** Rows and columns are counted as on their axes. */
  readonly right: Right;
  readonly sums: Buffer;
  readonly place: (r: Poly, x: Poly) => Poly;
}

/** Elements of row `d` of the matrix at columns `x`, as f32. */
export type Right = (d: Poly, x: Poly, lanes: number) => Expr;

/** Code that goes element by element, of an element, in the best of the widths that vectors along an axis may have. */
export function perElement(
  lo: Lowering,
  extent: Dim,
  element: (i: Poly, lanes: number) => Expr,
): number {
  const { em } = lo;
  const costs = laneCandidates(extent, 32).map((n) =>
    em.trial((stmts) => {
      let e: Expr | undefined;
      em.scope(() => {
        e = element(probeIndex(lo, extent, n), n);
      });
      return slowness(stmts(), [e!]) / n;
    }),
  );
  return Math.min(Infinity, ...costs);
}

/** Whether rows of the matrix can be read where they are, as contiguous f32. */
function isPlain(lo: Lowering, { right, across }: Columns): boolean {
  const { em } = lo;
  return em.trial(() => {
    let e: Expr | undefined;
    em.scope(() => {
      e = right(Poly.of(0), probeIndex(lo, across.extent, 4), 4);
    });
    return e!.kind === 'load' && e!.type.lanes === 4 && e!.buffer.dtype === 'f32';
  });
}

export function addColumns(lo: Lowering, c: Columns): void {
  const { depth, across } = c;
  const fill = isPlain(lo, c) ? undefined : decoder(lo, c);
  inSteps(lo, depth.length, [streams, 1], 'd', (d, deep) => {
    const row = inAxis(lo, depth, d, deep);
    const decoded = fill?.(row, deep);
    inSteps(lo, c.rows, tileRows, 'r', (r, count) =>
      inSteps(lo, across.length, [4 * vectorsOf[count], 1], 'x', (x, lanes) => {
        const first = decoded ? x : inAxis(lo, across, x, lanes);
        const right: Right = decoded ?? ((k, p, n) => c.right(row.add(k), p, n));
        tile(lo, c, { d, deep, r, count, x, lanes }, (k, v, n) => right(k, first.add(v), n));
      }),
    );
  });
}

/** Decodes a few rows of the matrix into scratch, and gives what reads them there. */
function decoder(lo: Lowering, c: Columns): (row: Poly, deep: number) => Right {
  const { em } = lo;
  const { across } = c;
  const any = Poly.atom(em.atom(em.newVar('d', L.vtype('i32')), c.depth.extent));
  const lanes = chooseLanes(lo, laneCandidates(across.extent, 32), (n) =>
    c.right(any, probeIndex(lo, across.extent, n), n),
  );
  const panel = em.newBuffer('panel', 'f32', 'temp', c.most.mul(streams));
  const place = (k: Poly, x: Poly): Poly => k.mul(c.most).add(x);
  return (row, deep) => {
    loop(lo, Poly.of(deep), 1, false, (k) =>
      vectorLoop(lo, across.length, lanes, (x, n) => {
        const lane = n === 1 ? Poly.of(0) : Poly.atom(lo.lane(n));
        const column = inAxis(lo, across, x.sub(lane), n).add(lane);
        const e = c.right(row.add(k), column, n);
        storeAt(lo, panel, [panel.size], [place(k, x)], e, n);
      }),
    );
    em.bufferDepth.set(panel.id, em.depth);
    return (k, x, n) => lo.load(panel, [panel.size], [place(k, x)], n);
  };
}

/** `count` rows from `r`, `lanes` columns from `x`, `deep` rows of the matrix from `d`. */
interface Tile {
  readonly d: Poly;
  readonly deep: number;
  readonly r: Poly;
  readonly count: number;
  readonly x: Poly;
  readonly lanes: number;
}

/** One tile; `right` counts from its first row and column. */
function tile(lo: Lowering, c: Columns, t: Tile, right: Right): void {
  const { em } = lo;
  const width = Math.min(t.lanes, 4);
  const lane = width === 1 ? Poly.of(0) : Poly.atom(lo.lane(width));
  const columns = Array.from({ length: t.lanes / width }, (_, v) => t.x.add(v * width));
  const rows = Array.from({ length: t.count }, (_, i) => t.r.add(i));
  // Named here and nowhere further out: what many vectors share would not stay in registers.
  const here = (kind: 'let' | 'local', name: string, value: Expr): Var => {
    const v = em.newVar(name, value.type);
    em.push({ kind, var: v, value });
    return v;
  };
  const place = (r: Poly, x: Poly): Poly => c.place(r, x.add(lane));
  const sums = rows.map((r) =>
    columns.map((x) => here('local', 'acc', lo.load(c.sums, [c.sums.size], [place(r, x)], width))),
  );
  for (let k = 0; k < t.deep; k += 1) {
    const d = t.d.add(k);
    const w = columns.map((x) =>
      L.variable(here('let', 'w', right(Poly.of(k), x.sub(t.x).add(lane), width))),
    );
    rows.forEach((r, i) => {
      const a = L.variable(here('let', 'a', L.splat(c.left(r, d), width)));
      w.forEach((y, v) => {
        const acc = sums[i]![v]!;
        em.push({ kind: 'set', var: acc, value: L.mulAdd(a, y, L.variable(acc)) });
      });
    });
  }
  rows.forEach((r, i) =>
    columns.forEach((x, v) =>
      storeAt(lo, c.sums, [c.sums.size], [place(r, x)], L.variable(sums[i]![v]!), width),
    ),
  );
}
