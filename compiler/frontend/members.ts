// Properties and methods of static values: arrays, strings, records, namespaces. Tensors have none.
import { fail } from '../diagnostics/diagnostic.ts';
import { nearest } from '../diagnostics/near.ts';
import { isPlain, staticTruth } from './operators.ts';
import { willChange } from './regions.ts';
import type { Stager } from './stager.ts';
import { type ArrayVal, arrayVal, type BuiltinVal, describeVal, is, type Val } from './values.ts';

type Method = (s: Stager, self: ArrayVal, args: readonly Val[]) => Val;
const plainIndex = (v: Val, otherwise: number): number => (typeof v === 'number' ? v : otherwise);

/** A new array, which the code that makes it may change. */
function fresh(s: Stager, items: Val[]): ArrayVal {
  s.ctx.budget.array(items.length);
  return arrayVal(items, s.ctx.regionDepth);
}

/** Calls a callback with the arguments that it declares, as a closure checks its count. */
export function callback(s: Stager, f: Val, args: readonly Val[]): Val {
  if (!is(f, 'closure')) return s.apply(f, args.slice(0, 1));
  const takesAll = f.node.parameters.some((p) => p.dotDotDotToken);
  return s.apply(f, takesAll ? args : args.slice(0, f.node.parameters.length));
}

function holds(s: Stager, f: Val, args: readonly Val[]): boolean {
  const v = callback(s, f, args);
  return (
    staticTruth(v) ??
    fail('Q1008', { what: 'The condition', found: describeVal(v), expected: 'true or false' })
  );
}

const arrayMethods: Readonly<Record<string, Method>> = {
  map: (s, a, [f]) =>
    fresh(
      s,
      a.items.map((x, i) => callback(s, f, [x, i])),
    ),
  flatMap: (s, a, [f]) => {
    const parts = a.items.map((x, i) => callback(s, f, [x, i]));
    return fresh(
      s,
      parts.flatMap((x) => (is(x, 'array') ? x.items : [x])),
    );
  },
  forEach: (s, a, [f]) => {
    a.items.forEach((x, i) => {
      callback(s, f, [x, i]);
    });
    return undefined;
  },
  filter: (s, a, [f]) =>
    fresh(
      s,
      a.items.filter((x, i) => holds(s, f, [x, i])),
    ),
  find: (s, a, [f]) => a.items.find((x, i) => holds(s, f, [x, i])),
  reduce: (s, a, args) => {
    const step = (acc: Val, x: Val, i: number): Val => callback(s, args[0], [acc, x, i]);
    if (args.length > 1) return a.items.reduce(step, args[1]);
    if (a.items.length === 0)
      fail('Q1012', { callee: 'reduce()', found: 'an empty array', expected: 'a start value' });
    return a.items.reduce(step);
  },
  some: (s, a, [f]) => a.items.some((x, i) => holds(s, f, [x, i])),
  every: (s, a, [f]) => a.items.every((x, i) => holds(s, f, [x, i])),
  includes: (_, a, [x]) => a.items.includes(x),
  indexOf: (_, a, [x]) => a.items.indexOf(x),
  slice: (s, a, [from, to]) =>
    fresh(s, a.items.slice(plainIndex(from, 0), plainIndex(to, a.items.length))),
  concat: (s, a, more) =>
    fresh(s, [...a.items, ...more.flatMap((m) => (is(m, 'array') ? m.items : [m]))]),
  fill: (s, a, [x]) => {
    willChange(s, a);
    a.items.fill(x);
    return a;
  },
  push: (s, a, more) => {
    willChange(s, a);
    s.ctx.budget.array(more.length);
    for (const x of more) a.items.push(x);
    return a.items.length;
  },
  reverse: (s, a) => {
    willChange(s, a);
    a.items.reverse();
    return a;
  },
  flat: (s, a) =>
    fresh(
      s,
      a.items.flatMap((x) => (is(x, 'array') ? x.items : [x])),
    ),
  join: (s, a, [sep]) => {
    const part = a.items.find((x) => !isPlain(x));
    if (part !== undefined)
      fail('Q1008', { what: 'A part of join()', found: describeVal(part), expected: 'text' });
    return s.ctx.budget.text(a.items.join(typeof sep === 'string' ? sep : ','));
  },
  at: (_, a, [i]) => a.items.at(plainIndex(i, 0)),
  keys: (s, a) => fresh(s, [...a.items.keys()]),
  entries: (s, a) =>
    fresh(
      s,
      a.items.map((x, i) => arrayVal([i, x])),
    ),
};

/** The name of a property, from a key that is computed. */
export function memberName(key: Val): string {
  if (typeof key === 'number') return String(key);
  if (typeof key !== 'string')
    fail('Q1008', { what: 'The name of a property', found: describeVal(key), expected: 'text' });
  if (key === '__proto__')
    fail('Q1002', { what: 'The name `__proto__`', instead: 'Choose another name.' });
  return key;
}

export function member(s: Stager, target: Val, name: string): Val {
  let known: readonly string[] = [];
  if (is(target, 'array')) {
    if (name === 'length') return target.items.length;
    const method = Object.hasOwn(arrayMethods, name) ? arrayMethods[name] : undefined;
    if (method)
      return { tag: 'builtin', name, call: (args) => method(s, target, args) } satisfies BuiltinVal;
    known = ['length', ...Object.keys(arrayMethods)];
  } else if (typeof target === 'string') {
    if (name === 'length') return target.length;
  } else if (is(target, 'record') || is(target, 'namespace')) {
    const members = is(target, 'record') ? target.fields : target.members;
    if (members.has(name)) return members.get(name);
    known = [...members.keys()];
  }
  const near = nearest(name, known);
  return fail('Q1014', {
    name,
    found: describeVal(target),
    isTensor: is(target, 'tensor'),
    ...(near ? { near } : {}),
  });
}
