// Dead code elimination: drops the ops of which no result is used. All ops are pure; an op with
// several results stays as long as one of them is needed. Unused carried values of loops are not
// removed.
import type { Func, Op, Region, Value } from '../ir/ir.ts';
import type { Pass } from './engine.ts';
import { rewriteFunc } from './rewriter.ts';

/** Marks what a region needs. Backwards, so that users are seen before what they use. */
function mark(region: Region, live: Set<Value>): void {
  for (const v of region.yields) live.add(v);
  for (const op of region.ops.toReversed()) {
    if (!op.results.some((v) => live.has(v))) continue;
    for (const v of op.operands) live.add(v);
    for (const r of op.regions) mark(r, live);
  }
}

export function eliminateDead(func: Func, drop: (op: Op) => void = () => {}): Func {
  const live = new Set<Value>();
  mark(func.body, live);
  return rewriteFunc(func, {
    op(op) {
      if (op.results.some((v) => live.has(v))) return undefined;
      drop(op);
      return [];
    },
  });
}

export const dce: Pass = {
  name: 'dce',
  run: (func, ctx) => eliminateDead(func, (op) => ctx.note(`unused ${op.name} dropped`, op.span)),
};
