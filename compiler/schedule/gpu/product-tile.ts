// A tile of a contraction on tensor cores. Its depth is taken in stages: copies of later stages are under way while a stage
// is multiplied, and what has to pass through registers of the next one is fetched early and put down late, so that one
// barrier a stage is enough. The heavier operand gives 16 rows of a product, the other one 8; a warp has several of each.
// Where rows are few the warps divide a stage's depth among them, and their sums are added at the end.

import { type Dim, floorDiv, Poly } from '../../ir/algebra.ts';
import { dtypes } from '../../ir/dtype.ts';
import type { Buffer, Expr, Var } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import type { Storage } from '../lowering.ts';
import { loop } from '../reductions.ts';
import { storeAt } from '../regions.ts';
import { coreOf, planesOf } from './cores.ts';
import { anySlice, type Field, type Stages, withStorage } from './feeds.ts';
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
interface Feed extends Memory {
  readonly side: Side;
  readonly fields: readonly Field[];
  readonly depth: Dim;
}

/** What a thread fetches early, to be put down later. */
interface Fetched {
  readonly at: Expr;
  readonly guard: Expr | undefined;
  readonly values: readonly { readonly buffer: Buffer; readonly plane: number; readonly e: Expr }[];
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
  readonly #warp: { readonly down: Poly; readonly deep: Poly };
  readonly #g: Poly;
  readonly #t: Poly;

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
    this.#warp = { down: warp.sub(deep.mul(s.down)), deep };
    this.#g = this.named(em.index(floorDiv(lane, 4)), 'g', Poly.of(8));
    this.#t = this.named(em.index(lane.sub(this.#g.mul(4))), 't', Poly.of(4));
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
  get #units(): number {
    return this.stages.total / this.stages.plan.unit;
  }

  /** The lane's sums of a part: for each 16 rows of the panel and each 8 of the stream, four points. */
  #sum(part: Part, stream: Feed, panel: Feed): readonly Var[] {
    const { lo, stages } = this;
    const { em } = lo;
    const sums = this.#blocks(() => this.#local('f32', 'acc'));
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
            for (const f of feeds) this.#copy(f, stage, slot(0));
          });
          this.#when(L.compare('lt', em.index(step), em.index(slices.count)), start);
        }
        const early = step.sub(stages.count - 2);
        const next = this.named(L.binary('max', em.index(early), L.i32(0)), 'next', undefined);
        const stage = slices.at(next).over(stages.total)!;
        const fetched = feeds.flatMap((f) => this.#fetch(f, stage, half(stages.count)));
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
              this.#multiply(stream, panel, sums, j, at, other);
            },
            undefined,
            'j',
          );
        });
        this.#when(L.compare('ge', em.index(step), L.i32(ahead)), work);
        for (const f of fetched) this.#put(f);
      },
      undefined,
      'step',
    );
    return sums;
  }

  #when(cond: Expr, then: readonly L.Stmt[]): void {
    this.lo.em.push({ kind: 'if', cond, then, else: [] });
  }

  #local(scalar: 'f32' | 'i32', name: string): Var {
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

  // ---- a stage on its way ----

  /** The row of an operand; past its end, the last one. */
  #row(side: Side, r: Poly): Poly {
    const { em } = this.lo;
    const last = em.index(side.extent.sub(1));
    return this.named(L.binary('min', em.index(side.first.add(r)), last), 'from', side.extent);
  }

  /** Runs `body` for the numbers of a grid that the threads share; `inside` says whether there is such a number. */
  #share(
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

  #copy(f: Feed, stage: Poly, slot: Poly): void {
    const { em } = this.lo;
    const { total } = this.stages;
    f.fields.forEach(({ from, base, piece }, i) => {
      const { buffer, pitch } = f.copies[i]!;
      this.#share(
        f.side.count,
        total / piece,
        (row, part, guard) => {
          const start = em.scope(() => {
            const at = slot.mul(f.side.count).add(row).mul(pitch).add(part.mul(piece));
            const index = base(this.#row(f.side, row), stage).add(part.mul(piece));
            const left = L.binary(
              'sub',
              em.index(f.depth),
              em.index(stage.mul(total).add(part.mul(piece))),
            );
            const valid = L.binary('min', L.binary('max', left, L.i32(0)), L.i32(piece));
            em.push({
              kind: 'copy',
              ...{ to: buffer, at: em.index(at), from, index: em.index(index), count: piece },
              ...(f.depth.multiple() % total === 0 ? {} : { valid: em.bind(valid, 'valid') }),
            });
          });
          if (guard) this.#when(guard, start);
          else em.scopes.at(-1)!.stmts.push(...start);
        },
        false,
      );
    });
  }

  /** What of a stage passes through registers. */
  #fetch(f: Feed, stage: Poly, half: Poly): Fetched[] {
    const { em } = this.lo;
    const { plan, total } = this.stages;
    const out: Fetched[] = [];
    const { words, scales, offsets } = f;
    if (words) {
      const per = plan.unit / 4;
      const own = (per * dtypes[plan.kind].bits) / 32;
      this.#share(
        f.side.count,
        total / per,
        (row, part, guard) => {
          const value = this.#elements(f, this.#row(f.side, row), stage, part);
          const planes = f.which === 'stream' ? plan.planes : 1;
          const list = planes === 1 ? [value] : planesOf(value, (e) => em.bind(e, 'plane'));
          const at = half
            .mul(planes * f.side.count)
            .add(row)
            .mul(words.pitch)
            .add(part.mul(own));
          out.push({
            at: em.index(at),
            guard,
            values: list.map((e, plane) => ({ buffer: words.buffer, plane, e })),
          });
        },
        true,
      );
    }
    if (scales || offsets)
      this.#share(
        f.side.count,
        this.#units,
        (row, part, guard) => {
          const number = stage.mul(this.#units).add(part);
          const last = em.index(f.depth.over(plan.unit)!.sub(1));
          const unit = this.named(
            L.binary('min', em.index(number), last),
            'unit',
            f.depth.over(plan.unit)!,
          );
          const per = plan.unit / 4;
          const k = unit.mul(plan.unit).add(Poly.atom(this.lo.lane(per)));
          const core = coreOf(f.side.element(this.#row(f.side, row), k, per))!;
          const at = half
            .mul(f.side.count)
            .add(row)
            .mul(this.#units + 1)
            .add(part);
          const values = [
            ...(scales ? [{ buffer: scales, e: core.scale ?? L.constant(1, 'f32') }] : []),
            ...(offsets ? [{ buffer: offsets, e: core.offset! }] : []),
          ];
          out.push({
            at: em.index(at),
            guard,
            values: values.map(({ buffer, e }) => ({ buffer, plane: 0, e: em.bind(e, 'scale') })),
          });
        },
        true,
      );
    return out;
  }

  /** A lane's cores of one place of a stage; those past the end of the depth are zero. */
  #elements(f: Feed, row: Poly, stage: Poly, part: Poly): Expr {
    const { em } = this.lo;
    const { plan, total } = this.stages;
    const per = plan.unit / 4;
    const { depth } = f;
    const scalar = plan.kind === 'i8' ? 'i32' : 'f32';
    const asKind = (e: Expr): Expr => (e.type.scalar === scalar ? e : L.convert(e, scalar));
    const number = stage.mul(total / per).add(part);
    if (depth.multiple() % per === 0) {
      const last = depth.over(per)!.sub(1);
      const exact = depth.multiple() % total === 0;
      const inside = exact
        ? number
        : this.named(L.binary('min', em.index(number), em.index(last)), 'chunk', depth.over(per)!);
      const k = inside.mul(per).add(Poly.atom(this.lo.lane(per)));
      const value = em.bind(asKind(coreOf(f.side.element(row, k, per))!.core), 'next');
      if (exact) return value;
      const isIn = L.splat(L.compare('le', em.index(number), em.index(last)), per);
      return em.bind(L.select(isIn, value, L.constant(0, scalar, per)), 'next');
    }
    const parts = Array.from({ length: per }, (_, l) => {
      const at = em.index(number.mul(per).add(l));
      const end = em.index(depth);
      const k = this.named(L.binary('min', at, L.binary('sub', end, L.i32(1))), 'k', depth);
      const value = em.bind(asKind(f.side.element(row, k, 1)), 'next');
      return L.select(L.compare('lt', at, end), value, L.constant(0, scalar));
    });
    return em.bind(L.build(parts), 'next');
  }

  #put({ at, guard, values }: Fetched): void {
    const { em } = this.lo;
    const list = em.scope(() => {
      for (const { buffer, plane, e } of values) {
        if (e.type.lanes === 1) {
          em.push({ kind: 'store', buffer, index: at, value: e, align: 1 });
          continue;
        }
        const words = this.#pack(e);
        const index =
          plane === 0 ? at : L.binary('add', at, L.i32(plane * this.#planeSize(buffer)));
        em.push({ kind: 'store', buffer, index, value: words, align: words.type.lanes });
      }
    });
    if (guard) this.#when(guard, list);
    else em.scopes.at(-1)!.stmts.push(...list);
  }

  /** Words of a plane of a half. */
  #planeSize(buffer: Buffer): number {
    return buffer.size.constant! / 2 / this.stages.plan.planes;
  }

  // ---- multiplication ----

  #pack(value: Expr): Expr {
    const { em } = this.lo;
    const { kind } = this.stages.plan;
    const v = em.newVar('packed', L.vtype('i32', (value.type.lanes * dtypes[kind].bits) / 32));
    em.push({ kind: 'pack', var: v, dtype: kind, paired: this.paired, value });
    return L.variable(v);
  }

  /** The lane's part of a slice `j` of the warp's depth, of one row of an operand in the group's memory. */
  #fragment(f: Feed, row: Poly, j: Poly, slot: Poly, half: Poly, plane = 0): Expr {
    const { lo } = this;
    const { em } = lo;
    const { plan, depth } = this.stages;
    const per = plan.unit / 4;
    const k = this.#warp.deep.mul(depth).add(j.mul(plan.unit)).add(this.#t.mul(per));
    if (f.words) {
      const own = (per * dtypes[plan.kind].bits) / 32;
      const planes = f.which === 'stream' ? plan.planes : 1;
      const first = half.mul(planes).add(plane).mul(f.side.count).add(row).mul(f.words.pitch);
      const at = first.add(k.over(per)!.mul(own)).add(Poly.atom(lo.lane(own)));
      return em.bind(lo.load(f.words.buffer, [f.words.buffer.size], [at], own), 'b');
    }
    const lane = Poly.atom(lo.lane(per));
    const elsewhere = new Map(
      f.fields.map(({ value }, i): readonly [typeof value, Storage] => {
        const { buffer, pitch } = f.copies[i]!;
        const at = slot.mul(f.side.count).add(row).mul(pitch).add(k).add(lane);
        return [
          value,
          {
            kind: 'place',
            buffer,
            at: (index) => (index.some((p) => !lo.isUniform(p)) ? at : Poly.of(0)),
          },
        ];
      }),
    );
    // What is not in the group's memory is no part of the core, so that any row and any slice will do.
    const any = (name: string, extent: Dim | undefined): Poly =>
      Poly.atom(em.atom(em.newVar(name, L.vtype('i32')), extent));
    const { start } = anySlice(lo, f.depth, plan.unit);
    const somewhere = start.add(this.#t.mul(per)).add(lane);
    const { core } = withStorage(lo, elsewhere, () =>
      coreOf(f.side.element(any('row', f.side.extent), somewhere, per)),
    )!;
    const floats = core.type.scalar === 'i32' && plan.kind !== 'i8' ? L.convert(core, 'f32') : core;
    return this.#pack(floats);
  }

  #multiply(
    stream: Feed,
    panel: Feed,
    sums: readonly Var[],
    j: Poly,
    slot: Poly,
    half: Poly,
  ): void {
    const { lo, s } = this;
    const { em } = lo;
    const { plan, depth } = this.stages;
    const unit = this.#warp.deep.mul(depth / plan.unit).add(j);
    const scaleAt = (buffer: Buffer | undefined, f: Feed, row: Poly): Expr | undefined =>
      buffer &&
      em.bind(
        lo.load(
          buffer,
          [buffer.size],
          [
            half
              .mul(f.side.count)
              .add(row)
              .mul(this.#units + 1)
              .add(unit),
          ],
          1,
        ),
        'd',
      );
    const panelBlocks = s.ownCols / 16;
    const rows = Array.from({ length: panelBlocks }, (_, r) => {
      const first = this.#warp.down
        .mul(s.ownCols)
        .add(16 * r)
        .add(this.#g);
      const of = <T>(make: (row: Poly) => T): readonly [T, T] => [make(first), make(first.add(8))];
      return {
        a: of((row) => this.#fragment(panel, row, j, slot, half)),
        scale: of((row) => scaleAt(panel.scales, panel, row)),
        offset: of((row) => scaleAt(panel.offsets, panel, row)),
      };
    });
    const scalar = plan.kind === 'i8' ? 'i32' : 'f32';
    const product = (v: Var, a: readonly [Expr, Expr], b: readonly Expr[]): void => {
      for (const x of b) em.push({ kind: 'product', var: v, dtype: plan.kind, a, b: x });
    };
    const ones = panel.offsets && this.#ones();
    for (let c = 0; c < s.ownRows / 8; c += 1) {
      // Fewer rows than a product has: the last one again.
      const row = s.rows >= 8 ? this.#g.add(8 * c) : Poly.of(0);
      const b = Array.from({ length: plan.planes }, (_, plane) =>
        this.#fragment(stream, row, j, slot, half, plane),
      );
      const others = [0, 1].map((l) => {
        const at = s.rows >= 8 ? this.#t.mul(2).add(8 * c + l) : Poly.of(0);
        return scaleAt(stream.scales, stream, at);
      });
      let total: Expr | undefined;
      if (ones) {
        // The sums of the other operand's rows, for what the panel's elements are more than a multiple of their cores.
        const v = this.#local(scalar, 'total');
        product(v, [ones, ones], b);
        total = L.convert(L.variable(v), 'f32');
      }
      for (let r = 0; r < panelBlocks; r += 1) {
        const acc = sums[c * panelBlocks + r]!;
        const { a, scale, offset } = rows[r]!;
        const factor = (own: readonly [Expr | undefined, Expr | undefined]): Expr | undefined => {
          const list = [0, 1, 2, 3].map((i) => both(own[i >> 1], others[i & 1]));
          return list.every((x) => x !== undefined) ? L.build(list as Expr[]) : undefined;
        };
        const by = factor(scale);
        if (!by && scalar === 'f32') {
          product(acc, a, b);
        } else {
          const v = this.#local(scalar, 'c');
          product(v, a, b);
          const sum = L.convert(L.variable(v), 'f32');
          this.#add(acc, by ? L.binary('mul', sum, by) : sum);
        }
        const more = total && factor(offset);
        if (more) this.#add(acc, L.binary('mul', total!, more));
      }
    }
  }

  #add(acc: Var, value: Expr): void {
    this.lo.em.push({ kind: 'set', var: acc, value: L.binary('add', L.variable(acc), value) });
  }

  #ones(): Expr {
    const { plan } = this.stages;
    const scalar = plan.kind === 'i8' ? 'i32' : 'f32';
    return this.#pack(L.constant(1, scalar, plan.unit / 4));
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
            const row = rows === 1 ? Poly.of(0) : this.#t.mul(2).add(i & 1);
            const col = this.#warp.down
              .mul(s.ownCols)
              .add(16 * r + 8 * (i >> 1))
              .add(this.#g);
            const at = this.#warp.deep
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
      this.#share(
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
      return em.scope(() => this.#when(L.compare('lt', em.index(this.#t), L.i32(1)), list));
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
          this.#when(
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
      em.scope(() => this.#when(cond, then));
    const inCols = within(L.compare('lt', n, em.index(c.panelled)), body);
    const inRows = within(L.compare('lt', m, em.index(c.streamed)), inCols);
    em.scopes.at(-1)!.stmts.push(...(guard ? within(guard, inRows) : inRows));
  }
}

/** The scale of a point, of which either operand may have none. */
const both = (a: Expr | undefined, b: Expr | undefined): Expr | undefined =>
  a && b ? L.binary('mul', a, b) : (a ?? b);

const buffersOf = (m: Memory): readonly Buffer[] => [
  ...m.copies.map((c) => c.buffer),
  ...[m.words?.buffer, m.scales, m.offsets].filter((b) => b !== undefined),
];
