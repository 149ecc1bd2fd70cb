// Binding names: declarations with destructuring, and assignment with the journal of run-time regions.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import type { Binding, Env } from './env.ts';
import { member } from './members.ts';
import type { Stager } from './stager.ts';
import { typescript } from './typescript.ts';
import { type Val, arrayVal, describeVal, is, recordVal } from './values.ts';

/** Declares the names of a pattern and binds them to the parts of `v`. */
export function declarePattern(s: Stager, name: ts.BindingName, v: Val, env: Env, mutable: boolean): void {
  const api = typescript();
  if (api.isIdentifier(name)) {
    nameValue(v, name.text);
    env.declare(name.text, v, mutable, s.ctx.regionDepth);
    return;
  }
  s.ctx.at(name, s.file, () => {
    const taken = new Set<string>();
    name.elements.forEach((e, i) => {
      if (api.isOmittedExpression(e)) return;
      let part: Val;
      if (api.isObjectBindingPattern(name)) {
        const keyNode = e.propertyName ?? e.name;
        const key = api.isIdentifier(keyNode) || api.isStringLiteralLike(keyNode) ? keyNode.text : '';
        if (e.dotDotDotToken) {
          if (!is(v, 'record')) return fail('Q1014', { name: `...${key}`, found: describeVal(v) });
          part = recordVal([...v.fields].filter(([k]) => !taken.has(k)));
        } else {
          taken.add(key);
          const optional = e.initializer !== undefined && is(v, 'record') && !v.fields.has(key);
          part = optional ? undefined : s.ctx.at(e, s.file, () => member(s, v, key));
        }
      } else {
        if (!is(v, 'array')) return fail('Q1008', { what: 'A destructured list', found: describeVal(v), expected: 'a static array' });
        part = e.dotDotDotToken ? arrayVal(v.items.slice(i)) : v.items[i];
      }
      if (part === undefined && e.initializer) part = s.evaluate(e.initializer, env);
      declarePattern(s, e.name, part, env, mutable);
    });
  });
}

/** The first name of a tensor is the author's; later aliases keep it. */
export function nameValue(v: Val, name: string): void {
  if (is(v, 'tensor') && v.value.name === undefined) v.value.name = name;
}

export function setBinding(s: Stager, b: Binding, v: Val): void {
  if (!b.mutable) fail('Q1007', { name: b.name });
  s.ctx.journals.forEach((journal, depth) => {
    if (b.depth <= depth && !journal.has(b)) journal.set(b, b.value);
  });
  nameValue(v, b.name);
  b.value = v;
  b.unset = false;
  b.poisoned = false;
}

export function assignPattern(s: Stager, target: ts.Expression, v: Val, env: Env): void {
  const api = typescript();
  if (api.isParenthesizedExpression(target)) return assignPattern(s, target.expression, v, env);
  if (api.isIdentifier(target)) {
    const b = env.find(target.text);
    if (!b) {
      env.get(target.text);
      return;
    }
    return setBinding(s, b, v);
  }
  if (api.isArrayLiteralExpression(target)) {
    if (!is(v, 'array'))
      return fail('Q1008', { what: 'A destructured list', found: describeVal(v), expected: 'a static array' });
    target.elements.forEach((e, i) => {
      if (!api.isOmittedExpression(e)) assignPattern(s, e, v.items[i], env);
    });
    return;
  }
  if (api.isElementAccessExpression(target) || api.isPropertyAccessExpression(target)) {
    const owner = s.evaluate(target.expression, env);
    if (s.ctx.regionDepth > 0)
      fail('Q1002', { what: 'Changing an array or record inside a run-time loop', instead: 'Assign a variable, or build a new array.' });
    if (is(owner, 'array') && api.isElementAccessExpression(target)) {
      const i = s.ctx.staticNumber(s.evaluate(target.argumentExpression, env), 'The index of an array');
      s.ctx.checkLength(i);
      owner.items[i] = v;
      return;
    }
    if (is(owner, 'record')) {
      const key = api.isPropertyAccessExpression(target) ? target.name.text : String(s.evaluate(target.argumentExpression, env));
      owner.fields.set(key, v);
      return;
    }
  }
  fail('Q1002', { what: 'Assignment to this expression', instead: 'Assign to a variable declared with `let`.' });
}
