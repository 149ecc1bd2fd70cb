// Some strips of columns of a contraction of small integers (int-columns.ts): where their codes and sums lie in scratch, and the
// loops over them.
import { floorDiv, Poly } from '../ir/algebra.ts';
import type { Buffer, Expr, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { type ColumnsPlan, type Format, quad } from './int-columns-plan.ts';
import type { Lowering } from './lowering.ts';
import type { Piece } from './pieces.ts';
import { loop } from './nests.ts';

/** Lanes of a vector of sums, and bytes of one of codes. */
export const side = 4;
export const vector = 16;

/** What a pass over some strips works on: all of them are of one format. */
export interface Work {
  readonly format: Format;
  /** Strips of the columns, or the columns that are left over when those are done. */
  readonly strips: Piece;
  readonly items: Piece;
  readonly rows: Piece;
  readonly ids: readonly Poly[];
}

export interface Scratch {
  readonly panel: Buffer;
  readonly perRow: Buffer | undefined;
  readonly codes: Buffer | undefined;
  readonly scales: Buffer | undefined;
  readonly starts: Buffer | undefined;
  readonly sums: Buffer;
  /** Takes what is read for nothing but to have it near. */
  readonly walked: Buffer;
}

export interface Sizes {
  readonly depth: number;
  readonly rows: number;
  readonly block: number;
  /** Strips of one item. */
  readonly together: number;
}

/** Some strips of columns, of one or several items: the indices of the last leading axis. */
export class Strips {
  readonly lo: Lowering;
  readonly plan: ColumnsPlan;
  readonly work: Work;
  readonly at: Scratch;
  readonly sizes: Sizes;
  readonly rest: Poly | undefined;

  constructor(
    lo: Lowering,
    plan: ColumnsPlan,
    work: Work,
    at: Scratch,
    sizes: Sizes,
    rest: Poly | undefined,
  ) {
    this.lo = lo;
    this.plan = plan;
    this.work = work;
    this.at = at;
    this.sizes = sizes;
    this.rest = rest;
  }

  /** Whether depth is in whole fours. */
  get whole(): boolean {
    return this.plan.depth.multiple() % quad === 0;
  }

  // ---- places ----

  ids(item: Poly): Poly[] {
    return this.plan.batch.length ? [...this.work.ids, item] : [];
  }
  /** The number of an item and of a strip among those of the work. */
  item = (item: Poly): Poly => item.sub(this.work.items.from);
  strip = (item: Poly, strip: Poly): Poly =>
    this.item(item).mul(this.sizes.together).add(strip.sub(this.work.strips.from));
  /** Vectors of codes that four elements of depth take in a strip, and vectors of sums. */
  get vectors(): number {
    const { width, bits } = this.work.format;
    return (width * bits) / 8 / side;
  }
  get sums(): number {
    return this.work.format.width / side;
  }
  /** Byte of vector `v` of a panel, at an element of depth of the piece that starts four. */
  inPanel(strip: Poly, k: Poly, v: Poly | number): Poly {
    const { depth } = this.sizes;
    const quads = strip.mul(depth / quad).add(k.over(quad)!);
    return quads.mul(this.vectors).add(v).mul(vector);
  }
  inSums = (strip: Poly, row: Poly, sum: Poly | number): Poly =>
    strip.mul(this.work.rows.length).add(row).mul(this.sums).add(sum).mul(side);
  blocks = (): number => this.sizes.depth / this.sizes.block;

  /** Items, or every so many of them. */
  eachItem(body: (item: Poly) => void, step = 1): void {
    const { items } = this.work;
    const { batch } = this.plan;
    const extent = batch.at(-1) ?? Poly.of(1);
    if (extent.constant === 1) return body(Poly.of(0));
    loop(this.lo, extent, step, false, body, items.from, 'item', undefined, items.to);
  }
  eachStrip(body: (strip: Poly) => void, step = 1): void {
    const { strips, format } = this.work;
    if (this.rest) return body(strips.from);
    const extent = floorDiv(this.plan.columns, format.width);
    if (extent.constant === 1) return body(Poly.of(0));
    loop(this.lo, extent, step, false, body, strips.from, 'strip', undefined, strips.to);
  }
  eachRow(body: (row: Poly, local: Poly) => void): void {
    const { rows } = this.work;
    const extent = this.plan.rows;
    if (extent.constant === 1) return body(Poly.of(0), Poly.of(0));
    const { from, to } = rows;
    loop(this.lo, extent, 1, false, (r) => body(r, r.sub(from)), from, 'row', undefined, to);
  }
  /** Blocks of a piece of depth: the first element, and the number of the block. */
  eachBlock(deep: Piece, body: (k: Poly, block: Poly) => void): void {
    const { block } = this.sizes;
    if (!this.plan.block) return body(deep.from, Poly.of(0));
    if (deep.length.constant === block) return body(deep.from, Poly.of(0));
    const { depth } = this.plan;
    loop(
      this.lo,
      depth,
      block,
      false,
      (k) => body(k, k.sub(deep.from).over(block)!),
      deep.from,
      'block',
      undefined,
      deep.to,
    );
  }

  /** A name here and nowhere further out. */
  here(kind: 'let' | 'local', name: string, value: Expr): Var {
    const { em } = this.lo;
    const v = em.newVar(name, value.type);
    em.push({ kind, var: v, value });
    return v;
  }
  let = (name: string, value: Expr): Expr => L.variable(this.here('let', name, value));
  store(buffer: Buffer, index: Poly, value: Expr, align = 1): void {
    this.lo.em.push({ kind: 'store', buffer, index: this.lo.em.index(index), value, align });
  }
  load = (buffer: Buffer, index: Poly, lanes: number): Expr =>
    L.load(buffer, this.lo.em.index(index), lanes, lanes);
  /** What was written here is not read in front of it. */
  touch(...buffers: readonly (Buffer | undefined)[]): void {
    const { em } = this.lo;
    for (const b of buffers) if (b) em.bufferDepth.set(b.id, em.depth);
  }

  column = (strip: Poly): Poly => this.rest ?? strip.mul(this.work.format.width);

  inBlocks = (i: Poly, row: Poly, block: Poly): Poly =>
    i.mul(this.work.rows.length).add(row).mul(this.blocks()).add(block);
}
