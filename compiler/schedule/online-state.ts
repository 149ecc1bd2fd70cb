// What a pass with an online softmax keeps of each row, whatever the order in which scores and values are summed: the
// largest score so far, the sum of the weights and the weighted sums, which fade when a larger score comes.
import type { Dim, Poly } from '../ir/algebra.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Online } from '../passes/online.ts';
import type { Lowering, Storage } from './lowering.ts';
import { loop, vectorLoop } from './nests.ts';
import { storeAt } from './regions.ts';

/** A row of scratch: one number a key of the block at hand. */
export interface Strip {
  readonly buffer: Buffer;
  /** Place of key `j` of the block. */
  readonly at: (j: Poly) => Poly;
}

/** The strips of a row; they may be one and the same. */
export interface Strips {
  /** What the contraction gives. Absent where z is not made from one. */
  readonly scores: Strip | undefined;
  readonly z: Strip;
  readonly weights: Strip;
}

/** exp of a score, or of a maximum of some, less a maximum of those and more. */
const power = (difference: Expr): Expr => L.unary('exp', L.bounded(difference, -Infinity, 0));

/** The keys of a block: `n` from `from` on. */
export interface Block {
  readonly from: Poly;
  readonly n: Dim;
}

export class Running {
  readonly #lo: Lowering;
  readonly #o: Online;
  readonly width: Dim;
  readonly #tops: Buffer;
  readonly #sums: Buffer;
  readonly totals: Buffer;

  /** Of as many rows as `places` says. */
  constructor(lo: Lowering, o: Online, places: Dim) {
    this.#lo = lo;
    this.#o = o;
    this.width = o.root.type.shape.at(-1)!;
    const temp = (name: string, size: Dim): Buffer => lo.em.newBuffer(name, 'f32', 'temp', size);
    this.#tops = temp('tops', places);
    this.#sums = temp('sums', places);
    this.totals = temp('totals', places.mul(this.width));
  }

  /** Where the weighted sum `d` of the row at place `r` is. */
  total(r: Poly, d: Poly): Poly {
    return r.mul(this.width).add(d);
  }

  start(r: Poly): void {
    const lo = this.#lo;
    this.#put(this.#tops, r, L.constant(-Infinity, 'f32'));
    this.#put(this.#sums, r, L.constant(0, 'f32'));
    vectorLoop(lo, this.width, lanesFor(this.width), (d, n) =>
      this.#put(this.totals, this.total(r, d), L.constant(0, 'f32', n)),
    );
  }

  /**
   * Makes weights of the scores of a block, for the row at index `at` of the result and place `r`. What it gives is the
   * factor by which everything summed before fades; the sum of the weights has faded already.
   */
  weigh(at: readonly Poly[], r: Poly, { from, n }: Block, s: Strips): Expr {
    const lo = this.#lo;
    const { em } = lo;
    const { scores, z } = this.#o;
    this.touch(this.#tops, this.#sums, this.totals, s.z.buffer, s.weights.buffer);
    if (scores && s.scores) {
      const { buffer, at: place } = s.scores;
      this.touch(buffer);
      lo.storage.set(scores.results[0]!, {
        kind: 'place',
        buffer,
        at: (index) => place(index.at(-1)!.sub(from)),
      });
    }
    // Scores become z; the maximum grows.
    const before = em.bind(this.#get(this.#tops, r, 1), 'before');
    const top = this.#over(n, 'max', before, 'top', (j, w) => {
      const e = em.bind(asFloat(lo.emit(z, [...at, from.add(j)], w), w), 'z');
      this.#put(s.z.buffer, s.z.at(j), e);
      return e;
    });
    // Where every score so far is -Inf the weights are 0 whatever they are measured by.
    const none = L.compare('eq', top, L.constant(-Infinity, 'f32'));
    const by = em.bind(L.select(none, L.constant(0, 'f32'), top), 'by');
    const fade = em.bind(power(L.binary('sub', before, by)), 'fade');
    this.#put(this.#tops, r, top);
    this.touch(s.z.buffer);
    const sum = this.#over(n, 'add', L.constant(0, 'f32'), 'sum', (j, w) => {
      const x = L.binary('sub', this.#get(s.z.buffer, s.z.at(j), w), L.splat(by, w));
      const e = em.bind(power(x), 'weight');
      this.#put(s.weights.buffer, s.weights.at(j), e);
      return e;
    });
    const faded = L.binary('mul', this.#get(this.#sums, r, 1), fade);
    this.#put(this.#sums, r, L.binary('add', faded, sum));
    this.touch(s.weights.buffer);
    return fade;
  }

  /** Fades what was summed of the values of a row. */
  fade(r: Poly, by: Expr): void {
    vectorLoop(this.#lo, this.width, lanesFor(this.width), (d, n) => {
      const place = this.total(r, d);
      const old = this.#get(this.totals, place, n);
      this.#put(this.totals, place, L.binary('mul', old, L.splat(by, n)));
    });
  }

  /** Vectors of a reduction over the keys of the block, then its tail. */
  #over(
    n: Dim,
    op: 'max' | 'add',
    from: Expr,
    name: string,
    element: (j: Poly, lanes: number) => Expr,
  ): Expr {
    const lo = this.#lo;
    const { em } = lo;
    const local = (lanes: number, value: Expr): L.Var => {
      const v = em.newVar(name, L.vtype('f32', lanes));
      em.push({ kind: 'local', var: v, value: L.splat(value, lanes) });
      return v;
    };
    // A maximum takes long: several are under way at once.
    const lanes = n.multiple() % 16 === 0 ? 16 : 4;
    const wide = local(lanes, op === 'max' ? from : L.constant(0, 'f32'));
    const rest = n.multiple() % lanes === 0 ? undefined : local(1, from);
    const to = (v: L.Var) => (j: Poly, w: number) => {
      const value = L.binary(op, L.variable(v), element(j, w));
      em.push({ kind: 'set', var: v, value });
    };
    const vectors = rest ? em.asIndex(L.binary('and', em.index(n), L.i32(-4))) : n;
    vectorLoop(lo, rest ? multipleOfFour(lo, vectors) : n, lanes, to(wide));
    if (rest) loop(lo, n, 1, false, (j) => to(rest)(j, 1), vectors);
    const whole = L.reduce(op, L.variable(wide));
    return em.bind(rest ? L.binary(op, whole, L.variable(rest)) : whole, name);
  }

  /** What the root makes of the sums of the row at index `at`. */
  finish(out: Buffer, at: readonly Poly[], r: Poly): void {
    const lo = this.#lo;
    const { root, contraction, sums, divided } = this.#o;
    this.touch(this.#sums, this.totals);
    const own = lo.em.bind(this.#get(this.#sums, r, 1), 'sum');
    const finished: Storage = {
      kind: 'place',
      buffer: this.totals,
      at: (index) => this.total(r, index.at(-1)!),
    };
    for (const s of sums) lo.storage.set(s, { kind: 'place', buffer: this.#sums, at: () => r });
    lo.storage.set(contraction.results[0]!, finished);
    const lanes = lanesFor(this.width);
    if (divided)
      vectorLoop(lo, this.width, lanes, (d, w) => {
        const place = this.total(r, d);
        this.#put(
          this.totals,
          place,
          L.binary('div', this.#get(this.totals, place, w), L.splat(own, w)),
        );
      });
    this.touch(this.totals);
    vectorLoop(lo, this.width, lanes, (d, w) => {
      const where = [...at, d];
      storeAt(lo, out, root.type.shape, where, lo.emit(root, where, w), w);
    });
  }

  #put(b: Buffer, at: Poly, value: Expr): void {
    storeAt(this.#lo, b, [b.size], [at], value, value.type.lanes);
  }
  #get(b: Buffer, at: Poly, lanes: number): Expr {
    return this.#lo.load(b, [b.size], [at], lanes);
  }
  /** Memory that changes from here on: nothing read from it may be read further out. */
  touch(...list: readonly Buffer[]): void {
    for (const b of list) this.#lo.em.bufferDepth.set(b.id, this.#lo.em.depth);
  }
}

export const lanesFor = (extent: Dim): number =>
  extent.multiple() % 4 === 0 || (extent.constant ?? 4) >= 4 ? 4 : 1;

/** The same number, known to be whole vectors. */
function multipleOfFour(lo: Lowering, p: Poly): Poly {
  const { em } = lo;
  return em.asIndex(em.bind(L.binary('shr', em.index(p), L.i32(2)), 'fours')).mul(4);
}

export const asFloat = (e: Expr, lanes: number): Expr =>
  L.splat(e.type.scalar === 'f32' ? e : L.convert(e, 'f32'), lanes);

/** An index of the result without its last: `ids` for the axes that rows share, `outer` for the others. */
export function indexOfRow(
  shared: readonly boolean[],
  ids: readonly Poly[],
  outer: readonly Poly[],
): Poly[] {
  const [rows, rest] = [[...ids], [...outer]];
  return shared.map((s) => (s ? rows.shift()! : rest.shift()!));
}
