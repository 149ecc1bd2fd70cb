// What a pass is, and the engine that runs a table of rewrite rules: once over the function,
// operands before users, again until no rule fires. The engine owns order, types, spans, names and
// the record of what fired.
import type { Span } from '../diagnostics/diagnostic.ts';
import { sameDims } from '../ir/algebra.ts';
import type { Builder } from '../ir/builder.ts';
import type { Func, Op, Region, TensorType, Value } from '../ir/ir.ts';
import type { OpName } from '../ir/ops.ts';
import type { Limits } from '../limits.ts';
import { eliminateDead } from './dce.ts';
import { type Rewriter, rewriteFunc } from './rewriter.ts';

export interface PassContext {
  /** Says what was done, or why something was not: shown by `quern explain`. */
  note(text: string, span?: Span): void;
  /** What the target offers; without it, what every target that is no GPU does. */
  readonly limits?: Limits;
}

export interface Pass {
  /** kebab-case; the name of its file and of its folder of tests. */
  readonly name: string;
  run(func: Func, ctx: PassContext): Func;
}

/**
 * An op that is about to be built: operands are new values, whose `def` shows what they come from.
 */
export type Candidate<K extends OpName = OpName> = Pick<
  Op<K>,
  'name' | 'operands' | 'attrs' | 'regions' | 'results'
>;

export interface RuleContext {
  /** Builds in the place of the op that is rewritten. */
  readonly builder: Builder;
  /** Puts the ops of one of the candidate's regions here and gives what it yields. */
  inline(region: Region, args: readonly Value[]): readonly Value[];
}

export interface Rule {
  /** The algebra, as text: `x * 1 -> x`. */
  readonly name: string;
  readonly ops: readonly OpName[];
  /** Tries the operands of a binary op in either order. */
  readonly commutes: boolean;
  /**
   * The replacement, or undefined when the rule does not apply. A result that is narrower than the
   * op's (by promotion or broadcasting) is widened by the engine.
   */
  rewrite(op: Candidate, to: RuleContext): Value | readonly Value[] | undefined;
}

/** A row of a table of rules. */
export function rule<K extends OpName>(
  name: string,
  op: K | readonly K[],
  rewrite: (op: Candidate<K>, to: RuleContext) => Value | readonly Value[] | undefined,
): Rule {
  const ops = typeof op === 'string' ? [op] : op;
  return { name, ops, commutes: false, rewrite: rewrite as Rule['rewrite'] };
}

/** The same for an op whose operands may be swapped. */
export const commuting: typeof rule = (name, op, rewrite) => ({
  ...rule(name, op, rewrite),
  commutes: true,
});

/** A bound, in case two rules undo each other; each round may enable further rules. */
const maxRounds = 32;

/** A pass that applies `rules` until none fires, and drops the ops that this leaves unused. */
export function rulePass(name: string, rules: readonly Rule[]): Pass {
  const byOp = new Map<OpName, Rule[]>();
  for (const r of rules) for (const op of r.ops) byOp.set(op, [...(byOp.get(op) ?? []), r]);

  const run = (func: Func, ctx: PassContext): Func => {
    let current = func;
    for (let round = 0; round < maxRounds; round++) {
      let fired = 0;
      current = rewriteFunc(current, {
        op(op, to) {
          const candidates = byOp.get(op.name);
          if (!candidates) return undefined;
          const hit = apply(candidates, op, to);
          if (!hit) return undefined;
          fired += 1;
          ctx.note(hit.rule.name, op.span);
          return hit.values;
        },
      });
      if (fired === 0) return eliminateDead(current);
    }
    ctx.note(`stopped after ${maxRounds} rounds, though rules still apply`);
    return eliminateDead(current);
  };
  return { name, run };
}

/** The first rule that applies, in the order of the table. */
function apply(
  rules: readonly Rule[],
  op: Op,
  to: Rewriter,
): { rule: Rule; values: readonly Value[] } | undefined {
  const operands = to.values(op.operands);
  const context: RuleContext = {
    builder: to.builder,
    inline: (region, args) => to.inline(region, args),
  };
  for (const r of rules) {
    const orders = r.commutes ? [operands, [...operands].reverse()] : [operands];
    for (const order of orders) {
      const found = r.rewrite({ ...op, operands: order }, context);
      if (!found) continue;
      const list = 'id' in found ? [found] : found;
      const values = op.results.map((v, i) => widenTo(list[i]!, v.type, to.builder));
      return { rule: r, values };
    }
  }
  return undefined;
}

/**
 * Gives `v` the very type that its users expect, by the cast and the broadcast that the op implied.
 */
export function widenTo(v: Value, type: TensorType, builder: Builder): Value {
  const x = v.type.dtype === type.dtype ? v : builder.one('cast', [v], { dtype: type.dtype });
  if (sameDims(x.type.shape, type.shape)) return x;
  return builder.one('broadcast', [x], { shape: type.shape });
}
