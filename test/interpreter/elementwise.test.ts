// Elementwise ops: numbers worked out by hand, and properties against formulas written another way.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { castValue } from '../../compiler/ir/dtype.ts';
import type { DType } from '../../compiler/ir/dtype.ts';
import {
  type BinaryName,
  type CompareName,
  type OpName,
  type UnaryName,
  isBinary,
  isCompare,
  isUnary,
} from '../../compiler/ir/ops.ts';
import { dtypeNames, element, opNames } from '../ir/programs.ts';
import { evaluate, op, poly, t, values } from './run.ts';

fc.configureGlobal({ includeErrorInReport: true });
const test = suite('elementwise ops');
const same = (found: readonly number[], expected: readonly number[], what = ''): void => {
  const ok = found.length === expected.length && found.every((v, i) => Object.is(v, expected[i]));
  assert.ok(ok, `${what}: [${found.join()}] is not [${expected.join()}]`);
};
const f = Math.fround;

type UnaryRow = readonly [
  from: DType,
  inputs: readonly number[],
  to: DType,
  results: readonly number[],
];
const inf = Infinity;
const unaryRows: { readonly [U in UnaryName]: readonly UnaryRow[] } = {
  neg: [
    ['f32', [1.5, 0, -0, inf, NaN], 'f32', [-1.5, -0, 0, -inf, NaN]],
    ['i32', [-(2 ** 31), 7], 'i32', [-(2 ** 31), -7]],
    ['u4', [15], 'i32', [-15]],
    ['u32', [1], 'u32', [2 ** 32 - 1]],
  ],
  abs: [
    ['f32', [-1.5, -0, -inf], 'f32', [1.5, 0, inf]],
    ['i8', [-128, 127], 'i32', [128, 127]],
  ],
  sign: [
    ['f32', [-3, 0, -0, 9, NaN], 'f32', [-1, 0, -0, 1, NaN]],
    ['i32', [-3, 0, 9], 'i32', [-1, 0, 1]],
  ],
  floor: [
    ['f32', [1.5, -1.5, -0.25, -0], 'f32', [1, -2, -1, -0]],
    ['i4', [-8, 7], 'i32', [-8, 7]],
  ],
  ceil: [['f32', [1.5, -1.5, -0.25], 'f32', [2, -1, -0]]],
  trunc: [['f32', [1.9, -1.9, -0.25, inf], 'f32', [1, -1, -0, inf]]],
  round: [['f32', [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 2.4], 'f32', [0, 2, 2, -0, -2, -2, 2]]],
  roundHalfAway: [['f32', [0.5, 1.5, 2.5, -0.5, -2.5, inf], 'f32', [1, 2, 3, -1, -3, inf]]],
  roundHalfUp: [['f32', [0.5, 1.5, 2.5, -0.5, -1.5, -2.5], 'f32', [1, 2, 3, 0, -1, -2]]],
  sqrt: [
    ['f32', [2, 0, -1, inf], 'f32', [f(Math.SQRT2), 0, NaN, inf]],
    ['i32', [9], 'f32', [3]],
  ],
  exp: [['f32', [0, 1, -inf], 'f32', [1, f(Math.E), 0]]],
  exp2: [['f32', [3, -1, 0.5], 'f32', [8, 0.5, f(Math.SQRT2)]]],
  log: [['f32', [1, 10, 0, -1], 'f32', [0, f(Math.LN10), -inf, NaN]]],
  log2: [['f32', [8, 0.5, 3], 'f32', [3, -1, f(1.584962500721156)]]],
  sin: [['f32', [0, 1], 'f32', [0, f(0.8414709848078965)]]],
  cos: [['f32', [0, 1], 'f32', [1, f(0.5403023058681398)]]],
  tanh: [['f32', [0, 1, inf], 'f32', [0, f(0.7615941559557649), 1]]],
  not: [
    ['bool', [0, 1], 'bool', [1, 0]],
    ['u8', [0, 255], 'i32', [-1, -256]],
    ['u32', [0], 'u32', [2 ** 32 - 1]],
  ],
  popcount: [
    ['u8', [0, 255, 129], 'i32', [0, 8, 2]],
    ['i8', [-1], 'i32', [8]],
    ['u32', [2 ** 32 - 1], 'i32', [32]],
    ['i32', [-1], 'i32', [32]],
  ],
  exponent: [
    ['f32', [1, 1.99, 0.5, -8, 2 ** -149, 0, inf, NaN], 'i32', [0, 0, -1, 3, -149, -150, 128, 128]],
  ],
  isnan: [
    ['f32', [NaN, 1, inf], 'bool', [1, 0, 0]],
    ['i32', [1], 'bool', [0]],
  ],
};

for (const name of opNames.filter(isUnary))
  test(`${name} gives the numbers worked out by hand`, () => {
    for (const [from, inputs, to, results] of unaryRows[name]) {
      const found = op(name, {}, [t(from, inputs)]);
      assert.is(found.dtype, to);
      same(values(found), results, name);
    }
  });

type BinaryRow = readonly [
  a: DType,
  x: readonly number[],
  b: DType,
  y: readonly number[],
  to: DType,
  results: readonly number[],
];
const big = 2 ** 31 - 1;
const binaryRows: { readonly [B in BinaryName]: readonly BinaryRow[] } = {
  add: [
    ['f32', [f(0.1), inf], 'f32', [f(0.2), -inf], 'f32', [f(0.30000000447034836), NaN]],
    ['i32', [big], 'u4', [1], 'i32', [-(2 ** 31)]],
    ['i32', [-1], 'u32', [1], 'u32', [0]],
    ['i32', [16777217], 'f32', [1], 'f32', [16777216]],
  ],
  sub: [
    ['f32', [0, 1], 'f32', [0, 3], 'f32', [0, -2]],
    ['u4', [1], 'u4', [3], 'i32', [-2]],
    ['u32', [1], 'u32', [3], 'u32', [2 ** 32 - 2]],
  ],
  mul: [
    ['i32', [big, -3], 'i32', [big, 5], 'i32', [1, -15]],
    ['f32', [2 ** 127, 0], 'f32', [2, inf], 'f32', [inf, NaN]],
  ],
  div: [
    ['i32', [1, -7], 'i32', [3, 2], 'f32', [f(1 / 3), -3.5]],
    ['f32', [1, 0], 'f32', [-0, 0], 'f32', [-inf, NaN]],
  ],
  rem: [
    ['i32', [-7, 7, 7], 'i32', [3, -3, 0], 'i32', [-1, 1, 0]],
    ['f32', [-7.5, 1], 'f32', [2, 0], 'f32', [-1.5, NaN]],
  ],
  pow: [
    ['f32', [2, 4, -8], 'f32', [-1, 0.5, 0.5], 'f32', [0.5, 2, NaN]],
    ['i32', [3], 'i32', [20], 'f32', [3486784512]],
  ],
  min: [
    ['f32', [1, NaN, 0], 'f32', [2, 1, -0], 'f32', [1, NaN, -0]],
    ['i32', [-1], 'u32', [5], 'u32', [5]],
  ],
  max: [
    ['f32', [1, NaN, -0], 'f32', [2, 1, 0], 'f32', [2, NaN, 0]],
    ['i8', [-1], 'i32', [5], 'i32', [5]],
  ],
  and: [
    ['u8', [12], 'u8', [10], 'i32', [8]],
    ['bool', [1, 1], 'bool', [0, 1], 'bool', [0, 1]],
  ],
  or: [
    ['u8', [12], 'u8', [10], 'i32', [14]],
    ['bool', [0, 1], 'bool', [0, 0], 'bool', [0, 1]],
  ],
  xor: [
    ['u8', [12], 'u8', [10], 'i32', [6]],
    ['bool', [1, 1], 'bool', [0, 1], 'bool', [1, 0]],
  ],
  shl: [['i32', [1, 1, 3], 'i32', [31, 33, 1], 'i32', [-(2 ** 31), 2, 6]]],
  shr: [
    ['i32', [-8, 8], 'i32', [1, 2], 'i32', [-4, 2]],
    ['u32', [2 ** 31], 'i32', [31], 'u32', [1]],
  ],
};

for (const name of opNames.filter(isBinary))
  test(`${name} gives the numbers worked out by hand`, () => {
    for (const [a, x, b, y, to, results] of binaryRows[name]) {
      const found = op(name, {}, [t(a, x), t(b, y)]);
      assert.is(found.dtype, to);
      same(values(found), results, name);
    }
  });

const compareRows: { readonly [C in CompareName]: readonly number[] } = {
  eq: [0, 1, 0, 1, 0],
  ne: [1, 0, 1, 0, 1],
  lt: [1, 0, 0, 0, 0],
  le: [1, 1, 0, 1, 0],
  gt: [0, 0, 1, 0, 0],
  ge: [0, 1, 1, 1, 0],
};
for (const name of opNames.filter(isCompare))
  test(`${name} orders numbers, holds 0 equal to -0 and NaN to nothing`, () => {
    const found = op(name, {}, [t('f32', [1, 2, 3, 0, NaN]), t('f32', [2, 2, 2, -0, NaN])]);
    assert.is(found.dtype, 'bool');
    same(values(found), compareRows[name], name);
  });

test('comparisons see what promotion makes of both sides', () => {
  same(values(op('lt', {}, [t('i32', [-1]), t('u32', [1])])), [0]);
  same(values(op('eq', {}, [t('i32', [16777217]), t('f32', [16777216])])), [1]);
  same(values(op('lt', {}, [t('i8', [-1]), t('u8', [1])])), [1]);
});

const loops: fc.Arbitrary<readonly [readonly number[], readonly number[]]> = fc.constantFrom(
  [
    [2, 3],
    [2, 3],
  ],
  [[2, 3], []],
  [[], [2, 3]],
  [[2, 3], [3]],
  [
    [2, 1],
    [1, 3],
  ],
  [[1], [4, 2, 1]],
  [
    [0, 3],
    [1, 3],
  ],
  [[2, 3], [1]],
);
test('two shapes broadcast as nested loops say', () => {
  fc.assert(
    fc.property(loops, fc.constantFrom('sub', 'lt'), ([p, q], name: OpName) => {
      const size = (s: readonly number[]): number => s.reduce((x, y) => x * y, 1);
      const a = t(
        'f32',
        Array.from({ length: size(p) }, (_, i) => i * 1.25),
        p,
      );
      const b = t(
        'f32',
        Array.from({ length: size(q) }, (_, i) => 7 - i),
        q,
      );
      const found = op(name as 'sub', {}, [a, b]);
      const rank = Math.max(p.length, q.length);
      const extent = (s: readonly number[], i: number): number => s[i - (rank - s.length)] ?? 1;
      const shape = Array.from({ length: rank }, (_, i) =>
        extent(p, i) === 1 ? extent(q, i) : extent(p, i),
      );
      assert.equal(found.shape, shape);
      const flat = (s: readonly number[], index: readonly number[]): number =>
        s.reduce((at, n, i) => at * n + (n === 1 ? 0 : index[i + rank - s.length]!), 0);
      const expected: number[] = [];
      const visit = (index: readonly number[]): void => {
        if (index.length < rank) {
          for (let i = 0; i < shape[index.length]!; i++) visit([...index, i]);
          return;
        }
        const [x, y] = [a.data[flat(p, index)]!, b.data[flat(q, index)]!];
        expected.push(name === 'sub' ? f(x - y) : x < y ? 1 : 0);
      };
      visit([]);
      same(values(found), expected);
    }),
  );
});

test('select takes each element from one of two, and widens both', () => {
  const c = t('bool', [1, 0, 1, 0, 1, 0], [2, 3]);
  const found = op('select', {}, [c, t('i32', [1, 2, 3]), t('f32', [0.5])]);
  assert.is(found.dtype, 'f32');
  assert.equal(found.shape, [2, 3]);
  same(values(found), [1, 0.5, 3, 0.5, 2, 0.5]);
  assert.is(op('select', {}, [c, t('u4', [3]), t('u4', [4])]).dtype, 'u4');
});

test('cast is castValue, for every pair of dtypes', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...dtypeNames),
      fc.constantFrom(...dtypeNames),
      fc.gen(),
      (from, to, draw) => {
        const x = Array.from({ length: 5 }, () => draw(element, from));
        const found = op('cast', { dtype: to }, [t(from, x)]);
        assert.is(found.dtype, to);
        same(
          values(found),
          x.map((v) => castValue(from, to, v)),
          `${from} to ${to}`,
        );
      },
    ),
    { numRuns: 500 },
  );
});

test('bitcast moves bits without looking at them', () => {
  same(values(op('bitcast', { dtype: 'i32' }, [t('f32', [1, -0, inf])])), [
    0x3f800000,
    -(2 ** 31),
    0x7f800000,
  ]);
  same(values(op('bitcast', { dtype: 'f16' }, [t('u16', [0x3c00, 0x8000, 0x7bff, 1])])), [
    1,
    -0,
    65504,
    2 ** -24,
  ]);
  same(values(op('bitcast', { dtype: 'i4' }, [t('u4', [7, 8, 15])])), [7, -8, -1]);
  same(values(op('bitcast', { dtype: 'u6' }, [t('f6e3m2', [28, -28, 0.0625])])), [31, 63, 1]);
});

test('bitcast to a narrower dtype appends an axis, least significant part first, and wider undoes it', () => {
  const bytes = op('bitcast', { dtype: 'u8' }, [t('u32', [0x04030201, 0xfffefdfc])]);
  assert.equal(bytes.shape, [2, 4]);
  same(values(bytes), [1, 2, 3, 4, 0xfc, 0xfd, 0xfe, 0xff]);
  same(values(op('bitcast', { dtype: 'u32' }, [bytes])), [0x04030201, 0xfffefdfc]);
  assert.equal(op('bitcast', { dtype: 'u32' }, [bytes]).shape, [2]);
  const half = op('bitcast', { dtype: 'u8' }, [t('f16', [-1.5])]);
  same(values(half), [0x00, 0xbe]);
  same(values(op('bitcast', { dtype: 'f16' }, [half])), [-1.5]);
  same(values(op('bitcast', { dtype: 'i16' }, [t('f32', [-0])])), [0, -32768]);
});

test('a NaN keeps its payload through bitcasts of f32', () => {
  const found = evaluate([t('u32', [0x7fc12345])], (b, [x]) => {
    const y = b.one('bitcast', [x!], { dtype: 'f32' });
    return [b.one('bitcast', [y], { dtype: 'u32' })];
  });
  same(values(found[0]!), [0x7fc12345]);
});

test('each f32 op rounds; f64 keeps doubles up to the next cast', () => {
  const third = (precision: 'f32' | 'f64', cast: boolean): number =>
    evaluate(
      [t('f32', [1]), t('f32', [3])],
      (b, [x, y]) => {
        const q = b.one('div', [x!, y!], {});
        return [cast ? b.one('cast', [q], { dtype: 'f16' }) : q];
      },
      { precision },
    )[0]!.data[0]!;
  assert.is(third('f32', false), f(1 / 3));
  assert.is(third('f64', false), 1 / 3);
  assert.is(third('f64', true), third('f32', true));
});

test('constants are put on the grid of their dtype', () => {
  const one = (value: number, dtype: DType): number =>
    evaluate([], (b) => [b.const(value, dtype)])[0]!.data[0]!;
  assert.is(one(0.1, 'f32'), f(0.1));
  assert.is(one(0.1, 'f4e2m1'), 0);
  assert.is(one(300, 'u8'), 44);
  assert.is(one(4294967295, 'u32'), 4294967295);
  assert.is(one(-0, 'f32'), -0);
  const table = evaluate([], (b) =>
    b.op('table', [], { data: [1, 2, 3, 4], dtype: 'u4', shape: [poly(2), poly(2)] }),
  )[0]!;
  assert.equal([table.dtype, table.shape, values(table)], ['u4', [2, 2], [1, 2, 3, 4]]);
  assert.equal(values(evaluate([], (b) => b.op('iota', [], { size: poly(4) }))[0]!), [0, 1, 2, 3]);
});

test.run();
