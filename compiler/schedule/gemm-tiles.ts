// Many rows against many rows, in blocks that stay in the caches: rows of one operand (the panelled one, dearer to read)
// are decoded once a chunk of depth into scratch, where they stay in the second-level cache while all tiles of rows of
// the other pass by; those are copied into scratch as well, so that few cache lines of far-apart rows are in the way
// of each other and every load is one pointer with an offset. A tile's sums are kept in registers for a chunk.

import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import type { Buffer, Expr, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Lowering } from './lowering.ts';
import type { Target } from './in-pieces.ts';
import { type Piece, pieces, restOf, within } from './pieces.ts';
import { loop, vectorLoop } from './nests.ts';
import { contractionIndex } from './reductions.ts';
import { chooseLanes, laneCandidates, probeIndex } from './vector-widths.ts';
import { storeAt, storeLinear } from './regions.ts';

/**
 * Rows of the streamed operand and of the panel in a register tile: 12 sums, 2 vectors of the panel and 1 streamed one are
 * 15, and engines keep one of 16 registers for themselves. The lower tile takes up to four rows that are left.
 */
const tileRows = [6, 4] as const;
export const panelRows = 2;
/** Rows of the panelled operand that are decoded together, and elements of depth: 128 KiB. */
const groupRows = 64;
const chunk = 512;
/** Rows of the streamed operand for which sums of a group are kept; a multiple of the tile's. */
export const blockRows = 192;

/** One contraction of the root: a gated layer has two over the same points. */
export interface Part {
  readonly op: Op<'matmul'>;
  readonly k: Dim;
}

export interface Tile {
  readonly parts: readonly Part[];
  readonly root: Value;
  readonly target: Target;
  readonly ids: readonly Poly[];
  readonly panelIsA: boolean;
  readonly streamed: Dim;
  readonly panelled: Dim;
  readonly lanes: number;
  /** The part of the result that is wanted, if it is not all of it. */
  readonly part?: { readonly streamed: Piece; readonly panelled: Piece };
}

/**
 * Whether rows of the panelled operand may go to different workers: unless loops over a batch, or over pieces of the
 * result, do already, or neighbouring results share a byte.
 */
export const isParallel = (t: Tile): boolean =>
  !t.part &&
  t.ids.every((i) => i.constant !== undefined) &&
  (t.panelIsA || dtypes[t.target.buffer.dtype].bits % 8 === 0);

export const asFloat = (e: Expr, lanes: number): Expr =>
  L.splat(e.type.scalar === 'f32' ? e : L.convert(e, 'f32'), lanes);

/** Index of the result at a row of the streamed operand and one of the panelled. */
const indexAt = (t: Tile, s: Poly, p: Poly): Poly[] => [
  ...t.ids,
  ...(t.panelIsA ? [p, s] : [s, p]),
];

type Side = 'panel' | 'stream';

/** Elements of an operand's row: `which` is the one that goes into the panel, or the streamed one. */
function element(
  lo: Lowering,
  t: Tile,
  { op }: Part,
  which: Side,
  row: Poly,
  k: Poly,
  n: number,
): Expr {
  const [a, b] = op.operands as [Value, Value];
  const none = Poly.of(0);
  const i = contractionIndex(
    op,
    which === 'panel' ? indexAt(t, none, row) : indexAt(t, row, none),
    k,
  );
  return asFloat(t.panelIsA === (which === 'panel') ? lo.emit(a, i.a, n) : lo.emit(b, i.b, n), n);
}

const roundUp = (n: number, step: number): number => Math.ceil(n / step) * step;

/** At most `most` rows (or elements) at a time. */
const atMost = (d: Dim, most: number): number => Math.min(d.constant ?? most, most);

/** The scratch of one contraction: rows of a group, rows of a tile, and sums of a block of the result. */
interface Scratch {
  readonly group: Buffer;
  readonly tile: Buffer;
  readonly sums: Buffer;
  readonly depth: number;
}

export function tiles(lo: Lowering, t: Tile): void {
  const { em } = lo;
  const group = roundUp(atMost(t.panelled, groupRows), panelRows);
  // The lower tile may end three rows further.
  const block = roundUp(atMost(t.streamed, blockRows), tileRows[0]) + tileRows[1];
  const scratch = t.parts.map(({ k }): Scratch => {
    const depth = atMost(k, chunk);
    const make = (name: string, size: number): Buffer =>
      em.newBuffer(name, 'f32', 'temp', Poly.of(size));
    return {
      group: make('panel', group * depth),
      tile: make('tile', tileRows[0] * depth),
      sums: make('sums', group * block),
      depth,
    };
  });
  const inside = (f: () => void): void => {
    for (const s of scratch)
      for (const b of [s.group, s.tile, s.sums]) em.bufferDepth.set(b.id, em.depth);
    f();
  };
  const { part } = t;
  const overGroups = (body: (p: Piece) => void): void =>
    part
      ? within(lo, t.panelled, part.panelled, groupRows, 'n', body)
      : pieces(lo, t.panelled, groupRows, isParallel(t), 'n', body);
  const overBlocks = (body: (p: Piece) => void): void =>
    part ? body(part.streamed) : pieces(lo, t.streamed, blockRows, false, 'm', body);
  overGroups((cols) =>
    overBlocks((rows) =>
      inside(() => {
        t.parts.forEach((part, c) => {
          contract(lo, t, part, scratch[c]!, cols, rows, { group, block });
        });
        finish(lo, t, scratch, cols, rows, { group, block });
      }),
    ),
  );
}

interface Sizes {
  readonly group: number;
  readonly block: number;
}

/** Where the sum of row `s` of the block and row `p` of the group is kept: as in the result. */
const sumIndex = (t: Tile, z: Sizes, s: Poly, p: Poly): Poly =>
  t.panelIsA ? p.mul(z.block).add(s) : s.mul(z.group).add(p);

/** Adds one contraction up over the points of a block. */
function contract(
  lo: Lowering,
  t: Tile,
  part: Part,
  at: Scratch,
  cols: Piece,
  rows: Piece,
  sizes: Sizes,
): void {
  const { em } = lo;
  const whole = (b: Buffer, i: Poly, n: number): Expr => lo.load(b, [b.size], [i], n);
  const zero = Poly.of(sizes.group * sizes.block);
  vectorLoop(lo, zero, zero.multiple() % 4 === 0 ? 4 : 1, (i, n) =>
    storeAt(lo, at.sums, [zero], [i], L.constant(0, 'f32', n), n),
  );
  const width = (which: Side): number =>
    chooseLanes(lo, laneCandidates(part.k, 32), (n) => {
      const row = any(lo, which === 'panel' ? t.panelled : t.streamed);
      return element(lo, t, part, which, row, probeIndex(lo, part.k, n), n);
    });
  const widths = { panel: width('panel'), stream: width('stream') };
  pieces(lo, part.k, chunk, false, 'chunk', (deep) => {
    /** Copies a row of an operand into row `to` of a buffer. */
    const fill = (which: Side, row: Poly, buffer: Buffer, to: Poly): void =>
      vectorLoop(
        lo,
        part.k,
        widths[which],
        (k, n) => {
          const i = to.mul(at.depth).add(k.sub(deep.from));
          storeAt(lo, buffer, [buffer.size], [i], element(lo, t, part, which, row, k, n), n);
        },
        false,
        undefined,
        deep,
      );
    const each = (from: Poly, to: Poly, extent: Dim, body: (row: Poly) => void): void =>
      loop(lo, extent, 1, false, body, from, 'row', undefined, to);
    each(cols.from, cols.to, t.panelled, (p) => fill('panel', p, at.group, p.sub(cols.from)));
    em.bufferDepth.set(at.group.id, em.depth);
    let from = rows.from;
    tileRows.forEach((height, which) => {
      // A tile may have rows that are not there, whose sums nobody reads: the taller one at most one, the other the rest.
      const idle = which === 0 ? 1 : height - 1;
      const beyond = rows.to.add(idle);
      loop(
        lo,
        t.streamed.add(height),
        height,
        false,
        (s) => {
          const last = em.asIndex(
            L.binary('min', em.index(s.add(height)), em.index(rows.to)),
            t.streamed.add(1),
          );
          each(s, last, t.streamed, (row) => fill('stream', row, at.tile, row.sub(s)));
          em.bufferDepth.set(at.tile.id, em.depth);
          loop(
            lo,
            cols.length.add(panelRows),
            panelRows,
            false,
            (p) => {
              const sums = accumulate(lo, height, deep.length, t.lanes, (side, i, k, n) =>
                side === 'stream'
                  ? whole(at.tile, Poly.of(i * at.depth).add(k), n)
                  : whole(at.group, p.add(i).mul(at.depth).add(k), n),
              );
              sums.forEach((sum, i) => {
                const row = s.sub(rows.from).add(Math.floor(i / panelRows));
                const index = em.index(sumIndex(t, sizes, row, p.add(i % panelRows)));
                const old = L.load(at.sums, index, 1, 1);
                const value = L.binary('add', old, sum);
                em.push({ kind: 'store', buffer: at.sums, index, value, align: 1 });
              });
            },
            Poly.of(0),
            'p',
            undefined,
            cols.length.multiple() % panelRows === 0 ? cols.length : cols.length.add(1),
          );
        },
        from,
        'm',
        undefined,
        beyond,
      );
      if (which === 0) from = restOf(lo, beyond, from, height);
    });
  });
}

/** No particular row: the first one may be of a kind of its own. */
export const any = ({ em }: Lowering, d: Dim): Poly =>
  Poly.atom(em.atom(em.newVar('i', L.vtype('i32')), d));

/** Sums of a register tile over a chunk, row by row. */
function accumulate(
  lo: Lowering,
  height: number,
  length: Poly,
  lanes: number,
  read: (side: Side, i: number, k: Poly, lanes: number) => Expr,
): Expr[] {
  const { em } = lo;
  const make = (n: number): Var[] =>
    Array.from({ length: height * panelRows }, () => {
      const v = em.newVar('acc', L.vtype('f32', n));
      em.push({ kind: 'local', var: v, value: L.constant(0, 'f32', n) });
      return v;
    });
  const accs = make(lanes);
  const tails = length.multiple() % lanes === 0 ? undefined : make(1);
  vectorLoop(lo, length, lanes, (k, n) => {
    const target = n === lanes ? accs : tails!;
    const w = Array.from({ length: panelRows }, (_, j) => em.bind(read('panel', j, k, n), 'w'));
    for (let i = 0; i < height; i += 1) {
      const x = em.bind(read('stream', i, k, n), 'x');
      w.forEach((y, j) => {
        const acc = target[i * panelRows + j]!;
        em.push({ kind: 'set', var: acc, value: L.mulAdd(x, y, L.variable(acc)) });
      });
    }
  });
  const sums: Expr[] = [];
  // Four sums across lanes at once.
  for (let i = 0; i < accs.length; i += 4) {
    const four = accs.slice(i, i + 4).map((v) => L.reduce('add', L.variable(v)));
    const built = four.length === 4 ? em.bind(L.build(four), 'four') : undefined;
    four.forEach((e, j) => sums.push(built ? L.extract(built, j) : e));
  }
  return sums.map((e, i) => (tails ? L.binary('add', e, L.variable(tails[i]!)) : e));
}

/** The elementwise rest of the kernel, from the sums of a block. */
function finish(
  lo: Lowering,
  t: Tile,
  scratch: readonly Scratch[],
  cols: Piece,
  rows: Piece,
  sizes: Sizes,
): void {
  const { shape } = t.root.type;
  const [outer, inner] = t.panelIsA ? [cols, rows] : [rows, cols];
  const [down, across] = [shape.at(-2)!, shape.at(-1)!];
  /** The result at a row and `n` neighbours of it. */
  const value = (i: Poly, j: Poly, n: number): Expr => {
    const [s, p] = t.panelIsA ? [j, i] : [i, j];
    t.parts.forEach((part, c) => {
      const { sums } = scratch[c]!;
      const at = sumIndex(t, sizes, s.sub(rows.from), p.sub(cols.from));
      const sum = lo.em.bind(lo.load(sums, [sums.size], [at], n), 'sum');
      lo.pin(part.op.results[0]!, [...t.ids, i, j], sum);
    });
    return lo.emit(t.root, [...t.ids, i, j], n);
  };
  const most = Math.min(8, inner.length.constant ?? 8);
  const candidates =
    dtypes[t.target.buffer.dtype].bits % 8 === 0 ? laneCandidates(across, most) : [];
  const lanes = chooseLanes(lo, candidates, (n) => {
    const row = any(lo, down);
    return value(row, probeIndex(lo, across, n), n);
  });
  loop(
    lo,
    down,
    1,
    false,
    (i) =>
      vectorLoop(
        lo,
        across,
        lanes,
        (j, n) =>
          storeLinear(lo, t.target.buffer, t.target.at([...t.ids, i, j]), value(i, j, n), n),
        false,
        undefined,
        inner,
      ),
    outer.from,
    'i',
    undefined,
    outer.to,
  );
}
