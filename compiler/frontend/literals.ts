// Literals of arrays, objects and text: what they hold is staged, the rest is known at compile time.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import type { Env } from './env.ts';
import { memberName } from './members.ts';
import { isPlain } from './operators.ts';
import type { Stager } from './stager.ts';
import { typescript } from './typescript.ts';
import { describeVal, is, recordVal, type Val } from './values.ts';

/** Elements of an array or arguments of a call. */
export function list(s: Stager, nodes: readonly ts.Expression[], env: Env): Val[] {
  const api = typescript();
  const out: Val[] = [];
  const values = s.ctx.parts(
    nodes.map((n) => () => {
      if (api.isOmittedExpression(n)) return undefined;
      return s.evaluate(api.isSpreadElement(n) ? n.expression : n, env);
    }),
  );
  for (const [i, n] of nodes.entries()) {
    const v = values[i];
    if (!api.isSpreadElement(n)) {
      out.push(v);
      continue;
    }
    if (!is(v, 'array'))
      fail('Q1008', { what: 'A spread list', found: describeVal(v), expected: 'a static array' });
    s.ctx.budget.array(out.length + v.items.length);
    for (const x of v.items) out.push(x);
  }
  return out;
}

export function object(s: Stager, node: ts.ObjectLiteralExpression, env: Env): Val {
  const api = typescript();
  const out = new Map<string, Val>();
  const keyOf = (name: ts.PropertyName): string => {
    if (api.isComputedPropertyName(name)) return memberName(s.evaluate(name.expression, env));
    return memberName(name.text);
  };
  const property = (p: ts.ObjectLiteralElementLike): void => {
    if (api.isPropertyAssignment(p)) {
      const key = s.ctx.at(p.name, s.file, () => keyOf(p.name));
      const v = s.evaluate(p.initializer, env);
      out.set(key, is(v, 'closure') && v.name === '' ? { ...v, name: key } : v);
    } else if (api.isShorthandPropertyAssignment(p)) {
      const key = memberName(p.name.text);
      out.set(key, s.evaluate(p.name, env));
    } else if (api.isMethodDeclaration(p)) {
      const key = keyOf(p.name);
      out.set(key, s.closure(p, env, key));
    } else if (api.isSpreadAssignment(p)) {
      const v = s.evaluate(p.expression, env);
      if (is(v, 'record')) for (const [k, x] of v.fields) out.set(k, x);
      else if (v !== undefined && v !== null)
        fail('Q1008', { what: 'A spread record', found: describeVal(v), expected: 'a record' });
    } else fail('Q1002', { what: 'An accessor', instead: 'Use plain properties.' });
  };
  s.ctx.parts(node.properties.map((p) => () => property(p)));
  return recordVal(out, s.ctx.regionDepth);
}

export function template(s: Stager, node: ts.TemplateExpression, env: Env): string {
  let text = node.head.text;
  for (const part of node.templateSpans) {
    const v = s.evaluate(part.expression, env);
    if (!isPlain(v) && !is(v, 'dim'))
      fail('Q1008', {
        what: 'A part of a template string',
        found: describeVal(v),
        expected: 'text, a number or a dim',
      });
    text = s.ctx.budget.text(`${text}${is(v, 'dim') ? v.dim : v}${part.literal.text}`);
  }
  return text;
}
