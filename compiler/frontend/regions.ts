// Run-time regions: the bodies of loops, branches and maps. A region is traced like any other code; what it
// assigns to outer variables is noted, undone at its end, and handed on as results of the op that holds it.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import type { Value } from '../ir/ir.ts';
import { type Binding, type Env, Poisoned } from './env.ts';
import { nameValue } from './patterns.ts';
import type { Stager } from './stager.ts';
import { runBlock } from './statements.ts';
import {
  type ArrayVal,
  arrayVal,
  describeVal,
  is,
  type RecordVal,
  recordVal,
  tensorVal,
  type Val,
} from './values.ts';

type State = Pick<Binding, 'value' | 'unset' | 'poisoned'>;

/** A region while its body is traced. */
export interface OpenRegion {
  readonly kind: 'loop' | 'branch' | 'map';
  /** Outer variables that the body has assigned, as they were before. */
  readonly before: Map<Binding, State>;
}

const stateOf = ({ value, unset, poisoned }: Binding): State => ({ value, unset, poisoned });

/** To be called before a variable gets a value: notes it in every region that it is an outer variable of. */
export function willAssign(s: Stager, b: Binding): void {
  s.ctx.regions.forEach((region, depth) => {
    if (b.depth > depth) return;
    if (region.kind === 'map')
      fail('Q1002', {
        what: `Assigning the outer variable \`${b.name}\` inside a parallel map`,
        instead:
          'Its passes are independent: return the value, or write for (const i of range(n)).',
      });
    if (!region.before.has(b)) region.before.set(b, stateOf(b));
  });
}

/** Arrays and records change only where they were made: a region may run any number of times. */
export function willChange(s: Stager, v: ArrayVal | RecordVal): void {
  if (v.depth < s.ctx.regionDepth)
    fail('Q1002', {
      what: `Changing ${v.tag === 'array' ? 'an array' : 'a record'} inside a run-time loop, branch or map`,
      instead: 'Make it there, or assign a variable: xs = [...xs, x].',
    });
}

export function assign(s: Stager, b: Binding, v: Val): void {
  willAssign(s, b);
  b.value = v;
  b.unset = undefined;
  b.poisoned = false;
}

/** Traces `body` as a region. Outer variables get their values back; `after` holds what they had at its end. */
export function inRegion<T>(
  s: Stager,
  kind: OpenRegion['kind'],
  body: (region: OpenRegion) => T,
): { result: T; after: ReadonlyMap<Binding, State> } {
  const region: OpenRegion = { kind, before: new Map() };
  const after = new Map<Binding, State>();
  s.ctx.regions.push(region);
  try {
    const result = body(region);
    for (const b of region.before.keys()) after.set(b, stateOf(b));
    return { result, after };
  } finally {
    s.ctx.regions.pop();
    for (const [b, state] of region.before) Object.assign(b, state);
  }
}

/** Runs the statement of a region; a failure inside fails the statement that opened it. */
export function runInRegion(s: Stager, node: ts.Statement, env: Env, where: string): void {
  const { failures } = s.ctx;
  const done = runBlock(s, [node], env);
  if (s.ctx.failures > failures) throw new Poisoned(where);
  if (done?.kind === 'return') s.at(done.node, () => fail('Q1009', { where }));
}

export interface Leaf {
  /** A tensor, a dim, a number or a boolean. */
  readonly value: Val;
  /** The author's name for it: `pair[0]`, `state.sum`. */
  readonly name: string;
}

/** What of a variable's value can change while the kernel runs, in a fixed order. */
export function leavesOf(s: Stager, v: Val, name: string, out: Leaf[] = []): Leaf[] {
  s.ctx.budget.step();
  if (is(v, 'array')) v.items.forEach((x, i) => leavesOf(s, x, `${name}[${i}]`, out));
  else if (is(v, 'record')) for (const [k, x] of v.fields) leavesOf(s, x, `${name}.${k}`, out);
  else if (is(v, 'tensor') || is(v, 'dim') || typeof v === 'number' || typeof v === 'boolean')
    out.push({ value: v, name });
  else
    fail('Q1002', {
      what: `A value that changes while the kernel runs (\`${name}\`) and is ${describeVal(v)}`,
      instead: 'Tensors, numbers, and arrays and records of them can change.',
    });
  return out;
}

/** `v` with its leaves replaced, in the order of {@link leavesOf}. */
export function withLeaves(s: Stager, v: Val, next: () => Value): Val {
  if (is(v, 'array'))
    return arrayVal(
      v.items.map((x) => withLeaves(s, x, next)),
      s.ctx.regionDepth,
    );
  if (is(v, 'record'))
    return recordVal(
      [...v.fields].map(([k, x]) => [k, withLeaves(s, x, next)]),
      s.ctx.regionDepth,
    );
  return tensorVal(next());
}

/** Both values have the same arrays and records, so that their leaves correspond. */
export function checkAlike(
  name: string,
  before: Val,
  after: Val,
  a: readonly Leaf[],
  b: readonly Leaf[],
): void {
  if (a.length !== b.length || a.some((leaf, i) => leaf.name !== b[i]!.name))
    fail('Q1011', { name, before: describeVal(before), after: describeVal(after) });
}

/** After the op, the variables hold its results. */
export function assignResults(
  s: Stager,
  variables: readonly { readonly binding: Binding; readonly initial: Val }[],
  results: readonly Value[],
): void {
  let next = 0;
  for (const { binding, initial } of variables) {
    const v = withLeaves(s, initial, () => results[next++]!);
    nameValue(v, binding.name);
    assign(s, binding, v);
  }
}
