// Tensor IR after fusion -> loop IR. Each kernel op becomes one loop nest, chosen from an ordered list of rules
// by its iteration space; the last rule takes everything, so whatever the language can say runs.

import type { Span } from '../diagnostics/diagnostic.ts';
import type { Dim, Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Func, Op, Region, Value } from '../ir/ir.ts';
import type { Limits } from '../limits.ts';
import type { Buffer, Kernel, PackedSource, Program, Stmt } from '../loops/loops.ts';
import { lateLets } from '../loops/late.ts';
import { privateBuffers } from '../loops/parallel.ts';
import { boundsOf } from './bounds.ts';
import { inSignatureDims, overQuotients, quotientDims } from './dims.ts';
import { storedSize } from './emitter.ts';
import { followersOf, ruleOf } from './followers.ts';
import { contractionsOf, lowerGemm } from './gemm.ts';
import { givenParams, lowerGiven } from './given.ts';
import { gpuRules } from './gpu/rules.ts';
import { singleRules } from './gpu/single.ts';
import { lowerColumns } from './int-columns.ts';
import { Lowering, nameOf } from './lowering.ts';
import { lowerOnline } from './online.ts';
import { biasOf, forgetLayout, type PackedField } from './packed.ts';
import { packingOf } from './packing.ts';
import { makeRecords } from './record-fields.ts';
import { lowerInto, mapInto, storeTensor } from './regions.ts';
import { emitResident } from './resident.ts';
import { planResident } from './resident-plan.ts';
import { isControl, soleMap, soleOp } from './rules.ts';
import { sortInto } from './sorting.ts';
import { lowerStrips } from './strips.ts';

export interface ScheduleRule {
  readonly name: string;
  /** Whether values are named as late as possible: where registers are what there is too little of. */
  readonly late?: boolean;
  /** Emits the whole kernel and returns true, or declines without a trace. */
  readonly apply: (lo: Lowering, region: Region, out: readonly Buffer[]) => boolean;
}

/** Tried in order; the first that applies wins. */
export const scheduleRules: readonly ScheduleRule[] = [
  {
    name: 'map',
    apply: (lo, region, out) => {
      const op = soleMap(region);
      if (!op) return false;
      mapInto(lo, op, out, true);
      return true;
    },
  },
  {
    name: 'sort',
    apply: (lo, region, out) => {
      const op = soleOp(region, 'sort');
      if (!op) return false;
      sortInto(lo, op, out, true);
      return true;
    },
  },
  {
    name: 'resident',
    late: true,
    apply: (lo, region, out) => {
      const root = region.yields[0];
      const plan = lo.packed.length > 0 ? residentPlan(lo, region) : undefined;
      if (!root || !plan) return false;
      if ('reason' in plan) {
        lo.note(`weights keep their logical layout: ${plan.reason}`);
        return false;
      }
      for (const text of lo.layoutNotes) lo.note(text);
      emitResident(lo, root, out[0]!, plan.plans);
      return true;
    },
  },
  {
    name: 'online',
    apply: (lo, region, out) =>
      region.yields.length === 1 && lowerOnline(lo, region.yields[0]!, out[0]!),
  },
  {
    name: 'columns',
    late: true,
    apply: (lo, region, out) =>
      region.yields.length === 1 &&
      !isControl(region.yields[0]!.def?.op) &&
      lowerColumns(lo, region.yields[0]!, out[0]!),
  },
  {
    name: 'gemm',
    apply: (lo, region, out) =>
      region.yields.length === 1 &&
      !isControl(region.yields[0]!.def?.op) &&
      lowerGemm(lo, region.yields[0]!, out[0]!),
  },
  {
    name: 'columns',
    apply: (lo, region, out) =>
      region.yields.length === 1 &&
      !region.ops.some((o) => isControl(o)) &&
      lowerStrips(lo, region.yields[0]!, out[0]!),
  },
  {
    name: 'rows',
    apply: (lo, region, out) => {
      if (region.yields.length !== 1 || region.ops.some((o) => isControl(o))) return false;
      storeTensor(lo, region.yields[0]!, out[0]!, [], region.yields[0]!.type.shape, true);
      return true;
    },
  },
  {
    name: 'sequential',
    apply: (lo, region, out) => {
      lowerInto(lo, region, out);
      return true;
    },
  },
];

const rulesFor = ({ gpu }: Limits): readonly ScheduleRule[] =>
  gpu?.single ? singleRules : gpu ? gpuRules : scheduleRules;

/** The plan of a kernel on resident weights, or why there is none; undefined for a kernel without contraction. */
function residentPlan(lo: Lowering, region: Region): ReturnType<typeof planResident> | undefined {
  const [root] = region.yields;
  if (region.yields.length !== 1 || !root || isControl(root.def?.op)) return undefined;
  const found = contractionsOf(root);
  if (found.length === 0 || found.some((op) => op.results[0]!.type.dtype !== 'f32'))
    return undefined;
  const depth = (op: (typeof found)[number]): Dim => op.operands[0]!.type.shape.at(-1)!;
  return planResident(
    lo,
    root,
    found.map((op) => ({ op, depth: depth(op) })),
  );
}

/**
 * Gives the fields of encoded params that contractions can read in the layout of the kernel that layout; the others
 * stay as they are.
 */
function packFields(lo: Lowering, func: Func): void {
  const rowsOf = (p: Func['params'][number], v: Value): boolean =>
    p.kind === 'encoded' && p.shape.length === 2 && v.type.shape[0]?.equals(p.shape[0]!) === true;
  for (const v of func.params.flatMap((p) => p.values.filter((x) => rowsOf(p, x)))) {
    const stored = lo.storage.get(v);
    if (stored?.kind !== 'buffer') continue;
    const { buffer } = stored;
    const field: PackedField = {
      buffer,
      dtype: v.type.dtype,
      shape: v.type.shape,
      bias: biasOf(v.type.dtype, lo.limits),
      packing: packingOf(v.type.dtype, multipleOf(v.type.shape.slice(1)), !lo.limits.relaxed),
      layout: undefined,
      record: undefined,
      looks: new Map(),
      settled: false,
      derived: undefined,
    };
    lo.packed.push({ value: v, field });
    lo.storage.set(v, { kind: 'packed', field });
  }
  for (const op of func.body.ops) {
    if (op.name !== 'kernel') continue;
    const before = lo.packed.map(({ field }) => field.layout);
    const plan = residentPlan(lo, op.regions[0]!);
    if (plan && 'plans' in plan) continue;
    lo.packed.forEach(({ field }, i) => {
      if (before[i] === undefined) forgetLayout(field);
    });
  }
  for (const { value, field } of lo.packed) {
    if (field.layout) continue;
    lo.storage.set(value, { kind: 'buffer', buffer: field.buffer, shape: field.shape });
  }
}

/**
 * How weights come: as they are stored, or in a layout of the kernel's own where it has one for them. `wide` is for
 * scales that may be subnormal, infinite or NaN.
 */
export type Residence = 'none' | 'compact' | 'wide';

/** Lowers a fused function. */
export function lower(
  source: Func,
  limits: Limits,
  note: (text: string) => void = () => {},
  resident: Residence = 'none',
  gives: readonly number[] = [],
): Program {
  const quotients = quotientDims(source);
  const func = overQuotients(source, quotients);
  const lo = new Lowering(limits, func.body, quotients);
  lo.countUses(func.body);
  const params: Buffer[] = [];
  for (const p of func.params)
    p.values.forEach((v, i) => {
      const name = p.kind === 'encoded' ? `${p.name}.${p.fields[i]}` : p.name;
      const buffer = lo.em.newBuffer(
        name,
        v.type.dtype,
        'param',
        storedSize(v.type.dtype, v.type.shape),
      );
      lo.storage.set(v, { kind: 'buffer', buffer, shape: v.type.shape });
      params.push(buffer);
    });
  const resultNames = new Map<Value, string>();
  for (const r of func.results)
    r.values.forEach((v, i) =>
      resultNames.set(v, r.kind === 'encoded' ? `${r.name}.${r.fields[i]}` : r.name),
    );
  const kernels: Kernel[] = [];
  const bufferOf = new Map<Value, Buffer>();
  /** Buffers of a kernel's results. */
  const outOf = (k: Op<'kernel'>): Buffer[] =>
    k.results.map((v, i) => {
      const known = bufferOf.get(v);
      if (known) return known;
      const name = resultNames.get(v) ?? aliasResult(func, v, resultNames);
      const b = lo.em.newBuffer(
        name ?? nameOf(v),
        v.type.dtype,
        name === undefined ? 'temp' : 'result',
        storedSize(v.type.dtype, v.type.shape),
      );
      lo.em.bufferDepth.set(b.id, 0);
      bufferOf.set(v, b);
      const { kind, bits } = dtypes[v.type.dtype];
      const range = boundsOf(k.regions[0]!.yields[i]!);
      if (kind !== 'float' && bits < 32) Object.assign(b, { range });
      return b;
    });
  // What a caller gives up lies where its result is to be from the start.
  const given = givenParams(func, gives, note);
  const keep = (k: Op<'kernel'>, out: readonly Buffer[]): void =>
    k.results.forEach((v, i) => {
      lo.storage.set(v, { kind: 'buffer', buffer: out[i]!, shape: v.type.shape });
    });
  // Where products are dear, memory is not: then scales need no decoding.
  lo.wideRows = resident === 'wide' || !limits.relaxed;
  if (resident !== 'none') {
    for (const op of func.body.ops)
      if (op.name === 'kernel') keep(op as Op<'kernel'>, outOf(op as Op<'kernel'>));
    packFields(lo, func);
    makeRecords(lo, func);
  }
  const made = new Set<Op>();
  for (const op of func.body.ops) {
    if (made.has(op)) continue;
    if (op.name === 'reshape') {
      const from = bufferOf.get(op.operands[0]!);
      // What lay in scratch, piece by piece, has had its readers.
      if (!from) continue;
      bufferOf.set(op.results[0]!, from);
      lo.storage.set(op.results[0]!, {
        kind: 'buffer',
        buffer: from,
        shape: op.results[0]!.type.shape,
      });
      continue;
    }
    if (op.name !== 'kernel') throw new Error(`${op.name} outside of a kernel`);
    const k = op as Op<'kernel'>;
    const out = outOf(k);
    const start = given.filter((g) => g.op === k);
    let body: Stmt[] = [];
    let schedule = '';
    const isFree = (f: Op<'kernel'>): boolean => given.every((g) => g.op !== f);
    const isThere = (v: Value): boolean => !v.def || made.has(v.def.op);
    const contracts = contractionsOf(k.regions[0]!.yields[0]!).length > 0;
    lo.followers =
      contracts && isFree(k)
        ? followersOf(lo, { func, kernel: k, isThere, isFree, outOf, note })
        : undefined;
    const { followers } = lo;
    for (const g of start) {
      const buffer = out[g.index]!;
      lo.storage.set(g.param, { kind: 'buffer', buffer, shape: g.param.type.shape });
      lo.given.set(g.param, buffer);
    }
    for (const rule of start.length ? [lowerGiven] : rulesFor(limits)) {
      lo.em.scopes = [{ stmts: [], memo: new Map() }];
      lo.targets.clear();
      lo.taken.clear();
      if (followers) Object.assign(followers, { taken: [], isAsked: false });
      if (!rule.apply(lo, k.regions[0]!, out)) continue;
      const stmts = lo.em.scopes[0]!.stmts;
      body = rule.late ? lateLets(stmts) : stmts;
      schedule = rule.name;
      break;
    }
    const taken = followers?.taken ?? [];
    const name = [k, ...taken.map((f) => f.op)].map((o) => o.attrs.name).join('_');
    const how = [schedule, ...taken.map((f) => ruleOf(f))].join(' + ');
    kernels.push({ name, schedule: how, body, ...spanOf(k.regions[0]!) });
    note(`${k.attrs.name}: schedule ${schedule}`);
    for (const f of taken)
      note(`${k.attrs.name}: ${f.op.attrs.name} follows in ${followers!.pieces}`);
    for (const text of lo.notes) note(`${k.attrs.name}: ${text}`);
    lo.notes.clear();
    made.add(k);
    for (const f of taken) {
      for (const b of f.out) lo.em.bufferDepth.set(b.id, 0);
      keep(f.op, f.out);
      made.add(f.op);
    }
    if (followers && taken.length > 0 && !followers.isWanted(taken)) {
      bufferOf.delete(k.results[0]!);
      lo.storage.delete(k.results[0]!);
      lo.em.buffers.splice(lo.em.buffers.indexOf(out[0]!), 1);
      continue;
    }
    if (followers && !followers.isAsked)
      note(`${k.attrs.name}: nothing follows piece by piece: schedule ${schedule} makes no pieces`);
    for (const b of out) lo.em.bufferDepth.set(b.id, 0);
    keep(k, out);
  }
  // Sizes are in the dims of the signature. Statements refer to buffers by identity, so they change in place.
  const buffers = orderBuffers(func, lo.em.buffers, bufferOf, params);
  for (const b of buffers) (b as { size: Poly }).size = inSignatureDims(b.size, quotients);
  const sources = new Map<Buffer, PackedSource[]>();
  for (const { field } of lo.packed) {
    const { buffer, dtype, bias, packing, layout, record } = field;
    const shape = field.shape.map((d) => inSignatureDims(d, quotients));
    if (!layout) continue;
    const into = record?.buffer ?? buffer;
    const own = { buffer, dtype, shape, layout, bias, packing };
    const source: PackedSource = { ...own, ...derivedOf(field) };
    sources.set(into, [...(sources.get(into) ?? []), source]);
  }
  for (const [buffer, packed] of sources) Object.assign(buffer, { packed });
  const reuses = given.map((g) => ({ param: g.at, result: g.result }));
  const program: Program = {
    name: func.name,
    dims: func.dims,
    buffers,
    kernels,
    ...(reuses.length ? { reuses } : {}),
  };
  // On a GPU iterations have slices of their own already: see gpu/scratch.ts.
  const own = limits.gpu ? new Set<number>() : privateBuffers(program);
  for (const b of buffers) if (own.has(b.id)) (b as { private?: boolean }).private = true;
  return program;
}

/** What is known to divide the product of dims. */
const multipleOf = (dims: readonly Dim[]): number => dims.reduce((n, d) => n * d.multiple(), 1);

const derivedOf = ({ derived }: PackedField): Pick<PackedSource, 'derived'> =>
  derived ? { derived } : {};

/** A result of the function that is a reshape of this value shares its buffer. */
function aliasResult(func: Func, v: Value, names: ReadonlyMap<Value, string>): string | undefined {
  for (const op of func.body.ops)
    if (op.name === 'reshape' && op.operands[0] === v)
      return names.get(op.results[0]!) ?? aliasResult(func, op.results[0]!, names);
  return undefined;
}

/** Params and results in the order of the signature, then temps and consts. */
function orderBuffers(
  func: Func,
  all: readonly Buffer[],
  bufferOf: ReadonlyMap<Value, Buffer>,
  params: readonly Buffer[],
): Buffer[] {
  const results = func.results.flatMap((r) => r.values.map((v) => bufferOf.get(v)!));
  const made = (...roles: readonly Buffer['role'][]): readonly Buffer[] =>
    roles.flatMap((r) => all.filter((b) => b.role === r));
  return [...params, ...results, ...made('temp', 'const', 'group', 'thread')];
}

/** Where the author wrote what a kernel yields, or else the last of what it computes. */
function spanOf(region: Region): { readonly span?: Span } {
  const ops = [...region.yields.map((v) => v.def?.op), ...[...region.ops].reverse()];
  const span = ops.find((op) => op?.span.file)?.span;
  return span ? { span } : {};
}
