// Statements: storing whole tensors, the ops of a region in order, and bodies of maps. Loops and branches with
// carried values are in carried.ts.

import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import { type DType, dtypes, scalarOf } from '../ir/dtype.ts';
import type { Op, Region, Value } from '../ir/ir.ts';
import { startOf, walk } from '../ir/ir.ts';
import { type OpInfo, type OpName, ops } from '../ir/ops.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { isInlineable, planRegion } from '../passes/materialize.ts';
import { blocksTogether } from './blocks.ts';
import { assignSlots, lowerFor, lowerIf, lowerWhile, type Slot } from './carried.ts';
import { castExpr } from './elements.ts';
import { storedSize, strides } from './emitter.ts';
import { mapTogether, storeTogether } from './gpu/share.ts';
import type { RegionKind } from './inplace.ts';
import { alignment, type Lowering, nameOf } from './lowering.ts';
import { nest, type Range, vectorLoop } from './nests.ts';
import { chooseLanes, probeIndex } from './vector-widths.ts';
import { lowerSort } from './sorting.ts';
import { stagedValues } from './staged.ts';
import { storeTurned, turnedAxis } from './turned.ts';
import { lowerSet } from './updates.ts';

/** Stores one value (or `lanes` of them) at an index of a buffer. */
export function storeAt(
  lo: Lowering,
  buffer: Buffer,
  shape: readonly Dim[],
  index: readonly Poly[],
  value: Expr,
  lanes: number,
): void {
  const step = strides(buffer.dtype, shape);
  storeLinear(
    lo,
    buffer,
    index.reduce((sum, p, i) => sum.add(p.mul(step[i]!)), Poly.of(0)),
    value,
    lanes,
  );
}

/** Stores one value at an element of a buffer, or `lanes` of them that move with the lane atom. */
export function storeLinear(
  lo: Lowering,
  buffer: Buffer,
  linear: Poly,
  value: Expr,
  lanes: number,
): void {
  const lane = lo.lane(lanes);
  const base = lanes === 1 ? linear : linear.sub(Poly.atom(lane));
  lo.em.push({
    kind: 'store',
    buffer,
    index: lo.em.index(base),
    value: L.splat(stored(buffer.dtype, value), lanes),
    align: lanes === 1 ? 1 : alignment(base, lanes),
  });
}

const stored = (dtype: DType, e: Expr): Expr => {
  const want = scalarOf(dtype);
  if (e.type.scalar === want) return e;
  return e.type.scalar === 'bool' || want === 'f32' || e.type.scalar === 'f32'
    ? L.convert(e, want)
    : L.bits(e, want);
};

/** Widths with which a buffer of this dtype can be written: whole bytes a store. */
export function storeLanes(dtype: DType, last: Dim): number[] {
  const { bits } = dtypes[dtype];
  return [32, 16, 8, 4].filter((n) => {
    if (bits % 8 !== 0 && (n < 8 || last.multiple() % n !== 0))
      return n >= 8 && n === 8 && (last.constant ?? 8) >= 8 && bits % 8 !== 0;
    if (last.multiple() % n === 0) return last.constant !== 0;
    return n <= 8 && (last.constant ?? n) >= n;
  });
}

/** Whether an op of this kind is computed inline for a value. */
function has(
  lo: Lowering,
  v: Value,
  kind: OpInfo<OpName>['kind'],
  seen = new Set<Value>(),
): boolean {
  if (seen.has(v) || lo.storage.has(v) || !v.def) return false;
  seen.add(v);
  return ops[v.def.op.name].kind === kind || v.def.op.operands.some((o) => has(lo, o, kind, seen));
}

/**
 * Widths to try for a value, the first of equal ones wins: the loop of a contraction is the one to vectorise, that of another
 * reduction where the result's own lanes would gather.
 */
function widths(
  lo: Lowering,
  v: Value,
  wide: readonly number[],
  alone: boolean,
): readonly number[] {
  if (has(lo, v, 'contract')) return [1, ...wide];
  return alone && has(lo, v, 'reduce') ? [...wide, 1] : wide;
}

/** Computes every element of `v` into `buffer`, whose leading axes are fixed at `prefix`. */
export function storeTensor(
  lo: Lowering,
  v: Value,
  buffer: Buffer,
  prefix: readonly Poly[],
  fullShape: readonly Dim[],
  parallel: boolean,
): void {
  const inner = parallel ? reshapedParts(lo, v, buffer.dtype) : undefined;
  if (inner) return storeTensor(lo, inner, buffer, prefix, inner.type.shape, parallel);
  const { shape } = v.type;
  if (lo.team?.shares(lo.em.depth)) return storeTogether(lo, v, buffer, prefix, fullShape);
  const parts = parallel ? undefined : joinedParts(lo, v, buffer.dtype);
  if (parts) return storeParts(lo, v, parts, buffer, prefix, fullShape);
  if (shape.length === 0) {
    const e = lo.emit(unrounded(lo, v, buffer.dtype), [], 1);
    return storeAt(lo, buffer, fullShape, prefix, e, 1);
  }
  storeElements(lo, v, v.type.dtype, buffer, prefix, fullShape, Poly.of(0), parallel);
}

/** What a value that is stored as `dtype` was cast from, where a store casts likewise: floats are rounded as they are stored. */
function unrounded(lo: Lowering, v: Value, dtype: DType): Value {
  const op = v.def?.op;
  const from = op?.operands[0];
  if (lo.limits.gpu || op?.name !== 'cast' || !from || lo.storage.has(v)) return v;
  return v.type.dtype === dtype && dtypes[dtype].minifloat && from.type.dtype === 'f32' ? from : v;
}

interface Part {
  readonly value: Value;
  /** Where it begins on the last axis. */
  readonly from: number;
}

/**
 * The parts of a value that is joined along its last axis, where each can be stored by itself: a struct is written field
 * by field, without asking for each byte which field it is of.
 */
function joinedParts(lo: Lowering, v: Value, dtype: DType): readonly Part[] | undefined {
  const op = v.def?.op;
  if (lo.limits.gpu || op?.name !== 'concat' || lo.storage.has(v)) return undefined;
  if ((op as Op<'concat'>).attrs.axis !== v.type.shape.length - 1) return undefined;
  const whole = dtypes[dtype].bits % 8 === 0 ? 1 : 8;
  const parts: Part[] = [];
  let from = 0;
  for (const value of op.operands) {
    const size = value.type.shape.at(-1)!.constant;
    if (size === undefined || size % whole !== 0) return undefined;
    // Nested joins are of one dtype, so that a cast in between loses nothing.
    const inner = value.type.dtype === v.type.dtype ? joinedParts(lo, value, dtype) : undefined;
    for (const p of inner ?? [{ value, from: 0 }]) parts.push({ ...p, from: from + p.from });
    from += size;
  }
  return parts;
}

function storeParts(
  lo: Lowering,
  v: Value,
  parts: readonly Part[],
  buffer: Buffer,
  prefix: readonly Poly[],
  fullShape: readonly Dim[],
): void {
  for (const { value, from } of parts)
    if (value.type.shape.at(-1)!.constant !== 0)
      storeElements(lo, value, v.type.dtype, buffer, prefix, fullShape, Poly.of(from), false);
}

/** What a whole tensor is a reshape of, where that is joined of long parts: both lie in the same order. */
function reshapedParts(lo: Lowering, v: Value, dtype: DType): Value | undefined {
  const op = v.def?.op;
  const from = op?.operands[0];
  if (op?.name !== 'reshape' || !from || lo.storage.has(v) || dtypes[dtype].bits % 8 !== 0)
    return undefined;
  return longParts(lo, from, dtype) ? from : reshapedParts(lo, from, dtype);
}

/** The parts of a value that is joined along its last axis, none of them short. */
function longParts(lo: Lowering, v: Value, dtype: DType): readonly Part[] | undefined {
  const parts = joinedParts(lo, v, dtype);
  return parts?.every(({ value }) => value.type.shape.at(-1)!.constant! >= shortestPart)
    ? parts
    : undefined;
}

/** Elements of a part below which the parts of a row are better put together lane by lane. */
const shortestPart = 8;

/**
 * Stores a value of at least one axis, as elements of `dtype`, from `start` on along the last axis; of an axis that has a
 * range only that part.
 */
export function storeElements(
  lo: Lowering,
  v: Value,
  dtype: DType,
  buffer: Buffer,
  prefix: readonly Poly[],
  fullShape: readonly Dim[],
  start: Poly,
  parallel: boolean,
  ranges: readonly (Range | undefined)[] = [],
): void {
  const { shape } = v.type;
  const last = ranges[shape.length - 1];
  const rows = parallel || ranges.length > 0;
  const whole = rows && dtype === v.type.dtype && start.constant === 0;
  const staged = whole && dtype === buffer.dtype ? stagedValues(lo, v, dtype) : [];
  const joined = rows && !last ? longParts(lo, v, buffer.dtype) : undefined;
  const isElementwise = !has(lo, v, 'reduce') && !has(lo, v, 'contract');
  const turned =
    whole && parallel && staged.length === 0 && !joined && isElementwise
      ? turnedAxis(lo, v, buffer)
      : undefined;
  if (turned !== undefined) {
    lo.note('vectors lie along another axis than the last: they are turned round in registers');
    const store = (index: readonly Poly[], e: Expr, n: number): void =>
      storeAt(lo, buffer, fullShape, [...prefix, ...index], castExpr(v.type.dtype, dtype, e), n);
    const row = (outer: readonly Poly[]): void =>
      storeRow(lo, v, dtype, buffer, prefix, outer, fullShape, start, false);
    return storeTurned(lo, { value: v, buffer, store, row }, turned);
  }
  const parts = joined ?? [{ value: v, from: 0 }];
  const at = (index: readonly Poly[]): Poly => {
    const step = strides(buffer.dtype, fullShape);
    return [...prefix, ...index].reduce((sum, p, i) => sum.add(p.mul(step[i]!)), Poly.of(0));
  };
  nest(
    lo,
    shape.slice(0, -1),
    (outer) => {
      staged.forEach((x, i) => {
        storeRow(lo, x, dtype, buffer, prefix, outer, fullShape, start, parallel, last);
        if (i > 0) lo.storage.delete(staged[i - 1]!);
        lo.storage.set(x, { kind: 'place', buffer, at });
        lo.em.bufferDepth.set(buffer.id, lo.em.depth);
      });
      for (const { value, from } of parts) {
        const at = start.add(from);
        storeRow(lo, value, dtype, buffer, prefix, outer, fullShape, at, parallel, last);
      }
    },
    parallel,
    undefined,
    ranges,
  );
  for (const x of staged) lo.storage.delete(x);
}

/** One row of a value at `outer`: see {@link storeElements}. */
function storeRow(
  lo: Lowering,
  v: Value,
  dtype: DType,
  buffer: Buffer,
  prefix: readonly Poly[],
  outer: readonly Poly[],
  fullShape: readonly Dim[],
  start: Poly,
  parallel: boolean,
  part?: Range,
): void {
  const last = v.type.shape.at(-1)!;
  const source = dtype === buffer.dtype ? unrounded(lo, v, dtype) : v;
  const element = (k: Poly, lanes: number): Expr =>
    source === v
      ? castExpr(v.type.dtype, dtype, lo.emit(v, [...outer, k], lanes))
      : lo.emit(source, [...outer, k], lanes);
  const attempt = (n: number): Expr => element(probeIndex(lo, last, n), n);
  const most = part?.length?.constant ?? Infinity;
  const wide = storeLanes(buffer.dtype, last).filter((n) => n <= most);
  const candidates = widths(lo, v, wide, parallel || part !== undefined);
  const lanes = last.constant === 1 ? 1 : chooseLanes(lo, candidates, attempt);
  // A lone row is split itself, at whole bytes.
  const lone =
    outer.every((i) => i.constant !== undefined) && (lanes * dtypes[buffer.dtype].bits) % 8 === 0;
  vectorLoop(
    lo,
    last,
    lanes,
    (k, n) => {
      storeAt(lo, buffer, fullShape, [...prefix, ...outer, start.add(k)], element(k, n), n);
    },
    parallel && lone,
    undefined,
    part,
  );
}

/** Scratch memory for a tensor, private to one iteration of the loops around it. */
export function scratch(lo: Lowering, v: Value): Buffer {
  return lo.em.newBuffer(nameOf(v), v.type.dtype, 'temp', storedSize(v.type.dtype, v.type.shape));
}

/** Says where a value is from now on. */
export function keep(lo: Lowering, v: Value, buffer: Buffer): void {
  lo.em.bufferDepth.set(buffer.id, lo.em.depth);
  lo.storage.set(v, { kind: 'buffer', buffer, shape: v.type.shape });
}

export function storeScratch(lo: Lowering, v: Value): Buffer {
  const buffer = scratch(lo, v);
  storeTensor(lo, v, buffer, [], v.type.shape, false);
  lo.em.bufferDepth.set(buffer.id, lo.em.depth);
  return buffer;
}

/**
 * Lowers the ops of a region that need statements, in order. Everything else is emitted on demand. `kind` says
 * how often the region runs for the one around it: see inplace.ts. `end` is still part of it.
 */
export function lowerRegion(
  lo: Lowering,
  region: Region,
  kind: RegionKind = 'again',
  end?: () => void,
): void {
  const { stored: plan } = planRegion(region, true, !lo.limits.gpu);
  const yielded = new Set(region.yields);
  // Lowered before, perhaps: what it stored then is gone.
  for (const op of region.ops) for (const v of op.results) lo.storage.delete(v);
  const open = lo.openRegion(region, kind, plan);
  for (const [at, op] of region.ops.entries()) {
    open.at = at;
    if (!isInlineable(op)) {
      lowerControl(lo, op);
      continue;
    }
    const [v] = op.results;
    // Results of the region are stored by whoever asked for them.
    if (!v || !plan.has(v) || (yielded.has(v) && !usedWithin(region, v))) continue;
    keep(lo, v, storeScratch(lo, v));
  }
  end?.();
  lo.open.pop();
  // What was computed in a branch for values from outside is there only.
  for (const v of open.fixed) if (!v.def || !region.ops.includes(v.def.op)) lo.storage.delete(v);
}

function usedWithin(region: Region, v: Value): boolean {
  let used = false;
  walk(region, (o) => {
    if (o.operands.includes(v) || o.regions.some((r) => r.yields.includes(v))) used = true;
  });
  return used;
}

function lowerControl(lo: Lowering, op: Op): void {
  switch (op.name) {
    case 'map':
      return lowerMap(lo, op as Op<'map'>);
    case 'set':
      return lowerSet(lo, op as Op<'set'>);
    case 'sort':
      return lowerSort(lo, op as Op<'sort'>);
    case 'for':
      return lowerFor(lo, op as Op<'for'>);
    case 'while':
      return lowerWhile(lo, op);
    case 'if':
      return lowerIf(lo, op);
    default:
      throw new Error(`${op.name} inside a kernel`);
  }
}

/** A map that cannot be inlined: every result goes to scratch. */
function lowerMap(lo: Lowering, op: Op<'map'>): void {
  const buffers = op.results.map((v) => scratch(lo, v));
  mapInto(lo, op, buffers, false);
  op.results.forEach((v, i) => {
    keep(lo, v, buffers[i]!);
  });
}

/** Runs a map's body for every index and stores what it yields. */
export function mapInto(
  lo: Lowering,
  op: Op<'map'>,
  buffers: readonly Buffer[],
  parallel: boolean,
): void {
  if (lo.team?.shares(lo.em.depth)) return mapTogether(lo, op, buffers);
  const body = op.regions[0]!;
  // Neighbouring scalars of a sub-byte type share bytes: rows are independent, elements of a row are not.
  const shares =
    op.attrs.dims.slice(0, -1).every((d) => d.constant === 1) &&
    body.yields.some((y) => y.type.shape.length === 0 && dtypes[y.type.dtype].bits % 8 !== 0);
  const outer = new Set(lo.em.buffers);
  nest(lo, op.attrs.dims, (ids) => mapBody(lo, op, ids, buffers), parallel && !shares);
  if (!shares) blocksTogether(lo, op.attrs.dims.filter((d) => d.constant !== 1).length, outer);
}

/** One iteration of a map. */
export function mapBody(
  lo: Lowering,
  op: Op<'map'>,
  ids: readonly Poly[],
  buffers: readonly Buffer[],
): void {
  const body = op.regions[0]!;
  lo.inside(op, ids, () => {
    lowerRegion(lo, body);
    body.yields.forEach((y, i) => {
      storeTensor(lo, y, buffers[i]!, ids, op.results[i]!.type.shape, false);
    });
  });
}

/**
 * The ops of a kernel in order. What it yields is made in `out` where it can be: an update, or a value that a loop
 * carries, starts there.
 */
export function lowerInto(lo: Lowering, region: Region, out: readonly Buffer[]): void {
  region.yields.forEach((v, i) => {
    lo.targets.set(v, out[i]!);
  });
  for (const op of region.ops.toReversed())
    op.results.forEach((v, i) => {
      const target = lo.targets.get(v);
      const from = target && startOf(op, i);
      if (from && !lo.targets.has(from)) lo.targets.set(from, target);
    });
  const kept = new Set(lo.given.values());
  for (const b of out) if (kept.has(b)) lo.taken.add(b);
  lowerRegion(lo, region);
  const store = (v: Value, to: Buffer): void => {
    const s = lo.storage.get(v);
    if (s?.kind !== 'buffer' || s.buffer !== to) storeTensor(lo, v, to, [], v.type.shape, false);
  };
  const last: { slot: Slot; value: Value }[] = [];
  region.yields.forEach((v, i) => {
    const buffer = out[i]!;
    if (kept.has(buffer)) last.push({ slot: { kind: 'buffer', buffer }, value: v });
    else store(v, buffer);
  });
  // Those that still hold what the caller gave are overwritten when everything that reads it has.
  assignSlots(
    lo,
    last.map((l) => l.slot),
    last.map((l) => l.value),
  );
}
