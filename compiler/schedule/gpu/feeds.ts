// How an operand of a tile on tensor cores comes into a group's memory. `copied`: its fields as they are stored, by copies
// that are under way while earlier stages are multiplied; each lane decodes its own elements from there. `put`: decoded
// once by the threads together, on their way through registers; so come operands that are computed, and activations
// that are f32 or few. Scales always come that way.

import { Poly } from '../../ir/algebra.ts';
import { dtypes } from '../../ir/dtype.ts';
import type { Value } from '../../ir/ir.ts';
import type { Buffer } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import { strides } from '../emitter.ts';
import type { Lowering, Storage } from '../lowering.ts';
import { alignment } from '../lowering.ts';
import { coreOf, type Plan, partsOf } from './cores.ts';
import type { Side } from './tile.ts';

/** A stage: the depth that a warp takes of it, and all warps together; how many are in memory. */
export interface Stages {
  readonly plan: Plan;
  readonly depth: number;
  readonly total: number;
  readonly count: number;
}

/** A field of storage that is copied as it is. */
export interface Field {
  readonly value: Value;
  readonly from: Buffer;
  /** Where in it a row's part of a stage begins. */
  base(row: Poly, stage: Poly): Poly;
  /** Elements of a copy. */
  readonly piece: number;
}

/** Bytes that lanes read at once, four of them side by side in a row, eight rows: no two in a bank at a time. */
export function pitchOf(rowBytes: number, laneBytes: number): number {
  const step = 4 * Math.max(4, laneBytes);
  const steps = Math.ceil(rowBytes / step);
  return (steps % 2 === 0 ? steps + 1 : steps) * step;
}

const isParam = (s: Storage): s is Extract<Storage, { kind: 'buffer' }> =>
  s.kind === 'buffer' && s.buffer.role === 'param';

/** Runs `body` with values found elsewhere than where they are. */
export function withStorage<T>(lo: Lowering, other: ReadonlyMap<Value, Storage>, body: () => T): T {
  const before = [...other.keys()].map((v) => [v, lo.storage.get(v)!] as const);
  for (const [v, s] of other) lo.storage.set(v, s);
  try {
    return body();
  } finally {
    for (const [v, s] of before) lo.storage.set(v, s);
  }
}

/** The beginning of any slice, in blocks as large as they may be, so that those of the operand's format resolve. */
export function anySlice(
  lo: Lowering,
  depth: Poly,
  unit: number,
): { readonly start: Poly; readonly atoms: readonly Poly[] } {
  const { em } = lo;
  const any = (name: string, extent: Poly | undefined): Poly =>
    Poly.atom(em.atom(em.newVar(name, L.vtype('i32')), extent));
  let block = 256;
  while (block > unit && depth.multiple() % block !== 0) block /= 2;
  const outer = any('block', depth.over(block) ?? undefined);
  const inner = any('slice', Poly.of(block / unit));
  return { start: outer.mul(block).add(inner.mul(unit)), atoms: [outer, inner] };
}

/**
 * The fields that the cores of an operand are made of, if these are read along the depth and nothing else is: then what a
 * lane needs of them can lie in the group's memory as it does in the device's. `whole`: rows are known at launch to be
 * whole copies of 16 bytes.
 */
export function fieldsOf(
  lo: Lowering,
  side: Side,
  depth: Poly,
  stages: Stages,
  whole: boolean,
): readonly Field[] | undefined {
  const { em } = lo;
  const { unit } = stages.plan;
  const per = unit / 4;
  const any = (name: string, extent?: Poly): Poly =>
    Poly.atom(em.atom(em.newVar(name, L.vtype('i32')), extent));
  return em.trial(() => {
    let out: readonly Field[] | undefined;
    em.scope(() => {
      const row = any('row', side.extent);
      const { start, atoms } = anySlice(lo, depth, unit);
      const part = any('part', Poly.of(4));
      const lane = Poly.atom(lo.lane(per));
      const k = start.add(part.mul(per)).add(lane);
      const places = new Map<Value, Set<string>>();
      const found = new Map<Value, { from: Buffer; base: Poly }>();
      let apart = false;
      const seen = new Map<Value, Storage>();
      for (const [v, s] of lo.storage) {
        if (!isParam(s)) continue;
        const { buffer, shape } = s;
        seen.set(v, {
          kind: 'place',
          buffer,
          at: (index) => {
            const linear = linearOf(buffer, shape, index);
            if (lo.isUniform(linear)) return linear;
            const base = linear.sub(k);
            const moving = [...atoms, part].map((p) => p.atoms()[0]!.key);
            if (!lo.isUniform(base) || base.leaves().some((a) => moving.includes(a.key)))
              apart = true;
            const known = places.get(v) ?? new Set();
            places.set(v, known.add(`${base}`));
            found.set(v, { from: buffer, base });
            return linear;
          },
        });
      }
      const core = withStorage(lo, seen, () => coreOf(side.element(row, k, per))?.core);
      if (!core || apart || found.size === 0 || [...places.values()].some((p) => p.size > 1))
        return;
      // All that it reads of the caller's memory are these fields, whole.
      const parts = partsOf(core, em.definition);
      const own = new Set([...found.values()].map((f) => f.from.id));
      const fits = [...parts].every((e) => {
        if (e.kind === 'gather') return e.buffer.role === 'const';
        if (e.kind === 'load') return own.has(e.buffer.id) && e.type.lanes === per;
        return e.kind !== 'var' || em.definition(e.var) !== undefined;
      });
      if (!fits) return;
      const rowKey = row.atoms()[0]!.key;
      const fields = [...found].map(([value, { from, base }]): Field | undefined => {
        const { bits } = dtypes[from.dtype];
        const bytes = whole ? [16] : [16, 8, 4];
        const piece = bytes
          .map((n) => (8 * n) / bits)
          .find(
            (n) =>
              Number.isInteger(n) &&
              stages.total % n === 0 &&
              (whole || (alignment(base, n) % n === 0 && depth.multiple() % n === 0)),
          );
        if (!piece) return undefined;
        const at = (r: Poly, s: Poly): Poly =>
          base.substitute((a) => (a.key === rowKey ? r : undefined)).add(s.mul(stages.total));
        return { value, from, base: at, piece };
      });
      if (fields.every((f) => f !== undefined)) out = fields;
    });
    return out;
  });
}

function linearOf(b: Buffer, shape: readonly Poly[], index: readonly Poly[]): Poly {
  const step = strides(b.dtype, shape);
  return index.reduce((sum, p, i) => sum.add(p.mul(step[i]!)), Poly.of(0));
}
