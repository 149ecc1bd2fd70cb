// Statements of kernel functions. Static control flow is followed; what depends on a tensor goes to loops.ts and branches.ts.
// A statement that fails is recorded and its variables are poisoned, so that one run reports several problems.
import type ts from 'typescript';
import { CompileError, fail } from '../diagnostics/diagnostic.ts';
import { assignedNames, namesOf } from './assigned.ts';
import { branch } from './branches.ts';
import { Env, Poisoned } from './env.ts';
import { rangeLoop, whileLoop } from './loops.ts';
import { staticTruth } from './operators.ts';
import { declarePattern } from './patterns.ts';
import type { Stager } from './stager.ts';
import { typescript } from './typescript.ts';
import { describeVal, is, type Val } from './values.ts';

/** How a statement ended: undefined means that the next one follows. */
export type Completion =
  | undefined
  | { readonly kind: 'return'; readonly value: Val; readonly node: ts.Node }
  | { readonly kind: 'break' | 'continue' };

/** Runs a function body; a body without `return` gives undefined. */
export function runBody(s: Stager, body: ts.Block, env: Env): Val {
  const { failures } = s.ctx;
  const done = runBlock(s, body.statements, env);
  if (done?.kind === 'return') return done.value;
  if (s.ctx.failures > failures) throw new Poisoned('return');
  return undefined;
}

export function runBlock(s: Stager, statements: readonly ts.Statement[], env: Env): Completion {
  hoist(s, statements, env);
  for (const node of statements) {
    try {
      const done = s.ctx.at(node, s.file, () => run(s, node, env));
      if (done) return done;
    } catch (e) {
      if (!(e instanceof CompileError) && !(e instanceof Poisoned)) throw e;
      s.ctx.record(e);
      poison(s, node, env);
      if (typescript().isReturnStatement(node)) throw new Poisoned('return');
    }
  }
  return undefined;
}

/** Function declarations are known in the whole block. */
export function hoist(s: Stager, statements: readonly ts.Statement[], env: Env): void {
  const api = typescript();
  for (const node of statements)
    if (api.isFunctionDeclaration(node) && node.name && node.body)
      env.declare(
        node.name.text,
        s.ctx.at(node, s.file, () => s.closure(node, env)),
        false,
        s.ctx.regionDepth,
      );
}

/** Marks every name that a failed statement declares or assigns. */
function poison(s: Stager, node: ts.Node, env: Env): void {
  const declared = typescript().isVariableStatement(node)
    ? node.declarationList.declarations.flatMap((d) => namesOf(d.name))
    : [];
  for (const name of declared)
    if (!env.has(name)) env.declare(name, undefined, true, s.ctx.regionDepth);
  for (const name of [...declared, ...assignedNames(node)]) {
    const b = env.find(name);
    if (b) b.poisoned = true;
  }
}

function run(s: Stager, node: ts.Statement, env: Env): Completion {
  s.ctx.budget.step();
  const api = typescript();
  if (api.isVariableStatement(node)) {
    declareAll(s, node.declarationList, env);
    return undefined;
  }
  if (api.isExpressionStatement(node)) {
    s.evaluate(node.expression, env);
    return undefined;
  }
  if (api.isReturnStatement(node))
    return {
      kind: 'return',
      value: node.expression ? s.evaluate(node.expression, env) : undefined,
      node,
    };
  if (api.isBlock(node)) return runBlock(s, node.statements, new Env(env));
  if (api.isIfStatement(node)) {
    const cond = s.evaluate(node.expression, env);
    const truth = staticTruth(cond);
    if (truth === undefined) {
      branch(s, node, cond, env);
      return undefined;
    }
    const taken = truth ? node.thenStatement : node.elseStatement;
    return taken ? runBlock(s, [taken], new Env(env)) : undefined;
  }
  if (api.isForOfStatement(node)) return forOf(s, node, env);
  if (api.isForStatement(node)) return staticFor(s, node, env);
  if (api.isWhileStatement(node)) {
    whileLoop(s, node, env);
    return undefined;
  }
  if (api.isBreakStatement(node) || api.isContinueStatement(node)) {
    if (node.label)
      fail('Q1002', { what: 'A label', instead: 'Put the loops into a function and return.' });
    if (s.ctx.regionDepth > loopRegion(s))
      fail('Q1002', {
        what: '`break` or `continue` in a run-time loop',
        instead: 'Use a while loop with a condition, or select with ?:.',
      });
    return { kind: api.isBreakStatement(node) ? 'break' : 'continue' };
  }
  if (
    api.isFunctionDeclaration(node) ||
    api.isEmptyStatement(node) ||
    api.isTypeAliasDeclaration(node) ||
    api.isInterfaceDeclaration(node)
  )
    return undefined;
  if (api.isThrowStatement(node)) {
    const text =
      node.expression && api.isNewExpression(node.expression) && node.expression.arguments?.[0]
        ? s.evaluate(node.expression.arguments[0], env)
        : undefined;
    return fail('Q1017', {
      text: typeof text === 'string' ? text : 'the kernel rejects these options',
    });
  }
  return fail('Q1002', {
    what: `The statement \`${node.getText().split('\n')[0]!.slice(0, 40)}\``,
    instead: 'Use const, let, if, for, while and return.',
  });
}

/** Region depth at which the innermost static loop started; -1 outside of one. */
const staticLoops = new WeakMap<object, number[]>();
const loopRegion = (s: Stager): number => staticLoops.get(s.ctx)?.at(-1) ?? -1;
function insideStaticLoop<T>(s: Stager, body: () => T): T {
  const stack = staticLoops.get(s.ctx) ?? [];
  staticLoops.set(s.ctx, stack);
  stack.push(s.ctx.regionDepth);
  try {
    return body();
  } finally {
    stack.pop();
  }
}

function declareAll(s: Stager, list: ts.VariableDeclarationList, env: Env): void {
  const api = typescript();
  const isConst = (list.flags & api.NodeFlags.Const) !== 0;
  for (const d of list.declarations) {
    const v = d.initializer ? s.evaluate(d.initializer, env) : undefined;
    const named =
      is(v, 'closure') && v.name === '' && api.isIdentifier(d.name)
        ? { ...v, name: d.name.text }
        : v;
    declarePattern(s, d.name, named, env, !isConst);
    if (!d.initializer && api.isIdentifier(d.name)) env.find(d.name.text)!.unset = 'no value';
  }
}

function forOf(s: Stager, node: ts.ForOfStatement, env: Env): Completion {
  const api = typescript();
  const over = s.evaluate(node.expression, env);
  if (!api.isVariableDeclarationList(node.initializer))
    return fail('Q1002', {
      what: 'A loop without its own variable',
      instead: 'Write for (const x of ...).',
    });
  const name = node.initializer.declarations[0]!.name;
  if (is(over, 'range')) {
    rangeLoop(s, node, name, over, env);
    return undefined;
  }
  if (!is(over, 'array'))
    return fail('Q1012', {
      callee: 'for ... of',
      found: describeVal(over),
      expected: 'range(n) or a static array',
    });
  return insideStaticLoop(s, () => {
    for (const item of [...over.items]) {
      const inner = new Env(env);
      declarePattern(s, name, item, inner, false);
      const done = runBlock(s, [node.statement], inner);
      if (done?.kind === 'break') break;
      if (done?.kind === 'return') return done;
    }
    return undefined;
  });
}

function staticFor(s: Stager, node: ts.ForStatement, env: Env): Completion {
  const api = typescript();
  const inner = new Env(env);
  if (node.initializer) {
    if (api.isVariableDeclarationList(node.initializer)) declareAll(s, node.initializer, inner);
    else s.evaluate(node.initializer, inner);
  }
  return insideStaticLoop(s, () => {
    for (;;) {
      s.ctx.budget.step();
      if (node.condition) {
        const truth = staticTruth(s.evaluate(node.condition, inner));
        if (truth === undefined)
          return fail('Q1002', {
            what: 'A for(;;) loop over run-time values',
            instead: 'Write for (const i of range(n)).',
          });
        if (!truth) return undefined;
      }
      const done = runBlock(s, [node.statement], new Env(inner));
      if (done?.kind === 'break') return undefined;
      if (done?.kind === 'return') return done;
      if (node.incrementor) s.evaluate(node.incrementor, inner);
    }
  });
}
