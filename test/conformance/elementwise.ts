// Elementwise operations, casts and storage: every operation on every dtype for which it is legal.
import { type DType, dtypes, isFloat } from '../../compiler/ir/dtype.ts';
import {
  allDTypes,
  array,
  edges,
  integers,
  pairs,
  random,
  scalar,
  span,
  unit,
  vector,
  whole,
} from './arrays.ts';
import type { Case, Check } from './case.ts';

const exactUnary = [
  'abs',
  'floor',
  'ceil',
  'trunc',
  'round',
  'roundHalfAway',
  'roundHalfUp',
  'sign',
];
/** f32 functions, and how many f32 numbers a backend may be away from the interpreter's rounded result. */
const inexact: { readonly [name: string]: Check } = {
  sqrt: 'exact',
  exp: { ulp: 3 },
  exp2: { ulp: 3 },
  log: { ulp: 3 },
  log2: { ulp: 3 },
  tanh: { ulp: 5 },
};

function unaryCase(d: DType): Case {
  const { kind } = dtypes[d];
  const results: Record<string, string | readonly [string, Check]> = {
    exponent: 'exponent(x)',
    isnan: 'bool(isnan(x))',
    truth: 'bool(x)',
    complement: '!x',
  };
  if (kind !== 'bool') {
    for (const f of exactUnary) results[f] = `${f}(x)`;
    results.neg = '-x';
  }
  for (const [f, check] of Object.entries(inexact)) results[f] = [`${f}(x)`, check];
  if (kind === 'int' || kind === 'uint') {
    results.popcount = 'popcount(x)';
    results.not = '~x';
  }
  return {
    name: `unary functions of ${d}`,
    params: `x: Tensor<${d}, [N]>`,
    results,
    calls: [[vector(d)]],
  };
}

const arithmetic: { readonly [name: string]: string } = {
  add: 'a + b',
  sub: 'a - b',
  mul: 'a * b',
  rem: 'a % b',
  min: 'min(a, b)',
  max: 'max(a, b)',
  div: 'a / b',
};
/** Beyond quotients of 2^24 the digits of a float remainder may be lost. */
const remainder = 'abs(f32(a)) < abs(f32(b)) * 16777216 ? a % b : 0';
const comparisons: { readonly [name: string]: string } = {
  eq: 'bool(a === b)',
  ne: 'bool(a !== b)',
  lt: 'bool(a < b)',
  le: 'bool(a <= b)',
  gt: 'bool(a > b)',
  ge: 'bool(a >= b)',
};
const bitwise: { readonly [name: string]: string } = { and: 'a & b', or: 'a | b', xor: 'a ^ b' };
const shifts: { readonly [name: string]: string } = {
  shl: 'a << b',
  shr: 'a >> b',
  ushr: 'a >>> b',
};

const few = (d: DType): number[] => {
  const all = span(d, 3, 10);
  return all.length <= 70 ? all : all.filter((_, i) => i % Math.ceil(all.length / 70) === 0);
};

function binaryCase(a: DType, b: DType): Case {
  const ints = !isFloat(a) && !isFloat(b);
  const bools = a === 'bool' && b === 'bool';
  const floats = isFloat(a) || isFloat(b);
  const results: Record<string, string | readonly [string, Check]> = {
    ...(bools ? { both: 'a && b', either: 'a || b' } : arithmetic),
    rem: floats ? remainder : arithmetic.rem!,
    ...comparisons,
    ...(ints ? bitwise : {}),
    ...(ints && !bools ? shifts : {}),
    choice: 'a < b ? a : b',
  };
  if (a === 'f32' && b === 'f32') results.pow = ['a ** b', { ulp: 17 }];
  return {
    name: `binary operations of ${a} with ${b}`,
    params: `a: Tensor<${a}, [N]>, b: Tensor<${b}, [N]>`,
    results,
    calls: [pairs(a, b, few(a), few(b))],
  };
}

const mixed: readonly (readonly [DType, DType])[] = [
  ['f32', 'i32'],
  ['f32', 'u32'],
  ['i32', 'u32'],
  ['u32', 'i8'],
  ['f16', 'u4'],
  ['bf16', 'f16'],
  ['bool', 'f32'],
  ['bool', 'i32'],
  ['u8', 'i8'],
  ['e8m0', 'f4e2m1'],
  ['u32', 'f16'],
  ['i32', 'bool'],
];

const castCase = (from: DType): Case => ({
  name: `casts from ${from} to every dtype`,
  params: `x: Tensor<${from}, [N]>`,
  results: Object.fromEntries(allDTypes.map((to) => [`to_${to}`, `${to}(x)`])),
  calls: [[vector(from, 5)]],
});

/** Same width, and whole bytes to other widths. NaN is left out: the bits of a NaN are not part of its value. */
function bitcastCases(): Case[] {
  const bytes = (d: DType): boolean => dtypes[d].bits % 8 === 0 && d !== 'bool';
  return allDTypes
    .filter((d) => d !== 'bool')
    .map((from): Case => {
      const width = dtypes[from].bits;
      const results: Record<string, string> = {};
      for (const to of allDTypes) {
        if (to === 'bool') continue;
        const w = dtypes[to].bits;
        if (w === width || (w < width && bytes(from) && bytes(to)))
          results[`to_${to}`] = `bitcast(x, ${to})`;
        if (w > width && bytes(from) && bytes(to))
          results[`to_${to}`] = `bitcast(reshape(slice(x, 0, 24), [-1, ${w / width}]), ${to})`;
      }
      const values = span(from, 9).filter((v) => !Number.isNaN(v));
      // Random bytes may be the bits of a NaN of a wider float.
      for (const to of allDTypes)
        if (isFloat(to) && dtypes[to].bits > width && !isFloat(from)) delete results[`to_${to}`];
      const n = Math.max(24, values.length);
      return {
        name: `bitcasts from ${from}`,
        params: `x: Tensor<${from}, [${n}]>`,
        results,
        calls: [[array(from, [n], (i) => values[i % values.length]!)]],
      };
    });
}

const storageShapes: readonly (readonly number[])[] = [
  [1, 1],
  [3, 5],
  [2, 8],
  [3, 9],
  [2, 33],
  [5, 16],
  [0, 3],
  [2, 64],
];

/** Storage in and out with symbolic dims and odd rows, as it is and through a view. */
const storageCase = (d: DType): Case => ({
  name: `storage of ${d} with rows of any length`,
  params: `x: Tensor<${d}, [N, K]>, y: Tensor<${d}, [3, 7]>, z: Tensor<${d}, [2, 16]>, s: Tensor<${d}, []>`,
  results: {
    copy: 'x',
    turned: 'transpose(x)',
    y: 'y',
    z: 'z',
    s: 's',
    wide: isFloat(d) ? 'f32(x)' : 'i32(x)',
    rows: 'concat([y, y])',
    tail: 'slice(y, 1, 6, 1)',
    spread: 'broadcastTo(s, [3, 5])',
    flat: 'reshape(z, [32])',
    odd: 'reshape(y, [21])',
    again: `${d}(x)`,
  },
  calls: storageShapes.map((shape, i) => [
    random(d, shape, i + 1),
    random(d, [3, 7], i + 20),
    random(d, [2, 16], i + 40),
    random(d, [], i + 60),
  ]),
});

const broadcastCase: Case = {
  name: 'broadcasting in every pattern of three axes',
  params:
    'x: Tensor<f32, [M, N, K]>, row: Tensor<f32, [K]>, col: Tensor<f32, [N, 1]>, lead: Tensor<f32, [M, 1, 1]>, ' +
    'mid: Tensor<f32, [1, N, 1]>, mat: Tensor<f32, [N, K]>, one: Tensor<f32, [1]>, s: Scalar, q: Tensor<i32, [M, 1, K]>',
  results: {
    a: 'x + row',
    b: 'row - x',
    c: 'x * col',
    d: 'lead + x',
    e: 'x + mid',
    f: 'mat + x',
    g: 'x + one',
    h: 'x * s',
    i: 'q + x',
    j: 'col + row',
    k: 'lead + row',
    l: 'lead + col',
    m: 'one + s',
    n: 'q < mid ? row : lead',
    o: 'max(col, q)',
    p: 's + 1',
    r: 'broadcastTo(row, [3, dim(x, 1), dim(x, 2)])',
    t: 'broadcastTo(col, [dim(x, 1), 5])',
  },
  calls: [
    [2, 3, 5],
    [1, 1, 1],
    [3, 4, 8],
    [2, 1, 33],
  ].map(([m, n, k], i) => [
    whole('f32', [m!, n!, k!], i),
    whole('f32', [k!], 2),
    whole('f32', [n!, 1], 3),
    whole('f32', [m!, 1, 1], 4),
    whole('f32', [1, n!, 1], 5),
    whole('f32', [n!, k!], 6),
    whole('f32', [1], 7),
    scalar('f32', 3),
    whole('i32', [m!, 1, k!], 8),
  ]),
};

const selectCase: Case = {
  name: 'select takes the branch bit by bit, and literals follow the dtype of the operand',
  params:
    'c: Tensor<bool, [N]>, x: Tensor<f32, [N]>, i: Tensor<i32, [N]>, u: Tensor<u32, [N]>, h: Tensor<f16, [N]>, k: Tensor<u4, [N]>',
  results: {
    a: 'c ? x : 0',
    b: 'c ? i : u',
    d: 'c ? h : k',
    e: 'c ? h : h',
    f: 'c ? k : k',
    g: 'x < 0 ? -x : x',
    h: 'c && x > 0 ? 1 : 2',
    i: 'i + 1',
    j: 'u - 1',
    l: 'x * 0.1',
    m: 'k << 3',
    n: '-k',
    o: 'clamp(i, -5, 5)',
    p: 'clamp(x, -0.5, 0.25)',
    q: 'min(u, 4000000000)',
  },
  calls: [1, 7, 8, 31, 100].map((n) => [
    random('bool', [n], n),
    random('f32', [n], n + 1),
    random('i32', [n], n + 2),
    random('u32', [n], n + 3),
    random('f16', [n], n + 4),
    random('u4', [n], n + 5),
  ]),
};

const trigonometry: Case = {
  name: 'sin and cos up to 10000',
  params: 'x: Tensor<f32, [N]>',
  results: { sin: ['sin(x)', { absolute: 1e-6 }], cos: ['cos(x)', { absolute: 1e-6 }] },
  calls: [
    [
      array(
        'f32',
        [500],
        (
          (next) => () =>
            Math.fround((next() / 2 ** 31 - 1) * 1e4)
        )(integers(11)),
      ),
    ],
    [array('f32', [edges.length], (i) => (Math.abs(edges[i]!) <= 1e4 ? edges[i]! : 0))],
  ],
};

const nested: Case = {
  name: 'long expressions that are shared between results',
  params: 'x: Tensor<f32, [N]>, w: Tensor<f32, [N]>',
  body: '  const a = x * w + 1;\n  const b = round(a * 16) / 16;\n  const c = b < 0 ? -b : b + a;\n  const d = i8(clamp(c * 4, -128, 127));',
  results: { a: 'a', b: 'b', c: 'c', d: 'd', e: 'f16(c) * d', f: 'abs(a - b) <= 1 / 32' },
  calls: [1, 3, 8, 33].map((n) => [unit([n], n), unit([n], n + 1)]),
};

export const elementwiseCases: readonly Case[] = [
  ...allDTypes.map(unaryCase),
  ...allDTypes.map((d) => binaryCase(d, d)),
  ...mixed.map(([a, b]) => binaryCase(a, b)),
  trigonometry,
  selectCase,
  broadcastCase,
  nested,
  ...allDTypes.map(castCase),
  ...bitcastCases(),
  ...allDTypes.map(storageCase),
];
