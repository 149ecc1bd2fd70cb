// A tile of a contraction on tensor cores. Its depth is taken in stages: copies of later stages are under way while a stage
// is multiplied, and what has to pass through registers of the next one is fetched early and put down late, so that one
// barrier a stage is enough. The heavier operand gives 16 rows of a product, the other one 8; a warp has several of each.
// Where rows are few the warps divide a stage's depth among them, and their sums are added at the end.

import { type Dim, floorDiv, Poly } from '../../ir/algebra.ts';
import { dtypes } from '../../ir/dtype.ts';
import type { Buffer, Expr, Var } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import { loop } from '../nests.ts';
import { storeAt } from '../regions.ts';
import type { Field, Stages } from './feeds.ts';
import { multiplySlice } from './product-slices.ts';
import { copyStage, fetchStage, putStage } from './product-stages.ts';
import { type Part, type Place, partialAt, type Shape, type Side, Tile } from './tile.ts';

/** Warps along the panel and along the depth. */
export interface ProductShape extends Shape {
  readonly down: number;
  readonly deep: number;
}

/** Where an operand lies in the group's memory. */
export interface Memory<B = Buffer> {
  readonly which: 'stream' | 'panel';
  /** Copied fields, in the order of the feed's: elements from row to row. */
  readonly copies: readonly { readonly buffer: B; readonly pitch: number }[];
  /** Packed elements: words from row to row. */
  readonly words: { readonly buffer: B; readonly pitch: number } | undefined;
  readonly scales: B | undefined;
  readonly offsets: B | undefined;
}

/** An operand of a part. */
export interface Feed extends Memory {
  readonly side: Side;
  readonly fields: readonly Field[];
  readonly depth: Dim;
}

/** Rows of the stream whose sums pass through the group's memory at once. */
export const passRows = (s: Shape): number => Math.min(8, s.rows);
/** From one of them to the next. */
export const passPitch = (s: Shape): number => s.cols + 4;

export class ProductTile extends Tile {
  readonly own: ProductShape;
  readonly stages: Stages;
  readonly paired: boolean;
  /** The warp along the panel and along the depth, and the lane's place in a product. */
  readonly warp: { readonly down: Poly; readonly deep: Poly };
  readonly lane: { readonly g: Poly; readonly t: Poly };

  constructor(at: Place, s: ProductShape, stages: Stages, paired: boolean) {
    super(at, at.c.parts.length * s.deep * passRows(s) * passPitch(s));
    this.own = s;
    this.stages = stages;
    this.paired = paired;
    const { em } = this.lo;
    const warp = this.named(em.index(floorDiv(this.t, 32)), 'warp', Poly.of(this.threads / 32));
    const lane = this.named(em.index(this.t.sub(warp.mul(32))), 'lane', Poly.of(32));
    const deep =
      s.deep === 1
        ? Poly.of(0)
        : this.named(em.index(floorDiv(warp, s.down)), 'deep', Poly.of(s.deep));
    this.warp = { down: warp.sub(deep.mul(s.down)), deep };
    const g = this.named(em.index(floorDiv(lane, 4)), 'g', Poly.of(8));
    this.lane = { g, t: this.named(em.index(lane.sub(g.mul(4))), 't', Poly.of(4)) };
  }

  emit(
    feeds: readonly (readonly [readonly Field[], readonly Field[]])[],
    memory: readonly (readonly [Memory, Memory])[],
  ): void {
    const sums = this.c.parts.map((p, i) => {
      const of = (side: 0 | 1): Feed => ({
        ...memory[i]![side],
        side: this.side(side === 0 ? 'stream' : 'panel', p),
        fields: feeds[i]![side],
        depth: p.k,
      });
      return this.#sum(p, of(0), of(1));
    });
    this.#deliver(sums);
  }

  /** Slices of a scale in a stage. */
  get units(): number {
    return this.stages.total / this.stages.plan.unit;
  }

  /** The lane's sums of a part: for each 16 rows of the panel and each 8 of the stream, four points. */
  #sum(part: Part, stream: Feed, panel: Feed): readonly Var[] {
    const { lo, stages } = this;
    const { em } = lo;
    const sums = this.#blocks(() => this.local('f32', 'acc'));
    const slices = this.slices(part, stages.total);
    const feeds = [stream, panel];
    const copies = feeds.some((f) => f.fields.length > 0);
    const ahead = stages.count - 1;
    loop(
      lo,
      slices.count.add(ahead),
      1,
      false,
      (step) => {
        for (const f of feeds) for (const b of buffersOf(f)) em.bufferDepth.set(b.id, em.depth);
        const slot = (later: number): Poly => {
          const at = em.index(step.add(later));
          const round =
            stages.count === 3
              ? L.binary('rem', at, L.i32(3))
              : L.binary('and', at, L.i32(stages.count - 1));
          return this.named(round, 'slot', Poly.of(stages.count));
        };
        // Of what is put down there are two: one is multiplied while the other is filled.
        const half = (later: number): Poly =>
          this.named(L.binary('and', em.index(step.add(later)), L.i32(1)), 'half', Poly.of(2));
        if (copies) em.push({ kind: 'arrive', pending: stages.count - 2 });
        this.barrier();
        if (copies) {
          const start = em.scope(() => {
            const stage = slices.at(step).over(stages.total)!;
            for (const f of feeds) copyStage(this, f, stage, slot(0));
          });
          this.when(L.compare('lt', em.index(step), em.index(slices.count)), start);
        }
        const early = step.sub(stages.count - 2);
        const next = this.named(L.binary('max', em.index(early), L.i32(0)), 'next', undefined);
        const stage = slices.at(next).over(stages.total)!;
        const fetched = feeds.flatMap((f) => fetchStage(this, f, stage, half(stages.count)));
        const work = em.scope(() => {
          for (const f of feeds) for (const b of buffersOf(f)) em.bufferDepth.set(b.id, em.depth);
          const [at, other] = [slot(1), half(stages.count + 1)];
          loop(
            lo,
            Poly.of(stages.depth / stages.plan.unit),
            1,
            false,
            (j) => {
              for (const f of feeds)
                for (const b of buffersOf(f)) em.bufferDepth.set(b.id, em.depth);
              multiplySlice(this, stream, panel, sums, j, at, other);
            },
            undefined,
            'j',
          );
        });
        this.when(L.compare('ge', em.index(step), L.i32(ahead)), work);
        for (const f of fetched) putStage(this, f);
      },
      undefined,
      'step',
    );
    return sums;
  }

  when(cond: Expr, then: readonly L.Stmt[]): void {
    this.lo.em.push({ kind: 'if', cond, then, else: [] });
  }

  local(scalar: 'f32' | 'i32', name: string): Var {
    const { em } = this.lo;
    const v = em.newVar(name, L.vtype(scalar, 4));
    em.push({ kind: 'local', var: v, value: L.constant(0, scalar, 4) });
    return v;
  }

  /** One of each block of the warp, those of a block of the stream one after another. */
  #blocks<T>(make: (panel: number, stream: number) => T): T[] {
    const { s } = this;
    return Array.from({ length: s.ownRows / 8 }, (_, c) =>
      Array.from({ length: s.ownCols / 16 }, (__, r) => make(r, c)),
    ).flat();
  }

  /** Runs `body` for the numbers of a grid that the threads share; `inside` says whether there is such a number. */
  share(
    rows: number,
    across: number,
    body: (row: Poly, part: Poly, inside: Expr | undefined) => void,
    unrolled: boolean,
  ): void {
    const { em } = this.lo;
    const all = rows * across;
    const one = (i: Poly): void => {
      const e = i.mul(this.threads).add(this.t);
      const guard = all % this.threads === 0 ? undefined : L.compare('lt', em.index(e), L.i32(all));
      const row = this.named(em.index(floorDiv(e, across)), 'r', Poly.of(rows));
      const part = this.named(em.index(e.sub(row.mul(across))), 'part', Poly.of(across));
      body(row, part, guard);
    };
    const turns = Math.ceil(all / this.threads);
    if (unrolled || turns === 1) for (let i = 0; i < turns; i += 1) one(Poly.of(i));
    else loop(this.lo, Poly.of(turns), 1, false, one);
  }

  pack(value: Expr): Expr {
    const { em } = this.lo;
    const { kind } = this.stages.plan;
    const v = em.newVar('packed', L.vtype('i32', (value.type.lanes * dtypes[kind].bits) / 32));
    em.push({ kind: 'pack', var: v, dtype: kind, paired: this.paired, value });
    return L.variable(v);
  }

  // ---- the result ----

  /** Sends the sums through the group's memory, a few rows of the stream at a time, so that neighbours store neighbours. */
  #deliver(sums: readonly (readonly Var[])[]): void {
    const { lo, own: s } = this;
    const { em } = lo;
    const [rows, pitch] = [passRows(s), passPitch(s)];
    const passes = s.rows / rows;
    const panelBlocks = s.ownCols / 16;
    const part = s.deep * rows * pitch;
    const put = (c: number): void =>
      sums.forEach((list, p) => {
        for (let r = 0; r < panelBlocks; r += 1)
          for (const i of [0, 1, 2, 3]) {
            if (rows === 1 && i % 2 === 1) continue;
            const row = rows === 1 ? Poly.of(0) : this.lane.t.mul(2).add(i & 1);
            const col = this.warp.down
              .mul(s.ownCols)
              .add(16 * r + 8 * (i >> 1))
              .add(this.lane.g);
            const at = this.warp.deep
              .mul(rows)
              .add(row)
              .mul(pitch)
              .add(col)
              .add(p * part);
            this.store(at, L.extract(L.variable(list[c * panelBlocks + r]!), i));
          }
      });
    const pass = (first: Poly): void => {
      em.bufferDepth.set(this.memory.id, em.depth);
      this.barrier();
      this.share(
        rows,
        s.cols,
        (row, col, guard) => this.#point(row, first, col, guard, part),
        false,
      );
    };
    this.barrier();
    const mine = (c: number): L.Stmt[] => {
      const list = em.scope(() => put(c));
      if (rows > 1) return list;
      // One row is in the first column of a product.
      return em.scope(() => this.when(L.compare('lt', em.index(this.lane.t), L.i32(1)), list));
    };
    if (passes === 1) {
      em.scopes.at(-1)!.stmts.push(...mine(0));
      return pass(Poly.of(0));
    }
    loop(
      lo,
      Poly.of(passes),
      1,
      false,
      (number) => {
        for (let c = 0; c < passes; c += 1)
          this.when(
            this.#equals(number, c),
            em.scope(() => put(c)),
          );
        pass(number.mul(rows));
        this.barrier();
      },
      undefined,
      'pass',
    );
  }

  #equals(p: Poly, n: number): Expr {
    return L.compare('eq', this.lo.em.index(p), L.i32(n));
  }

  /** Finishes and stores a point, whose sums lie in the group's memory; where k is divided, stores the sums. */
  #point(row: Poly, first: Poly, col: Poly, guard: Expr | undefined, part: number): void {
    const { lo, own: s, c, split } = this;
    const { em } = lo;
    const [rows, pitch] = [passRows(s), passPitch(s)];
    const sumOf = (p: number): Expr => {
      const at = row
        .mul(pitch)
        .add(col)
        .add(p * part);
      return Array.from({ length: s.deep }, (_, w) => this.at(at.add(w * rows * pitch), 1)).reduce(
        (a, b) => L.binary('add', a, b),
      );
    };
    const [m, n] = [em.index(this.s0.add(first).add(row)), em.index(this.p0.add(col))];
    const body = em.scope(() => {
      em.bufferDepth.set(this.memory.id, em.depth);
      if (split)
        return c.parts.forEach((_, p) => {
          const at = partialAt(c, s, split.tile, split.way, p)
            .add(first.add(row).mul(s.cols))
            .add(col);
          storeAt(lo, split.buffer, [split.buffer.size], [at], sumOf(p), 1);
        });
      // What the rest of the root reads leaves the branch: it is read where there is something.
      const inside = (e: Expr, size: Dim): Poly => {
        const last = L.binary('sub', em.index(size), L.i32(1));
        return em.asIndex(em.bind(L.binary('min', e, last), 'inside'), size);
      };
      const where = this.place(inside(m, c.streamed), inside(n, c.panelled));
      c.parts.forEach(({ op }, p) => {
        lo.pin(op.results[0]!, where, em.bind(sumOf(p), 'sum'));
      });
      storeAt(lo, c.buffer, c.root.type.shape, where, lo.emit(c.root, where, 1), 1);
    });
    const within = (cond: Expr, then: readonly L.Stmt[]): L.Stmt[] =>
      em.scope(() => this.when(cond, then));
    const inCols = within(L.compare('lt', n, em.index(c.panelled)), body);
    const inRows = within(L.compare('lt', m, em.index(c.streamed)), inCols);
    em.scopes.at(-1)!.stmts.push(...(guard ? within(guard, inRows) : inRows));
  }
}

const buffersOf = (m: Memory): readonly Buffer[] => [
  ...m.copies.map((c) => c.buffer),
  ...[m.words?.buffer, m.scales, m.offsets].filter((b) => b !== undefined),
];
