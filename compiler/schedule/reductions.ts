// Reductions and contractions at one point of the result: a loop over the reduced axes with an accumulator,
// vectorised along the last of them, or along the result's own lanes when those move.

import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import { promote, type Scalar, scalarOf } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import type { Expr, ReduceOp } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { type Rank, rankOf } from '../passes/rank.ts';
import { costOf } from './cost.ts';
import { broadcastIndex, tableBuffer } from './elements.ts';
import { extremes } from './extremes.ts';
import { addSum, explainSum, factoredSum } from './factor.ts';
import { together } from './gpu/team.ts';
import type { Lowering } from './lowering.ts';
import { nest, vectorLoop } from './nests.ts';
import { chooseLanes, laneCandidates, probeIndex, slowness } from './vector-widths.ts';

/** Neutral element of a reduction. */
export function identity(op: ReduceOp, scalar: Scalar): number {
  switch (op) {
    case 'add':
    case 'or':
      return 0;
    case 'and':
      return 1;
    case 'min':
      return scalar === 'f32' ? Infinity : scalar === 'u32' ? 2 ** 32 - 1 : 2 ** 31 - 1;
    case 'max':
      return scalar === 'f32' ? -Infinity : scalar === 'u32' ? 0 : -(2 ** 31);
  }
}

export const combine = (op: ReduceOp, a: Expr, b: Expr): Expr => L.binary(op, a, b);

/** What is gathered of the elements of a reduction. */
export interface Gathered {
  readonly op: ReduceOp;
  readonly scalar: Scalar;
  /** The value of no elements. */
  readonly from: number;
  /** What of an element counts. */
  readonly of: (element: Expr) => Expr;
}

/** Reduces `element` over `extents` by one operation: see {@link gatherLoop}. */
export function reduceLoop(
  lo: Lowering,
  op: ReduceOp,
  scalar: Scalar,
  extents: readonly Dim[],
  outLanes: number,
  element: (ids: readonly Poly[], lanes: number) => Expr,
  depth: number,
  name: string,
  from = identity(op, scalar),
): Expr {
  const parts = [{ op, scalar, from, of: (e: Expr) => e }];
  return gatherLoop(lo, parts, ([e]) => e!, extents, outLanes, element, depth, name);
}

/**
 * Reduces `element` over `extents` by one or several operations at once, and finishes with a function of their results.
 * `element` gets one index an axis and the lanes of the last one. The loop is placed in the outermost scope that has what the
 * result's index needs, which is at `depth`.
 */
export function gatherLoop(
  lo: Lowering,
  parts: readonly Gathered[],
  finish: (results: readonly Expr[]) => Expr,
  extents: readonly Dim[],
  outLanes: number,
  element: (ids: readonly Poly[], lanes: number) => Expr,
  depth: number,
  name: string,
): Expr {
  const { em } = lo;
  const [first] = parts;
  const sole = parts.length === 1 ? first! : undefined;
  return em.atDepth(depth, () => {
    const on = lo.team?.sharesLoop(em.depth, extents.at(-1)!);
    const whole = (e: Expr, { op }: Gathered): Expr => (on ? together(lo, op, e, on, name) : e);
    /** Declares an accumulator a part. */
    const locals = (lanes: number): L.Var[] =>
      parts.map(({ scalar, from }) => {
        const v = em.newVar(name, L.vtype(scalar, lanes));
        em.push({ kind: 'local', var: v, value: L.constant(from, scalar, lanes) });
        return v;
      });
    const add = (accs: readonly L.Var[], e: Expr): void => {
      const x = parts.length > 1 ? em.bind(e, 'x') : e;
      parts.forEach(({ op, of }, i) => {
        const value = combine(op, L.variable(accs[i]!), of(x));
        em.push({ kind: 'set', var: accs[i]!, value });
      });
    };
    const finished = (results: readonly Expr[]): Expr =>
      em.bind(finish(parts.length > 1 ? results.map((r) => em.bind(r, name)) : results), name);
    if (outLanes > 1) {
      const accs = locals(outLanes);
      const step = (ids: readonly Poly[]): void =>
        add(accs, L.splat(element(ids, outLanes), outLanes));
      nest(lo, extents, step, false, on);
      const results = accs.map((v, i) => whole(L.variable(v), parts[i]!));
      return sole ? finish(results) : finished(results);
    }
    const last = extents.at(-1)!;
    const outer = extents.slice(0, -1);
    const c = last.constant;
    const probe = (n: number): Expr => {
      const fake = outer.map(() => Poly.atom(em.atom(em.newVar('o', L.vtype('i32')))));
      return element([...fake, probeIndex(lo, last, n)], n);
    };
    const most = outer.length || c !== 64 ? 32 : 64;
    const chosen = chooseLanes(lo, laneCandidates(last, most), probe);
    const lanes = manyAccumulators(lo, last, parts.length, chosen, probe);
    // A block that is one vector needs no loop.
    if (outer.length === 0 && c === lanes && c !== undefined) {
      const at = lanes === 1 ? Poly.of(0) : Poly.atom(lo.lane(lanes));
      const e = L.splat(element([at], lanes), lanes);
      const x = sole ? e : em.bind(e, 'x');
      return finish(parts.map(({ op, of }) => inFours(lo, op, of(x))));
    }
    // Sums of whole vectors leave block constants out of the lanes, where there are any.
    const factored =
      sole?.op === 'add' &&
      sole.scalar === 'f32' &&
      lanes >= 16 &&
      em.trial(() => {
        let found = false;
        em.scope(() => {
          const e = probe(lanes);
          found =
            e.type.lanes === lanes &&
            factoredSum(L.constant(0, 'f32', 4), e, (x) => x, em.definition) !== undefined;
        });
        return found;
      });
    // Extremes are the same in any order: a vector of four keeps those of a long one.
    const folds = sole && !lo.limits.gpu && (sole.op === 'min' || sole.op === 'max') && lanes >= 16;
    const accs = locals(factored || folds ? 4 : lanes);
    const exact = last.multiple() % lanes === 0;
    const shorter = exact || lanes <= 8 ? [] : [4];
    /** Accumulators of what is left, by width, widest first. */
    const rests = new Map((exact ? [] : [...shorter, 1]).map((n) => [n, locals(n)]));
    nest(lo, outer, (ids) => {
      const step = (k: Poly, n: number): void => {
        const e = L.splat(element([...ids, k], n), n);
        if (sole?.op === 'add' && sole.scalar === 'f32' && n === lanes)
          lo.note(explainSum(e, em.definition));
        if (factored && n === lanes) {
          const sum = addSum(L.variable(accs[0]!), e, (x) => em.bind(x, 's'), em.definition);
          em.push({ kind: 'set', var: accs[0]!, value: sum });
        } else if (folds && n === lanes) {
          const next = combine(sole.op, L.variable(accs[0]!), L.fold(sole.of(e), sole.op));
          em.push({ kind: 'set', var: accs[0]!, value: next });
        } else add(n === lanes ? accs : rests.get(n)!, e);
      };
      vectorLoop(lo, last, lanes, step, false, on, undefined, shorter);
    });
    const results = parts.map((part, i) => {
      const { op } = part;
      let sum: Expr = L.variable(accs[i]!);
      for (const [n, list] of rests) {
        const less = n === 1 ? L.reduce(op, sum) : L.fold(sum, op);
        sum = combine(op, less, L.variable(list[i]!));
      }
      return whole(L.reduce(op, sum), part);
    });
    return finished(results);
  });
}

/** Instructions for four elements up to which sums of eight lanes wait for each other more than they compute. */
const shortElement = 9;

/**
 * The width of a loop over an extent of which little is known: as many lanes as keep several additions under way where an
 * element is quickly made, and as registers hold.
 */
function manyAccumulators(
  lo: Lowering,
  extent: Dim,
  parts: number,
  lanes: number,
  probe: (lanes: number) => Expr,
): number {
  const many = parts > 1 ? 16 : 32;
  const c = extent.constant;
  if (lo.limits.gpu) return lanes;
  if (lanes > 8) return Math.min(lanes, parts > 1 ? many : lanes);
  if (lanes !== 8 || (c !== undefined && c < 2 * many)) return lanes;
  const cost = lo.em.trial((stmts) => {
    let e: Expr | undefined;
    const inner = lo.em.scope(() => {
      e = probe(many);
    });
    const v = lo.em.newVar('e', e!.type);
    return costOf([...stmts(), ...inner, { kind: 'let', var: v, value: e! }]);
  });
  return cost / (many / 4) <= shortElement ? many : lanes;
}

/** A whole vector reduced: its registers are combined first, then four lanes. */
const inFours = (lo: Lowering, op: ReduceOp, e: Expr): Expr =>
  lo.limits.gpu || e.type.lanes <= 4
    ? L.reduce(op, e)
    : L.reduce(op, lo.em.bind(L.fold(e, op), 'part'));

/** Scope in which everything that an element of `v` at `index` needs is known. */
export function depthFor(lo: Lowering, v: Value, index: readonly Poly[]): number {
  let d = 0;
  for (const p of index) d = Math.max(d, lo.em.polyDepth(p));
  const seen = new Set<Value>();
  const visit = (x: Value): void => {
    if (seen.has(x)) return;
    seen.add(x);
    const s = lo.storage.get(x);
    if (s?.kind === 'buffer' || s?.kind === 'place')
      d = Math.max(d, lo.em.bufferDepth.get(s.buffer.id) ?? 0);
    else if (s?.kind === 'local') d = Math.max(d, lo.em.varDepth.get(s.var.id) ?? 0);
    else if (s?.kind === 'index') d = Math.max(d, lo.em.polyDepth(s.poly));
    else if (x.def) {
      x.def.op.operands.forEach(visit);
      for (const r of x.def.op.regions) {
        for (const o of r.ops) o.operands.forEach(visit);
        r.yields.forEach(visit);
      }
    }
  };
  visit(v);
  // A team starts within the loop on groups or warps: nothing that it shares can be put in front of that.
  return Math.min(Math.max(d, lo.team?.floor ?? 0), lo.em.depth);
}

/** Index into the operand: the result's index with the reduced axes put back. */
export function operandIndex(
  op: Op<'sum' | 'argmax'>,
  index: readonly Poly[],
  ids: readonly Poly[],
): Poly[] {
  const { axes, keepdims } = op.attrs;
  let next = 0;
  let reduced = 0;
  return op.operands[0]!.type.shape.map((_, i) => {
    if (axes.includes(i)) {
      if (keepdims) next += 1;
      return ids[reduced++]!;
    }
    return index[next++]!;
  });
}

export function reduceElement(
  lo: Lowering,
  op: Op,
  index: readonly Poly[],
  lanes: number,
  how: ReduceOp,
): Expr {
  const r = op as Op<'sum'>;
  const x = r.operands[0]!;
  const counted = lo.limits.gpu ? undefined : rankOf(op);
  if (counted) return rankElement(lo, r, counted, index, lanes);
  const scalar = scalarOf(r.results[0]!.type.dtype);
  const extents = r.attrs.axes.map((a) => x.type.shape[a]!);
  const element = (ids: readonly Poly[], width: number): Expr => {
    const e = lo.emit(x, operandIndex(r, index, ids), width);
    return e.type.scalar === scalar ? e : L.convert(e, scalar);
  };
  const apart = rowsApart(lo, r, index, lanes, how, (k, n) => element([k], n));
  if (apart) return apart;
  const depth = depthFor(lo, r.results[0]!, index);
  const name = r.results[0]!.name ?? how;
  if ((how === 'max' || how === 'min') && scalar === 'f32' && !(how === 'max' && isMagnitude(x)))
    return extremeLoop(lo, how, extents, lanes, element, depth, name);
  if (how !== 'max' || scalar !== 'f32' || !isMagnitude(x) || lo.limits.gpu)
    return reduceLoop(lo, how, scalar, extents, lanes, element, depth, name);
  return maxMagnitude(lo, extents, lanes, element, depth, name);
}

/** Elements above which the parts of an extreme pay: the compare of a float that NaN and the signs of zeros ask for is dear. */
export const manyElements = 256;

/** The largest or smallest of f32 numbers, a NaN if there is one. */
export function extremeLoop(
  lo: Lowering,
  how: 'min' | 'max',
  extents: readonly Dim[],
  lanes: number,
  element: (ids: readonly Poly[], lanes: number) => Expr,
  depth: number,
  name: string,
): Expr {
  const count = extents.reduce((n, d) => n * (d.constant ?? Infinity), 1);
  if (lo.limits.gpu || count <= manyElements)
    return reduceLoop(lo, how, 'f32', extents, lanes, element, depth, name);
  const { parts, finish } = extremes[how];
  return gatherLoop(lo, parts, finish, extents, lanes, element, depth, name);
}

/**
 * The extremes of four rows that each lie in a row in memory: four reductions, which are transposed together, in place of
 * elements gathered from four rows. Extremes are the same in any order.
 */
function rowsApart(
  lo: Lowering,
  op: Op<'sum'>,
  index: readonly Poly[],
  lanes: number,
  how: ReduceOp,
  element: (k: Poly, lanes: number) => Expr,
): Expr | undefined {
  const extent = op.operands[0]!.type.shape[op.attrs.axes[0]!];
  const isExtreme = how === 'max' || how === 'min';
  if (lo.limits.gpu || lanes !== 4 || !isExtreme || op.attrs.axes.length !== 1) return undefined;
  const size = extent?.constant;
  if (!extent || (size !== 16 && size !== 32 && size !== 64)) return undefined;
  const slownessOf = (make: () => Expr): number =>
    lo.em.trial((stmts) => {
      let e: Expr | undefined;
      const inner = lo.em.scope(() => {
        e = make();
      });
      return slowness([...stmts(), ...inner], [e!]);
    });
  if (slownessOf(() => element(probeIndex(lo, extent, 1), lanes)) === 0) return undefined;
  const lane = lo.lane(lanes);
  const part = (j: number): Expr => {
    const at = index.map((p) => p.substitute((a) => (a.key === lane.key ? Poly.of(j) : undefined)));
    return reduceElement(lo, op, at, 1, how);
  };
  const parts = [0, 1, 2, 3];
  if (slownessOf(() => L.build(parts.map(part))) > lanes) return undefined;
  const made = parts.map(part);
  const bits = made.filter((e) => e.kind === 'bits');
  // Bits that are taken for floats are put together first, so that a target sees four reductions.
  return bits.length < lanes
    ? L.build(made)
    : L.bits(L.build(bits.map((e) => e.a)), bits[0]!.type.scalar);
}

/** A sum that counts the entries of a table which a value has reached. */
function rankElement(
  lo: Lowering,
  op: Op<'sum'>,
  { x, table, strict }: Rank,
  index: readonly Poly[],
  lanes: number,
): Expr {
  const at = operandIndex(op, index, [Poly.of(0)]);
  const e = lo.emit(x, broadcastIndex(x.type.shape, at), lanes);
  const value = e.type.scalar === 'f32' ? e : L.convert(e, 'f32');
  return L.rank(tableBuffer(lo, table), value, strict);
}

/** Whether the sign bits of a value are clear for certain, also those of its NaNs. */
export function isMagnitude(v: Value): boolean {
  const op = v.def?.op;
  if (op?.name === 'reshape' || op?.name === 'transpose') return isMagnitude(op.operands[0]!);
  return op?.name === 'abs' && v.type.dtype === 'f32';
}

/** `x[argmax(abs(x))]`, of a block in a param: one look at both ends of its numbers. */
export function peakElement(lo: Lowering, x: Value, ids: readonly Value[]): Expr | undefined {
  const op = ids[0]?.def?.op;
  const size = x.type.shape[0]?.constant;
  if (lo.limits.gpu || ids.length !== 1 || op?.name !== 'argmax' || lo.storage.has(ids[0]!))
    return undefined;
  const magnitude = op.operands[0]!.def?.op;
  if (magnitude?.name !== 'abs' || magnitude.operands[0] !== x) return undefined;
  if (x.type.dtype !== 'f32' || x.type.shape.length !== 1) return undefined;
  if (size !== 16 && size !== 32 && size !== 64) return undefined;
  const e = lo.emit(x, [Poly.atom(lo.lane(size))], size);
  const source = e.kind === 'var' ? lo.em.definition(e.var) : e;
  if (source?.kind !== 'load' || source.buffer.role !== 'param') return undefined;
  return source.buffer.dtype === 'f32' ? L.peak(e) : undefined;
}

/** Floats without a sign are ordered as their bits are, and NaN is above all: one integer instruction a step. */
export function maxMagnitude(
  lo: Lowering,
  extents: readonly Dim[],
  lanes: number,
  element: (ids: readonly Poly[], lanes: number) => Expr,
  depth: number,
  name: string,
): Expr {
  const bits = (ids: readonly Poly[], n: number): Expr => L.bits(element(ids, n), 'i32');
  const minusInfinity = 0xff800000 | 0;
  return L.bits(
    reduceLoop(lo, 'max', 'i32', extents, lanes, bits, depth, name, minusInfinity),
    'f32',
  );
}

/** Operand indices of a contraction at one point. */
export function contractionIndex(
  op: Op<'matmul'>,
  index: readonly Poly[],
  k: Poly,
): { a: Poly[]; b: Poly[] } {
  const [a, b] = op.operands as [Value, Value];
  const batch = index.slice(0, -2);
  const lead = (v: Value): Poly[] => broadcastIndex(v.type.shape.slice(0, -2), batch);
  return { a: [...lead(a), index.at(-2)!, k], b: [...lead(b), k, index.at(-1)!] };
}

export function matmulElement(
  lo: Lowering,
  op: Op<'matmul'>,
  index: readonly Poly[],
  lanes: number,
): Expr {
  const [a, b] = op.operands as [Value, Value];
  const scalar = scalarOf(promote(a.type.dtype, b.type.dtype));
  const n = lanes;
  const element = (ids: readonly Poly[], width: number): Expr => {
    const at = contractionIndex(op, index, ids[0]!);
    const x = lo.emit(a, at.a, width);
    const y = lo.emit(b, at.b, width);
    const m = Math.max(x.type.lanes, y.type.lanes);
    const as = (e: Expr): Expr => L.splat(e.type.scalar === scalar ? e : L.convert(e, scalar), m);
    return L.binary('mul', as(x), as(y));
  };
  return reduceLoop(
    lo,
    'add',
    scalar,
    [a.type.shape.at(-1)!],
    n,
    element,
    depthFor(lo, op.results[0]!, index),
    op.results[0]!.name ?? 'sum',
  );
}
