// Statements: storing whole tensors, bodies of maps, and run-time loops and branches with carried values.

import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import { type DType, dtypes, scalarOf } from '../ir/dtype.ts';
import type { Op, Region, Value } from '../ir/ir.ts';
import { walk } from '../ir/ir.ts';
import type { Buffer, Expr, Stmt } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { isInlineable, planRegion } from '../passes/materialize.ts';
import { storedSize, strides } from './emitter.ts';
import { blocksTogether } from './blocks.ts';
import { copyTogether, mapTogether, storeTogether } from './gpu/share.ts';
import { alignment, type Lowering, nameOf } from './lowering.ts';
import { chooseLanes, loop, nest, probeIndex, vectorLoop } from './reductions.ts';

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
  const linear = index.reduce((sum, p, i) => sum.add(p.mul(step[i]!)), Poly.of(0));
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
function storeLanes(dtype: DType, last: Dim): number[] {
  const { bits } = dtypes[dtype];
  return [32, 16, 8, 4].filter((n) => {
    if (bits % 8 !== 0 && (n < 8 || last.multiple() % n !== 0))
      return n >= 8 && n === 8 && (last.constant ?? 8) >= 8 && bits % 8 !== 0;
    if (last.multiple() % n === 0) return last.constant !== 0;
    return n <= 8 && (last.constant ?? n) >= n;
  });
}

/** Whether a contraction is computed inline for this value: then its own loop is the one to vectorise. */
function hasContraction(lo: Lowering, v: Value, seen = new Set<Value>()): boolean {
  if (seen.has(v) || lo.storage.has(v) || !v.def) return false;
  seen.add(v);
  return v.def.op.name === 'matmul' || v.def.op.operands.some((o) => hasContraction(lo, o, seen));
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
  const { shape } = v.type;
  if (lo.team?.shares(lo.em.depth)) return storeTogether(lo, v, buffer, prefix, fullShape);
  if (shape.length === 0) return storeAt(lo, buffer, fullShape, prefix, lo.emit(v, [], 1), 1);
  const last = shape.at(-1)!;
  nest(
    lo,
    shape.slice(0, -1),
    (outer) => {
      const element = (k: Poly, lanes: number): Expr => lo.emit(v, [...outer, k], lanes);
      const attempt = (n: number): Expr => element(probeIndex(lo, last, n), n);
      const wide = storeLanes(buffer.dtype, last);
      const candidates = hasContraction(lo, v) ? [1, ...wide] : wide;
      const lanes = last.constant === 1 ? 1 : chooseLanes(lo, candidates, attempt);
      // A lone row is split itself, at whole bytes.
      const lone =
        outer.every((i) => i.constant !== undefined) &&
        (lanes * dtypes[buffer.dtype].bits) % 8 === 0;
      vectorLoop(
        lo,
        last,
        lanes,
        (k, n) => {
          storeAt(lo, buffer, fullShape, [...prefix, ...outer, k], element(k, n), n);
        },
        parallel && lone,
      );
    },
    parallel,
  );
}

/** Scratch memory for a tensor, private to one iteration of the loops around it. */
export function scratch(lo: Lowering, v: Value): Buffer {
  return lo.em.newBuffer(nameOf(v), v.type.dtype, 'temp', storedSize(v.type.dtype, v.type.shape));
}

function storeScratch(lo: Lowering, v: Value): Buffer {
  const buffer = scratch(lo, v);
  storeTensor(lo, v, buffer, [], v.type.shape, false);
  lo.em.bufferDepth.set(buffer.id, lo.em.depth);
  return buffer;
}

/** Lowers the ops of a region that need statements, in order. Everything else is emitted on demand. */
export function lowerRegion(lo: Lowering, region: Region): void {
  const { stored: plan } = planRegion(region, true);
  const yielded = new Set(region.yields);
  for (const op of region.ops) {
    if (!isInlineable(op)) {
      lowerControl(lo, op);
      continue;
    }
    const [v] = op.results;
    // Results of the region are stored by whoever asked for them.
    if (!v || !plan.has(v) || (yielded.has(v) && !usedWithin(region, v))) continue;
    const buffer = storeScratch(lo, v);
    lo.storage.set(v, { kind: 'buffer', buffer, shape: v.type.shape });
  }
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
    lo.em.bufferDepth.set(buffers[i]!.id, lo.em.depth);
    lo.storage.set(v, { kind: 'buffer', buffer: buffers[i]!, shape: v.type.shape });
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
  if (!shares) blocksTogether(lo, op.attrs.dims, outer);
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

/** Storage of values carried through a loop. */
type Slot =
  | { readonly kind: 'local'; readonly var: L.Var }
  | { readonly kind: 'buffer'; readonly buffer: Buffer };

function openSlots(lo: Lowering, initial: readonly Value[], names: readonly Value[]): Slot[] {
  return initial.map((v, i) => {
    const name = nameOf(names[i]!);
    if (v.type.shape.length === 0) {
      const e = lo.emit(v, [], 1);
      const slot = lo.em.newVar(name, e.type);
      lo.em.push({ kind: 'local', var: slot, value: e });
      return { kind: 'local', var: slot };
    }
    const buffer = lo.em.newBuffer(
      name,
      v.type.dtype,
      'temp',
      storedSize(v.type.dtype, v.type.shape),
    );
    storeTensor(lo, v, buffer, [], v.type.shape, false);
    return { kind: 'buffer', buffer };
  });
}

function bindSlots(
  lo: Lowering,
  slots: readonly Slot[],
  values: readonly Value[],
  depth: number,
): void {
  slots.forEach((s, i) => {
    const v = values[i]!;
    if (s.kind === 'local') {
      lo.em.varDepth.set(s.var.id, depth);
      lo.storage.set(v, { kind: 'local', var: s.var });
    } else {
      lo.em.bufferDepth.set(s.buffer.id, depth);
      lo.storage.set(v, { kind: 'buffer', buffer: s.buffer, shape: v.type.shape });
    }
  });
}

/** Gives the slots their next values, all of them computed before any is overwritten. */
function assignSlots(
  lo: Lowering,
  slots: readonly Slot[],
  params: readonly Value[],
  yields: readonly Value[],
): void {
  const pending: (() => void)[] = [];
  yields.forEach((v, i) => {
    const s = slots[i]!;
    if (v === params[i]) return;
    if (s.kind === 'local') {
      const e = lo.em.bind(lo.emit(v, [], 1), 'next');
      pending.push(() => lo.em.push({ kind: 'set', var: s.var, value: e }));
      return;
    }
    const at = lo.storage.get(v);
    const next =
      at?.kind === 'buffer' && at.buffer.role === 'temp' ? at.buffer : storeScratch(lo, v);
    pending.push(() => copy(lo, next, s.buffer, v.type.shape));
  });
  for (const p of pending) p();
}

function copy(lo: Lowering, from: Buffer, to: Buffer, shape: readonly Dim[]): void {
  const size = storedSize(from.dtype, shape);
  if (lo.team?.shares(lo.em.depth)) return copyTogether(lo, from, to, size);
  const lanes = size.multiple() % 8 === 0 ? 8 : 1;
  vectorLoop(lo, size, lanes, (k, n) => {
    storeAt(lo, to, [size], [k], lo.load(from, [size], [k], n), n);
  });
}

function lowerFor(lo: Lowering, op: Op<'for'>): void {
  const { em } = lo;
  const body = op.regions[0]!;
  const [index, ...params] = body.params;
  const counted = op.attrs.extent === undefined;
  const initial = counted ? op.operands.slice(1) : op.operands;
  let extent = op.attrs.extent;
  if (!extent) {
    const n = em.bind(L.convert(lo.emit(op.operands[0]!, [], 1), 'i32'), 'count');
    extent = n.kind === 'const' ? Poly.of(n.value) : Poly.atom(em.atom((n as L.ExprOf<'var'>).var));
  }
  const slots = openSlots(lo, initial, params);
  loop(
    lo,
    extent,
    1,
    false,
    (i) => {
      lo.storage.set(index!, { kind: 'index', poly: i });
      bindSlots(lo, slots, params, em.depth);
      lowerRegion(lo, body);
      assignSlots(lo, slots, params, body.yields);
    },
    Poly.of(0),
    nameOf(index!),
  );
  bindSlots(lo, slots, op.results, em.depth);
}

function lowerWhile(lo: Lowering, op: Op): void {
  const { em } = lo;
  const [header, body] = op.regions as [Region, Region];
  const slots = openSlots(lo, op.operands, body.params);
  let cond: Expr | undefined;
  const head = em.scope(() => {
    bindSlots(lo, slots, header.params, em.depth);
    lowerRegion(lo, header);
    cond = em.bind(lo.emit(header.yields[0]!, [], 1), 'go');
  });
  const stmts: Stmt[] = em.scope(() => {
    bindSlots(lo, slots, body.params, em.depth);
    lowerRegion(lo, body);
    assignSlots(lo, slots, body.params, body.yields);
  });
  em.push({ kind: 'while', header: head, cond: cond!, body: stmts });
  bindSlots(lo, slots, op.results, em.depth);
}

function lowerIf(lo: Lowering, op: Op): void {
  const { em } = lo;
  const cond = em.bind(lo.emit(op.operands[0]!, [], 1), 'cond');
  const slots = op.results.map((v): Slot => {
    if (v.type.shape.length > 0) return { kind: 'buffer', buffer: scratch(lo, v) };
    const type = L.vtype(scalarOf(v.type.dtype));
    const slot = em.newVar(nameOf(v), type);
    em.push({ kind: 'local', var: slot, value: L.constant(0, type.scalar) });
    return { kind: 'local', var: slot };
  });
  const [yes, no] = op.regions.map((r) =>
    em.scope(() => {
      lowerRegion(lo, r);
      r.yields.forEach((v, i) => {
        const s = slots[i]!;
        if (s.kind === 'local') em.push({ kind: 'set', var: s.var, value: lo.emit(v, [], 1) });
        else storeTensor(lo, v, s.buffer, [], v.type.shape, false);
      });
    }),
  );
  em.push({ kind: 'if', cond, then: yes!, else: no! });
  bindSlots(lo, slots, op.results, em.depth);
}
