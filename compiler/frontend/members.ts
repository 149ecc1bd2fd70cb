// Properties and methods of static values: arrays, strings, records, namespaces. Tensors have none.
import { fail } from '../diagnostics/diagnostic.ts';
import type { Stager } from './stager.ts';
import { type ArrayVal, type BuiltinVal, type Val, arrayVal, describeVal, is } from './values.ts';

type Method = (s: Stager, self: ArrayVal, args: readonly Val[]) => Val;
const truthy = (v: Val): boolean => Boolean(v);
const plainIndex = (v: Val, otherwise: number): number => (typeof v === 'number' ? v : otherwise);

const arrayMethods: Readonly<Record<string, Method>> = {
  map: (s, a, [f]) => arrayVal(a.items.map((x, i) => s.apply(f, [x, i].slice(0, arity(f))))),
  forEach: (s, a, [f]) => {
    a.items.forEach((x, i) => {
      s.apply(f, [x, i].slice(0, arity(f)));
    });
    return undefined;
  },
  filter: (s, a, [f]) => arrayVal(a.items.filter((x, i) => truthy(s.apply(f, [x, i].slice(0, arity(f)))))),
  reduce: (s, a, [f, init]) => a.items.reduce((acc: Val, x, i) => s.apply(f, [acc, x, i].slice(0, arity(f))), init),
  some: (s, a, [f]) => a.items.some((x) => truthy(s.apply(f, [x]))),
  every: (s, a, [f]) => a.items.every((x) => truthy(s.apply(f, [x]))),
  includes: (_, a, [x]) => a.items.includes(x),
  indexOf: (_, a, [x]) => a.items.indexOf(x),
  slice: (_, a, [from, to]) => arrayVal(a.items.slice(plainIndex(from, 0), plainIndex(to, a.items.length))),
  concat: (_, a, more) => arrayVal([...a.items, ...more.flatMap((m) => (is(m, 'array') ? m.items : [m]))]),
  fill: (_, a, [x]) => {
    a.items.fill(x);
    return a;
  },
  push: (s, a, more) => {
    if (s.ctx.regionDepth > 0)
      fail('Q1002', { what: 'Changing an array inside a run-time loop', instead: 'Assign a variable, or build a new array.' });
    a.items.push(...more);
    s.ctx.checkLength(a.items.length);
    return a.items.length;
  },
  reverse: (_, a) => arrayVal([...a.items].reverse()),
  flat: (_, a) => arrayVal(a.items.flatMap((x) => (is(x, 'array') ? x.items : [x]))),
  join: (_, a, [sep]) => a.items.join(typeof sep === 'string' ? sep : ','),
  at: (_, a, [i]) => a.items.at(plainIndex(i, 0)),
  keys: (_, a) => arrayVal([...a.items.keys()]),
  entries: (_, a) => arrayVal(a.items.map((x, i) => arrayVal([i, x]))),
};

/** Callbacks get only the arguments that they declare, as a closure checks its count. */
const arity = (f: Val): number => {
  if (!is(f, 'closure')) return 1;
  return f.node.parameters.some((p) => p.dotDotDotToken) ? 9 : f.node.parameters.length;
};

export function member(s: Stager, target: Val, name: string): Val {
  if (is(target, 'array')) {
    if (name === 'length') return target.items.length;
    const method = Object.hasOwn(arrayMethods, name) ? arrayMethods[name] : undefined;
    if (method) return { tag: 'builtin', name, call: (args) => method(s, target, args) } satisfies BuiltinVal;
  } else if (typeof target === 'string') {
    if (name === 'length') return target.length;
  } else if (is(target, 'record')) {
    if (target.fields.has(name)) return target.fields.get(name);
  } else if (is(target, 'namespace')) {
    if (target.members.has(name)) return target.members.get(name);
  }
  return fail('Q1014', { name, found: describeVal(target) });
}
