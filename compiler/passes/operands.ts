// What an operand of a contraction is made from: which of two is better written out and which decoded where it is used
// depends on how much memory it takes next to its sources, and on whether it was only just computed.
import { product } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import { walk } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';

/** Where an expression is followed no further: values with storage. */
interface Stored {
  has(v: Value): boolean;
}

/** The values that an expression is computed from, as far as nothing in between is stored; itself if it is. */
export function sourcesOf(v: Value, stored: Stored): ReadonlySet<Value> {
  const out = new Set<Value>();
  const seen = new Set<Value>();
  const visit = (x: Value): void => {
    if (seen.has(x)) return;
    seen.add(x);
    const op = x.def?.op;
    if (!op || stored.has(x) || isReduction(op)) {
      out.add(x);
      return;
    }
    op.operands.forEach(visit);
    const inner = (o: Op): void => o.operands.forEach(visit);
    for (const r of op.regions) walk(r, inner);
  };
  visit(v);
  return out;
}

const isReduction = (op: Op): boolean =>
  ops[op.name].kind === 'reduce' || ops[op.name].kind === 'contract';

/** Whether a value would take more memory than each of its sources does, as decoded weights do. */
export function expands(v: Value, stored: Stored): boolean {
  const own = product(v.type.shape);
  return ![...sourcesOf(v, stored)].some(({ type }) => {
    const ratio = product(type.shape).mul(dtypes[type.dtype].bits).over(own)?.constant;
    return ratio !== undefined && ratio >= dtypes[v.type.dtype].bits;
  });
}

/** Whether a value is made from elements of fewer bits, a fixed number of it for each: what stores it should say so. */
export function isDecoded(v: Value, stored: Stored): boolean {
  const own = product(v.type.shape);
  return [...sourcesOf(v, stored)].some(
    ({ type }) =>
      dtypes[type.dtype].bits < dtypes[v.type.dtype].bits &&
      product(type.shape).over(own)?.constant !== undefined,
  );
}

/** Whether a value is computed from the result of a reduction: its sources were in the caches just now. */
export const reachesReduction = (v: Value, stored: Stored): boolean =>
  [...sourcesOf(v, stored)].some((s) => s.def !== undefined && isReduction(s.def.op));
