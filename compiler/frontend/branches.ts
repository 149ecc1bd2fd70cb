// Branches on run-time scalars and parallel maps: regions that run once, or once for each index.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import { type Dim, sameDims } from '../ir/algebra.ts';
import { type DType, promote } from '../ir/dtype.ts';
import type { TensorType, Value } from '../ir/ir.ts';
import { typeText } from '../ir/ops.ts';
import { type Binding, Env, Poisoned } from './env.ts';
import { staticTruth } from './operators.ts';
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
import { describeVal, is, tensorVal, type Val } from './values.ts';
/** A run-time condition as a bool scalar. */
export function condition(s: Stager, v: Val): Value {
  if (!is(v, 'tensor') && !is(v, 'dim')) return s.ctx.builder.const(staticTruth(v) ? 1 : 0, 'bool');
  const c = s.ctx.tensor(v);
  if (c.type.shape.length) fail('Q1010', { found: describeVal(v) });
  return c.type.dtype === 'bool' ? c : s.ctx.builder.one('cast', [c], { dtype: 'bool' });
}

/**
 * `if` on a run-time scalar: both branches become regions that yield the variables which either assigns. Each is
 * traced once; literals get their types when both are known.
 */
export function branch(s: Stager, node: ts.IfStatement, cond: Val, env: Env): void {
  const { builder } = s.ctx;
  const c = s.at(node.expression, () => condition(s, cond));
  const sides = [node.thenStatement, node.elseStatement].map((body) =>
    inRegion(s, 'branch', () =>
      builder.region([], () => {
        if (body) runInRegion(s, body, new Env(env), 'a run-time `if`');
        return [];
      }),
    ),
  );
  const variables: { binding: Binding; initial: Val }[] = [];
  const pairs: [Leaf, Leaf][] = [];
  for (const binding of new Set(sides.flatMap((side) => [...side.after.keys()]))) {
    const [a, b] = sides.map((side) => side.after.get(binding) ?? binding) as [Binding, Binding];
    if (a.poisoned || b.poisoned) throw new Poisoned(binding.name);
    if (a.unset !== undefined || b.unset !== undefined) {
      assign(s, binding, undefined);
      binding.unset = 'a value in one branch of an `if` only';
      continue;
    }
    if (a.value === b.value) {
      assign(s, binding, a.value);
      continue;
    }
    const x = leavesOf(s, a.value, binding.name);
    const y = leavesOf(s, b.value, binding.name);
    checkAlike(binding.name, a.value, b.value, x, y);
    variables.push({ binding, initial: a.value });
    pairs.push(...x.map((leaf, i): [Leaf, Leaf] => [leaf, y[i]!]));
  }
  if (pairs.length === 0) return;
  const types = pairs.map(([a, b]) => commonType(s, a, b));
  const regions = sides.map(({ result }, side) =>
    builder.region([], () => {
      for (const op of result.ops) builder.append(op);
      return pairs.map((pair, i) => {
        const leaf = pair[side]!;
        const dtype = types[i]!;
        const v = s.ctx.tensor(leaf.value, dtype);
        return v.type.dtype === dtype ? v : builder.one('cast', [v], { dtype });
      });
    }),
  );
  assignResults(s, variables, builder.op('if', [c], {}, regions));
}

/** The dtype of a variable after an `if`: that of both branches, or as `?:` promotes them. */
function commonType(s: Stager, a: Leaf, b: Leaf): DType {
  const [x, y] = s.ctx.builder.dryRun(() => s.ctx.pair(a.value, b.value)).map((v) => v.type) as [
    TensorType,
    TensorType,
  ];
  const isMixed = (x.dtype === 'bool') !== (y.dtype === 'bool');
  if (isMixed || !sameDims(x.shape, y.shape))
    fail('Q1011', { name: a.name, before: typeText(x), after: typeText(y), isBranch: true });
  return x.dtype === y.dtype ? x.dtype : promote(x.dtype, y.dtype);
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
  const { result: region } = inRegion(s, 'map', () =>
    builder.region(params, () => {
      shape = body(params.map(tensorVal));
      if (shape === undefined || shape === null)
        fail('Q1012', {
          callee: 'map()',
          found: 'a function that returns nothing',
          expected: 'a function that returns a tensor, or a record of tensors',
        });
      return leavesOf(s, shape, 'result').map(({ value }) => s.ctx.tensor(value));
    }),
  );
  const results = builder.op('map', [], { dims }, [region]);
  let next = 0;
  return withLeaves(s, shape, () => results[next++]!);
}
