// Common subexpression elimination: an op that computes what an earlier, visible op has computed is
// replaced by it. Ops with regions count as equal when their regions are, up to the names of their
// values, so that two decodes of one weight become one. Does not look through algebra (a + b is not
// b + a).
import { attrsText } from '../ir/attributes.ts';
import type { Func, Op, Region, Value } from '../ir/ir.ts';
import { typeText } from '../ir/ops.ts';
import type { Pass, PassContext } from './engine.ts';
import { type Rewriter, rewriteFunc } from './rewriter.ts';

/**
 * Text that is equal for ops that compute the same; values from outside the op by their new ids.
 */
function keyOf(op: Op, to: Rewriter): string {
  const local = new Map<Value, number>();
  const define = (v: Value): string => {
    local.set(v, local.size);
    return typeText(v.type);
  };
  const use = (v: Value): string => {
    const n = local.get(v);
    return n === undefined ? `%${to.value(v).id}` : `$${n}`;
  };
  const regionKey = (r: Region): string =>
    `(${r.params.map(define)}){${r.ops.map(opKey).join(';')} yield ${r.yields.map(use)}}`;
  const opKey = (o: Op): string => {
    const operands = o.operands.map(use);
    const regions = o.regions.map(regionKey);
    const types = o.results.map(define);
    return `${o.name}(${operands})${attrsText(o.name, o.attrs)}${regions.join('')}:${types}`;
  };
  return opKey(op);
}

// A scope a region: what a branch or a loop body computes is not there for the ops behind it.
function run(func: Func, ctx: PassContext): Func {
  const scopes: Map<string, readonly Value[]>[] = [];
  return rewriteFunc(func, {
    enter: () => scopes.push(new Map()),
    leave: () => scopes.pop(),
    op(op, to) {
      const key = keyOf(op, to);
      for (const scope of scopes) {
        const earlier = scope.get(key);
        if (!earlier) continue;
        // Equal literals are too common to be worth a line in the report.
        if (op.name !== 'const') ctx.note(`${op.name} computed once`, op.span);
        return earlier;
      }
      const results = to.clone(op);
      scopes.at(-1)!.set(key, results);
      return results;
    },
  });
}

export const cse: Pass = { name: 'cse', run };
