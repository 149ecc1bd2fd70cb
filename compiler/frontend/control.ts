// Run-time control flow: `for (const i of range(n))`, `while`, `if` on run-time scalars, and parallel maps.
// Local variables that the body assigns become carried values of the region.
import type ts from 'typescript';
import { CompileError, fail } from '../diagnostics/diagnostic.ts';
import { type Dim, sameDims } from '../ir/algebra.ts';
import type { DType } from '../ir/dtype.ts';
import type { Region, TensorType, Value } from '../ir/ir.ts';
import { typeText } from '../ir/ops.ts';
import { type Binding, Env, Poisoned } from './env.ts';
import { binaryOperator } from './operators.ts';
import { declarePattern } from './patterns.ts';
import { type Completion, assignedNames, runBlock } from './statements.ts';
import type { Stager } from './stager.ts';
import { type RangeVal, type Val, arrayVal, describeVal, is, recordVal, tensorVal } from './values.ts';

/** A carried variable: its binding and how its value is taken apart into tensors. */
interface Carried {
  readonly binding: Binding;
  readonly initial: Val;
}

/** Tensors of a value, in a fixed order; static leaves are left out. */
function flatten(s: Stager, v: Val, out: { value: Val; path: string }[] = [], path = ''): { value: Val; path: string }[] {
  if (is(v, 'array')) v.items.forEach((x, i) => flatten(s, x, out, `${path}[${i}]`));
  else if (is(v, 'record')) for (const [k, x] of v.fields) flatten(s, x, out, `${path}.${k}`);
  else if (is(v, 'tensor') || typeof v === 'number' || typeof v === 'boolean' || is(v, 'dim')) out.push({ value: v, path });
  else
    fail('Q1008', { what: 'A variable carried through a run-time loop or branch', found: describeVal(v), expected: 'a tensor, a number, or arrays and records of them' });
  return out;
}

function rebuild(v: Val, next: () => Value): Val {
  if (is(v, 'array')) return arrayVal(v.items.map((x) => rebuild(x, next)));
  if (is(v, 'record')) return recordVal([...v.fields].map(([k, x]) => [k, rebuild(x, next)]));
  return tensorVal(next());
}

/** Outer variables that the code assigns and that can be carried. */
function carriedBy(code: readonly ts.Node[], env: Env): Carried[] {
  const names = new Set(code.flatMap((n) => [...assignedNames(n)]));
  const out: Carried[] = [];
  for (const name of names) {
    const b = env.find(name);
    if (b?.poisoned) throw new Poisoned(name);
    if (b && b.mutable && !b.unset && (typeof b.value !== 'object' || b.value === null || b.value.tag !== 'closure'))
      out.push({ binding: b, initial: b.value });
  }
  return out;
}

/** Opens a run-time region: journals assignments and restores the outer variables afterwards. */
function inRegion<T>(s: Stager, body: () => T): T {
  const journal = new Map<Binding, Val>();
  s.ctx.journals.push(journal);
  s.ctx.regionDepth += 1;
  try {
    return body();
  } finally {
    s.ctx.regionDepth -= 1;
    s.ctx.journals.pop();
    for (const [b, before] of journal) b.value = before;
  }
}

function runRegionBody(s: Stager, node: ts.Statement, env: Env, where: string): void {
  const before = s.ctx.diagnostics.length;
  const done: Completion = runBlock(s, [node], env);
  if (done?.kind === 'return') fail('Q1009', { where });
  if (s.ctx.diagnostics.length > before) throw new Poisoned('body');
}

/** dtypes a bare number may start a carried variable with: its first guess is widened when the body says so. */
const widen = (have: DType, want: DType): DType | undefined =>
  have === 'i32' && (want === 'f32' || want === 'u32') ? want : undefined;

/**
 * Traces a loop body with carried values until their types are stable. `trace` gets the parameters' types and
 * returns the region; a literal start such as `let s = 0` takes the type that the body gives it.
 */
function stabilise(
  s: Stager, carried: readonly Carried[], trace: (types: readonly TensorType[]) => Region,
): { region: Region; initial: readonly Value[] } {
  const leaves = carried.flatMap((c) => flatten(s, c.initial).map((l) => ({ ...l, name: `${c.binding.name}${l.path}` })));
  const initial = leaves.map((l) => s.ctx.tensor(l.value));
  const types: TensorType[] = initial.map((v) => v.type);
  for (let round = 0; ; round += 1) {
    const region = trace(types);
    let changed = false;
    region.yields.forEach((y, i) => {
      const want = types[i]!;
      if (y.type.dtype === want.dtype && sameDims(y.type.shape, want.shape)) return;
      const wider = typeof leaves[i]!.value === 'number' ? widen(want.dtype, y.type.dtype) : undefined;
      if (wider && round < 3 && sameDims(y.type.shape, want.shape)) {
        types[i] = { dtype: wider, shape: want.shape };
        changed = true;
      } else fail('Q1011', { name: leaves[i]!.name, before: typeText(want), after: typeText(y.type) });
    });
    if (!changed)
      return {
        region,
        initial: initial.map((v, i) => v.type.dtype === types[i]!.dtype ? v : s.ctx.tensor(leaves[i]!.value, types[i]!.dtype)),
      };
  }
}

/** Sets the carried variables to region parameters and returns what they hold after the body. */
function withCarried(s: Stager, carried: readonly Carried[], params: readonly Value[], body: () => void): Value[] {
  let i = 0;
  for (const c of carried) {
    for (const journal of s.ctx.journals) if (!journal.has(c.binding)) journal.set(c.binding, c.binding.value);
    c.binding.value = rebuild(c.initial, () => params[i++]!);
  }
  body();
  let k = 0;
  return carried.flatMap((c) =>
    flatten(s, c.binding.value).map(({ value }) => {
      const v = s.ctx.tensor(value, typeof value === 'number' ? params[k]?.type.dtype : undefined);
      k += 1;
      return v;
    }),
  );
}

function assignResults(s: Stager, carried: readonly Carried[], results: readonly Value[]): void {
  let i = 0;
  for (const c of carried) {
    const v = rebuild(c.initial, () => results[i++]!);
    s.ctx.journals.forEach((journal, depth) => {
      if (c.binding.depth <= depth && !journal.has(c.binding)) journal.set(c.binding, c.binding.value);
    });
    if (is(v, 'tensor')) v.value.name ??= c.binding.name;
    c.binding.value = v;
  }
}

export function rangeLoop(s: Stager, node: ts.ForOfStatement, name: ts.BindingName, over: RangeVal, env: Env): void {
  const carried = carriedBy([node.statement], env);
  const { builder } = s.ctx;
  const count = binaryOperator(s.ctx, '-', over.end as Val, over.start as Val);
  const extent = is(count, 'tensor') ? undefined : s.ctx.dimOf(count, 'The length of a range');
  const operands = is(count, 'tensor') ? [count.value] : [];
  if (operands[0] && (operands[0].type.shape.length || operands[0].type.dtype === 'f32'))
    fail('Q1012', { callee: 'range()', found: typeText(operands[0].type), expected: 'an integer scalar' });
  const { region, initial } = stabilise(s, carried, (types) => {
    const index = builder.scalar('i32', 'i');
    const params = types.map((t, i) => builder.param(t, flatName(s, carried, i)));
    return inRegion(s, () =>
      builder.region([index, ...params], () =>
        withCarried(s, carried, params, () => {
          const inner = new Env(env);
          const i = over.start === 0 ? tensorVal(index) : binaryOperator(s.ctx, '+', over.start as Val, tensorVal(index));
          if (over.start === 0) delete index.name;
          declarePattern(s, name, i, inner, false);
          runRegionBody(s, node.statement, inner, 'a loop');
        }),
      ),
    );
  });
  const results = builder.op('for', [...operands, ...initial], extent ? { extent } : {}, [region]);
  assignResults(s, carried, results);
}

const flatName = (s: Stager, carried: readonly Carried[], index: number): string | undefined => {
  const names = carried.flatMap((c) => flatten(s, c.initial).map((l) => `${c.binding.name}${l.path.replace(/[^\w]+/g, '_')}`));
  return names[index];
};

export function whileLoop(s: Stager, node: ts.WhileStatement, env: Env): void {
  const carried = carriedBy([node.statement, node.expression], env);
  const { builder } = s.ctx;
  let header: Region | undefined;
  const { region, initial } = stabilise(s, carried, (types) => {
    const make = (body: () => Value[] | undefined): Region => {
      const params = types.map((t, i) => builder.param(t, flatName(s, carried, i)));
      return inRegion(s, () =>
        builder.region(params, () => {
          let own: Value[] | undefined;
          const after = withCarried(s, carried, params, () => {
            own = body();
          });
          return own ?? after;
        }),
      );
    };
    header = make(() => [condition(s, s.evaluate(node.expression, env))]);
    return make(() => {
      runRegionBody(s, node.statement, new Env(env), 'a loop');
      return undefined;
    });
  });
  assignResults(s, carried, builder.op('while', initial, {}, [header!, region]));
}

function condition(s: Stager, v: Val): Value {
  const c = s.ctx.tensor(v);
  if (c.type.shape.length) fail('Q1010', { found: `a tensor ${typeText(c.type)}` });
  return c.type.dtype === 'bool' ? c : s.ctx.builder.one('cast', [c], { dtype: 'bool' });
}

/** `if` on a run-time scalar: both branches become regions that yield the variables either assigns. */
export function branch(s: Stager, node: ts.IfStatement, cond: Val, env: Env): void {
  const { builder } = s.ctx;
  const c = condition(s, cond);
  const carried = carriedBy([node.thenStatement, ...(node.elseStatement ? [node.elseStatement] : [])], env);
  const leaves = carried.flatMap((k) => flatten(s, k.initial));
  const trace = (body: ts.Statement | undefined, types?: readonly TensorType[]): Region =>
    inRegion(s, () =>
      builder.region([], () => {
        if (body) runRegionBody(s, body, new Env(env), 'an `if`');
        return carried.flatMap((k) => flatten(s, k.binding.value)).map(({ value }, i) => {
          const v = s.ctx.tensor(value, typeof value === 'number' ? types?.[i]?.dtype : undefined);
          const want = types?.[i]?.dtype;
          return want && want !== v.type.dtype && widen(v.type.dtype, want) ? builder.one('cast', [v], { dtype: want }) : v;
        });
      }),
    );
  // The types of one branch guide bare numbers of the other.
  const probe = [node.thenStatement, node.elseStatement].map((b) => builder.dryRun(() => trace(b)).yields.map((v) => v.type));
  const types = probe[0]!.map((t, i) => (widen(t.dtype, probe[1]![i]!.dtype) ? probe[1]![i]! : t));
  const yes = trace(node.thenStatement, types);
  const no = trace(node.elseStatement, types);
  yes.yields.forEach((v, i) => {
    const o = no.yields[i]!;
    if (v.type.dtype !== o.type.dtype || !sameDims(v.type.shape, o.type.shape))
      fail('Q1011', { name: carried[Math.min(i, carried.length - 1)]!.binding.name, before: typeText(v.type), after: typeText(o.type) });
  });
  if (leaves.length === 0) return;
  assignResults(s, carried, builder.op('if', [c], {}, [yes, no]));
}

/**
 * A parallel map. `body` gets one run-time index a dim; tensors in its result (a tensor, or arrays and records
 * of them) come back with `dims` in front.
 */
export function parallelMap(s: Stager, dims: readonly Dim[], body: (indices: Val[]) => Val): Val {
  const { builder } = s.ctx;
  if (dims.length === 0) return body([]);
  const params = dims.map(() => builder.scalar('i32'));
  let shape: Val;
  const region = inRegion(s, () =>
    builder.region(params, () => {
      shape = body(params.map(tensorVal));
      if (shape === undefined) throw new CompileError([]);
      return flatten(s, shape).map(({ value }) => s.ctx.tensor(value));
    }),
  );
  const results = builder.op('map', [], { dims }, [region]);
  let i = 0;
  return rebuild(shape, () => results[i++]!);
}
