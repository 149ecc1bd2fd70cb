// Operators, choices, calls and property accesses of the staged program.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import type { Value } from '../ir/ir.ts';
import type { Env } from './env.ts';
import { list } from './literals.ts';
import { member, memberName } from './members.ts';
import { binaryOperator, isBinaryOperator, staticTruth, unaryOperator } from './operators.ts';
import { assignPattern, placeOf } from './patterns.ts';
import type { Stager } from './stager.ts';
import { typescript } from './typescript.ts';
import { describeVal, is, tensorVal, type Val } from './values.ts';

type Logical = '&&' | '||' | '??';
const isLogical = (text: string): text is Logical =>
  text === '&&' || text === '||' || text === '??';
const isAbsent = (v: Val): boolean => v === undefined || v === null;

/** `-x`, `!x`, `++x`, `x++`. */
export function unary(
  s: Stager,
  node: ts.PrefixUnaryExpression | ts.PostfixUnaryExpression,
  env: Env,
): Val {
  const { SyntaxKind, isPostfixUnaryExpression } = typescript();
  const { operator, operand } = node;
  if (operator !== SyntaxKind.PlusPlusToken && operator !== SyntaxKind.MinusMinusToken)
    return unaryOperator(s.ctx, operator, s.evaluate(operand, env));
  const place = placeOf(s, operand, env);
  const before = place.get();
  const after = binaryOperator(s.ctx, operator === SyntaxKind.PlusPlusToken ? '+' : '-', before, 1);
  place.set(after);
  return isPostfixUnaryExpression(node) ? before : after;
}

export function binary(s: Stager, node: ts.BinaryExpression, env: Env): Val {
  const text = node.operatorToken.getText();
  if (text === '=') {
    const v = s.evaluate(node.right, env);
    assignPattern(s, node.left, v, env);
    return v;
  }
  if (isLogical(text))
    return logical(s, text, () => leftOf(s, text, node.left, env), node.right, env);
  if (isBinaryOperator(text)) {
    const [a, b] = s.ctx.parts([node.left, node.right].map((side) => () => s.evaluate(side, env)));
    return binaryOperator(s.ctx, text, a, b);
  }
  const base = text.endsWith('=') ? text.slice(0, -1) : '';
  if (!isLogical(base) && !isBinaryOperator(base))
    return fail('Q1002', {
      what: `The operator \`${text}\``,
      instead: 'Use arithmetic, comparison, bit or logical operators.',
    });
  const place = placeOf(s, node.left, env);
  const v = isLogical(base)
    ? logical(s, base, () => (base === '??' ? place.peek() : place.get()), node.right, env)
    : binaryOperator(s.ctx, base, place.get(), s.evaluate(node.right, env));
  place.set(v);
  return v;
}

/** The left side: for `??`, variables without a value and properties that a record lacks are undefined. */
function leftOf(s: Stager, text: Logical, node: ts.Expression, env: Env): Val {
  const api = typescript();
  if (text !== '??') return s.evaluate(node, env);
  if (api.isIdentifier(node) && env.find(node.text)?.unset !== undefined) return undefined;
  if (!api.isPropertyAccessExpression(node) || api.isOptionalChain(node))
    return s.evaluate(node, env);
  const owner = s.evaluate(node.expression, env);
  if (is(owner, 'record')) return owner.fields.get(node.name.text);
  return s.ctx.at(node, s.file, () => member(s, owner, node.name.text));
}

function asBool(s: Stager, v: Val): Value {
  const x = s.ctx.tensor(v);
  return x.type.dtype === 'bool' ? x : s.ctx.builder.one('cast', [x], { dtype: 'bool' });
}

/** Constants follow JavaScript; tensors combine elementwise. */
function logical(s: Stager, text: Logical, left: () => Val, right: ts.Expression, env: Env): Val {
  const a = left();
  if (text === '??') return isAbsent(a) ? s.evaluate(right, env) : a;
  const truth = staticTruth(a);
  if (truth !== undefined) return truth === (text === '&&') ? s.evaluate(right, env) : a;
  const x = asBool(s, a);
  return tensorVal(
    s.ctx.builder.one(text === '&&' ? 'and' : 'or', [x, asBool(s, s.evaluate(right, env))], {}),
  );
}

export function conditional(s: Stager, node: ts.ConditionalExpression, env: Env): Val {
  const c = s.evaluate(node.condition, env);
  const truth = staticTruth(c);
  if (truth !== undefined) return s.evaluate(truth ? node.whenTrue : node.whenFalse, env);
  const a = s.evaluate(node.whenTrue, env);
  const b = s.evaluate(node.whenFalse, env);
  const [x, y] = s.ctx.pair(a, b);
  return tensorVal(s.ctx.builder.one('select', [asBool(s, c), x, y], {}));
}

type Chain = ts.PropertyAccessExpression | ts.ElementAccessExpression | ts.CallExpression;
/** Where `?.` met nothing: the rest of the chain is skipped. */
const skipped = Symbol('skipped');

/** Property accesses and calls, `?.` included. */
export function chain(s: Stager, node: Chain, env: Env): Val {
  const v = link(s, node, env);
  return v === skipped ? undefined : v;
}

function link(s: Stager, node: Chain, env: Env): Val | typeof skipped {
  const api = typescript();
  const isLink = (n: ts.Expression): n is Chain =>
    api.isOptionalChain(n) && 'expression' in n && !api.isNonNullExpression(n);
  const owner = isLink(node.expression)
    ? s.at(node.expression, () => link(s, node.expression as Chain, env))
    : s.evaluate(node.expression, env);
  if (owner === skipped || (node.questionDotToken && isAbsent(owner))) return skipped;
  if (api.isCallExpression(node)) {
    if (!is(owner, 'closure') && !is(owner, 'builtin') && !is(owner, 'dtype'))
      s.at(node.expression, () =>
        fail('Q1013', { name: `\`${node.expression.getText()}\``, found: describeVal(owner) }),
      );
    return s.apply(owner, list(s, node.arguments, env));
  }
  if (api.isPropertyAccessExpression(node)) return property(s, node, owner);
  return element(s, owner, s.evaluate(node.argumentExpression, env));
}

function property(s: Stager, node: ts.PropertyAccessExpression, owner: Val): Val {
  const name = node.name.text;
  // Options that a caller may leave out: `options?.name`.
  if (node.questionDotToken && is(owner, 'record')) return owner.fields.get(name);
  return s.ctx.at(node.name, s.file, () => member(s, owner, name));
}

function element(s: Stager, owner: Val, key: Val): Val {
  if (is(owner, 'array')) return owner.items[s.ctx.staticNumber(key, 'The index of an array')];
  if (typeof owner === 'string') return owner[s.ctx.staticNumber(key, 'The index of a string')];
  if (is(owner, 'tensor'))
    return fail('Q1002', {
      what: 'Indexing a tensor with [ ]',
      instead: 'Write at(x, i) or at(x, i, j).',
    });
  if (typeof key === 'string' || typeof key === 'number') return member(s, owner, memberName(key));
  return fail('Q1008', { what: 'The key of a record', found: describeVal(key), expected: 'text' });
}
