// argmin and argmax: the extreme value first, then the first place that has it.

import { type Dim, Poly } from '../ir/algebra.ts';
import { scalarOf } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { type Nearest, nearestOf } from '../passes/rank.ts';
import { broadcastIndex, tableBuffer } from './elements.ts';
import type { Lowering } from './lowering.ts';
import { vectorLoop } from './nests.ts';
import {
  depthFor,
  extremeLoop,
  isMagnitude,
  manyElements,
  maxMagnitude,
  operandIndex,
  reduceLoop,
} from './reductions.ts';
import { chooseLanes, probeIndex } from './vector-widths.ts';

/** First the extreme value, then the first index that has it; a NaN counts as the extreme. */
export function argReduceElement(
  lo: Lowering,
  op: Op,
  index: readonly Poly[],
  lanes: number,
  how: 'min' | 'max',
): Expr {
  const r = op as Op<'argmax'>;
  const near = lo.limits.gpu || how === 'max' ? undefined : nearestOf(op);
  if (near) return nearestElement(lo, r, near, index, lanes);
  const x = r.operands[0]!;
  const scalar = scalarOf(x.type.dtype) === 'bool' ? 'i32' : scalarOf(x.type.dtype);
  const n = lanes;
  const extents = r.attrs.axes.map((a) => x.type.shape[a]!);
  const depth = depthFor(lo, r.results[0]!, index);
  const value = (ids: readonly Poly[], width: number): Expr => {
    const e = lo.emit(x, operandIndex(r, index, ids), width);
    return e.type.scalar === scalar ? e : L.convert(e, scalar);
  };
  if (how === 'max' && isMagnitude(x) && !lo.limits.gpu)
    return firstLargest(lo, extents, n, value, depth, r.results[0]!.name ?? 'index');
  const extreme = lo.em.bind(
    scalar === 'f32'
      ? extremeLoop(lo, how, extents, n, value, depth, 'extreme')
      : reduceLoop(lo, how, scalar, extents, n, value, depth, 'extreme'),
    'extreme',
  );
  const hits = (v: Expr): Expr => {
    const hit = L.compare('eq', v, L.splat(extreme, v.type.lanes));
    return scalar === 'f32' ? L.binary('or', hit, L.unary('isnan', v)) : hit;
  };
  const position = (ids: readonly Poly[], width: number): Expr => {
    const k = ids.reduce((p, id, i) => p.mul(extents[i]!).add(id), Poly.of(0));
    const e = value(ids, width);
    const m = Math.max(e.type.lanes, lo.isUniform(k) ? 1 : width);
    const at = L.splat(lo.polyValue(k, width), m);
    return L.select(hits(L.splat(e, m)), at, L.constant(2 ** 31 - 1, 'i32', m));
  };
  const found = n === 1 ? searchedFor(lo, extents, value, hits, position, depth) : undefined;
  if (found) return found;
  const first = reduceLoop(
    lo,
    'min',
    'i32',
    extents,
    n,
    position,
    depth,
    r.results[0]!.name ?? 'index',
  );
  if (extents.every((d) => (d.constant ?? 0) > 0)) return first;
  // Of nothing the position is 0.
  const none = L.constant(2 ** 31 - 1, 'i32', first.type.lanes);
  return L.select(L.compare('eq', first, none), L.constant(0, 'i32', first.type.lanes), first);
}

/** Elements that are looked at together in search of the first that is wanted. */
const searched = 16;

/**
 * The first position along one long axis whose element `hits`, by a search that ends there; 0 if there is none. Undefined where
 * elements do not come as vectors.
 */
function searchedFor(
  lo: Lowering,
  extents: readonly Dim[],
  value: (ids: readonly Poly[], lanes: number) => Expr,
  hits: (elements: Expr) => Expr,
  position: (ids: readonly Poly[], lanes: number) => Expr,
  depth: number,
): Expr | undefined {
  const { em } = lo;
  const [extent] = extents as [Dim];
  if (lo.limits.gpu || extents.length > 1 || (extent.constant ?? Infinity) <= manyElements)
    return undefined;
  const probe = (n: number): Expr => value([probeIndex(lo, extent, n)], n);
  if (chooseLanes(lo, [searched], probe) !== searched) return undefined;
  return em.atDepth(depth, () => {
    const i32 = L.vtype('i32');
    const at = em.newVar('at', i32, em.depth + 1);
    const found = em.newVar('found', i32, em.depth + 1);
    const size = em.index(extent);
    em.push({ kind: 'local', var: at, value: L.i32(0) });
    em.push({ kind: 'local', var: found, value: L.i32(0) });
    const step = L.i32(searched);
    const fits = L.compare('le', L.binary('add', L.variable(at), step), size);
    const body = em.scope(() => {
      const index = Poly.atom(em.atom(at, extent)).add(Poly.atom(lo.lane(searched)));
      const any = L.reduce('or', hits(L.splat(value([index], searched), searched)));
      em.push({ kind: 'set', var: found, value: L.select(any, step, L.i32(0)) });
      // Whatever was found: the next elements are on their way before that is known.
      em.push({ kind: 'set', var: at, value: L.binary('add', L.variable(at), step) });
    });
    const cond = L.binary('and', L.compare('eq', L.variable(found), L.i32(0)), fits);
    em.push({ kind: 'while', header: [], cond, body });
    // It is among the next few, or among those left over.
    const name = (value: Expr, as: string): Poly => {
      const v = em.newVar(as, i32);
      em.push({ kind: 'let', var: v, value });
      return Poly.atom(em.atom(v));
    };
    const start = L.binary('sub', L.variable(at), L.variable(found));
    const from = name(start, 'from');
    const to = name(L.binary('min', L.binary('add', em.index(from), step), size), 'to');
    const none = 2 ** 31 - 1;
    const [four, one] = [4, 1].map((n) => {
      const v = em.newVar('index', L.vtype('i32', n));
      em.push({ kind: 'local', var: v, value: L.constant(none, 'i32', n) });
      return v;
    }) as [L.Var, L.Var];
    const nearer = (k: Poly, n: number): void => {
      const v = n === 1 ? one : four;
      const value = L.binary('min', L.variable(v), L.splat(position([k], n), n));
      em.push({ kind: 'set', var: v, value });
    };
    vectorLoop(lo, extent, 4, nearer, false, undefined, { from, to });
    const least = L.binary('min', L.reduce('min', L.variable(four)), L.variable(one));
    const first = em.bind(least, 'index');
    return em.bind(L.select(L.compare('eq', first, L.i32(none)), L.i32(0), first), 'index');
  });
}

/**
 * The place of the largest magnitude, or of the first NaN. As integers no magnitude is above the largest, and NaNs are
 * above all others, so one comparison finds both; a place that is none is all ones.
 */
function firstLargest(
  lo: Lowering,
  extents: readonly Dim[],
  lanes: number,
  value: (ids: readonly Poly[], lanes: number) => Expr,
  depth: number,
  name: string,
): Expr {
  const extreme = lo.em.bind(maxMagnitude(lo, extents, lanes, value, depth, 'extreme'), 'extreme');
  const firstNaN = 0x7f800001;
  const bits = L.bits(extreme, 'i32');
  const least = lo.em.bind(
    L.binary('min', bits, L.constant(firstNaN, 'i32', bits.type.lanes)),
    'least',
  );
  const position = (ids: readonly Poly[], width: number): Expr => {
    const k = ids.reduce((p, id, i) => p.mul(extents[i]!).add(id), Poly.of(0));
    const e = value(ids, width);
    const m = Math.max(e.type.lanes, lo.isUniform(k) ? 1 : width);
    const below = L.compare('lt', L.bits(L.splat(e, m), 'i32'), L.splat(least, m));
    const place = L.bits(L.splat(lo.polyValue(k, width), m), 'u32');
    return L.select(below, L.constant(2 ** 32 - 1, 'u32', m), place);
  };
  const first = reduceLoop(lo, 'min', 'u32', extents, lanes, position, depth, name);
  // Of nothing the position is 0.
  const n = first.type.lanes;
  const none = L.compare('eq', first, L.constant(2 ** 32 - 1, 'u32', n));
  const found = extents.every((d) => (d.constant ?? 0) > 0);
  return L.bits(found ? first : L.select(none, L.constant(0, 'u32', n), first), 'i32');
}

/** The place of the nearest entry of a table. */
function nearestElement(
  lo: Lowering,
  op: Op<'argmax'>,
  { x, table, unit }: Nearest,
  index: readonly Poly[],
  lanes: number,
): Expr {
  const at = operandIndex(op, index, [Poly.of(0)]);
  const element = (v: Value): Expr => lo.emit(v, broadcastIndex(v.type.shape, at), lanes);
  const [a, by] = [element(x), unit ? element(unit) : L.constant(1, 'f32')];
  const n = Math.max(a.type.lanes, by.type.lanes);
  return L.nearest(tableBuffer(lo, table), L.splat(a, n), L.splat(by, n));
}
