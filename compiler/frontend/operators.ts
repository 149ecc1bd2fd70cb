// The operators of TypeScript on staged values: plain numbers are computed, dims stay symbolic, and anything
// that touches a tensor becomes an op.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import { Poly } from '../ir/algebra.ts';
import type { BinaryName, CompareName } from '../ir/ops.ts';
import type { Context } from './context.ts';
import { typescript } from './typescript.ts';
import { type Val, describeVal, dimVal, is, tensorVal } from './values.ts';

type Plain = number | string | boolean | null | undefined;
const isPlain = (v: Val): v is Plain => typeof v !== 'object' || v === null;

interface Operator {
  readonly plain: (a: never, b: never) => Val;
  readonly op: BinaryName | CompareName;
}
const num = (f: (a: number, b: number) => number | boolean): ((a: never, b: never) => Val) => f;

/** Keyed by the operator's text. */
const binaryOperators: Readonly<Record<string, Operator>> = {
  '+': { op: 'add', plain: ((a: string, b: string) => a + b) as never },
  '-': { op: 'sub', plain: num((a, b) => a - b) },
  '*': { op: 'mul', plain: num((a, b) => a * b) },
  '/': { op: 'div', plain: num((a, b) => a / b) },
  '%': { op: 'rem', plain: num((a, b) => a % b) },
  '**': { op: 'pow', plain: num((a, b) => a ** b) },
  '&': { op: 'and', plain: num((a, b) => a & b) },
  '|': { op: 'or', plain: num((a, b) => a | b) },
  '^': { op: 'xor', plain: num((a, b) => a ^ b) },
  '<<': { op: 'shl', plain: num((a, b) => a << b) },
  '>>': { op: 'shr', plain: num((a, b) => a >> b) },
  '>>>': { op: 'shr', plain: num((a, b) => a >>> b) },
  '===': { op: 'eq', plain: num((a, b) => a === b) },
  '!==': { op: 'ne', plain: num((a, b) => a !== b) },
  '==': { op: 'eq', plain: num((a, b) => a === b) },
  '!=': { op: 'ne', plain: num((a, b) => a !== b) },
  '<': { op: 'lt', plain: num((a, b) => a < b) },
  '<=': { op: 'le', plain: num((a, b) => a <= b) },
  '>': { op: 'gt', plain: num((a, b) => a > b) },
  '>=': { op: 'ge', plain: num((a, b) => a >= b) },
};
export const isBinaryOperator = (text: string): boolean => Object.hasOwn(binaryOperators, text);

export function binaryOperator(ctx: Context, text: string, a: Val, b: Val): Val {
  const { op, plain } = binaryOperators[text]!;
  if (isPlain(a) && isPlain(b)) return plain(a as never, b as never);
  const symbolic = dimOperator(ctx, text, a, b);
  if (symbolic !== undefined) return symbolic;
  const tensorLike = (v: Val): boolean => is(v, 'tensor') || is(v, 'dim') || typeof v === 'number' || typeof v === 'boolean';
  if (!tensorLike(a) || !tensorLike(b)) {
    if (op === 'eq' || op === 'ne') return (a === b) === (op === 'eq');
    return fail('Q1012', {
      callee: `the operator ${text}`, found: `${describeVal(a)} ${text} ${describeVal(b)}`, expected: 'numbers or tensors',
    });
  }
  let [x, y] = ctx.pair(a, b);
  if (text === '>>>' && x.type.dtype !== 'u32') {
    x = ctx.builder.one('cast', [x], { dtype: 'u32' });
    y = ctx.builder.one('cast', [y], { dtype: 'u32' });
  }
  return tensorVal(ctx.builder.one(op, [x, y], {}));
}

/** Arithmetic of dims that stays exact; undefined when the result is no dim. */
function dimOperator(ctx: Context, text: string, a: Val, b: Val): Val {
  const poly = (v: Val): Poly | undefined =>
    is(v, 'dim') ? v.dim : typeof v === 'number' && Number.isInteger(v) ? Poly.of(v) : undefined;
  const x = poly(a);
  const y = poly(b);
  if (!x || !y) return undefined;
  switch (text) {
    case '+': return dimVal(x.add(y));
    case '-': return dimVal(x.sub(y));
    case '*': return dimVal(x.mul(y));
    case '/': {
      const q = y.terms.size === 0 ? undefined : x.over(y);
      if (!q) return undefined;
      const c = y.constant;
      if (c !== undefined && x.multiple() % c !== 0) ctx.constrain(x, Math.abs(c), `the division ${x} / ${c}`);
      return dimVal(q);
    }
    case '===': case '==': return x.equals(y) ? true : undefined;
    case '!==': case '!=': return x.equals(y) ? false : undefined;
    default: return undefined;
  }
}

export function unaryOperator(ctx: Context, operator: ts.PrefixUnaryOperator, v: Val): Val {
  const { SyntaxKind } = typescript();
  switch (operator) {
    case SyntaxKind.PlusToken: return v;
    case SyntaxKind.MinusToken:
      if (isPlain(v)) return -(v as number);
      if (is(v, 'dim')) return dimVal(v.dim.neg());
      return tensorVal(ctx.builder.one('neg', [ctx.tensor(v)], {}));
    case SyntaxKind.ExclamationToken: {
      if (isPlain(v)) return !v;
      if (!is(v, 'tensor')) return false;
      const x = v.value;
      const asBool = x.type.dtype === 'bool' ? x : ctx.builder.one('cast', [x], { dtype: 'bool' });
      return tensorVal(ctx.builder.one('not', [asBool], {}));
    }
    case SyntaxKind.TildeToken:
      if (isPlain(v)) return ~(v as number);
      return tensorVal(ctx.builder.one('not', [ctx.tensor(v)], {}));
    default:
      return fail('Q1002', { what: 'This operator', instead: 'Write x = x + 1.' });
  }
}

/** Truth of a static value; undefined when only the run knows. */
export function staticTruth(v: Val): boolean | undefined {
  if (isPlain(v)) return Boolean(v);
  if (is(v, 'tensor')) return undefined;
  if (is(v, 'dim')) return undefined;
  return true;
}
