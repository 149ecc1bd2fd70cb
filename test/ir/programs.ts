// Generated functions for property tests: a list of steps, each of which tries to add one op to
// what is there. Every program is well formed and runs without an error on inputs of the right
// shapes.
import fc from 'fast-check';
import { RuleError } from '../../compiler/diagnostics/diagnostic.ts';
import type { Concrete } from '../../compiler/interpreter/interpret.ts';
import { dim, Poly } from '../../compiler/ir/algebra.ts';
import { Builder } from '../../compiler/ir/builder.ts';
import { type DType, dtypes, isFloat, roundToFloat } from '../../compiler/ir/dtype.ts';
import type { Func, Region, TensorType, Value } from '../../compiler/ir/ir.ts';
import { type OpAttrs, type OpName, ops } from '../../compiler/ir/ops.ts';

export const dtypeNames = Object.keys(dtypes) as DType[];
export const opNames = Object.keys(ops) as OpName[];

export interface Step {
  readonly op: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly value: number;
}

const special = [0, -0, 1, -1, 0.5, -8, 3, 2 ** 127, 2 ** -149, 65504, Infinity, -Infinity, NaN];

/** A value on the grid of a dtype, edges and specials often. */
export function element(d: DType): fc.Arbitrary<number> {
  const { min, max } = dtypes[d];
  if (!isFloat(d))
    return fc.oneof(fc.constantFrom(min!, max!, 0, 1), fc.integer({ min: min!, max: max! }));
  const any = fc.oneof(fc.constantFrom(...special), fc.float(), fc.integer({ min: -20, max: 20 }));
  return any.map((x) => roundToFloat(d, x));
}

const arrayOf = (d: DType, values: readonly number[]): Concrete['data'] =>
  isFloat(d)
    ? Float32Array.from(values)
    : d === 'bool'
      ? Uint8Array.from(values)
      : dtypes[d].kind === 'uint'
        ? Uint32Array.from(values)
        : Int32Array.from(values);

export const concrete = (
  d: DType,
  shape: readonly number[],
  values: readonly number[],
): Concrete => ({
  dtype: d,
  shape,
  data: arrayOf(d, values),
});

export const tensorOf = (d: DType, shape: readonly number[]): fc.Arbitrary<Concrete> => {
  const n = shape.reduce((p, x) => p * x, 1);
  return fc.array(element(d), { minLength: n, maxLength: n }).map((v) => concrete(d, shape, v));
};

/** dtype and shape of a tensor: plain data, which fc.gen can compare. */
export type Spec = readonly [DType, readonly number[]];

/** What a function takes when its dims have the given values. */
export const specsOf = (func: Func, dims: Readonly<Record<string, number>>): Spec[] =>
  func.body.params.map(({ type }) => [
    type.dtype,
    type.shape.map((d) => d.evaluate((a) => dims[a.key]!)),
  ]);

export const tensorsOf = (specs: readonly Spec[]): fc.Arbitrary<Concrete[]> =>
  fc.tuple(...specs.map(([d, shape]) => tensorOf(d, shape)));

const N = dim('N');
const K = dim('K');
const names = [undefined, undefined, 'x', 'x', 'scale', '$d', 'q.lo'];

export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    op: fc.nat(opNames.length - 1),
    a: fc.nat(30),
    b: fc.nat(30),
    c: fc.nat(30),
    value: fc.oneof(fc.constantFrom(...special), fc.integer({ min: -9, max: 9 })),
  }),
  { minLength: 1, maxLength: 25 },
);

/**
 * A function of tensors of dims N and K (K % 4 == 0) that follows the steps and gives its last
 * values.
 */
export function program(list: readonly Step[]): Func {
  const b = new Builder();
  const types: TensorType[] = [
    { dtype: 'f32', shape: [N, K.over(4)!, Poly.of(4)] },
    { dtype: 'f16', shape: [N] },
    { dtype: 'u4', shape: [N, K] },
    { dtype: 'i32', shape: [] },
    { dtype: 'bool', shape: [] },
    { dtype: 'i8', shape: [Poly.of(4)] },
  ];
  const params = types.map((type, i) => b.param(type, `p${i}`));
  let yields: Value[] = [];
  const body = b.region(params, () => {
    const pool = [...params];
    for (const step of list) pool.push(...addStep(b, pool, step));
    yields = pool.slice(-3);
    return yields;
  });
  return {
    name: 'generated',
    dims: ['N', 'K'],
    constraints: [{ poly: K, modulus: 4, reason: 'blocks of 4' }],
    params: params.map((v) => ({ kind: 'tensor', name: v.name!, values: [v] })),
    results: yields.map((v, i) => ({ kind: 'tensor', name: `r${i}`, values: [v] })),
    body,
  };
}

function addStep(b: Builder, pool: readonly Value[], step: Step): readonly Value[] {
  const name = opNames[step.op]!;
  const at = (n: number): Value => pool[n % pool.length]!;
  const operands = [at(step.a), at(step.b), at(step.c)];
  try {
    const results =
      b.dryRun(() => build(b, name, operands, step, pool)) && build(b, name, operands, step, pool);
    const author = names[step.c % names.length];
    if (results[0] && author && !results[0].name) results[0].name = author;
    return results;
  } catch (e) {
    // The operands do not suit the op: the step adds nothing.
    if (e instanceof RuleError || e instanceof Skip) return [];
    throw e;
  }
}

class Skip extends Error {}
const unless = (bad: boolean): void => {
  if (bad) throw new Skip();
};

function build(
  b: Builder,
  name: OpName,
  [x, y, z]: readonly Value[],
  step: Step,
  pool: readonly Value[],
): readonly Value[] {
  const rank = x!.type.shape.length;
  const axis = rank ? step.c % rank : 0;
  const dtype = dtypeNames[(step.b + step.c) % dtypeNames.length]!;
  const go = <K extends OpName>(
    op: K,
    operands: readonly Value[],
    attrs: OpAttrs[K],
    regions: readonly Region[] = [],
  ): readonly Value[] => b.op(op, operands, attrs, regions);
  const scalars = pool.filter((v) => v.type.shape.length === 0);
  const index = (): Value => b.const(step.b % 5, 'i32');
  switch (name) {
    case 'const':
      return [b.const(literal(dtype, step.value), dtype)];
    case 'table':
      return go('table', [], {
        data: [step.value, 1, 0.5, -2].map((v) => literal(dtype, v)),
        dtype,
        shape: [Poly.of(2), Poly.of(2)],
      });
    case 'iota':
      return go('iota', [], { size: step.a % 2 ? N : Poly.of(4) });
    case 'dim':
      return go('dim', [], { dim: K.over(2)! });
    case 'cast':
      return go('cast', [x!], { dtype });
    case 'bitcast':
      // The bits of a NaN are not part of its value.
      unless(isFloat(x!.type.dtype) || dtype === 'bool');
      return go('bitcast', [x!], { dtype });
    case 'broadcast':
      return go('broadcast', [x!], { shape: [Poly.of(2), ...x!.type.shape] });
    case 'reshape':
      return go('reshape', [x!], {
        shape:
          step.a % 2
            ? [...x!.type.shape, Poly.of(1)]
            : [x!.type.shape.reduce((p, d) => p.mul(d), Poly.of(1))],
      });
    case 'materialize':
      return go('materialize', [x!], {});
    case 'transpose':
      return go('transpose', [x!], { perm: x!.type.shape.map((_, i) => (i + step.c) % rank) });
    case 'slice': {
      const whole = x!.type.shape[axis];
      unless(!whole);
      const start = whole!.constant && whole!.constant > 2 ? step.a % 2 : 0;
      return go('slice', [x!], { axis, start: Poly.of(start), size: whole!.sub(start) });
    }
    case 'concat':
      return go('concat', step.a % 2 ? [x!, x!] : [x!], { axis });
    case 'pad':
      return go('pad', [x!, scalars[step.b % scalars.length]!], {
        axis,
        low: Poly.of(step.a % 2),
        high: Poly.of(step.b % 2),
      });
    case 'gather':
      return go('gather', [x!, y!], { axis });
    case 'at':
      unless(rank === 0);
      return go('at', step.a % 2 ? [x!, index()] : [x!], {});
    case 'sum':
    case 'amin':
    case 'amax':
    case 'any':
    case 'all':
    case 'argmin':
    case 'argmax':
      unless(rank === 0);
      return go(name, [x!], {
        axes: step.a % 2 ? [axis] : x!.type.shape.map((_, i) => i),
        keepdims: step.b % 2 === 0,
      });
    case 'set': {
      unless(rank === 0 || !y);
      const ids = x!.type.shape.slice(0, 1 + (step.a % rank)).map((_, k) => (k ? index() : z!));
      const part = x!.type.shape.slice(ids.length);
      const value = step.b % 2 ? x! : b.const(literal(x!.type.dtype, step.value), x!.type.dtype);
      return go(
        'set',
        [
          x!,
          value === x!
            ? b.one('at', [x!, ...ids.map(index)], {})
            : b.one('broadcast', [value], { shape: part }),
          ...ids,
        ],
        {},
      );
    }
    case 'sort':
      unless(rank === 0);
      return go('sort', [x!], { axis, descending: step.a % 2 === 0 });
    case 'map': {
      const i = b.scalar('i32', 'i');
      return go('map', [], { dims: [Poly.of(2)] }, [
        b.region([i], () => [b.one('add', [x!, i], {}), i]),
      ]);
    }
    case 'for': {
      const i = b.scalar('i32');
      const s = b.param(x!.type, 'acc');
      const extent = Poly.of(step.a % 3);
      return go(
        'for',
        step.b % 2 ? [x!] : [b.const(step.a % 3, 'i32'), x!],
        step.b % 2 ? { extent } : {},
        [b.region([i, s], () => [b.one('select', [b.one('lt', [i, i], {}), s, x!], {})])],
      );
    }
    case 'while': {
      const [p, q] = [b.scalar('i32', 'n'), b.scalar('i32')];
      const limit = b.const(step.a % 4, 'i32');
      return go('while', [b.const(0, 'i32')], {}, [
        b.region([p], () => [b.one('lt', [p, limit], {})]),
        b.region([q], () => [b.one('add', [q, b.const(1, 'i32')], {})]),
      ]);
    }
    case 'if': {
      const c = b.one('gt', [b.const(step.value, 'f32'), scalars[step.b % scalars.length]!], {});
      return go('if', [c], {}, [
        b.region([], () => [b.one('floor', [x!], {})]),
        b.region([], () => [b.one('neg', [x!], {})]),
      ]);
    }
    case 'kernel':
      return go('kernel', [], { name: 'k"0', schedule: 'elementwise' }, [
        b.region([], () => [b.one('abs', [x!], {})]),
      ]);
    case 'select':
      return go('select', [x!, y!, z!], {});
    case 'matmul':
      return go('matmul', [x!, y!], {});
    default:
      return ops[name].kind === 'unary'
        ? go(name as 'neg', [x!], {})
        : go(name as 'add', [x!, y!], {});
  }
}

const literal = (d: DType, v: number): number =>
  isFloat(d)
    ? roundToFloat(d, v)
    : Math.min(Math.max(Math.trunc(v) || 0, dtypes[d].min!), dtypes[d].max!);
