// Reductions over every axis and size, positions of extremes, and contractions of every shape.
import type { DType } from '../../compiler/ir/dtype.ts';
import type { HostArray } from '../../compiler/index.ts';
import { array, integers, random, scalar, unit, whole } from './arrays.ts';
import type { Case } from './case.ts';

const sizes = [1, 3, 7, 8, 31, 32, 33, 100];
const axes = ['0', '1', '2', '[0, 1]', '[0, 2]', '[1, 2]'];
const label = (axis: string): string => axis.replace(/\D+/g, '');

/** Small whole numbers, so that sums are exact; extremes and positions always are. */
function reductionCase(d: DType): Case {
  const results: Record<string, string> = {};
  for (const [i, axis] of axes.entries()) {
    const keep = i % 2 ? ', { keepdims: true }' : '';
    for (const f of d === 'bool' ? ['any', 'all', 'sum', 'amax'] : ['sum', 'amin', 'amax'])
      results[`${f}${label(axis)}`] = `${f}(x, ${axis}${keep})`;
  }
  for (const f of d === 'bool' ? ['any', 'all', 'sum'] : ['sum', 'amin', 'amax'])
    results[f] = `${f}(x)`;
  for (const f of ['argmin', 'argmax'])
    Object.assign(results, {
      [f]: `${f}(x)`,
      [`${f}0`]: `${f}(x, 0)`,
      [`${f}1`]: `${f}(x, 1, { keepdims: true })`,
      [`${f}2`]: `${f}(x, -1)`,
    });
  const shapes = [
    ...sizes.map((n) => [2, 3, n]),
    ...sizes.map((n) => [n, 2, 5]),
    ...sizes.map((n) => [3, n, 4]),
    [1, 1, 1],
  ];
  return {
    name: `reductions of ${d} over each axis and several`,
    params: `x: Tensor<${d}, [B, M, N]>`,
    results,
    calls: shapes.map((shape, i) => [whole(d, shape, i + 1, 5)]),
  };
}

/** Literal sizes take other roads than symbolic ones: a block that is one vector needs no loop. */
const literalCase: Case = {
  name: 'reductions over literal sizes',
  params: sizes.map((n) => `x${n}: Tensor<f32, [3, ${n}]>`).join(', '),
  results: Object.fromEntries(
    sizes.flatMap((n) => [
      [`sum${n}`, `sum(x${n}, 1)`],
      [`max${n}`, `amax(x${n}, 1)`],
      [`arg${n}`, `argmin(x${n}, 1)`],
      [`col${n}`, `sum(x${n}, 0)`],
      [`all${n}`, `sum(x${n} * x${n})`],
    ]),
  ),
  calls: [1, 2].map((seed) => sizes.map((n) => whole('f32', [3, n], seed + n))),
};

const roundedCase: Case = {
  name: 'sums, means and products of f32 within the roundings of their terms',
  params: 'x: Tensor<f32, [M, K]>, w: Tensor<f32, [K]>',
  results: {
    total: ['sum(x)', { scale: 'sum(abs(x))', terms: 300 }],
    rows: ['sum(x, 1)', { scale: 'sum(abs(x), 1)', terms: 110 }],
    columns: ['sum(x, 0)', { scale: 'sum(abs(x), 0)', terms: 10 }],
    mean: ['mean(x * w, 1)', { scale: 'mean(abs(x * w), 1)', terms: 115 }],
    norm: ['x / sqrt(mean(x * x, 1, { keepdims: true }) + 1e-5)', { ulp: 60 }],
    soft: [
      'exp(x - amax(x, 1, { keepdims: true })) / sum(exp(x - amax(x, 1, { keepdims: true })), 1, { keepdims: true })',
      { ulp: 70 },
    ],
    variance: ['mean((x - mean(x, 1, { keepdims: true })) ** 2, 1)', { absolute: 3e-6 }],
  },
  calls: sizes.map((n) => [unit([3, n], n), unit([n], n + 1)]),
};

const special = (n: number, seed: number): HostArray => {
  const next = integers(seed);
  const values = [NaN, Infinity, -Infinity, 0, -0, 1, 1, -1, 2, 2];
  return array('f32', [4, n], (i) => {
    const pick = values[next() % values.length]!;
    // The first row without NaN, the second full of ties, the last with NaN only.
    if (i < n) return Number.isNaN(pick) ? 3 : pick;
    return i < 2 * n ? 7 : i < 3 * n ? pick : NaN;
  });
};
const nanCase: Case = {
  name: 'extremes and their positions with NaN, ties and infinities',
  params:
    'x: Tensor<f32, [M, N]>, h: Tensor<f16, [M, N]>, u: Tensor<u32, [M, N]>, i: Tensor<i32, [M, N]>',
  results: {
    min: 'amin(x, 1) + 0',
    max: 'amax(x, 1) + 0',
    argmin: 'argmin(x, 1)',
    argmax: 'argmax(x, 1)',
    first: 'argmax(x)',
    column: 'argmin(x, 0)',
    most: 'amax(x, 0) + 0',
    half: 'argmax(h, 1)',
    halves: 'amin(h, 1) + 0',
    last: 'argmax(u, 1)',
    least: 'argmin(u, 1)',
    top: 'amax(u, 1)',
    low: 'amin(i, 1)',
    at: 'argmin(i, 0)',
    wraps: 'sum(i, 1)',
    wrapsToo: 'sum(u)',
    products: 'sum(i * i, 0)',
  },
  calls: sizes.map((n) => [
    special(n, n),
    random('f16', [4, n], n),
    random('u32', [4, n], n),
    random('i32', [4, n], n),
  ]),
};

const emptyCase: Case = {
  name: 'reductions of nothing',
  params: 'x: Tensor<f32, [M, N]>, b: Tensor<bool, [M, N]>, i: Tensor<i32, [M, N]>',
  results: {
    sum: 'sum(x, 1)',
    any: 'any(b, 1)',
    all: 'all(b, 1)',
    max: 'amax(i, 1)',
    min: 'amin(x, 1)',
    arg: 'argmax(x, 1)',
    count: 'sum(i)',
    kept: 'x + 1',
    product: 'matmul(x, transpose(x))',
  },
  calls: [
    [array('f32', [3, 0], () => 0), array('bool', [3, 0], () => 0), array('i32', [3, 0], () => 0)],
  ],
};

const chainCase: Case = {
  name: 'reductions of reductions, of views and of other kernels',
  params: 'x: Tensor<f32, [B, M, N]>, q: Tensor<i8, [M, N]>',
  results: {
    a: 'sum(amax(x, 2), 1)',
    b: 'amax(sum(x, 0) + q, 1)',
    c: 'sum(transpose(x), 2)',
    d: 'x - amax(x, 1, { keepdims: true })',
    e: 'sum(x * sum(q, 1, { keepdims: true }), 2)',
    f: 'sum(concat([x, x], 1), 1)',
    g: 'amax(pad(x, 1, 2, { value: 9 }), 2)',
    h: 'sum(reshape(x, [-1]))',
    i: 'sum(x === amax(x, 2, { keepdims: true }), 2)',
    j: 'amax(x, 0) + amin(x, [0, 1])',
    k: 'sum(sum(x, 2) * iota(dim(x, 1)), 1)',
    l: 'x / 4 + sum(x)',
    m: 'argmax(abs(q), 1)',
    n: 'any(x > 4, [1, 2])',
    o: 'sum(x > amin(x, 2, { keepdims: true }) ? x : 0, [0, 2])',
  },
  calls: [
    [2, 3, 5],
    [1, 1, 1],
    [3, 8, 8],
    [2, 2, 33],
  ].map(([b, m, n], i) => [whole('f32', [b!, m!, n!], i), whole('i8', [m!, n!], i + 7)]),
};

const few = [1, 2, 3, 4, 5, 7, 16, 33];
/** A third of all triples, every pair of sizes among them. */
const triples = few.flatMap((m, i) =>
  few.flatMap((n, j) => few.flatMap((k, l) => ((i + 2 * j + 3 * l) % 4 === 0 ? [[m, n, k]] : []))),
);

const layouts: { readonly [name: string]: readonly [string, string] } = {
  plain: ['a', 'b'],
  right: ['a', 'transpose(c)'],
  left: ['transpose(d)', 'b'],
  both: ['transpose(d)', 'transpose(c)'],
};
const layoutCases = (['f32', 'i32', 'i8'] as const).map(
  (d): Case => ({
    name: `matmul of ${d}, transposed on either side`,
    params: `a: Tensor<${d}, [M, K]>, b: Tensor<${d}, [K, N]>, c: Tensor<${d}, [N, K]>, d: Tensor<${d}, [K, M]>`,
    results: Object.fromEntries(
      Object.entries(layouts).map(([name, [l, r]]) => [name, `matmul(${l}, ${r})`]),
    ),
    calls: triples
      .filter((_, i) => d === 'f32' || i % 4 === 0)
      .map(([m, n, k], i) => {
        const make = (shape: number[], s: number): HostArray =>
          d === 'f32' ? whole(d, shape, i + s) : random(d, shape, i + s);
        return [make([m!, k!], 1), make([k!, n!], 2), make([n!, k!], 3), make([k!, m!], 4)];
      }),
  }),
);

const literalMatmuls = [
  [1, 33, 16],
  [2, 5, 7],
  [3, 4, 33],
  [4, 4, 4],
  [5, 16, 3],
  [7, 1, 33],
  [16, 33, 5],
  [33, 7, 2],
  [6, 8, 64],
].map(
  ([m, n, k]): Case => ({
    name: `matmul of literal dims ${m} x ${k} by ${k} x ${n}`,
    params: `a: Tensor<f32, [${m}, ${k}]>, b: Tensor<f32, [${k}, ${n}]>, c: Tensor<f32, [${n}, ${k}]>, q: Tensor<u4, [${n}, ${k}]>`,
    results: {
      plain: 'matmul(a, b)',
      right: 'matmul(a, transpose(c))',
      decoded: 'matmul(a, transpose((q - 8) * 0.5))',
      swapped: 'matmul(c, transpose(a))',
    },
    calls: [1, 2].map((s) => [
      whole('f32', [m!, k!], s),
      whole('f32', [k!, n!], s + 2),
      whole('f32', [n!, k!], s + 4),
      random('u4', [n!, k!], s),
    ]),
  }),
);

const batchedCase: Case = {
  name: 'matmul with leading axes that broadcast',
  params:
    'a: Tensor<f32, [B, C, M, K]>, b: Tensor<f32, [B, C, K, N]>, c: Tensor<f32, [1, C, K, N]>, d: Tensor<f32, [B, 1, K, N]>, ' +
    'e: Tensor<f32, [K, N]>, f: Tensor<f32, [M, K]>, g: Tensor<f32, [C, N, K]>',
  results: {
    all: 'matmul(a, b)',
    lead: 'matmul(a, c)',
    mid: 'matmul(a, d)',
    none: 'matmul(a, e)',
    left: 'matmul(f, b)',
    turned: 'matmul(a, transpose(g))',
    swapped: 'matmul(g, transpose(f))',
    crossed: 'matmul(transpose(b), transpose(a))',
  },
  calls: [
    [2, 3, 3, 5, 4],
    [1, 1, 4, 4, 8],
    [2, 2, 1, 7, 33],
    [3, 1, 16, 2, 3],
  ].map(([b, c, m, n, k], i) => [
    whole('f32', [b!, c!, m!, k!], i),
    whole('f32', [b!, c!, k!, n!], i + 1),
    whole('f32', [1, c!, k!, n!], i + 2),
    whole('f32', [b!, 1, k!, n!], i + 3),
    whole('f32', [k!, n!], i + 4),
    whole('f32', [m!, k!], i + 5),
    whole('f32', [c!, n!, k!], i + 6),
  ]),
};

/** What surrounds a contraction: decoded or scaled operands before, bias, activation and residual after. */
const epilogueCase: Case = {
  name: 'matmul with prologues and epilogues',
  params:
    'x: Tensor<f32, [M, K]>, w: Tensor<f32, [N, K]>, q: Tensor<u4, [N, K]>, d: Tensor<f16, [N]>, bias: Tensor<f32, [N]>, ' +
    'r: Tensor<f32, [M, N]>, col: Tensor<f32, [M, 1]>, s: Scalar, p: Tensor<i4, [M, K]>',
  body: '  const y = matmul(x, transpose(w));\n  const z = matmul(x, transpose((q - 8) * reshape(d, [-1, 1])));',
  results: {
    bias: 'y + bias',
    relu: 'max(y, 0)',
    residual: 'r + y',
    scaled: 'y * s + col',
    gate: 'max(y, 0) * z',
    squares: 'y * y',
    narrow: 'i8(clamp(y, -128, 127))',
    half: 'f16(y)',
    flag: 'y > r',
    nibbles: 'u4(abs(y))',
    all: 'max(z + bias, 0) * col + r',
    left: 'matmul(p * s, transpose(w))',
    both: 'matmul(p * col, transpose(q * reshape(d, [-1, 1])))',
    turned: 'matmul((q - 8) * reshape(d, [-1, 1]), transpose(x)) + transpose(r)',
    onOneSide: 'matmul(x + 1, transpose(w - bias[0] * 0))'.replace('bias[0]', 'at(bias, 0)'),
    reduced: 'amax(y, 1)',
    total: 'sum(y * r)',
    chain: 'matmul(y, w)',
    view: 'transpose(y)',
    part: 'slice(y, 0, 1, 1)',
    twice: 'matmul(y, transpose(z))',
    more: 'concat([y, z], 1)',
  },
  calls: [
    [1, 1, 1],
    [1, 33, 16],
    [2, 5, 7],
    [3, 4, 4],
    [4, 16, 33],
    [7, 3, 5],
    [16, 7, 8],
    [33, 2, 3],
  ].map(([m, n, k], i) => [
    whole('f32', [m!, k!], i),
    whole('f32', [n!, k!], i + 1),
    random('u4', [n!, k!], i),
    whole('f16', [n!], i + 2),
    whole('f32', [n!], i + 3),
    whole('f32', [m!, n!], i + 4),
    whole('f32', [m!, 1], i + 5),
    scalar('f32', 2),
    random('i4', [m!, k!], i + 6),
  ]),
};

const roundedMatmul: Case = {
  name: 'matmul of f32 within the roundings of its terms',
  params: 'a: Tensor<f32, [M, K]>, b: Tensor<f32, [N, K]>, h: Tensor<f16, [N, K]>',
  results: {
    product: ['matmul(a, transpose(b))', { scale: 'matmul(abs(a), transpose(abs(b)))', terms: 40 }],
    half: ['matmul(a, transpose(h))', { scale: 'matmul(abs(a), transpose(abs(h)))', terms: 40 }],
    bias: [
      'matmul(a, transpose(b)) + at(a, 0, 0)',
      { scale: 'matmul(abs(a), transpose(abs(b))) + abs(at(a, 0, 0))', terms: 40 },
    ],
  },
  calls: triples
    .filter((_, i) => i % 6 === 0)
    .map(([m, n, k], i) => [unit([m!, k!], i), unit([n!, k!], i + 1), whole('f16', [n!, k!], i)]),
};

export const reductionCases: readonly Case[] = [
  ...(['f32', 'i32', 'bool', 'u4', 'f16', 'u32'] as const).map(reductionCase),
  literalCase,
  roundedCase,
  nanCase,
  emptyCase,
  chainCase,
];
export const matmulCases: readonly Case[] = [
  ...layoutCases,
  ...literalMatmuls,
  batchedCase,
  epilogueCase,
  roundedMatmul,
];
