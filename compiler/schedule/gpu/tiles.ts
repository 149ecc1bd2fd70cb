// Contractions with many rows: a group of threads computes a tile of the result. Along k it steps by slices: the slice of
// both operands is decoded once, into memory of the group, from which each thread reads a strip of each and adds up a
// small tile in registers. While it does, what the next slice needs is on its way from memory to registers.

import { type Dim, floorDiv, Poly } from '../../ir/algebra.ts';
import type { Expr, Var } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import type { Lowering } from '../lowering.ts';
import { loop } from '../nests.ts';
import { chooseLanes } from '../vector-widths.ts';
import { storeAt } from '../regions.ts';
import type { Road } from './gemv.ts';
import {
  type Contraction,
  type Part,
  reduces,
  type Shape,
  type Side,
  slice,
  Tile,
  tileEmitter,
} from './tile.ts';

/** By the rows of the streamed operand from which they are used. */
const shapes: readonly Shape[] = [
  { from: 16, rows: 32, cols: 64, ownRows: 2, ownCols: 4 },
  { from: 48, rows: 64, cols: 64, ownRows: 4, ownCols: 4 },
  { from: 96, rows: 128, cols: 128, ownRows: 8, ownCols: 8 },
];
/** Sums that a thread keeps in registers. */
const mostSums = 64;

/** The tiles that fit the target, by the number of rows from which they pay. */
export function tileRoads(lo: Lowering, c: Contraction): readonly Road[] {
  const { gpu } = lo.limits;
  const operands = c.parts.flatMap((p) => p.op.operands);
  if (!gpu?.tileBytes || operands.some((v) => reduces(lo, v))) return [];
  if (c.panelled.constant !== undefined && c.panelled.constant < 32) return [];
  const fit = shapes
    .filter((s) => (s.rows / s.ownRows) * (s.cols / s.ownCols) === gpu.threads)
    .filter((s) => 4 * slice * (s.rows + s.cols) <= gpu.tileBytes!)
    .filter((s) => s.ownRows * s.ownCols * c.parts.length <= mostSums);
  const emitTiles = tileEmitter(lo, c, fit);
  return fit.map((s) => {
    const size = slice * (s.rows + s.cols);
    const emit = (): void => emitTiles(s, gpu.threads, (at) => new SumTile(at, size).emit());
    return { from: s.from, emit };
  });
}

class SumTile extends Tile {
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
    const sums = c.parts.map((part) => this.sum(part, row, col));
    this.finish(slice * (s.rows + s.cols), row, (part, buffer, base) =>
      sums[part]!.forEach((acc, i) => {
        const at = base.add(row.add(i).mul(s.cols)).add(col);
        const lane = Poly.atom(lo.lane(s.ownCols));
        storeAt(lo, buffer, [buffer.size], [at.add(lane)], L.variable(acc), s.ownCols);
      }),
    );
  }

  /** The thread's sums of a part: a vector a row. */
  sum(part: Part, row: Poly, col: Poly): readonly Var[] {
    const { lo, s } = this;
    const { em } = lo;
    const sums = Array.from({ length: s.ownRows }, () => {
      const v = em.newVar('acc', L.vtype('f32', s.ownCols));
      em.push({ kind: 'local', var: v, value: L.constant(0, 'f32', s.ownCols) });
      return v;
    });
    const sides = [this.side('stream', part), this.side('panel', part)];
    const stages = sides.map((side) => this.stage(side, part.k));
    const slices = this.slices(part);
    // A step more than slices: each works on the slice that the one before has put down.
    loop(
      lo,
      slices.count.add(1),
      1,
      false,
      (step) => {
        em.bufferDepth.set(this.memory.id, em.depth);
        const k0 = slices.at(step);
        const fetched = stages.map((stage) => stage.fetch(k0));
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
        stages.forEach((stage, i) => stage.put(fetched[i]!, k0));
        this.barrier();
      },
      undefined,
      'step',
    );
    return sums;
  }

  /** How a side's slice comes from memory: vectors that are fetched early where k fills them, else one by one. */
  stage(
    side: Side,
    depth: Dim,
  ): {
    fetch(k0: Poly): readonly Fetched[];
    put(f: readonly Fetched[], k0: Poly): void;
  } {
    const { lo, threads } = this;
    const { em } = lo;
    const total = side.count * slice;
    const exact = depth.multiple() % slice === 0;
    const fit = [16, 8, 4, 2].filter((n) => exact && n * threads <= total);
    const lanes = chooseLanes(lo, fit, (n) => {
      const k = Poly.atom(em.atom(em.newVar('k', L.vtype('i32')), depth.over(n) ?? undefined));
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
          const inside = L.compare('lt', deep, em.index(depth));
          const from = this.named(L.binary('min', deep, em.index(depth.sub(1))), 'k', depth);
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
}

/** A vector on its way into the slice: `lanes` elements along k of one row. */
interface Fetched {
  readonly value: Expr;
  readonly at: Poly;
  readonly lanes: number;
}
