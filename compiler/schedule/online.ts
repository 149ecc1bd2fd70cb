// A contraction weighted by exp(z - max z) in one pass over its axis (see passes/online.ts), a block of keys at a
// time: the scores of the block, their maximum, the weights, and the sums, which are rescaled when the maximum grows.
// No row of scores is ever stored, and each exponential is taken once. One row of queries decodes keys and values in
// registers; where several rows read the same keys, a block of them is decoded into scratch first. Keys that lie channel
// by channel go another way: see online-columns.ts.
import { type Dim, Poly } from '../ir/algebra.ts';
import type { Value } from '../ir/ir.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { findOnline, type Online, sharedAxes } from '../passes/online.ts';
import { addSum, explainSum, factoredSum } from './factor.ts';
import type { Lowering } from './lowering.ts';
import { passByColumns, wayOfScores } from './online-columns.ts';
import { asFloat, indexOfRow, Running, type Strip } from './online-state.ts';
import { loop, nest, vectorLoop } from './nests.ts';
import { contractionIndex } from './reductions.ts';
import { chooseLanes, laneCandidates, probeIndex } from './vector-widths.ts';
import { storeAt } from './regions.ts';

/** Keys of a block: their scores and, decoded, 32 rows of 128 numbers stay in the nearest cache. */
const blockKeys = 32;
/** Keys whose scores are summed side by side: one register each. */
const together = 4;

export function lowerOnline(lo: Lowering, root: Value, buffer: Buffer): boolean {
  const o = findOnline(root);
  if (!o) return false;
  const shared = sharedAxes(o);
  const shape = root.type.shape.slice(0, -1);
  const rows = shape.filter((_, i) => shared[i]);
  const count = rows.reduce((p, d) => p.mul(d), Poly.of(1));
  const way = wayOfScores(lo, o);
  lo.note(way.reason);
  if (way.byKeys) {
    const outer = shape.filter((_, i) => !shared[i]);
    nest(lo, outer, (ids) => passByColumns(lo, o, buffer, shared, ids, rows), true);
    return true;
  }
  const pass = (decoded: boolean) => (): void =>
    nest(
      lo,
      shape.filter((_, i) => !shared[i]),
      (ids) => new OnePass(lo, o, buffer, shared, ids, rows, decoded).run(),
      true,
    );
  if (count.constant !== undefined) {
    pass(count.constant > 1)();
    return true;
  }
  const { em } = lo;
  const several = L.compare('gt', em.index(count), L.i32(1));
  em.push({ kind: 'if', cond: several, then: em.scope(pass(true)), else: em.scope(pass(false)) });
  return true;
}

/** Element `k` of key or value number `j`. */
type Read = (j: Poly, k: Poly, lanes: number) => Expr;

class OnePass {
  readonly #lo: Lowering;
  readonly #o: Online;
  readonly #out: Buffer;
  readonly #shared: readonly boolean[];
  readonly #outer: readonly Poly[];
  readonly #rows: readonly Dim[];
  readonly #decoded: boolean;
  readonly #keys: Dim;
  readonly #width: Dim;
  readonly #state: Running;
  /** Of the block at hand: the contraction's scores, z, the weights. */
  readonly #strips: { readonly scores: Strip; readonly z: Strip; readonly weights: Strip };

  constructor(
    lo: Lowering,
    o: Online,
    out: Buffer,
    shared: readonly boolean[],
    outer: readonly Poly[],
    rows: readonly Dim[],
    decoded: boolean,
  ) {
    this.#lo = lo;
    this.#o = o;
    this.#out = out;
    this.#shared = shared;
    this.#outer = outer;
    this.#rows = rows;
    this.#decoded = decoded;
    this.#keys = o.z.type.shape.at(-1)!;
    this.#width = o.root.type.shape.at(-1)!;
    this.#state = new Running(
      lo,
      o,
      rows.reduce((p, d) => p.mul(d), Poly.of(1)),
    );
    const strip = (name: string): Strip => ({
      buffer: lo.em.newBuffer(name, 'f32', 'temp', Poly.of(blockKeys)),
      at: (j) => j,
    });
    this.#strips = { scores: strip('scores'), z: strip('z'), weights: strip('weights') };
  }

  run(): void {
    const lo = this.#lo;
    nest(lo, this.#rows, (ids) => this.#state.start(this.#row(ids)));
    const { em } = lo;
    const block = Poly.of(blockKeys);
    loop(lo, this.#keys, blockKeys, false, (j0) => this.#block(j0, block), undefined, 'j');
    if (this.#keys.multiple() % blockKeys !== 0) {
      const whole = L.binary(
        'mul',
        em.quotient(em.index(this.#keys), L.i32(blockKeys)),
        L.i32(blockKeys),
      );
      const from = em.asIndex(em.bind(whole, 'rest'));
      const left = em.asIndex(em.bind(em.index(this.#keys.sub(from)), 'left'), block);
      em.push({
        kind: 'if',
        cond: L.compare('gt', em.index(left), L.i32(0)),
        then: em.scope(() => this.#block(from, left)),
        else: [],
      });
    }
    nest(lo, this.#rows, (ids) => this.#state.finish(this.#out, this.#at(ids), this.#row(ids)));
  }

  // ---- places ----

  /** The running number of a row. */
  #row(ids: readonly Poly[]): Poly {
    return ids.reduce((p, id, i) => p.mul(this.#rows[i]!).add(id), Poly.of(0));
  }
  /** An index of the result, its last one left out. */
  #at(ids: readonly Poly[]): Poly[] {
    return indexOfRow(this.#shared, ids, this.#outer);
  }
  #anyRow(): Poly[] {
    return this.#rows.map(() => Poly.of(0));
  }

  // ---- a block of keys ----

  #block(j0: Poly, n: Dim): void {
    const lo = this.#lo;
    const { contraction, scores } = this.#o;
    const right = (op: typeof contraction, ids: readonly Poly[]): Read => {
      const at = this.#at(ids);
      return op === contraction
        ? (j, k, w) =>
            asFloat(lo.emit(op.operands[1]!, contractionIndex(op, [...at, k], j).b, w), w)
        : (j, k, w) =>
            asFloat(lo.emit(op.operands[1]!, contractionIndex(op, [...at, j], k).b, w), w);
    };
    const own = (op: typeof contraction, depth: Dim): ((ids: readonly Poly[]) => Read) => {
      if (!this.#decoded || this.#isPlain(right(op, this.#anyRow()), depth))
        return (ids) => {
          const read = right(op, ids);
          return (j, k, w) => read(j0.add(j), k, w);
        };
      const read = this.#decode(right(op, this.#anyRow()), j0, n, depth);
      return () => read;
    };
    const keys = scores && own(scores, scores.operands[0]!.type.shape.at(-1)!);
    const values = own(contraction, this.#width);
    nest(lo, this.#rows, (ids) => this.#rowOfBlock(ids, j0, n, keys?.(ids), values(ids)));
  }

  /** Whether rows can be read where they are, as contiguous f32. */
  #isPlain(read: Read, depth: Dim): boolean {
    const { em } = this.#lo;
    return em.trial(() => {
      let e: Expr | undefined;
      em.scope(() => {
        e = read(Poly.of(0), probeIndex(this.#lo, depth, 4), 4);
      });
      return e!.kind === 'load' && e!.buffer.dtype === 'f32';
    });
  }

  /** Decodes the block into scratch. */
  #decode(read: Read, j0: Poly, n: Dim, depth: Dim): Read {
    const lo = this.#lo;
    const panel = lo.em.newBuffer('panel', 'f32', 'temp', depth.mul(blockKeys));
    const shape = [Poly.of(blockKeys), depth];
    const lanes = chooseLanes(lo, laneCandidates(depth, 32), (w) =>
      read(j0, probeIndex(lo, depth, w), w),
    );
    loop(lo, n, 1, false, (j) => {
      vectorLoop(lo, depth, lanes, (k, w) =>
        storeAt(lo, panel, shape, [j, k], read(j0.add(j), k, w), w),
      );
    });
    this.#state.touch(panel);
    return (j, k, w) => lo.load(panel, shape, [j, k], w);
  }

  #rowOfBlock(ids: readonly Poly[], j0: Poly, n: Dim, keys: Read | undefined, values: Read): void {
    const at = this.#at(ids);
    const r = this.#row(ids);
    const { scores, z, weights } = this.#strips;
    this.#state.touch(scores.buffer);
    if (keys) this.#score(at, n, keys);
    const strips = { scores: keys && scores, z, weights };
    const fade = this.#state.weigh(at, r, { from: j0, n }, strips);
    this.#addValues(r, n, fade, values);
  }

  /** The contraction's scores of the block, four keys at a time. */
  #score(at: readonly Poly[], n: Dim, keys: Read): void {
    const lo = this.#lo;
    const { em } = lo;
    const op = this.#o.scores!;
    const depth = op.operands[0]!.type.shape.at(-1)!;
    const product = (j: Poly, k: Poly, w: number): Expr => {
      const a = contractionIndex(op, [...at, Poly.of(0)], k).a;
      const query = asFloat(lo.emit(op.operands[0]!, a, w), w);
      return L.binary('mul', query, keys(j, k, w));
    };
    const probe = (w: number): Expr => product(Poly.of(0), probeIndex(lo, depth, w), w);
    const lanes = chooseLanes(lo, laneCandidates(depth, 32), probe);
    const exact = depth.multiple() % lanes === 0 && lanes > 1;
    const factors =
      exact &&
      em.trial(() => {
        let found = false;
        em.scope(() => {
          found =
            factoredSum(L.constant(0, 'f32', 4), probe(lanes), (x) => x, em.definition) !==
            undefined;
        });
        return found;
      });
    if (factors) lo.note(em.trial(() => explainSum(probe(lanes), em.definition)));
    const width = exact ? 4 : 1;
    const used = exact ? lanes : 1;
    const dots = (j: Poly, count: number): Expr[] => {
      const accs = Array.from({ length: count }, () => {
        const v = em.newVar('dot', L.vtype('f32', width));
        em.push({ kind: 'local', var: v, value: L.constant(0, 'f32', width) });
        return v;
      });
      vectorLoop(lo, depth, used, (k, w) =>
        accs.forEach((v, c) => {
          const e = product(j.add(c), k, w);
          const acc = L.variable(v);
          const value = factors
            ? addSum(acc, e, (x) => em.bind(x, 's'), em.definition)
            : L.binary('add', acc, width === 1 ? e : L.fold(e));
          em.push({ kind: 'set', var: v, value });
        }),
      );
      return accs.map((v) => L.reduce('add', L.variable(v)));
    };
    const scores = this.#strips.scores.buffer;
    const put = (j: Poly, e: Expr): void =>
      storeAt(lo, scores, [scores.size], [j], e, e.type.lanes);
    const single = (j: Poly): void => put(j, dots(j, 1)[0]!);
    const lane = Poly.atom(lo.lane(together));
    if (n.constant !== undefined)
      loop(lo, n, together, false, (j) => {
        put(j.add(lane), L.build(dots(j, together)));
      });
    else loop(lo, n, 1, false, single);
    this.#state.touch(scores);
  }

  /** Fades what was summed and adds the values of the block by their weights. */
  #addValues(r: Poly, n: Dim, fade: Expr, values: Read): void {
    const lo = this.#lo;
    const { em } = lo;
    const extent = this.#width;
    const { totals } = this.#state;
    const weights = this.#strips.weights.buffer;
    const get = (b: Buffer, at: Poly, w: number): Expr => lo.load(b, [b.size], [at], w);
    const lanes = chooseLanes(lo, laneCandidates(extent, 32), (w) =>
      values(Poly.of(0), probeIndex(lo, extent, w), w),
    );
    vectorLoop(lo, extent, lanes, (d, w) => {
      const place = this.#state.total(r, d);
      const acc = em.newVar('total', L.vtype('f32', w));
      const old = get(totals, place, w);
      em.push({ kind: 'local', var: acc, value: L.binary('mul', old, L.splat(fade, w)) });
      loop(lo, n, 1, false, (j) => {
        const weight = em.bind(get(weights, j, 1), 'w');
        const part = L.binary('mul', values(j, d, w), L.splat(weight, w));
        em.push({ kind: 'set', var: acc, value: L.binary('add', L.variable(acc), part) });
      });
      storeAt(lo, totals, [totals.size], [place], L.variable(acc), w);
    });
  }
}
