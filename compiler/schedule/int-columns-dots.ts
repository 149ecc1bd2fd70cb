// The products of columns of small integers (int-columns.ts): codes are taken from the bytes of the panel and multiplied by four
// elements of a row of the left side; sums of integers become those of floats once a block of the left side.
import { Poly } from '../ir/algebra.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { quad } from './int-columns-plan.ts';
import { codesOf, steps } from './int-columns-left.ts';
import { side, type Strips, vector } from './int-columns-strips.ts';
import { inSteps, type Piece } from './pieces.ts';
import { loop } from './nests.ts';
import { storeAt } from './regions.ts';

/** Rows of the left side in a tile, and integer sums that stay in registers. */
const tileRows = [4, 1] as const;
const tileSums = 8;

/** A row of the left side: its index, and its number among those of the work. */
interface Row {
  readonly row: Poly;
  readonly local: Poly;
}

/** Columns of one vector of sums: the field of the codes that they are, and of which vector of a panel. */
interface Codes {
  readonly vector: Poly;
  readonly field: number;
  readonly sum: Poly;
}

export function clearSums(p: Strips): void {
  const { sums } = p.at;
  const { scalar } = p.plan;
  p.eachItem((item) =>
    p.eachStrip((strip) =>
      p.eachRow((_, row) => {
        for (let i = 0; i < p.sums; i += 1)
          p.store(sums, p.inSums(p.strip(item, strip), row, i), L.constant(0, scalar, side), side);
      }),
    ),
  );
  p.touch(sums);
}

export function multiply(p: Strips, deep: Piece): void {
  const lo = p.lo;
  const { rows, format } = p.work;
  const { fields } = format;
  p.eachItem((item) =>
    p.eachStrip((strip) =>
      inSteps(lo, rows.length, tileRows, 'r', (r, height) => {
        const local = Array.from({ length: height }, (_, i) => r.add(i));
        const tiled = local.map((row): Row => ({ row: globalRow(p, row), local: row }));
        const sums = tileSums / height;
        const vectors = Math.min(Math.max(1, sums / fields), p.vectors);
        const each = (first: Poly): void => {
          const list = Array.from({ length: vectors * fields }, (_, i) => ({
            vector: first.add(Math.floor(i / fields)),
            field: i % fields,
            sum: first.mul(fields).add(i),
          }));
          for (let i = 0; i < list.length; i += sums)
            tile(p, item, strip, tiled, list.slice(i, i + sums), deep);
        };
        if (vectors === p.vectors) each(Poly.of(0));
        else loop(lo, Poly.of(p.vectors), vectors, false, each, Poly.of(0), 'v');
      }),
    ),
  );
  p.touch(p.at.sums);
}

/** A row of the left side, from its number among those of the work. */
function globalRow(p: Strips, row: Poly): Poly {
  const { rows } = p.plan;
  if (rows.constant === 1) return Poly.of(0);
  const { em } = p.lo;
  return em.asIndex(em.index(p.work.rows.from.add(row)), rows);
}

/** Some rows by some vectors of sums, over a piece of depth. */
function tile(
  p: Strips,
  item: Poly,
  strip: Poly,
  rows: readonly Row[],
  list: readonly Codes[],
  deep: Piece,
): void {
  const lo = p.lo;
  const { em } = lo;
  const { scalar, block } = p.plan;
  const { scales, starts, sums } = p.at;
  const s = p.strip(item, strip);
  p.eachBlock(deep, (k, b) => {
    const perBlock = (of: Buffer, i: Poly, { local }: Row): Expr =>
      L.splat(L.load(of, em.index(p.inBlocks(i, local, b)), 1, 1), side);
    const dots = rows.map((row) => {
      const start = starts ? p.let('start', perBlock(starts, s, row)) : L.constant(0, 'i32', side);
      return list.map(() => p.here('local', 'dots', start));
    });
    const step = (at: Poly, n: number): void => {
      for (let i = 0; i < n; i += quad) {
        const from = at.add(i);
        const ws = columnsOf(p, s, from.sub(deep.from), list);
        rows.forEach(({ row, local }, j) => {
          const codes = codesOf(p, item, row, local, from, deep, quad);
          const x = p.let('x', L.tile(codes, vector));
          ws.forEach((w, c) => {
            const v = dots[j]![c]!;
            em.push({ kind: 'set', var: v, value: L.binary('add', L.variable(v), L.dot4(w, x)) });
          });
        });
      }
    };
    if (block) step(k, block);
    else steps(p, deep, step);
    rows.forEach((row, j) => {
      const by = scales && p.let('scale', perBlock(scales, p.item(item), row));
      list.forEach(({ sum }, c) => {
        const index = p.inSums(s, row.local, sum);
        const old = p.load(sums, index, side);
        const dot = L.variable(dots[j]![c]!);
        const value = scalar === 'i32' ? dot : L.convert(dot, 'f32');
        const total = by ? L.mulAdd(value, by, old) : L.binary('add', old, value);
        p.store(sums, index, total, side);
      });
    });
  });
}

/** The codes of some columns at four elements of depth. */
function columnsOf(p: Strips, strip: Poly, k: Poly, list: readonly Codes[]): Expr[] {
  const { bits, fields } = p.work.format;
  const read = new Map<string, Expr>();
  return list.map(({ vector: v, field }) => {
    let packed = read.get(`${v}`);
    if (!packed) {
      const bytes = p.load(p.at.panel, p.inPanel(strip, k, v), vector);
      packed = p.let('packed', bytes);
      read.set(`${v}`, packed);
    }
    if (bits === 8) return packed;
    const by = L.constant(field * bits, 'i32', vector);
    const down = field ? L.binary('shr', packed, by) : packed;
    if (field === fields - 1) return p.let('w', down);
    return p.let('w', L.binary('and', down, L.constant(2 ** bits - 1, 'i32', vector)));
  });
}

/** The elementwise rest of the kernel, from the sums. */
export function finishSums(p: Strips, out: Buffer): void {
  const lo = p.lo;
  const { em } = lo;
  const { op, root, columns } = p.plan;
  const { fields } = p.work.format;
  const { shape } = root.type;
  const result = op.results[0]!;
  p.eachItem((item) =>
    p.eachStrip((strip) =>
      p.eachRow((row, local) => {
        const ids = p.ids(item);
        const s = p.strip(item, strip);
        if (p.rest) {
          const from = p.rest;
          const count = L.binary('min', em.index(columns.sub(from)), L.i32(vector));
          const to = em.asIndex(em.bind(count, 'count'), Poly.of(vector + 1));
          const one = (c: Poly): void => {
            const where = [...ids, row, from.add(c)];
            const at = p.inSums(s, local, 0).add(c);
            lo.pin(result, where, em.bind(p.load(p.at.sums, at, 1), 'sum'));
            storeAt(lo, out, shape, where, lo.emit(root, where, 1), 1);
          };
          loop(lo, Poly.of(vector), 1, false, one, Poly.of(0), 'c', undefined, to);
          return;
        }
        const lane = Poly.atom(lo.lane(side));
        for (let i = 0; i < p.sums; i += fields) {
          const own = Array.from({ length: fields }, (_, f) =>
            p.let('sum', p.load(p.at.sums, p.inSums(s, local, i + f), side)),
          );
          inOrder(own, (e) => p.let('sum', e)).forEach((e, j) => {
            const column = p.column(strip).add((i + j) * side);
            const where = [...ids, row, column.add(lane)];
            lo.pin(result, where, e);
            storeAt(lo, out, shape, where, lo.emit(root, where, side), side);
          });
        }
      }),
    ),
  );
}

/** Columns of which vector f has every n-th, from the f-th on, in their order. */
function inOrder(list: readonly Expr[], name: (e: Expr) => Expr): readonly Expr[] {
  if (list.length === 1) return list;
  const half = (odd: number): readonly Expr[] =>
    inOrder(
      list.filter((_, i) => i % 2 === odd),
      name,
    );
  const odd = half(1);
  return half(0).flatMap((e, i) =>
    [0, side / 2].map((from) => name(L.zip(e, odd[i]!, 1, from, side))),
  );
}
