// Loops that run when the kernel does: `for (const i of range(n))` and `while`.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import { sameDims } from '../ir/algebra.ts';
import { type DType, isFloat } from '../ir/dtype.ts';
import type { Region, TensorType, Value } from '../ir/ir.ts';
import { typeText } from '../ir/ops.ts';
import { assignedNames } from './assigned.ts';
import { condition } from './branches.ts';
import { type Binding, Env, Poisoned, Retrace } from './env.ts';
import { binaryOperator, staticTruth } from './operators.ts';
import { declarePattern } from './patterns.ts';
import {
  assign,
  assignResults,
  checkAlike,
  inRegion,
  type Leaf,
  leavesOf,
  runInRegion,
  withLeaves,
} from './regions.ts';
import type { Stager } from './stager.ts';
import { describeVal, is, type RangeVal, tensorVal, type Val } from './values.ts';

/** A variable that a loop carries from pass to pass. */
interface Carried {
  readonly binding: Binding;
  readonly initial: Val;
  readonly leaves: readonly Leaf[];
}

function carry(s: Stager, binding: Binding): Carried {
  if (binding.poisoned) throw new Poisoned(binding.name);
  if (binding.unset !== undefined)
    fail('Q1016', { name: binding.name, found: 'no value before the loop that assigns it' });
  const { value } = binding;
  return { binding, initial: value, leaves: leavesOf(s, value, binding.name) };
}

/**
 * Carried values that started as a literal, and the parameter of the outermost loop that carries them: an inner
 * loop may find that the type must be another.
 */
const weak = new WeakMap<Value, Value>();
class Widen extends Retrace {
  readonly param: Value;
  readonly dtype: DType;
  constructor(param: Value, dtype: DType) {
    super();
    this.param = param;
    this.dtype = dtype;
  }
}

/** A literal such as `let s = 0` takes the type that the body gives it. */
const widen = (have: DType, want: DType): DType | undefined =>
  have === 'i32' && (want === 'f32' || want === 'u32') ? want : undefined;

/** A loop body as an IR region: parameters are the carried values, yields those after the pass. */
interface Trace {
  readonly region: Region;
  /** Outer variables that the body assigned. */
  readonly assigned: Iterable<Binding>;
}

/**
 * Traces a loop until the set of carried variables and their types are stable. The names assigned in its code
 * are the first guess; closures may assign more.
 */
function loop(
  s: Stager,
  code: readonly ts.Node[],
  env: Env,
  trace: (carried: readonly Carried[], params: readonly Value[]) => Trace,
): { carried: readonly Carried[]; initial: readonly Value[]; region: Region } {
  const bindings = [...new Set(code.flatMap((n) => [...assignedNames(n)]))].map((n) => env.find(n));
  let carried = bindings
    .filter((b) => b?.mutable && b.unset === undefined)
    .map((b) => carry(s, b!));
  let types: TensorType[] | undefined;
  for (let round = 0; ; round += 1) {
    const leaves = carried.flatMap((c) => c.leaves);
    types ??= leaves.map((l) => s.ctx.builder.dryRun(() => s.ctx.tensor(l.value).type));
    const params = types.map((type, i) => carriedParam(s, leaves[i]!, type));
    let traced: Trace;
    try {
      traced = trace(carried, params);
    } catch (e) {
      const at = e instanceof Widen ? params.indexOf(e.param) : -1;
      if (at < 0) throw e;
      types[at] = { ...types[at]!, dtype: (e as Widen).dtype };
      continue;
    }
    const { region, assigned } = traced;
    const known = new Set(carried.map((c) => c.binding));
    const missed = [...assigned].filter((b) => !known.has(b));
    if (missed.length > 0) {
      carried = [...carried, ...missed.map((b) => carry(s, b))];
      types = undefined;
      continue;
    }
    let isStable = true;
    for (const [i, y] of region.yields.entries()) {
      const have: TensorType = types[i]!;
      if (y.type.dtype === have.dtype && sameDims(y.type.shape, have.shape)) continue;
      const leaf = leaves[i]!;
      const wider = widen(have.dtype, y.type.dtype);
      const root = is(leaf.value, 'tensor') ? weak.get(leaf.value.value) : undefined;
      if (wider && root) throw new Widen(root, wider);
      if (
        !wider ||
        typeof leaf.value !== 'number' ||
        round > 8 ||
        !sameDims(y.type.shape, have.shape)
      )
        fail('Q1011', { name: leaf.name, before: typeText(have), after: typeText(y.type) });
      types[i] = { dtype: wider, shape: have.shape };
      isStable = false;
    }
    if (isStable) {
      const initial = leaves.map((l, i) => s.ctx.tensor(l.value, types![i]!.dtype));
      return { carried, region, initial };
    }
  }
}

function carriedParam(s: Stager, leaf: Leaf, type: TensorType): Value {
  const param = s.ctx.builder.param(type, leaf.name.replace(/\W+/g, '_'));
  const root = is(leaf.value, 'tensor') ? weak.get(leaf.value.value) : undefined;
  if (root || typeof leaf.value === 'number') weak.set(param, root ?? param);
  return param;
}

/** One trace: the carried variables become parameters, `body` runs, and what they then hold is yielded. */
function traceBody(
  s: Stager,
  carried: readonly Carried[],
  params: readonly Value[],
  first: readonly Value[],
  body: () => readonly Value[] | undefined,
): Trace {
  const { builder } = s.ctx;
  const { result, after } = inRegion(s, 'loop', () =>
    builder.region([...first, ...params], () => {
      let next = 0;
      for (const c of carried)
        assign(
          s,
          c.binding,
          withLeaves(s, c.initial, () => params[next++]!),
        );
      const own = body();
      if (own) return own;
      const leaves = carried.flatMap((c) => {
        const { value } = c.binding;
        const now = leavesOf(s, value, c.binding.name);
        checkAlike(c.binding.name, c.initial, value, c.leaves, now);
        return now;
      });
      return leaves.map(({ value }, i) =>
        s.ctx.tensor(value, typeof value === 'number' ? params[i]!.type.dtype : undefined),
      );
    }),
  );
  return { region: result, assigned: after.keys() };
}

export function rangeLoop(
  s: Stager,
  node: ts.ForOfStatement,
  name: ts.BindingName,
  over: RangeVal,
  env: Env,
): void {
  const { builder } = s.ctx;
  const count = binaryOperator(s.ctx, '-', over.end, over.start);
  const trips = is(count, 'tensor') ? count.value : undefined;
  if (trips && (trips.type.shape.length > 0 || isFloat(trips.type.dtype)))
    fail('Q1012', {
      callee: 'range()',
      found: describeVal(over.end),
      expected: 'an integer scalar',
    });
  const extent = trips ? undefined : s.ctx.dimOf(count, 'The length of a range');
  const { region, carried, initial } = loop(s, [node.statement], env, (now, params) => {
    const index = builder.scalar('i32');
    return traceBody(s, now, params, [index], () => {
      const inner = new Env(env);
      const i =
        over.start === 0
          ? tensorVal(index)
          : binaryOperator(s.ctx, '+', over.start, tensorVal(index));
      declarePattern(s, name, i, inner, false);
      runInRegion(s, node.statement, inner, 'a run-time loop');
      return undefined;
    });
  });
  const operands = trips ? [trips, ...initial] : initial;
  assignResults(s, carried, builder.op('for', operands, extent ? { extent } : {}, [region]));
}

export function whileLoop(s: Stager, node: ts.WhileStatement, env: Env): void {
  let header: Region | undefined;
  let truth: boolean | undefined;
  const { region, carried, initial } = loop(
    s,
    [node.statement, node.expression],
    env,
    (now, params) => {
      header = traceBody(s, now, params, [], () => {
        const v = s.evaluate(node.expression, env);
        truth = staticTruth(v);
        return [s.at(node.expression, () => condition(s, v))];
      }).region;
      return traceBody(s, now, params, [], () => {
        runInRegion(s, node.statement, new Env(env), 'a run-time loop');
        return undefined;
      });
    },
  );
  if (truth === false) return;
  if (truth || carried.length === 0)
    fail('Q1002', {
      what: 'A `while` loop without an end',
      instead: 'Its condition must depend on a variable that its body assigns.',
    });
  assignResults(s, carried, s.ctx.builder.op('while', initial, {}, [header!, region]));
}
