// The operators of TypeScript on staged values: plain numbers are computed, dims stay symbolic, and anything
// that touches a tensor becomes an op.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import { floorDiv, Poly } from '../ir/algebra.ts';
import type { BinaryName, CompareName } from '../ir/ops.ts';
import type { Context } from './context.ts';
import { typescript } from './typescript.ts';
import { describeVal, dimVal, is, tensorVal, type Val } from './values.ts';

type Plain = number | string | boolean | null | undefined;
export const isPlain = (v: Val): v is Plain => typeof v !== 'object' || v === null;

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
  if (isPlain(a) && isPlain(b)) {
    if (!isEquality(op) && !areOperands(text, a, b)) refuse(text, a, b);
    const v = plain(a as never, b as never);
    return typeof v === 'string' ? ctx.budget.text(v) : v;
  }
  const symbolic = dimOperator(ctx, text, a, b);
  if (symbolic !== undefined) return symbolic;
  const tensorLike = (v: Val): boolean =>
    is(v, 'tensor') || is(v, 'dim') || typeof v === 'number' || typeof v === 'boolean';
  if (!tensorLike(a) || !tensorLike(b)) {
    if (isEquality(op)) return (a === b) === (op === 'eq');
    return refuse(text, a, b);
  }
  let [x, y] = ctx.pair(a, b);
  if (text === '>>>' && x.type.dtype !== 'u32') {
    x = ctx.builder.one('cast', [x], { dtype: 'u32' });
    y = ctx.builder.one('cast', [y], { dtype: 'u32' });
  }
  return tensorVal(ctx.builder.one(op, [x, y], {}));
}

const isEquality = (op: string): boolean => op === 'eq' || op === 'ne';

/** Whether an operator is defined on two constants: JavaScript would make NaN of the rest. */
function areOperands(text: string, a: Plain, b: Plain): boolean {
  const isText = typeof a === 'string' || typeof b === 'string';
  const fits = (v: Plain): boolean => typeof v === 'number' || (isText && typeof v === 'string');
  if (text === '+' && isText) return [a, b].every((v) => fits(v) || typeof v === 'boolean');
  if (text.startsWith('<') || text.startsWith('>')) return typeof a === typeof b && fits(a);
  return typeof a === 'number' && typeof b === 'number';
}

const refuse = (text: string, a: Val, b: Val): never =>
  fail('Q1012', {
    callee: `the operator ${text}`,
    found: `${describeVal(a)} and ${describeVal(b)}`,
    expected: 'numbers or tensors',
    ...(is(a, 'encoded') || is(b, 'encoded')
      ? { hint: 'decode(w) gives the values of an encoded tensor.' }
      : {}),
  });

/** Arithmetic of dims that stays exact; undefined when the result is no dim. */
function dimOperator(ctx: Context, text: string, a: Val, b: Val): Val {
  const poly = (v: Val): Poly | undefined =>
    is(v, 'dim')
      ? v.dim
      : typeof v === 'number' && Number.isSafeInteger(v)
        ? Poly.of(v)
        : undefined;
  const x = poly(a);
  const y = poly(b);
  if (!x || !y) return undefined;
  switch (text) {
    case '+':
      return dimVal(ctx.budget.poly(x.add(y)));
    case '-':
      return dimVal(ctx.budget.poly(x.sub(y)));
    case '*':
      return dimVal(ctx.budget.poly(x.mul(y)));
    case '/': {
      const q = y.terms.size === 0 ? undefined : x.over(y);
      if (!q) return undefined;
      const c = y.constant;
      if (c !== undefined && x.multiple() % c !== 0)
        ctx.constrain(x, Math.abs(c), `the division ${x} / ${c}`);
      return dimVal(q);
    }
    // n >> 3 is how many whole eights n has; (n + 7) >> 3 also counts a last one that is not full.
    case '>>': {
      const c = y.constant;
      if (c === undefined || c < 0 || c > 31) return undefined;
      return dimVal(ctx.budget.poly(floorDiv(x, 2 ** c)));
    }
    case '===':
    case '==':
      return x.equals(y) ? true : undefined;
    case '!==':
    case '!=':
      return x.equals(y) ? false : undefined;
    default:
      return undefined;
  }
}

export function unaryOperator(ctx: Context, operator: ts.PrefixUnaryOperator, v: Val): Val {
  const { SyntaxKind } = typescript();
  switch (operator) {
    case SyntaxKind.PlusToken:
      return v;
    case SyntaxKind.MinusToken:
      if (typeof v === 'number') return -v;
      if (is(v, 'dim')) return dimVal(v.dim.neg());
      return tensorVal(ctx.builder.one('neg', [ctx.tensor(v)], {}));
    case SyntaxKind.ExclamationToken: {
      if (isPlain(v)) return !v;
      if (!is(v, 'tensor') && !is(v, 'dim')) return false;
      const x = ctx.tensor(v);
      const asBool = x.type.dtype === 'bool' ? x : ctx.builder.one('cast', [x], { dtype: 'bool' });
      return tensorVal(ctx.builder.one('not', [asBool], {}));
    }
    case SyntaxKind.TildeToken:
      if (typeof v === 'number') return ~v;
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
