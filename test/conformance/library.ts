// Kernels that use the library: random numbers, scans, scattering and linear algebra, for backends beyond the one that
// test/library runs them on. All but the last are exact.
import { array, scalar, whole } from './arrays.ts';
import type { Case } from './case.ts';

export const libraryCases: readonly Case[] = [
  {
    name: 'library: random numbers have the same bits',
    prelude: "import { bernoulli, gumbel, normal, permutation, uniform } from 'quern/random';",
    params: 'seed: Tensor<i32, []>, x: Tensor<f32, [K]>',
    results: {
      u: 'uniform(seed, [3, 50])',
      z: 'normal(seed, [dim(x, 0)])',
      g: 'gumbel(seed, [dim(x, 0)])',
      b: 'bernoulli(seed, [40], 0.3)',
      p: 'permutation(seed, dim(x, 0))',
    },
    calls: [1, 77].map((k) => [scalar('i32', k), whole('f32', [k], k)]),
  },
  {
    name: 'library: scans, scattering, searching and compaction',
    prelude:
      "import { bincount, compact, cummax, cumsum, linearScan, packRows, scatterAdd, searchSorted } from 'quern/arrays';",
    params: 'x: Tensor<f32, [N, K]>, ids: Tensor<i32, [N]>',
    body: `
  const c = compact(x, ids > 0);
  const p = packRows(i32(x), ids);`,
    results: {
      sums: 'cumsum(x)',
      down: 'cumsum(x, 0, { reverse: true, exclusive: true })',
      peaks: 'cummax(x, 0)',
      line: 'linearScan(x * 0.25, x)',
      added: 'scatterAdd(x, ids, x * 2)',
      counts: 'bincount(ids, 4)',
      found: 'searchSorted(sort(reshape(x, [-1])), x, true)',
      kept: 'c.values',
      many: 'c.count',
      packed: 'p.data',
      offsets: 'p.offsets',
    },
    calls: [
      [1, 1],
      [6, 9],
      [3, 70],
    ].map(([n, k]) => [whole('f32', [n!, k!], n!), array('i32', [n!], (i) => ((i * 5) % 7) - 1)]),
  },
  {
    name: 'library: activations, normalisations and losses',
    prelude:
      "import { crossEntropy, gelu, layerNorm, logSoftmax, rmsNorm, sigmoid, silu, softmax, softplus } from 'quern/nn';",
    params: 'x: Tensor<f32, [N, K]>, w: Tensor<f32, [K]>, ids: Tensor<i32, [N]>',
    results: {
      activations: ['[gelu(x), sigmoid(x), silu(x), softplus(x)]', { absolute: 1e-5 }],
      shares: ['softmax(x, 0)', { absolute: 1e-5 }],
      logs: ['logSoftmax(x)', { absolute: 1e-4 }],
      loss: ['crossEntropy(x, ids)', { absolute: 1e-4 }],
      rms: ['rmsNorm(x, w)', { absolute: 1e-4 }],
      layer: ['layerNorm(x, w, w * 0.5)', { absolute: 1e-4 }],
    },
    calls: [
      [1, 1],
      [5, 33],
      [3, 70],
    ].map(([n, k]) => [
      whole('f32', [n!, k!], n!),
      whole('f32', [k!], k!),
      array('i32', [n!], (i) => (i * 5) % k!),
    ]),
  },
  {
    name: 'library: transforms and linear algebra',
    prelude:
      "import { fwht } from 'quern/transforms';\nimport { cholesky, eigh, qr, svd } from 'quern/linalg';",
    params: 'a: Tensor<f32, [N, K]>',
    body: `
  const eye = f32(reshape(iota(dim(a, 1)), [dim(a, 1), 1]) === iota(dim(a, 1)));
  const g = matmul(transpose(a), a) + eye * 4;
  const f = qr(a);
  const s = svd(a);
  const e = eigh(g);`,
    results: {
      h: ['fwht(a)', { absolute: 1e-4 }],
      l: ['cholesky(g)', { absolute: 1e-4 }],
      back: ['matmul(f.q, f.r)', { absolute: 1e-4 }],
      again: ['matmul(s.u * s.s, transpose(s.v))', { absolute: 1e-4 }],
      values: ['e.values', { absolute: 1e-3 }],
    },
    calls: [
      [1, 1],
      [6, 4],
      [9, 8],
    ].map(([n, k]) => [whole('f32', [n!, k!], n!)]),
  },
];
