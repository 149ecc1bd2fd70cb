// Contractions with many rows: a group of threads computes a tile of the result. Along k it steps by slices: the slice of
// both operands is decoded once, into memory of the group, from which each thread reads a strip of each and adds up a
// small tile in registers. While it does, what the next slice needs is on its way from memory to registers.
// At the end the tile passes through the group's memory, so that neighbours finish and store neighbouring elements.

import { type Dim, floorDiv, Poly } from '../../ir/algebra.ts';
import type { Op, Value } from '../../ir/ir.ts';
import { ops } from '../../ir/ops.ts';
import type { Buffer, Expr, Var } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import type { Lowering } from '../lowering.ts';
import { chooseLanes, contractionIndex, loop } from '../reductions.ts';
import { storeAt } from '../regions.ts';
import type { Road } from './gemv.ts';
import { flat } from './share.ts';

/** Rows of the streamed operand and of the panel, of the group's tile and of a thread's. */
interface Shape {
  readonly from: number;
  readonly rows: number;
  readonly cols: number;
  readonly ownRows: number;
  readonly ownCols: number;
}

/** By the rows of the streamed operand from which they are used. */
const shapes: readonly Shape[] = [
  { from: 16, rows: 32, cols: 64, ownRows: 2, ownCols: 4 },
  { from: 48, rows: 64, cols: 64, ownRows: 4, ownCols: 4 },
  { from: 96, rows: 128, cols: 128, ownRows: 8, ownCols: 8 },
];
/** Elements along k of a slice. */
const slice = 32;

export interface Contraction {
  readonly op: Op<'matmul'>;
  readonly root: Value;
  readonly buffer: Buffer;
  readonly panelIsA: boolean;
  readonly streamed: Dim;
  readonly panelled: Dim;
  readonly k: Dim;
}

/** The tiles that fit the target, by the number of rows from which they pay. */
export function tileRoads(lo: Lowering, c: Contraction): readonly Road[] {
  const { gpu } = lo.limits;
  if (!gpu?.tileBytes || c.op.operands.some((v) => reduces(lo, v))) return [];
  if (c.panelled.constant !== undefined && c.panelled.constant < 32) return [];
  return shapes
    .filter((s) => (s.rows / s.ownRows) * (s.cols / s.ownCols) === gpu.threads)
    .filter((s) => 4 * slice * (s.rows + s.cols) <= gpu.tileBytes!)
    .map((s) => ({ from: s.from, emit: () => tiles(lo, c, s, gpu.threads) }));
}

/** Whether an element of `v` takes a loop of its own. */
function reduces(lo: Lowering, v: Value, seen = new Set<Value>()): boolean {
  const op = v.def?.op;
  if (!op || lo.storage.has(v) || seen.has(v)) return false;
  seen.add(v);
  const { kind } = ops[op.name];
  return kind === 'reduce' || kind === 'contract' || op.operands.some((o) => reduces(lo, o, seen));
}

function tiles(lo: Lowering, c: Contraction, s: Shape, threads: number): void {
  lo.team = undefined;
  const batch = c.root.type.shape.slice(0, -2);
  const count = (d: Dim, by: number): Dim => floorDiv(d.add(by - 1), by);
  flat(lo, [...batch, count(c.panelled, s.cols), count(c.streamed, s.rows)], 'groups', (ids) => {
    const at = ids.slice(0, -2);
    const p0 = ids.at(-2)!.mul(s.cols);
    const s0 = ids.at(-1)!.mul(s.rows);
    loop(
      lo,
      Poly.of(threads),
      1,
      false,
      (t) => new Tile(lo, c, s, threads, at, s0, p0, t).emit(),
      Poly.of(0),
      'thread',
      'members',
    );
  });
}

/** One operand within the tile. */
interface Side {
  /** Rows of the tile, and the first of them in the operand, which has `extent`. */
  readonly count: number;
  readonly first: Poly;
  readonly extent: Dim;
  /** Where its slice begins in the group's memory: element (k, row) is at `base + k * count + row`. */
  readonly base: number;
  element(row: Poly, k: Poly, lanes: number): Expr;
}

class Tile {
  readonly lo: Lowering;
  readonly c: Contraction;
  readonly s: Shape;
  readonly threads: number;
  readonly ids: readonly Poly[];
  readonly s0: Poly;
  readonly p0: Poly;
  readonly t: Poly;
  readonly memory: Buffer;

  constructor(
    lo: Lowering,
    c: Contraction,
    s: Shape,
    threads: number,
    ids: readonly Poly[],
    s0: Poly,
    p0: Poly,
    t: Poly,
  ) {
    this.lo = lo;
    this.c = c;
    this.s = s;
    this.threads = threads;
    this.ids = ids;
    this.s0 = s0;
    this.p0 = p0;
    this.t = t;
    const size = Poly.of(slice * (s.rows + s.cols));
    this.memory = lo.em.newBuffer('tile', 'f32', 'group', size);
  }

  place(row: Poly, col: Poly): Poly[] {
    return this.c.panelIsA ? [...this.ids, col, row] : [...this.ids, row, col];
  }

  side(which: 'stream' | 'panel'): Side {
    const { c, s, lo } = this;
    const isPanel = which === 'panel';
    const isA = isPanel === c.panelIsA;
    const operand = c.op.operands[isA ? 0 : 1]!;
    return {
      count: isPanel ? s.cols : s.rows,
      first: isPanel ? this.p0 : this.s0,
      extent: isPanel ? c.panelled : c.streamed,
      base: isPanel ? slice * s.rows : 0,
      element: (row, k, lanes) => {
        const zero = Poly.of(0);
        const i = contractionIndex(
          c.op,
          isPanel ? this.place(zero, row) : this.place(row, zero),
          k,
        );
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

  barrier(): void {
    this.lo.em.push({ kind: 'barrier', team: 'threads' });
  }

  at(linear: Poly, lanes: number): Expr {
    const lane = lanes === 1 ? Poly.of(0) : Poly.atom(this.lo.lane(lanes));
    return this.lo.load(this.memory, [this.memory.size], [linear.add(lane)], lanes);
  }

  emit(): void {
    const { lo, s, c } = this;
    const { em } = lo;
    const strips = s.cols / s.ownCols;
    const strip = this.named(
      em.index(floorDiv(this.t, strips)),
      'strip',
      Poly.of(s.rows / s.ownRows),
    );
    const other = this.named(em.index(this.t.sub(strip.mul(strips))), 'strip', Poly.of(strips));
    const [row, col] = [strip.mul(s.ownRows), other.mul(s.ownCols)];
    const sums = Array.from({ length: s.ownRows }, () => {
      const v = em.newVar('acc', L.vtype('f32', s.ownCols));
      em.push({ kind: 'local', var: v, value: L.constant(0, 'f32', s.ownCols) });
      return v;
    });
    const sides = [this.side('stream'), this.side('panel')];
    const stages = sides.map((side) => this.stage(side));
    const steps = floorDiv(c.k.add(slice - 1), slice);
    // A step more than slices: each works on the slice that the one before has put down.
    loop(
      lo,
      steps.add(1),
      1,
      false,
      (step) => {
        em.bufferDepth.set(this.memory.id, em.depth);
        const last = em.index(steps.sub(1));
        const slot = this.named(L.binary('min', em.index(step), last), 'slice', steps);
        const fetched = stages.map((stage) => stage.fetch(slot.mul(slice)));
        const work = em.scope(() =>
          loop(
            lo,
            Poly.of(slice),
            1,
            false,
            (k) => this.multiply(k, row, col, sums),
            undefined,
            'k',
          ),
        );
        const isFilled = L.compare('gt', em.index(step), L.i32(0));
        em.push({ kind: 'if', cond: isFilled, then: work, else: [] });
        this.barrier();
        stages.forEach((stage, i) => stage.put(fetched[i]!, slot.mul(slice)));
        this.barrier();
      },
      undefined,
      'step',
    );
    this.finish(row, col, sums);
  }

  /** How a side's slice comes from memory: vectors that are fetched early where k fills them, else one by one. */
  stage(side: Side): {
    fetch(k0: Poly): readonly Fetched[];
    put(f: readonly Fetched[], k0: Poly): void;
  } {
    const { lo, c, threads } = this;
    const { em } = lo;
    const total = side.count * slice;
    const exact = c.k.multiple() % slice === 0;
    const fit = [16, 8, 4, 2].filter((n) => exact && n * threads <= total);
    const lanes = chooseLanes(lo, fit, (n) => {
      const k = Poly.atom(em.atom(em.newVar('k', L.vtype('i32')), c.k.over(n) ?? undefined));
      const any = Poly.atom(em.atom(em.newVar('i', L.vtype('i32')), side.extent));
      return side.element(any, k.mul(n).add(Poly.atom(lo.lane(n))), n);
    });
    const clamped = (r: Poly): Poly => {
      const global = em.index(side.first.add(r));
      return this.named(L.binary('min', global, em.index(side.extent.sub(1))), 'from', side.extent);
    };
    if (lanes === 1) {
      // One element after another, those past the end of k as zero.
      const put = (_: readonly Fetched[], k0: Poly): void =>
        loop(lo, Poly.of(total / threads), 1, false, (i) => {
          const e = i.mul(threads).add(this.t);
          const k = this.named(em.index(floorDiv(e, side.count)), 'k', Poly.of(slice));
          const r = this.named(em.index(e.sub(k.mul(side.count))), 'r', Poly.of(side.count));
          const deep = em.index(k0.add(k));
          const inside = L.compare('lt', deep, em.index(c.k));
          const from = this.named(L.binary('min', deep, em.index(c.k.sub(1))), 'k', c.k);
          const value = em.bind(side.element(clamped(r), from, 1), 'value');
          this.store(
            k.mul(side.count).add(r).add(side.base),
            L.select(inside, value, L.constant(0, 'f32')),
          );
        });
      return { fetch: () => [], put };
    }
    // Neighbours take neighbouring rows, so that they write neighbouring elements.
    const parts = Array.from({ length: total / threads / lanes }, (_, i) => {
      const e = this.t.add(i * threads);
      const part = this.named(em.index(floorDiv(e, side.count)), 'part', Poly.of(slice / lanes));
      const r = this.named(em.index(e.sub(part.mul(side.count))), 'r', Poly.of(side.count));
      return { part, r, from: clamped(r) };
    });
    const lane = Poly.atom(lo.lane(lanes));
    return {
      fetch: (k0) =>
        parts.map(({ part, r, from }) => {
          const value = side.element(from, k0.add(part.mul(lanes)).add(lane), lanes);
          return { value: em.bind(value, 'next'), at: part.mul(lanes * side.count).add(r), lanes };
        }),
      put: (fetched) => {
        for (const { value, at, lanes: n } of fetched)
          for (let l = 0; l < n; l += 1)
            this.store(at.add(l * side.count + side.base), L.extract(value, l));
      },
    };
  }

  store(at: Poly, value: Expr): void {
    storeAt(this.lo, this.memory, [this.memory.size], [at], value, 1);
  }

  /** One step along k of the thread's tile. */
  multiply(k: Poly, row: Poly, col: Poly, sums: readonly Var[]): void {
    const { s } = this;
    const { em } = this.lo;
    const x = em.bind(this.at(k.mul(s.rows).add(row), s.ownRows), 'x');
    const w = em.bind(
      this.at(
        k
          .mul(s.cols)
          .add(col)
          .add(slice * s.rows),
        s.ownCols,
      ),
      'w',
    );
    sums.forEach((acc, i) => {
      const product = L.binary('mul', L.splat(L.extract(x, i), s.ownCols), w);
      em.push({ kind: 'set', var: acc, value: L.binary('add', L.variable(acc), product) });
    });
  }

  /** The sums, by way of the group's memory as many rows at a time as fit, to their places. */
  finish(row: Poly, col: Poly, sums: readonly Var[]): void {
    const { lo, s, c } = this;
    const { em } = lo;
    const passes = Math.ceil((s.rows * s.cols) / (slice * (s.rows + s.cols)));
    const rows = s.rows / passes;
    const count = rows * s.cols;
    loop(lo, Poly.of(passes), 1, false, (pass) => {
      em.bufferDepth.set(this.memory.id, em.depth);
      const from = pass.mul(rows);
      const store = em.scope(() =>
        sums.forEach((acc, i) => {
          const at = row.sub(from).add(i).mul(s.cols).add(col);
          const lane = Poly.atom(lo.lane(s.ownCols));
          storeAt(lo, this.memory, [this.memory.size], [at.add(lane)], L.variable(acc), s.ownCols);
        }),
      );
      const [lowest, highest] = [em.index(from), em.index(from.add(rows))];
      const mine = em.index(row);
      const below = em.scope(() =>
        em.push({ kind: 'if', cond: L.compare('lt', mine, highest), then: store, else: [] }),
      );
      em.push({ kind: 'if', cond: L.compare('ge', mine, lowest), then: below, else: [] });
      this.barrier();
      loop(lo, Poly.of(count / this.threads), 1, false, (i) => {
        const e = i.mul(this.threads).add(this.t);
        // The axis along which the result lies runs fastest.
        const across = c.panelIsA ? rows : s.cols;
        const slow = this.named(em.index(floorDiv(e, across)), 'i');
        const fast = this.named(em.index(e.sub(slow.mul(across))), 'i');
        const [r, p] = c.panelIsA ? [fast, slow] : [slow, fast];
        const [m, n] = [em.index(this.s0.add(from).add(r)), em.index(this.p0.add(p))];
        const body = em.scope(() => {
          const where = this.place(em.asIndex(m, c.streamed), em.asIndex(n, c.panelled));
          const sum = em.bind(this.at(r.mul(s.cols).add(p), 1), 'sum');
          lo.pin(c.op.results[0]!, where, sum);
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
      this.barrier();
    });
  }
}

/** A vector on its way into the slice: `lanes` elements along k of one row. */
interface Fetched {
  readonly value: Expr;
  readonly at: Poly;
  readonly lanes: number;
}
