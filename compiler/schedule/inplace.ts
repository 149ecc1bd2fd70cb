// When an update may overwrite the storage of its operand. Values that are not stored are recomputed where they are
// used, so a tensor is read wherever something made from it is; an update is in place only if nothing that runs
// later reads the old contents. Small values that later code still needs are computed in front of the update.
import type { Op, Region, Value } from '../ir/ir.ts';
import { walk } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';
import type { Buffer } from '../loops/loops.ts';
import { isInlineable } from '../passes/materialize.ts';
import type { Lowering } from './lowering.ts';
import { keep, storeScratch } from './regions.ts';

/** once: a branch. again: the body of a loop or a map, or a kernel. header: the condition of a `while`. */
export type RegionKind = 'once' | 'again' | 'header';

export interface OpenRegion {
  readonly region: Region;
  readonly kind: RegionKind;
  /** Values that are stored although they could be recomputed. */
  readonly stored: ReadonlySet<Value>;
  /** Values that are in scratch as long as the region is open. */
  readonly fixed: Value[];
  /** Position of the op that is being lowered. */
  at: number;
}

/** Values that an op reads inside of its regions, theirs included. */
export function captured(op: Op): Value[] {
  const out: Value[] = [];
  for (const r of op.regions) {
    walk(r, (o) => {
      out.push(...o.operands);
      for (const q of o.regions) out.push(...q.yields);
    });
    out.push(...r.yields);
  }
  return out;
}

/** Which values are computed from a buffer when they are asked for. */
export class Readers {
  readonly #lo: Lowering;
  readonly #buffer: Buffer;
  readonly #known = new Map<Value, boolean>();

  constructor(lo: Lowering, buffer: Buffer) {
    this.#lo = lo;
    this.#buffer = buffer;
  }

  isBuffer(v: Value): boolean {
    const s = this.#lo.storage.get(v);
    return s?.kind === 'buffer' && s.buffer === this.#buffer;
  }

  has(v: Value): boolean {
    const known = this.#known.get(v);
    if (known !== undefined) return known;
    const op = v.def?.op;
    const reads = this.#lo.storage.has(v)
      ? this.isBuffer(v)
      : op !== undefined &&
        isInlineable(op) &&
        (op.operands.some((o) => this.has(o)) || captured(op).some((o) => this.has(o)));
    this.#known.set(v, reads);
    return reads;
  }
}

/** Position in the stack of the region that defines a value, if updates there may overwrite it. */
function homeOf(lo: Lowering, v: Value): number | undefined {
  for (let f = lo.open.length - 1; f >= 0; f -= 1) {
    const { region, kind } = lo.open[f]!;
    if (v.def && region.ops.includes(v.def.op)) return f;
    if (region.params.includes(v)) return kind === 'header' ? undefined : f;
    if (f === 0 && lo.given.has(v)) return 0;
    if (kind !== 'once') return undefined;
  }
  return undefined;
}

/**
 * The storage of `x`, if the op that is being lowered may overwrite it. `others`: what the op itself reads besides.
 * Small values that are read later are computed now; nothing must read `x` as it was from here on.
 */
export function takeOver(lo: Lowering, x: Value, others: readonly Value[]): Buffer | undefined {
  const s = lo.storage.get(x);
  if (s?.kind !== 'buffer' || (s.buffer.role !== 'temp' && !lo.taken.has(s.buffer)))
    return undefined;
  const home = homeOf(lo, x);
  if (home === undefined) return undefined;
  const readers = new Readers(lo, s.buffer);
  const later = new Set<Op>();
  const inner = (op: Op): void => {
    for (const r of op.regions) walk(r, (o) => later.add(o));
  };
  const frames = lo.open.slice(home);
  for (const f of frames) {
    for (const op of f.region.ops.slice(f.at + 1)) {
      later.add(op);
      inner(op);
    }
    const now = f.region.ops[f.at];
    if (now && f === frames.at(-1)) inner(now);
  }
  // The values that later code reads the buffer through, as far as they are known already.
  const needed = new Set<Value>();
  const seen = new Set<Value>();
  const collect = (v: Value): void => {
    if (seen.has(v) || !readers.has(v)) return;
    seen.add(v);
    const op = v.def?.op;
    if (op && later.has(op) && !lo.storage.has(v)) {
      op.operands.forEach(collect);
      captured(op).forEach(collect);
    } else needed.add(v);
  };
  // Those that the regions around need come first: what only this one needs is computed in it.
  let outer = 0;
  for (const f of frames) {
    if (f === frames.at(-1)) outer = needed.size;
    for (const op of f.region.ops.slice(f.at + 1)) {
      if (isInlineable(op) && !op.results.some((v) => f.stored.has(v))) continue;
      op.operands.forEach(collect);
      captured(op).forEach(collect);
    }
    f.region.yields.forEach(collect);
  }
  others.forEach(collect);
  for (const [i, v] of [...needed].entries()) {
    const small = v.type.shape.length < x.type.shape.length;
    const here = v.type.shape.length === 0 || i >= outer;
    if (readers.isBuffer(v) || !small || !here) {
      lo.note(`${v.name ?? 'a value'} is still read after an update: the tensor is copied`);
      return undefined;
    }
  }
  for (const v of needed) fix(lo, v);
  return s.buffer;
}

/** Computes a value now: later readers in this region find it in a variable or in scratch. */
export function fix(lo: Lowering, v: Value): void {
  if (v.type.shape.length === 0) lo.emit(v, [], 1);
  else if (!lo.storage.has(v)) {
    keep(lo, v, storeScratch(lo, v));
    lo.open.at(-1)!.fixed.push(v);
  }
}

/**
 * Whether `v` can be computed straight into the buffer that it is computed from: each element reads only what it
 * will replace. `part`: the buffer's part at so many leading indices is replaced, 0 for all of it. Smaller values
 * that it reads the buffer through are computed first.
 */
export function replaces(lo: Lowering, v: Value, buffer: Buffer, part: number): boolean {
  const readers = new Readers(lo, buffer);
  const rank = v.type.shape.length;
  const first = new Set<Value>();
  const smaller = (o: Value): boolean => {
    const { shape } = o.type;
    const repeats = shape.some((d, i) => d.constant === 1 && v.type.shape[i]?.constant !== 1);
    if (shape.length > rank || (shape.length === rank && !repeats)) return false;
    first.add(o);
    return true;
  };
  const sameDims = (o: Value): boolean =>
    o.type.shape.length === rank && o.type.shape.every((d, i) => d.equals(v.type.shape[i]!));
  const visit = (u: Value): boolean => {
    if (!readers.has(u)) return true;
    if (readers.isBuffer(u)) return part === 0;
    const op = u.def?.op;
    if (!op) return false;
    const { kind } = ops[op.name];
    if (op.name === 'at' && readers.isBuffer(op.operands[0]!) && op.operands.length === part + 1)
      return op.operands.slice(1).every((o) => !readers.has(o) || smaller(o));
    if (kind === 'unary' || kind === 'binary' || kind === 'compare' || kind === 'elementwise')
      return op.operands.every((o) => !readers.has(o) || (sameDims(o) ? visit(o) : smaller(o)));
    return false;
  };
  if (!visit(v)) return false;
  // What has axes is kept for the region around, which a kernel as a whole has not.
  if (lo.open.length === 0 && [...first].some((u) => u.type.shape.length > 0)) return false;
  for (const u of first) fix(lo, u);
  return true;
}
