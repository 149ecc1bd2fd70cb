// Run-time loops and branches: the values that they carry live in variables and buffers, their slots. A slot takes
// over the storage of the value that it starts with where nobody else reads that, and values that updates made in
// the slot itself are not copied.
import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import { scalarOf } from '../ir/dtype.ts';
import type { Op, Region, Value } from '../ir/ir.ts';
import { startOf } from '../ir/ir.ts';
import type { Buffer, Expr, Stmt } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { storedSize } from './emitter.ts';
import { copyTogether } from './gpu/share.ts';
import { captured, Readers, replaces, takeOver } from './inplace.ts';
import { type Lowering, nameOf } from './lowering.ts';
import { loop, vectorLoop } from './nests.ts';
import { lowerRegion, scratch, storeAt, storeScratch, storeTensor } from './regions.ts';
import { storeWindow, windowOf } from './window.ts';

/** Storage of values carried through a loop. */
export type Slot =
  | { readonly kind: 'local'; readonly var: L.Var }
  | { readonly kind: 'buffer'; readonly buffer: Buffer };

/** The buffer that a value should be made in: one of the caller if it waits for this value, else scratch. */
export function placeFor(lo: Lowering, v: Value): Buffer {
  const target = lo.targets.get(v);
  if (!target || lo.taken.has(target)) return scratch(lo, v);
  lo.taken.add(target);
  return target;
}

function openSlots(
  lo: Lowering,
  op: Op,
  initial: readonly Value[],
  names: readonly Value[],
): Slot[] {
  return initial.map((v, i) => {
    if (v.type.shape.length === 0) {
      const e = lo.emit(v, [], 1);
      const slot = lo.em.newVar(nameOf(names[i]!), e.type);
      lo.em.push({ kind: 'local', var: slot, value: e });
      return { kind: 'local', var: slot };
    }
    const others = [...initial.filter((_, j) => j !== i), ...captured(op)];
    const own = takeOver(lo, v, others);
    if (own) return { kind: 'buffer', buffer: own };
    const buffer = placeFor(lo, op.results[i]!);
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
export function assignSlots(lo: Lowering, slots: readonly Slot[], yields: readonly Value[]): void {
  const { em } = lo;
  const bufferOf = (v: Value): Buffer | undefined => {
    const s = lo.storage.get(v);
    return s?.kind === 'buffer' ? s.buffer : undefined;
  };
  const overwritten = slots.flatMap((s, i) =>
    s.kind === 'buffer' && bufferOf(yields[i]!) !== s.buffer ? [s.buffer] : [],
  );
  const variables = new Set(slots.flatMap((s) => (s.kind === 'local' ? [s.var] : [])));
  const readersOf = new Map(overwritten.map((b) => [b, new Readers(lo, b)]));
  // Values computed in their place may read variables, so that those change last.
  const direct: (() => void)[] = [];
  const pending: (() => void)[] = [];
  yields.forEach((v, i) => {
    const s = slots[i]!;
    if (s.kind === 'local') {
      let e = em.bind(lo.emit(v, [], 1), 'next');
      if (e.kind === 'var' && e.var === s.var) return;
      // Another slot's variable may have its next value before this one takes it.
      if (e.kind === 'var' && variables.has(e.var)) {
        const copied = em.newVar('next', e.type);
        em.push({ kind: 'let', var: copied, value: e });
        e = L.variable(copied);
      }
      pending.push(() => em.push({ kind: 'set', var: s.var, value: e }));
      return;
    }
    if (!overwritten.includes(s.buffer)) return;
    const { shape } = v.type;
    let from = bufferOf(v);
    if (from && overwritten.includes(from)) {
      const own = scratch(lo, v);
      copy(lo, from, own, shape);
      em.bufferDepth.set(own.id, em.depth);
      from = own;
    }
    const others = overwritten.filter((b) => b !== s.buffer);
    const inPlace =
      !from &&
      !others.some((b) => readersOf.get(b)!.has(v)) &&
      (!readersOf.get(s.buffer)!.has(v) || replaces(lo, v, s.buffer, 0));
    if (inPlace) {
      direct.push(() => storeTensor(lo, v, s.buffer, [], shape, false));
      return;
    }
    const next = from ?? storeScratch(lo, v);
    pending.push(() => copy(lo, next, s.buffer, shape));
  });
  for (const p of [...direct, ...pending]) p();
}

function copy(lo: Lowering, from: Buffer, to: Buffer, shape: readonly Dim[]): void {
  const size = storedSize(from.dtype, shape);
  if (lo.team?.shares(lo.em.depth)) return copyTogether(lo, from, to, size);
  const lanes = size.multiple() % 8 === 0 ? 8 : 1;
  vectorLoop(lo, size, lanes, (k, n) => {
    storeAt(lo, to, [size], [k], lo.load(from, [size], [k], n), n);
  });
}

export function lowerFor(lo: Lowering, op: Op<'for'>): void {
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
  const slots = openSlots(lo, op, initial, params);
  const oneByOne = (): void =>
    loop(
      lo,
      extent,
      1,
      false,
      (i) => {
        lo.storage.set(index!, { kind: 'index', poly: i });
        bindSlots(lo, slots, params, em.depth);
        lowerRegion(lo, body);
        assignSlots(lo, slots, body.yields);
      },
      Poly.of(0),
      nameOf(index!),
    );
  const [slot] = slots;
  const window = lo.limits.gpu ? undefined : windowOf(op);
  if (window && slot?.kind === 'buffer') storeWindow(lo, window, slot.buffer, oneByOne);
  else oneByOne();
  bindSlots(lo, slots, op.results, em.depth);
}

export function lowerWhile(lo: Lowering, op: Op): void {
  const { em } = lo;
  const [header, body] = op.regions as [Region, Region];
  const slots = openSlots(lo, op, op.operands, body.params);
  let cond: Expr | undefined;
  const head = em.scope(() => {
    bindSlots(lo, slots, header.params, em.depth);
    lowerRegion(lo, header, 'header');
    cond = em.bind(lo.emit(header.yields[0]!, [], 1), 'go');
  });
  const stmts: Stmt[] = em.scope(() => {
    bindSlots(lo, slots, body.params, em.depth);
    lowerRegion(lo, body);
    assignSlots(lo, slots, body.yields);
  });
  em.push({ kind: 'while', header: head, cond: cond!, body: stmts });
  bindSlots(lo, slots, op.results, em.depth);
}

/** The value in front of a branch that a value of it is an update of. */
function rootOf(v: Value, region: Region): Value | undefined {
  const op = v.def?.op;
  if (!op || !region.ops.includes(op)) return v;
  const { index } = v.def!;
  if (op.name === 'if') {
    const [a, b] = op.regions.map((r) => rootOf(r.yields[index]!, r));
    return a && a === b ? rootOf(a, region) : undefined;
  }
  const start = startOf(op, index);
  return start && rootOf(start, region);
}

export function lowerIf(lo: Lowering, op: Op): void {
  const { em } = lo;
  const cond = em.bind(lo.emit(op.operands[0]!, [], 1), 'cond');
  const used = new Set<Buffer>();
  const slots = op.results.map((v, i): Slot => {
    if (v.type.shape.length > 0) {
      // Where both branches give the same tensor, updated or not, it stays where it is.
      const [a, b] = op.regions.map((r) => rootOf(r.yields[i]!, r));
      const own = a && a === b ? takeOver(lo, a, []) : undefined;
      if (own && !used.has(own)) {
        used.add(own);
        return { kind: 'buffer', buffer: own };
      }
      return { kind: 'buffer', buffer: placeFor(lo, v) };
    }
    const type = L.vtype(scalarOf(v.type.dtype));
    const slot = em.newVar(nameOf(v), type);
    em.push({ kind: 'local', var: slot, value: L.constant(0, type.scalar) });
    return { kind: 'local', var: slot };
  });
  const [yes, no] = op.regions.map((r) =>
    em.scope(() => {
      lowerRegion(lo, r, 'once', () => assignSlots(lo, slots, r.yields));
    }),
  );
  em.push({ kind: 'if', cond, then: yes!, else: no! });
  bindSlots(lo, slots, op.results, em.depth);
}
