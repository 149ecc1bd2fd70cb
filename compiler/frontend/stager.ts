// The staging interpreter: walks the TypeScript AST of a kernel, computes what is static and builds tensor IR
// for the rest. It never runs user code. Statements and run-time control flow are in statements.ts and
// control.ts; builtins in builtins/.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import { Env } from './env.ts';
import { checkArgument } from './annotations.ts';
import type { Context } from './context.ts';
import { member } from './members.ts';
import { binaryOperator, isBinaryOperator, staticTruth, unaryOperator } from './operators.ts';
import { assignPattern, declarePattern } from './patterns.ts';
import { runBody } from './statements.ts';
import { typescript } from './typescript.ts';
import {
  type ArrayVal, type Closure, type Val, arrayVal, describeVal, is, recordVal, tensorVal,
} from './values.ts';

export class Stager {
  readonly ctx: Context;
  /** Path of the file whose code is being walked. */
  file: string;

  constructor(ctx: Context, file: string) {
    this.ctx = ctx;
    this.file = file;
  }

  evaluate(node: ts.Expression, env: Env): Val {
    this.ctx.step();
    return this.ctx.at(node, this.file, () => this.#evaluate(node, env));
  }

  #evaluate(node: ts.Expression, env: Env): Val {
    const api = typescript();
    if (api.isIdentifier(node)) return node.text === 'undefined' ? undefined : env.get(node.text);
    if (api.isNumericLiteral(node)) return Number(node.text);
    if (api.isStringLiteralLike(node)) return node.text;
    switch (node.kind) {
      case api.SyntaxKind.TrueKeyword: return true;
      case api.SyntaxKind.FalseKeyword: return false;
      case api.SyntaxKind.NullKeyword: return null;
    }
    if (api.isParenthesizedExpression(node) || api.isAsExpression(node) || api.isSatisfiesExpression(node) || api.isNonNullExpression(node))
      return this.evaluate(node.expression, env);
    if (api.isPrefixUnaryExpression(node)) return this.#prefix(node, env);
    if (api.isPostfixUnaryExpression(node)) {
      const before = this.evaluate(node.operand, env);
      const sign = node.operator === api.SyntaxKind.PlusPlusToken ? '+' : '-';
      assignPattern(this, node.operand, binaryOperator(this.ctx, sign, before, 1), env);
      return before;
    }
    if (api.isBinaryExpression(node)) return this.#binary(node, env);
    if (api.isConditionalExpression(node)) return this.#conditional(node, env);
    if (api.isCallExpression(node)) return this.#call(node, env);
    if (api.isPropertyAccessExpression(node)) {
      const target = this.evaluate(node.expression, env);
      if (node.questionDotToken && (target === undefined || target === null)) return undefined;
      return member(this, target, node.name.text);
    }
    if (api.isElementAccessExpression(node)) return this.#element(node, env);
    if (api.isArrayLiteralExpression(node)) return arrayVal(this.#list(node.elements, env));
    if (api.isObjectLiteralExpression(node)) return this.#object(node, env);
    if (api.isArrowFunction(node) || api.isFunctionExpression(node)) return this.closure(node, env);
    if (api.isTemplateExpression(node))
      return node.templateSpans.reduce((text, s) => {
        const v = this.evaluate(s.expression, env);
        if (typeof v === 'object' && v !== null && !is(v, 'dim'))
          fail('Q1008', { what: 'A part of a template string', found: describeVal(v), expected: 'a static value' });
        return `${text}${is(v, 'dim') ? v.dim : v}${s.literal.text}`;
      }, node.head.text);
    if (api.isVoidExpression(node)) return undefined;
    return fail('Q1002', {
      what: `The expression \`${node.getText().slice(0, 40)}\` (${api.SyntaxKind[node.kind]})`,
      instead: 'Use functions, records, arrays, operators and the builtins of the language.',
    });
  }

  closure(node: ts.FunctionLikeDeclaration, env: Env, name = ''): Closure {
    const api = typescript();
    const isAsync = node.modifiers?.some((m) => m.kind === api.SyntaxKind.AsyncKeyword);
    if (isAsync || node.asteriskToken)
      fail('Q1002', { what: 'An async or generator function', instead: 'Kernels are plain functions.' });
    const own = node.name && api.isIdentifier(node.name) ? node.name.text : name;
    return { tag: 'closure', name: own, node, env, module: this.file };
  }

  /** Calls a function value. */
  apply(callee: Val, args: readonly Val[]): Val {
    if (is(callee, 'builtin')) return callee.call(args);
    if (is(callee, 'dtype')) return this.cast(callee.dtype, args);
    if (is(callee, 'closure')) return this.ctx.call(() => this.#applyClosure(callee, args));
    return fail('Q1013', { what: describeVal(callee) });
  }

  cast(dtype: Parameters<Context['tensor']>[1] & string, args: readonly Val[]): Val {
    if (args.length !== 1)
      fail('Q1012', { callee: `${dtype}()`, found: `${args.length} arguments`, expected: 'one' });
    const x = this.ctx.tensor(args[0], typeof args[0] === 'number' ? dtype : undefined);
    return tensorVal(x.type.dtype === dtype ? x : this.ctx.builder.one('cast', [x], { dtype }));
  }

  #applyClosure(f: Closure, args: readonly Val[]): Val {
    const caller = this.file;
    this.file = f.module;
    try {
      const env = new Env(f.env);
      const required = f.node.parameters.filter((p) => !p.initializer && !p.questionToken && !p.dotDotDotToken).length;
      const rest = f.node.parameters.at(-1)?.dotDotDotToken !== undefined;
      if (args.length < required || (!rest && args.length > f.node.parameters.length && f.name !== ''))
        fail('Q1012', {
          callee: `${f.name || 'the function'}()`, found: `${args.length} arguments`, expected: `${required}`,
        });
      const dims = new Map();
      f.node.parameters.forEach((p, i) => {
        let v = p.dotDotDotToken ? arrayVal(args.slice(i)) : args[i];
        if (v === undefined && p.initializer) v = this.evaluate(p.initializer, env);
        if (p.type && v !== undefined) checkArgument(this, p, v, dims);
        declarePattern(this, p.name, v, env, true);
      });
      const body = f.node.body;
      if (!body) return fail('Q1013', { what: `${f.name} has no body, so it` });
      return typescript().isBlock(body) ? runBody(this, body, env) : this.evaluate(body, env);
    } finally {
      this.file = caller;
    }
  }

  #prefix(node: ts.PrefixUnaryExpression, env: Env): Val {
    const { SyntaxKind } = typescript();
    const v = this.evaluate(node.operand, env);
    if (node.operator === SyntaxKind.PlusPlusToken || node.operator === SyntaxKind.MinusMinusToken) {
      const next = binaryOperator(this.ctx, node.operator === SyntaxKind.PlusPlusToken ? '+' : '-', v, 1);
      assignPattern(this, node.operand, next, env);
      return next;
    }
    return unaryOperator(this.ctx, node.operator, v);
  }

  #binary(node: ts.BinaryExpression, env: Env): Val {
    const text = node.operatorToken.getText();
    if (text === '=') {
      const v = this.evaluate(node.right, env);
      assignPattern(this, node.left, v, env);
      return v;
    }
    if (text === '&&' || text === '||' || text === '??') return this.#logical(text, node, env);
    if (text.endsWith('=') && isBinaryOperator(text.slice(0, -1)) && !isBinaryOperator(text)) {
      const v = binaryOperator(this.ctx, text.slice(0, -1), this.evaluate(node.left, env), this.evaluate(node.right, env));
      assignPattern(this, node.left, v, env);
      return v;
    }
    if (!isBinaryOperator(text))
      return fail('Q1002', { what: `The operator ${text}`, instead: 'Use arithmetic, comparison, bit or logical operators.' });
    const a = this.evaluate(node.left, env);
    const b = this.evaluate(node.right, env);
    return binaryOperator(this.ctx, text, a, b);
  }

  #logical(text: '&&' | '||' | '??', node: ts.BinaryExpression, env: Env): Val {
    if (text === '??') return this.#optional(node.left, env) ?? this.evaluate(node.right, env);
    const a = this.evaluate(node.left, env);
    const truth = staticTruth(a);
    if (truth !== undefined) return truth === (text === '&&') ? this.evaluate(node.right, env) : a;
    const b = this.evaluate(node.right, env);
    const bool = (v: Val): ReturnType<Context['tensor']> => {
      const x = this.ctx.tensor(v);
      return x.type.dtype === 'bool' ? x : this.ctx.builder.one('cast', [x], { dtype: 'bool' });
    };
    return tensorVal(this.ctx.builder.one(text === '&&' ? 'and' : 'or', [bool(a), bool(b)], {}));
  }

  /** The left side of `??`: a property that a record does not have is undefined here. */
  #optional(node: ts.Expression, env: Env): Val {
    if (typescript().isPropertyAccessExpression(node)) {
      const owner = this.evaluate(node.expression, env);
      if (owner === undefined || owner === null) return undefined;
      if (is(owner, 'record')) return owner.fields.get(node.name.text);
    }
    return this.evaluate(node, env);
  }

  #conditional(node: ts.ConditionalExpression, env: Env): Val {
    const c = this.evaluate(node.condition, env);
    const truth = staticTruth(c);
    if (truth !== undefined) return this.evaluate(truth ? node.whenTrue : node.whenFalse, env);
    const a = this.evaluate(node.whenTrue, env);
    const b = this.evaluate(node.whenFalse, env);
    let cond = this.ctx.tensor(c);
    if (cond.type.dtype !== 'bool') cond = this.ctx.builder.one('cast', [cond], { dtype: 'bool' });
    const [x, y] = this.ctx.pair(a, b);
    return tensorVal(this.ctx.builder.one('select', [cond, x, y], {}));
  }

  #call(node: ts.CallExpression, env: Env): Val {
    const callee = this.evaluate(node.expression, env);
    if (node.questionDotToken && (callee === undefined || callee === null)) return undefined;
    return this.apply(callee, this.#list(node.arguments, env));
  }

  #element(node: ts.ElementAccessExpression, env: Env): Val {
    const target = this.evaluate(node.expression, env);
    const key = this.evaluate(node.argumentExpression, env);
    if (is(target, 'array')) {
      const i = this.ctx.staticNumber(key, 'The index of an array');
      return target.items[i];
    }
    if (typeof target === 'string') return target[this.ctx.staticNumber(key, 'The index of a string')];
    if (is(target, 'tensor'))
      return fail('Q1002', { what: 'Indexing a tensor with [ ]', instead: 'Write at(x, i) or at(x, i, j).' });
    if (typeof key === 'string') return member(this, target, key);
    return fail('Q1008', { what: 'The key of a record', found: describeVal(key), expected: 'a string' });
  }

  #list(nodes: readonly ts.Expression[], env: Env): Val[] {
    const api = typescript();
    const out: Val[] = [];
    for (const n of nodes) {
      if (api.isSpreadElement(n)) {
        const v = this.evaluate(n.expression, env);
        if (!is(v, 'array'))
          fail('Q1008', { what: 'A spread list', found: describeVal(v), expected: 'a static array' });
        out.push(...(v as ArrayVal).items);
      } else out.push(api.isOmittedExpression(n) ? undefined : this.evaluate(n, env));
      this.ctx.checkLength(out.length);
    }
    return out;
  }

  #object(node: ts.ObjectLiteralExpression, env: Env): Val {
    const api = typescript();
    const out = new Map<string, Val>();
    const keyOf = (name: ts.PropertyName): string => {
      if (api.isIdentifier(name) || api.isStringLiteralLike(name) || api.isNumericLiteral(name)) return name.text;
      if (api.isComputedPropertyName(name)) return String(this.evaluate(name.expression, env));
      return fail('Q1002', { what: 'This kind of key', instead: 'Use a name.' });
    };
    for (const p of node.properties) {
      if (api.isPropertyAssignment(p)) {
        const key = keyOf(p.name);
        const v = this.evaluate(p.initializer, env);
        out.set(key, is(v, 'closure') && v.name === '' ? { ...v, name: key } : v);
      } else if (api.isShorthandPropertyAssignment(p))
        out.set(p.name.text, this.ctx.at(p.name, this.file, () => env.get(p.name.text)));
      else if (api.isMethodDeclaration(p)) out.set(keyOf(p.name), this.closure(p, env, keyOf(p.name)));
      else if (api.isSpreadAssignment(p)) {
        const v = this.evaluate(p.expression, env);
        if (is(v, 'record')) for (const [k, x] of v.fields) out.set(k, x);
        else if (v !== undefined && v !== null)
          fail('Q1008', { what: 'A spread record', found: describeVal(v), expected: 'a record' });
      } else fail('Q1002', { what: 'An accessor', instead: 'Use plain properties.' });
    }
    return recordVal(out);
  }
}
