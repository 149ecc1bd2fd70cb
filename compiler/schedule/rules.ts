// What schedule rules of all targets ask about a kernel's region.
import type { Op, Region } from '../ir/ir.ts';

/** The map that makes everything that the region yields, if there is one. */
export const soleMap = (r: Region): Op<'map'> | undefined => {
  const op = r.yields[0]?.def?.op;
  if (op?.name !== 'map' || !r.ops.includes(op)) return undefined;
  return r.yields.length === op.results.length && r.yields.every((y, i) => y === op.results[i])
    ? (op as Op<'map'>)
    : undefined;
};
export const isControl = (op: Op | undefined): boolean =>
  op?.name === 'for' || op?.name === 'while' || op?.name === 'if';
