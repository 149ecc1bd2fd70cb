// The tile of a contraction's result that a group of threads computes: where it lies, its operands, and how it comes out.
// At the end it passes through the group's memory, so that neighbours finish and store neighbouring elements.

import { type Dim, floorDiv, Poly } from '../../ir/algebra.ts';
import type { Op, Value } from '../../ir/ir.ts';
import { ops } from '../../ir/ops.ts';
import type { Buffer, Expr } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import type { Lowering } from '../lowering.ts';
import { loop } from '../nests.ts';
import { contractionIndex } from '../reductions.ts';
import { storeAt } from '../regions.ts';
import { flat } from './share.ts';

/** Rows of the streamed operand and of the panel, of the group's tile and of a thread's. */
export interface Shape {
  readonly from: number;
  readonly rows: number;
  readonly cols: number;
  readonly ownRows: number;
  readonly ownCols: number;
}

/** Elements along k of a slice. */
export const slice = 32;

/** One contraction of the root: a gated layer has two over the same points. */
export interface Part {
  readonly op: Op<'matmul'>;
  readonly k: Dim;
}

export interface Contraction {
  readonly parts: readonly Part[];
  readonly root: Value;
  readonly buffer: Buffer;
  readonly panelIsA: boolean;
  readonly streamed: Dim;
  readonly panelled: Dim;
}

/** Whether an element of `v` takes a loop of its own. */
export function reduces(lo: Lowering, v: Value, seen = new Set<Value>()): boolean {
  const op = v.def?.op;
  if (!op || lo.storage.has(v) || seen.has(v)) return false;
  seen.add(v);
  const { kind } = ops[op.name];
  return kind === 'reduce' || kind === 'contract' || op.operands.some((o) => reduces(lo, o, seen));
}

/** Numbers of tiles along the panel and along the streamed operand. */
const tilesOf = (c: Contraction, s: Shape): readonly [Dim, Dim] => [
  floorDiv(c.panelled.add(s.cols - 1), s.cols),
  floorDiv(c.streamed.add(s.rows - 1), s.rows),
];

/** A loop over the tiles of the result; `emit` is what each thread of a group does. */
function eachTile(
  lo: Lowering,
  c: Contraction,
  s: Shape,
  threads: number,
  emit: (at: Place) => void,
  partial?: Buffer,
): void {
  lo.team = undefined;
  const batch = c.root.type.shape.slice(0, -2);
  const [across, down] = tilesOf(c, s);
  const ways = partial ? [Poly.of(splitWays)] : [];
  flat(lo, [...ways, ...batch, across, down], 'groups', (all) => {
    const ids = all.slice(ways.length, -2);
    const [p, q] = [all.at(-2)!, all.at(-1)!];
    const split = partial && { way: all[0]!, buffer: partial, tile: p.mul(down).add(q) };
    loop(
      lo,
      Poly.of(threads),
      1,
      false,
      (t) => emit({ lo, c, s, threads, ids, s0: q.mul(s.rows), p0: p.mul(s.cols), t, split }),
      Poly.of(0),
      'thread',
      'members',
    );
  });
}

/** Groups among which the depth of a tile is divided where there are few tiles. */
const splitWays = 4;

/** The part of k that a group sums, and where it leaves its sums. */
interface Split {
  readonly way: Poly;
  readonly tile: Poly;
  readonly buffer: Buffer;
}

/**
 * Emits tiles, each by a group; or, where they are too few to keep the device busy, each by several groups that divide
 * k among them. Their sums lie in memory until a second launch adds them up, in order, and finishes the result. The
 * memory is one for all of `shapes`, of which a call takes one.
 */
export function tileEmitter(
  lo: Lowering,
  c: Contraction,
  shapes: readonly Shape[],
): (s: Shape, threads: number, emit: (at: Place) => void, divides?: boolean) => void {
  const { em } = lo;
  const { busyGroups } = lo.limits.gpu!;
  let partial: Buffer | undefined;
  const memory = (): Buffer => {
    if (partial) return partial;
    const most = Math.max(...shapes.map((s) => s.rows * s.cols));
    const size = busyGroups! * splitWays * c.parts.length * most;
    // No scratch of an iteration: the second launch reads what the first has left.
    const { onTemp } = em;
    em.onTemp = undefined;
    partial = em.newBuffer('partial', 'f32', 'temp', Poly.of(size));
    em.onTemp = onTemp;
    return partial;
  };
  return (s, threads, emit, divides = true) => {
    const whole = (): void => eachTile(lo, c, s, threads, emit);
    if (!divides || !busyGroups || c.root.type.shape.length > 2) return whole();
    const [across, down] = tilesOf(c, s);
    const tiles = em.index(across.mul(down));
    const divided = (): void => {
      eachTile(lo, c, s, threads, emit, memory());
      addUp(lo, c, s, memory());
    };
    em.push({
      kind: 'if',
      cond: L.compare('ge', tiles, L.i32(busyGroups)),
      then: em.scope(whole),
      else: em.scope(divided),
    });
  };
}

/** Where the sums of a group begin: of one way of one part of a tile. */
export const partialAt = (c: Contraction, s: Shape, tile: Poly, way: Poly, part: number): Poly =>
  tile
    .mul(splitWays)
    .add(way)
    .mul(c.parts.length)
    .add(part)
    .mul(s.rows * s.cols);

/** Every element of the result, from the sums that the groups have left. */
function addUp(lo: Lowering, c: Contraction, s: Shape, partial: Buffer): void {
  const { em } = lo;
  const { shape } = c.root.type;
  lo.team = undefined;
  flat(lo, shape, 'grid', (ids) => {
    em.bufferDepth.set(partial.id, em.depth);
    const [m, n] = [ids.at(-2)!, ids.at(-1)!];
    const [r, p] = c.panelIsA ? [n, m] : [m, n];
    const number = (at: Poly, size: number, name: string): Poly => {
      const v = em.newVar(name, L.vtype('i32'));
      em.push({ kind: 'let', var: v, value: em.index(floorDiv(at, size)) });
      return Poly.atom(em.atom(v));
    };
    const [across, down] = [number(p, s.cols, 'across'), number(r, s.rows, 'down')];
    const tile = across.mul(tilesOf(c, s)[1]).add(down);
    const own = r
      .sub(down.mul(s.rows))
      .mul(s.cols)
      .add(p.sub(across.mul(s.cols)));
    c.parts.forEach(({ op }, part) => {
      const sum = Array.from({ length: splitWays }, (_, way) => {
        const at = partialAt(c, s, tile, Poly.of(way), part).add(own);
        return lo.load(partial, [partial.size], [at], 1);
      }).reduce((a, b) => L.binary('add', a, b));
      lo.pin(op.results[0]!, ids, em.bind(sum, 'sum'));
    });
    storeAt(lo, c.buffer, shape, ids, lo.emit(c.root, ids, 1), 1);
  });
}

/** One operand within the tile. */
export interface Side {
  /** Rows of the tile, and the first of them in the operand, which has `extent`. */
  readonly count: number;
  readonly first: Poly;
  readonly extent: Dim;
  /** Where its slice begins in the group's memory: element (k, row) is at `base + k * count + row`. */
  readonly base: number;
  element(row: Poly, k: Poly, lanes: number): Expr;
}

/** A group's tile: of what, of which shape, and where it begins. */
export interface Place {
  readonly lo: Lowering;
  readonly c: Contraction;
  readonly s: Shape;
  /** Of the group, and the number of this one. */
  readonly threads: number;
  readonly t: Poly;
  /** Indices of the batch, and the first rows of the streamed operand and of the panel. */
  readonly ids: readonly Poly[];
  readonly s0: Poly;
  readonly p0: Poly;
  readonly split?: Split;
}

export class Tile {
  readonly lo: Lowering;
  readonly c: Contraction;
  readonly s: Shape;
  readonly threads: number;
  readonly ids: readonly Poly[];
  readonly s0: Poly;
  readonly p0: Poly;
  readonly t: Poly;
  readonly split: Split | undefined;
  readonly memory: Buffer;

  /** `size`: elements of f32 in the group's memory through which the result passes. */
  constructor(at: Place, size: number) {
    this.lo = at.lo;
    this.c = at.c;
    this.s = at.s;
    this.threads = at.threads;
    this.ids = at.ids;
    this.s0 = at.s0;
    this.p0 = at.p0;
    this.t = at.t;
    this.split = at.split;
    this.memory = at.lo.em.newBuffer('tile', 'f32', 'group', Poly.of(size));
  }

  place(row: Poly, col: Poly): Poly[] {
    return this.c.panelIsA ? [...this.ids, col, row] : [...this.ids, row, col];
  }

  side(which: 'stream' | 'panel', { op }: Part): Side {
    const { c, s, lo } = this;
    const isPanel = which === 'panel';
    const isA = isPanel === c.panelIsA;
    const operand = op.operands[isA ? 0 : 1]!;
    return {
      count: isPanel ? s.cols : s.rows,
      first: isPanel ? this.p0 : this.s0,
      extent: isPanel ? c.panelled : c.streamed,
      base: isPanel ? slice * s.rows : 0,
      element: (row, k, lanes) => {
        const zero = Poly.of(0);
        const i = contractionIndex(op, isPanel ? this.place(zero, row) : this.place(row, zero), k);
        const e = lo.emit(operand, isA ? i.a : i.b, lanes);
        return L.splat(e.type.scalar === 'f32' ? e : L.convert(e, 'f32'), lanes);
      },
    };
  }

  /** An integer with a name in the scope that is open. */
  named(e: Expr, name: string, extent?: Dim): Poly {
    const { em } = this.lo;
    if (e.kind === 'const') return Poly.of(e.value);
    if (e.kind === 'var') return Poly.atom(em.atom(e.var, extent));
    const v = em.newVar(name, L.vtype('i32'));
    em.push({ kind: 'let', var: v, value: e });
    return Poly.atom(em.atom(v, extent));
  }

  /** The slices that the group goes through: how many, and the number of one; past the end, the last one. */
  slices(part: Part, depth = slice): { readonly count: Poly; at(step: Poly): Poly } {
    const { em } = this.lo;
    const steps = floorDiv(part.k.add(depth - 1), depth);
    const last = em.index(steps.sub(1));
    const at = (i: Poly): Poly =>
      this.named(L.binary('min', em.index(i), last), 'slice', steps).mul(depth);
    if (!this.split) return { count: steps, at };
    const each = floorDiv(steps.add(splitWays - 1), splitWays);
    const first = this.named(em.index(this.split.way.mul(each)), 'first');
    const end = L.binary('min', em.index(first.add(each)), em.index(steps));
    const left = L.binary('max', L.binary('sub', end, em.index(first)), L.i32(0));
    return { count: this.named(left, 'count'), at: (i) => at(first.add(i)) };
  }

  barrier(): void {
    this.lo.em.push({ kind: 'barrier', team: 'threads' });
  }

  at(linear: Poly, lanes: number): Expr {
    const lane = lanes === 1 ? Poly.of(0) : Poly.atom(this.lo.lane(lanes));
    return this.lo.load(this.memory, [this.memory.size], [linear.add(lane)], lanes);
  }

  store(at: Poly, value: Expr): void {
    storeAt(this.lo, this.memory, [this.memory.size], [at], value, 1);
  }

  /**
   * Sends the sums of all parts through the group's memory, of `size` elements, as many rows at a time as fit, to their
   * places. `put` writes the thread's own sums of a part where row 0 is at `base`; its rows begin at `row`.
   */
  finish(size: number, row: Poly, put: (part: number, buffer: Buffer, base: Poly) => void): void {
    const { lo, s, c, split } = this;
    const { em } = lo;
    if (split)
      return c.parts.forEach((_, i) =>
        put(i, split.buffer, partialAt(c, s, split.tile, split.way, i)),
      );
    let passes = 1;
    while (passes * size < s.rows * s.cols * c.parts.length) passes *= 2;
    const rows = s.rows / passes;
    loop(lo, Poly.of(passes), 1, false, (pass) => {
      em.bufferDepth.set(this.memory.id, em.depth);
      const from = pass.mul(rows);
      const store = em.scope(() =>
        c.parts.forEach((_, i) =>
          put(i, this.memory, Poly.of(i * rows * s.cols).sub(from.mul(s.cols))),
        ),
      );
      if (passes === 1) em.scopes.at(-1)!.stmts.push(...store);
      else {
        const [lowest, highest] = [em.index(from), em.index(from.add(rows))];
        const mine = em.index(row);
        const below = em.scope(() =>
          em.push({ kind: 'if', cond: L.compare('lt', mine, highest), then: store, else: [] }),
        );
        em.push({ kind: 'if', cond: L.compare('ge', mine, lowest), then: below, else: [] });
      }
      this.barrier();
      this.deliver(rows, from);
      this.barrier();
    });
  }

  /** Finishes and stores `rows` rows of the tile, from row `from` on, of which the sums lie in the group's memory. */
  deliver(rows: number, from: Poly): void {
    const { lo, s, c } = this;
    const { em } = lo;
    loop(lo, Poly.of((rows * s.cols) / this.threads), 1, false, (i) => {
      const e = i.mul(this.threads).add(this.t);
      // The axis along which the result lies runs fastest.
      const across = c.panelIsA ? rows : s.cols;
      const slow = this.named(em.index(floorDiv(e, across)), 'i');
      const fast = this.named(em.index(e.sub(slow.mul(across))), 'i');
      const [r, p] = c.panelIsA ? [fast, slow] : [slow, fast];
      const [m, n] = [em.index(this.s0.add(from).add(r)), em.index(this.p0.add(p))];
      const body = em.scope(() => {
        // What the rest of the root reads leaves the branch: it is read where there is something.
        const inside = (e: Expr, size: Dim): Poly => {
          const last = L.binary('sub', em.index(size), L.i32(1));
          return em.asIndex(em.bind(L.binary('min', e, last), 'inside'), size);
        };
        const where = this.place(inside(m, c.streamed), inside(n, c.panelled));
        c.parts.forEach(({ op }, i) => {
          const at = r
            .mul(s.cols)
            .add(p)
            .add(i * rows * s.cols);
          lo.pin(op.results[0]!, where, em.bind(this.at(at, 1), 'sum'));
        });
        storeAt(lo, c.buffer, c.root.type.shape, where, lo.emit(c.root, where, 1), 1);
      });
      const within = em.scope(() =>
        em.push({
          kind: 'if',
          cond: L.compare('lt', n, em.index(c.panelled)),
          then: body,
          else: [],
        }),
      );
      em.push({
        kind: 'if',
        cond: L.compare('lt', m, em.index(c.streamed)),
        then: within,
        else: [],
      });
    });
  }
}
