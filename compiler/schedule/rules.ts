// What schedule rules of all targets ask about a kernel's region.
import type { Op, Region } from '../ir/ir.ts';
import { type OpName, ops } from '../ir/ops.ts';

/** The op of this name that makes everything that the region yields, if there is one. */
export const soleOp = <K extends OpName>(r: Region, name: K): Op<K> | undefined => {
  const op = r.yields[0]?.def?.op;
  if (op?.name !== name || !r.ops.includes(op)) return undefined;
  return r.yields.length === op.results.length && r.yields.every((y, i) => y === op.results[i])
    ? (op as unknown as Op<K>)
    : undefined;
};
export const soleMap = (r: Region): Op<'map'> | undefined => soleOp(r, 'map');
/** Whether an op runs by statements of its own, in order. */
export const isControl = (op: Op | undefined): boolean =>
  op !== undefined &&
  (op.name === 'for' || op.name === 'while' || op.name === 'if' || ops[op.name].kind === 'stored');
