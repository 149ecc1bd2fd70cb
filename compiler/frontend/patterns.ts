// Binding names: declarations with destructuring, and assignment to variables, elements and properties.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import type { Env } from './env.ts';
import { member, memberName } from './members.ts';
import { assign, willChange } from './regions.ts';
import type { Stager } from './stager.ts';
import { typescript } from './typescript.ts';
import { arrayVal, describeVal, is, recordVal, type Val } from './values.ts';

/** Declares the names of a pattern and binds them to the parts of `v`. */
export function declarePattern(
  s: Stager,
  name: ts.BindingName,
  v: Val,
  env: Env,
  mutable: boolean,
): void {
  const api = typescript();
  if (api.isIdentifier(name)) {
    nameValue(v, name.text);
    env.declare(name.text, v, mutable, s.ctx.regionDepth);
    return;
  }
  const taken = new Set<string>();
  name.elements.forEach((e, i) => {
    if (api.isOmittedExpression(e)) return;
    s.ctx.at(e, s.file, () => {
      let part = api.isObjectBindingPattern(name)
        ? property(s, e, v, taken, env)
        : listPart(s, e, v, i);
      if (part === undefined && e.initializer) part = s.evaluate(e.initializer, env);
      declarePattern(s, e.name, part, env, mutable);
    });
  });
}

function property(s: Stager, e: ts.BindingElement, v: Val, taken: Set<string>, env: Env): Val {
  const api = typescript();
  if (e.dotDotDotToken) {
    if (!is(v, 'record')) fail('Q1014', { name: e.getText(), found: describeVal(v) });
    const rest = [...v.fields].filter(([k]) => !taken.has(k));
    return recordVal(rest, s.ctx.regionDepth);
  }
  const name = e.propertyName ?? (e.name as ts.Identifier);
  const key = api.isComputedPropertyName(name)
    ? memberName(s.evaluate(name.expression, env))
    : memberName(name.text);
  taken.add(key);
  const isAbsent = (e.initializer || isOptional(e, key)) && is(v, 'record') && !v.fields.has(key);
  return isAbsent ? undefined : member(s, v, key);
}

/** Whether the type of the pattern says that the property may be left out: `{ scale }: { scale?: number }`. */
function isOptional(e: ts.BindingElement, key: string): boolean {
  const owner = e.parent.parent;
  if (!('type' in owner) || !owner.type || !typescript().isTypeLiteralNode(owner.type))
    return false;
  return owner.type.members.some((m) => m.questionToken && m.name?.getText() === key);
}

function listPart(s: Stager, e: ts.BindingElement, v: Val, i: number): Val {
  if (!is(v, 'array'))
    fail('Q1008', {
      what: 'A destructured list',
      found: describeVal(v),
      expected: 'a static array',
    });
  return e.dotDotDotToken ? arrayVal(v.items.slice(i), s.ctx.regionDepth) : v.items[i];
}

/** The first name of a tensor is the author's; later aliases keep it. */
export function nameValue(v: Val, name: string): void {
  if (is(v, 'tensor') && v.value.name === undefined) v.value.name = name;
}

/** A place that can be assigned, its owner and key evaluated once: for `x += 1` and `a[i] = v`. */
export interface Place {
  get(): Val;
  /** As get, but undefined where there is no value yet. */
  peek(): Val;
  set(v: Val): void;
}

export function placeOf(s: Stager, target: ts.Expression, env: Env): Place {
  const api = typescript();
  if (api.isParenthesizedExpression(target) || api.isNonNullExpression(target))
    return placeOf(s, target.expression, env);
  if (api.isIdentifier(target)) {
    const get = (): Val => s.ctx.at(target, s.file, () => env.get(target.text));
    const set = (v: Val): void => {
      const b = env.find(target.text);
      if (!b) return void get();
      if (!b.mutable) s.ctx.at(target, s.file, () => fail('Q1007', { name: b.name }));
      nameValue(v, b.name);
      assign(s, b, v);
    };
    const peek = (): Val => (env.find(target.text)?.unset === undefined ? get() : undefined);
    return { get, peek, set };
  }
  if (api.isElementAccessExpression(target) || api.isPropertyAccessExpression(target)) {
    const owner = s.evaluate(target.expression, env);
    const key = api.isPropertyAccessExpression(target)
      ? target.name.text
      : s.evaluate(target.argumentExpression, env);
    if (is(owner, 'array')) {
      const i = s.ctx.staticNumber(key, 'The index of an array');
      const set = (v: Val): void => {
        willChange(s, owner);
        if (!Number.isInteger(i) || i < 0 || i > owner.items.length)
          fail('Q2008', { what: 'The index of an array', found: `${i} in ${describeVal(owner)}` });
        s.ctx.budget.array(1);
        owner.items[i] = v;
      };
      const get = (): Val => owner.items[i];
      return { get, peek: get, set };
    }
    if (is(owner, 'record')) {
      const name = memberName(key);
      const set = (v: Val): void => {
        willChange(s, owner);
        owner.fields.set(name, v);
      };
      return { get: () => member(s, owner, name), peek: () => owner.fields.get(name), set };
    }
    if (is(owner, 'tensor'))
      fail('Q1002', {
        what: 'Changing an element of a tensor',
        instead: 'Build a new one: map(n, (i) => ...), concat([...]) or `?:`.',
      });
  }
  return fail('Q1002', {
    what: 'Assignment to this expression',
    instead: 'Assign to a variable declared with `let`.',
  });
}

/** `target = v`; lists take their elements apart. */
export function assignPattern(s: Stager, target: ts.Expression, v: Val, env: Env): void {
  const api = typescript();
  if (!api.isArrayLiteralExpression(target)) {
    placeOf(s, target, env).set(v);
    return;
  }
  if (!is(v, 'array'))
    fail('Q1008', {
      what: 'A destructured list',
      found: describeVal(v),
      expected: 'a static array',
    });
  target.elements.forEach((e, i) => {
    if (!api.isOmittedExpression(e)) assignPattern(s, e, v.items[i], env);
  });
}
