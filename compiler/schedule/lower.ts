// Tensor IR after fusion -> loop IR. Each kernel op becomes one loop nest, chosen from an ordered list of rules
// by its iteration space; the last rule takes everything, so whatever the language can say runs.
import type { Poly } from '../ir/algebra.ts';
import type { Func, Op, Region, Value } from '../ir/ir.ts';
import type { Limits } from '../limits.ts';
import type { Buffer, Kernel, Program, Stmt } from '../loops/loops.ts';
import { privateBuffers } from '../loops/parallel.ts';
import { inSignatureDims, overQuotients, quotientDims } from './dims.ts';
import { storedSize } from './emitter.ts';
import { lowerGemm } from './gemm.ts';
import { gpuRules } from './gpu/rules.ts';
import { Lowering, nameOf } from './lowering.ts';
import { lowerRegion, mapInto, storeTensor } from './regions.ts';
import { isControl, soleMap } from './rules.ts';

export interface ScheduleRule {
  readonly name: string;
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
    name: 'gemm',
    apply: (lo, region, out) =>
      region.yields.length === 1 &&
      !isControl(region.yields[0]!.def?.op) &&
      lowerGemm(lo, region.yields[0]!, out[0]!),
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
      lowerRegion(lo, region);
      region.yields.forEach((v, i) => {
        storeTensor(lo, v, out[i]!, [], v.type.shape, false);
      });
      return true;
    },
  },
];

/** Lowers a fused function. */
export function lower(
  source: Func,
  limits: Limits,
  note: (text: string) => void = () => {},
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
  for (const op of func.body.ops) {
    if (op.name === 'reshape') {
      const from = bufferOf.get(op.operands[0]!)!;
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
    const out = k.results.map((v) => {
      const name = resultNames.get(v) ?? aliasResult(func, v, resultNames);
      const size = storedSize(v.type.dtype, v.type.shape);
      const b = lo.em.newBuffer(
        name ?? nameOf(v),
        v.type.dtype,
        name === undefined ? 'temp' : 'result',
        size,
      );
      lo.em.bufferDepth.set(b.id, 0);
      bufferOf.set(v, b);
      return b;
    });
    let body: Stmt[] = [];
    let schedule = '';
    for (const rule of limits.gpu ? gpuRules : scheduleRules) {
      lo.em.scopes = [{ stmts: [], memo: new Map() }];
      if (!rule.apply(lo, k.regions[0]!, out)) continue;
      body = lo.em.scopes[0]!.stmts;
      schedule = rule.name;
      break;
    }
    kernels.push({ name: k.attrs.name, schedule, body });
    note(`${k.attrs.name}: schedule ${schedule}`);
    for (const text of lo.notes) note(`${k.attrs.name}: ${text}`);
    lo.notes.clear();
    k.results.forEach((v, i) => {
      lo.storage.set(v, { kind: 'buffer', buffer: out[i]!, shape: v.type.shape });
    });
  }
  // Sizes are in the dims of the signature. Statements refer to buffers by identity, so they change in place.
  const buffers = orderBuffers(func, lo.em.buffers, bufferOf, params);
  for (const b of buffers) (b as { size: Poly }).size = inSignatureDims(b.size, quotients);
  const program: Program = { name: func.name, dims: func.dims, buffers, kernels };
  // On a GPU iterations have slices of their own already: see gpu/scratch.ts.
  const own = limits.gpu ? new Set<number>() : privateBuffers(program);
  for (const b of buffers) if (own.has(b.id)) (b as { private?: boolean }).private = true;
  return program;
}

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
