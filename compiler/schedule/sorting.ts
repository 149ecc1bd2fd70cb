// Sorting along an axis. On a CPU rows are independent, and each is a bottom-up merge sort of values and positions
// between two scratch rows. On a GPU every element counts for itself how many come before it: no scratch, no order.
import { type Dim, Poly } from '../ir/algebra.ts';
import { scalarOf } from '../ir/dtype.ts';
import type { Op } from '../ir/ir.ts';
import type { Buffer, Expr, Spread } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { placeFor } from './carried.ts';
import { flat } from './gpu/share.ts';
import { meet } from './gpu/team.ts';
import type { Lowering } from './lowering.ts';
import { loop, nest, vectorLoop } from './nests.ts';
import { chooseLanes, laneCandidates, probeIndex } from './vector-widths.ts';
import { keep, storeAt } from './regions.ts';

type SortOp = Op<'sort'>;

const axisOf = (op: SortOp): number => {
  const { axis } = op.attrs;
  return axis < 0 ? axis + op.operands[0]!.type.shape.length : axis;
};

/** Whether `a` belongs in front of `b` whatever their positions: a NaN is the largest. */
function less(a: Expr, b: Expr, descending: boolean): Expr {
  const [p, q] = descending ? [b, a] : [a, b];
  const below = L.compare('lt', p, q);
  if (a.type.scalar !== 'f32') return below;
  const both = L.binary('and', L.unary('isnan', q), L.unary('not', L.unary('isnan', p)));
  return L.binary('or', below, both);
}

const number = (e: Expr): Expr => (e.type.scalar === 'bool' ? L.convert(e, 'i32') : e);

/** Results go to `out`; `on`: who shares the elements on a GPU. */
export function sortInto(
  lo: Lowering,
  op: SortOp,
  out: readonly Buffer[],
  parallel: boolean,
  on?: Spread,
): void {
  const { shape } = op.operands[0]!.type;
  if (on) return flat(lo, shape, on, (ids) => rank(lo, op, out, ids));
  const axis = axisOf(op);
  const others = shape.filter((_, i) => i !== axis);
  nest(lo, others, (ids) => mergeRow(lo, op, out, ids), parallel);
}

/** A sort within other work: its results are stored in scratch. */
export function lowerSort(lo: Lowering, op: SortOp): void {
  const out = op.results.map((v) => placeFor(lo, v));
  if (lo.team?.shares(lo.em.depth)) {
    meet(lo);
    sortInto(lo, op, out, false, lo.team.level);
    meet(lo);
  } else sortInto(lo, op, out, false);
  op.results.forEach((v, i) => {
    keep(lo, v, out[i]!);
  });
}

/** Index of the result and the operand with the position along the sorted axis put in. */
const put = (op: SortOp, ids: readonly Poly[], k: Poly): Poly[] => [
  ...ids.slice(0, axisOf(op)),
  k,
  ...ids.slice(axisOf(op)),
];

function rank(lo: Lowering, op: SortOp, out: readonly Buffer[], ids: readonly Poly[]): void {
  const { em } = lo;
  const [x] = op.operands;
  const { shape } = x!.type;
  const axis = axisOf(op);
  const own = em.bind(lo.emit(x!, ids, 1), 'own');
  const at = em.bind(em.index(ids[axis]!), 'at');
  const place = em.newVar('place', L.vtype('i32'));
  em.push({ kind: 'local', var: place, value: L.i32(0) });
  loop(lo, shape[axis]!, 1, false, (j) => {
    const e = lo.emit(
      x!,
      ids.map((p, i) => (i === axis ? j : p)),
      1,
    );
    const [a, b] = [number(e), number(own)];
    const tie = L.binary(
      'and',
      L.unary('not', less(b, a, op.attrs.descending)),
      L.compare('lt', em.index(j), at),
    );
    const before = L.binary('or', less(a, b, op.attrs.descending), tie);
    em.push({
      kind: 'set',
      var: place,
      value: L.binary('add', L.variable(place), L.convert(before, 'i32')),
    });
  });
  const to = ids.map((p, i) => (i === axis ? Poly.atom(em.atom(place, shape[axis]!)) : p));
  storeAt(lo, out[0]!, shape, to, own, 1);
  storeAt(lo, out[1]!, shape, to, at, 1);
}

interface Row {
  readonly values: Buffer;
  readonly ids: Buffer;
}

function mergeRow(lo: Lowering, op: SortOp, out: readonly Buffer[], ids: readonly Poly[]): void {
  const { em } = lo;
  const [x] = op.operands;
  const { shape, dtype } = x!.type;
  const size = shape[axisOf(op)]!;
  const row = (name: string): Row => {
    const values = em.newBuffer(name, scalarOf(dtype), 'temp', size);
    return { values, ids: em.newBuffer(`${name}.at`, 'i32', 'temp', size) };
  };
  const [a, b] = [row('row'), row('merged')];
  const element = (k: Poly, n: number): Expr => lo.emit(x!, put(op, ids, k), n);
  const lanes = chooseLanes(lo, laneCandidates(size, 8), (n) =>
    element(probeIndex(lo, size, n), n),
  );
  vectorLoop(lo, size, lanes, (k, n) => {
    storeAt(lo, a.values, [size], [k], element(k, n), n);
    storeAt(lo, a.ids, [size], [k], lo.polyValue(k, n), n);
  });
  const width = em.newVar('width', L.vtype('i32'));
  em.push({ kind: 'local', var: width, value: L.i32(1) });
  const limit = em.index(size);
  const double = (): void =>
    em.push({ kind: 'set', var: width, value: L.binary('mul', L.variable(width), L.i32(2)) });
  const body = em.scope(() => {
    em.varDepth.set(width.id, em.depth);
    mergePass(lo, op, a, b, size, width);
    double();
    mergePass(lo, op, b, a, size, width);
    double();
  });
  em.push({
    kind: 'while',
    header: [],
    cond: L.compare('lt', L.variable(width), limit),
    body,
  });
  em.varDepth.set(width.id, em.depth);
  for (const buffer of [a.values, a.ids]) em.bufferDepth.set(buffer.id, em.depth);
  const copy = (from: Buffer, to: Buffer, k: Poly, n: number): void =>
    storeAt(lo, to, shape, put(op, ids, k), lo.load(from, [size], [k], n), n);
  const wide = axisOf(op) === shape.length - 1 ? lanes : 1;
  vectorLoop(lo, size, wide, (k, n) => {
    copy(a.values, out[0]!, k, n);
    copy(a.ids, out[1]!, k, n);
  });
}

/** Runs of `width` elements of one row merged, two by two, into the other. */
function mergePass(lo: Lowering, op: SortOp, from: Row, to: Row, size: Dim, width: L.Var): void {
  const { em } = lo;
  const let_ = (name: string, value: Expr): Expr => {
    const v = em.newVar(name, value.type);
    em.push({ kind: 'let', var: v, value });
    return L.variable(v);
  };
  const add = (p: Expr, q: Expr): Expr => L.binary('add', p, q);
  const min = (p: Expr, q: Expr): Expr => L.binary('min', p, q);
  const n = em.index(size);
  const w = L.variable(width);
  const pair = let_('pair', add(w, w));
  const trips = let_('trips', em.quotient(add(n, L.binary('sub', pair, L.i32(1))), pair));
  const t = em.newVar('t', L.vtype('i32'), em.depth + 1);
  const body = em.scope(() => {
    const start = let_('start', L.binary('mul', L.variable(t), pair));
    const mid = let_('mid', min(add(start, w), n));
    const end = let_('end', min(add(start, pair), n));
    const i = em.newVar('i', L.vtype('i32'));
    const j = em.newVar('j', L.vtype('i32'));
    em.push({ kind: 'local', var: i, value: start });
    em.push({ kind: 'local', var: j, value: mid });
    const k = em.newVar('k', L.vtype('i32'), em.depth + 1);
    const merge = em.scope(() => {
      const last = L.binary('sub', n, L.i32(1));
      const left = let_('left', min(L.variable(i), last));
      const right = let_('right', min(L.variable(j), last));
      const a = let_('a', L.load(from.values, left, 1, 1));
      const b = let_('b', L.load(from.values, right, 1, 1));
      const fits = L.binary(
        'or',
        L.compare('ge', L.variable(j), end),
        L.unary('not', less(number(b), number(a), op.attrs.descending)),
      );
      const first = let_('first', L.binary('and', L.compare('lt', L.variable(i), mid), fits));
      const index = L.variable(k);
      const put = (buffer: Buffer, value: Expr): void =>
        em.push({ kind: 'store', buffer, index, value, align: 1 });
      put(to.values, L.select(first, a, b));
      put(to.ids, L.load(from.ids, L.select(first, left, right), 1, 1));
      const one = let_('one', L.convert(first, 'i32'));
      em.push({ kind: 'set', var: i, value: add(L.variable(i), one) });
      em.push({
        kind: 'set',
        var: j,
        value: add(L.variable(j), L.binary('sub', L.i32(1), one)),
      });
    });
    em.push({ kind: 'for', var: k, start, end, step: 1, parallel: false, body: merge });
  });
  em.push({ kind: 'for', var: t, start: L.i32(0), end: trips, step: 1, parallel: false, body });
}
