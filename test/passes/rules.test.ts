// Every rewrite rule is checked by evaluation: a function in which it applies, over every dtype,
// gives equal bits before and after, on inputs with NaN, Inf and -0. A rule without a sample fails
// the suite.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { RuleError } from '../../compiler/diagnostics/diagnostic.ts';
import { type Concrete, identical, interpret } from '../../compiler/interpreter/interpret.ts';
import { Poly, dim } from '../../compiler/ir/algebra.ts';
import { Builder } from '../../compiler/ir/builder.ts';
import { type DType, isFloat } from '../../compiler/ir/dtype.ts';
import type { Func, Value } from '../../compiler/ir/ir.ts';
import {
  type BinaryName,
  type UnaryName,
  isBinary,
  isCompare,
  isUnary,
} from '../../compiler/ir/ops.ts';
import { printFunc } from '../../compiler/ir/printer.ts';
import { verifyOrThrow } from '../../compiler/ir/verifier.ts';
import { canonicalize, canonicalizeRules } from '../../compiler/passes/canonicalize.ts';
import { cse } from '../../compiler/passes/cse.ts';
import { dce } from '../../compiler/passes/dce.ts';
import { type Rule, rulePass } from '../../compiler/passes/engine.ts';
import {
  dtypeNames,
  element,
  opNames,
  program,
  specsOf,
  steps,
  tensorsOf,
} from '../ir/programs.ts';

fc.configureGlobal({ includeErrorInReport: true });
const test = suite('rewrite rules');
const N = dim('N');

interface Make {
  readonly b: Builder;
  readonly x: Value;
  readonly y: Value;
  readonly c: Value;
  readonly d: DType;
  /** A constant of the dtype under test, as a scalar or repeated. */
  readonly k: (value: number) => Value;
  readonly u: (name: UnaryName, x: Value) => Value;
  readonly o: (name: BinaryName, x: Value, y: Value) => Value;
  /** Values of the dtype, drawn anew each run. */
  readonly p: number;
  readonly q: number;
}

const region = (b: Builder, value: () => Value) => b.region([], () => [value()]);
const scalarBool = (b: Builder, value: boolean): Value => b.const(value ? 1 : 0, 'bool');

/**
 * For each rule by name: functions of x, y : d[N, 3] and c : bool[N, 3] in which it applies, or
 * must not.
 */
const samples: Readonly<Record<string, readonly ((m: Make) => Value)[]>> = {
  'f(constant) -> constant': opNames.filter(isUnary).map(
    (n) =>
      ({ u, k, p }: Make) =>
        u(n, k(p)),
  ),
  'constant op constant -> constant': opNames
    .filter(isBinary)
    .flatMap((n) => [
      ({ o, k, p, q }: Make) => o(n, k(p), k(q)),
      ({ o, b, k, p }: Make) => o(n, k(p), b.const(3, 'u32')),
    ]),
  'constant < constant -> constant': opNames
    .filter(isCompare)
    .flatMap((n) => [
      ({ b, k, p, q }: Make) => b.one(n, [k(p), k(q)], {}),
      ({ b, k, p }: Make) => b.one(n, [k(p), b.const(3, 'u32')], {}),
    ]),
  'cast(constant) -> constant': dtypeNames.map(
    (dtype) =>
      ({ b, k, p }: Make) =>
        b.one('cast', [k(p)], { dtype }),
  ),
  'view(constant) -> constant': [
    ({ b, k, p }) =>
      b.one('reshape', [b.one('broadcast', [k(p)], { shape: [N, Poly.of(3)] })], {
        shape: [N.mul(3)],
      }),
    ({ b, k, p }) =>
      b.one('transpose', [b.one('broadcast', [k(p)], { shape: [N, Poly.of(3)] })], {
        perm: [1, 0],
      }),
    ({ b, k, p }) =>
      b.one('slice', [b.one('broadcast', [k(p)], { shape: [N, Poly.of(3)] })], {
        axis: 1,
        start: Poly.of(1),
        size: Poly.of(2),
      }),
  ],
  'x * 1 -> x': [
    ({ o, x, k }) => o('mul', x, k(1)),
    ({ o, x, k }) => o('mul', k(1), x),
    ({ o, x, b }) => o('mul', x, b.const(1, 'u32')),
  ],
  'x / 1 -> x': [({ o, x, k }) => o('div', x, k(1)), ({ o, x, k }) => o('div', k(1), x)],
  'x + 0 -> x (integers)': [({ o, x, k }) => o('add', x, k(0)), ({ o, x, k }) => o('add', k(0), x)],
  'x + -0 -> x (floats)': [({ o, x, k }) => o('add', x, k(-0)), ({ o, x, k }) => o('add', k(0), x)],
  'x - 0 -> x': [
    ({ o, x, k }) => o('sub', x, k(0)),
    ({ o, x, k }) => o('sub', x, k(-0)),
    ({ o, x, k }) => o('sub', k(0), x),
  ],
  'x * 0 -> 0 (integers)': [
    ({ o, x, k }) => o('mul', x, k(0)),
    ({ o, x, k }) => o('mul', k(-0), x),
  ],
  'x / 2^n -> x * 2^-n': [2, -8, 0.5, 2 ** 126, 2 ** 127, 3, 0].map(
    (n) =>
      ({ o, x, b }: Make) =>
        o('div', x, b.const(n, 'f32')),
  ),
  'x ** 2 -> x * x': [({ o, x, k }) => o('pow', x, k(2)), ({ o, x, k }) => o('pow', x, k(3))],
  '-(-x) -> x': [({ u, x }) => u('neg', u('neg', x))],
  '~~x -> x': [({ u, x }) => u('not', u('not', x))],
  'min(x, x) -> x': [
    ({ o, x }) => o('min', x, x),
    ({ o, x }) => o('max', x, x),
    ({ o, x, y }) => o('min', x, y),
  ],
  'x << 0 -> x': [
    ({ o, x, k }) => o('shl', x, k(0)),
    ({ o, x, k }) => o('shr', x, k(0)),
    ({ o, x, b }) => o('shr', x, b.const(0, 'u32')),
    ({ o, x, k }) => o('shr', k(0), x),
  ],
  'x | 0 -> x': [
    ({ o, x, k }) => o('or', x, k(0)),
    ({ o, x, k }) => o('xor', k(0), x),
    ({ o, x, b }) => o('or', x, b.const(0, 'u32')),
  ],
  'x & 0 -> 0': [({ o, x, k }) => o('and', x, k(0)), ({ o, x, k }) => o('and', k(0), x)],
  'x & true -> x': [
    ({ o, x, k }) => o('and', x, k(1)),
    ({ o, x, b }) => o('and', scalarBool(b, true), x),
  ],
  'true ? a : b -> a': [true, false].flatMap((v) => [
    ({ b, x, y }: Make) => b.one('select', [scalarBool(b, v), x, y], {}),
    ({ b, x }: Make) => b.one('select', [scalarBool(b, v), x, b.const(2, 'f32')], {}),
  ]),
  'c ? a : a -> a': [
    ({ b, c, x }) => b.one('select', [c, x, x], {}),
    ({ b, c, k }) => {
      const v = k(1);
      return b.one('select', [c, v, v], {});
    },
  ],
  'cast to the same dtype -> x': [({ b, x, d }) => b.one('cast', [x], { dtype: d })],
  'cast(cast(x)) -> cast(x)': dtypeNames.flatMap((via) =>
    dtypeNames.map(
      (dtype) =>
        ({ b, x }: Make) =>
          b.one('cast', [b.one('cast', [x], { dtype: via })], { dtype }),
    ),
  ),
  'if (constant) -> its branch': [true, false].map(
    (v) =>
      ({ b, x, y }: Make) =>
        b.one('if', [scalarBool(b, v)], {}, [
          region(b, () => b.one('isnan', [x], {})),
          region(b, () => b.one('eq', [y, y], {})),
        ]),
  ),
  'for of no or one pass -> its body': [0, 1, 2].map((n) => ({ b, x, c }: Make) => {
    const [i, s] = [b.scalar('i32'), b.param(x.type)];
    return b.one('for', [x], { extent: Poly.of(n) }, [
      b.region([i, s], () => [
        b.one('select', [c, s, b.one('cast', [i], { dtype: s.type.dtype })], {}),
      ]),
    ]);
  }),
  'materialize(constant or parameter) -> x': [({ b, x }) => b.one('materialize', [x], {})],
  'transpose(x, identity) -> x': [({ b, x }) => b.one('transpose', [x], { perm: [0, 1] })],
  'transpose(transpose(x)) -> transpose(x)': [
    ({ b, x }) => {
      const cube = b.one('reshape', [x], { shape: [N, Poly.of(1), Poly.of(3)] });
      return b.one('transpose', [b.one('transpose', [cube], { perm: [2, 0, 1] })], {
        perm: [0, 2, 1],
      });
    },
  ],
  'reshape to the same shape -> x': [
    ({ b, x }) => b.one('reshape', [x], { shape: [N, Poly.of(3)] }),
    ({ b, x }) => b.one('broadcast', [x], { shape: [N, Poly.of(3)] }),
  ],
  'reshape(reshape(x)) -> reshape(x)': [
    ({ b, x }) =>
      b.one('reshape', [b.one('reshape', [x], { shape: [N.mul(3)] })], { shape: [Poly.of(3), N] }),
    ({ b, x }) =>
      b.one('broadcast', [b.one('broadcast', [x], { shape: [Poly.of(1), N, Poly.of(3)] })], {
        shape: [Poly.of(2), N, Poly.of(3)],
      }),
  ],
  'slice of the whole axis -> x': [
    ({ b, x }) => b.one('slice', [x], { axis: 0, start: Poly.of(0), size: N }),
    ({ b, x }) => b.one('slice', [x], { axis: 1, start: Poly.of(1), size: Poly.of(2) }),
  ],
  'concat([x]) -> x': [
    ({ b, x }) => b.one('concat', [x], { axis: 1 }),
    ({ b, x, y }) => b.one('concat', [x, y], { axis: 0 }),
  ],
  'pad by nothing -> x': [0, 1].map(
    (n) =>
      ({ b, x, k }: Make) =>
        b.one('pad', [x, k(1)], { axis: 1, low: Poly.of(n), high: Poly.of(0) }),
  ),
  'at(x) -> x': [
    ({ b, x }) => b.one('at', [x], {}),
    ({ b, x }) => b.one('at', [x, b.const(1, 'i32')], {}),
  ],
  'at(table, constants) -> constant': [-1, 0, 2, 9].map(
    (n) =>
      ({ b, p, q, d }: Make) =>
        b.one(
          'at',
          [
            b.one('table', [], { data: [p, q, 1], dtype: d, shape: [Poly.of(3)] }),
            b.const(n, 'i32'),
          ],
          {},
        ),
  ),
};

/** The sample over one dtype, or undefined when its ops do not take the dtype. */
function sampleFunc(
  make: (m: Make) => Value,
  d: DType,
  [p, q]: readonly [number, number],
): Func | undefined {
  const b = new Builder();
  const shape = [N, Poly.of(3)];
  const params = [
    b.param({ dtype: d, shape }, 'x'),
    b.param({ dtype: d, shape }, 'y'),
    b.param({ dtype: 'bool', shape }, 'c'),
  ];
  const [x, y, c] = params as [Value, Value, Value];
  try {
    const body = b.region(params, () => [
      make({
        b,
        x,
        y,
        c,
        d,
        p,
        q,
        k: (value) => b.const(value, d),
        u: (name, v) => b.one(name, [v], {}),
        o: (name, v, w) => b.one(name, [v, w], {}),
      }),
    ]);
    return {
      name: 'sample',
      dims: ['N'],
      constraints: [],
      body,
      params: params.map((v) => ({ kind: 'tensor', name: v.name!, values: [v] })),
      results: body.yields.map((v) => ({ kind: 'tensor', name: 'r', values: [v] })),
    };
  } catch (e) {
    if (e instanceof RuleError) return undefined;
    throw e;
  }
}

function sameBits(before: Func, after: Func, inputs: readonly Concrete[]): void {
  const a = interpret(before, inputs);
  const b = interpret(after, inputs);
  assert.is(b.length, a.length);
  a.forEach((x, i) => {
    if (identical(x, b[i]!)) return;
    const texts = `${printFunc(before)}${printFunc(after)}`;
    assert.unreachable(
      `${texts}${x.dtype} ${x.data.join()} became ${b[i]!.dtype} ${b[i]!.data.join()}`,
    );
  });
}

test('every rule has a sample, and every sample a rule', () => {
  assert.equal(canonicalizeRules.map((r) => r.name).sort(), Object.keys(samples).sort());
});

function check(r: Rule): void {
  const pass = rulePass('one rule', [r]);
  let fired = 0;
  for (const make of samples[r.name]!)
    for (const d of dtypeNames)
      fc.assert(
        fc.property(
          fc.tuple(element(d), element(d)),
          fc.integer({ min: 1, max: 3 }),
          fc.gen(),
          (pq, n, draw) => {
            const before = sampleFunc(make, d, pq);
            if (!before) return;
            const after = pass.run(before, { note: () => (fired += 1) });
            verifyOrThrow(after, `after ${r.name}`);
            if (printFunc(after) === printFunc(before)) return;
            sameBits(before, after, draw(tensorsOf, specsOf(before, { N: n })));
          },
        ),
        { numRuns: samples[r.name]!.length > 100 ? 2 : 8 },
      );
  assert.ok(fired > 0, `${r.name} never fired`);
}

for (const r of canonicalizeRules) test(`${r.name} changes no bit`, () => check(r));

for (const pass of [canonicalize, cse, dce])
  test(`${pass.name} changes no bit of generated functions and keeps them well formed`, () => {
    fc.assert(
      fc.property(steps, fc.gen(), (list, draw) => {
        const before = program(list);
        const after = pass.run(before, { note: () => {} });
        verifyOrThrow(after, `after ${pass.name}`);
        sameBits(before, after, draw(tensorsOf, specsOf(before, { N: 2, K: 4 })));
        assert.is(
          printFunc(pass.run(after, { note: () => {} })),
          printFunc(after),
          'not idempotent',
        );
      }),
      { numRuns: 250 },
    );
  });

test('pow of an integer is not a product that could wrap', () => {
  const f = sampleFunc(({ o, x, k }) => o('pow', x, k(2)), 'i32', [0, 0])!;
  assert.is(printFunc(canonicalize.run(f, { note: () => {} })), printFunc(f));
});

test('spans stay with what replaces an op, and what fired is noted with them', () => {
  const b = new Builder();
  const x = b.param({ dtype: 'f32', shape: [] }, 'x');
  const span = { file: 'a.ts', start: 3, end: 9 };
  const body = b.region([x], () => {
    const k = b.const(4, 'f32');
    b.span = span;
    return [b.one('div', [x, k], {})];
  });
  const notes: unknown[] = [];
  const before: Func = {
    name: 'f',
    dims: [],
    constraints: [],
    body,
    params: [{ kind: 'tensor', name: 'x', values: [x] }],
    results: [{ kind: 'tensor', name: 'y', values: [body.yields[0]!] }],
  };
  const after = canonicalize.run(before, { note: (text, at) => notes.push([text, at]) });
  assert.equal(notes, [['x / 2^n -> x * 2^-n', span]]);
  assert.is(after.body.yields[0]!.def!.op.name, 'mul');
  assert.equal(after.body.yields[0]!.def!.op.span, span);
  assert.ok(isFloat(after.body.yields[0]!.type.dtype));
});

test.run();
