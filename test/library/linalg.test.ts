// Linear algebra: factors multiply back, bases are orthonormal, and f32 on WebAssembly stays near what the
// interpreter finds in f64, whatever the condition. The table of docs/linalg.md is made of the same measures.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Artifact } from '../../compiler/artifact.ts';
import { stage } from '../../compiler/frontend/entry.ts';
import { SourceFiles } from '../../compiler/frontend/modules.ts';
import { compile, type HostArray } from '../../compiler/index.ts';
import { interpret } from '../../compiler/interpreter/interpret.ts';
import { integers } from '../conformance/arrays.ts';
import { wasmRunner } from '../conformance/wasm-runner.ts';
import { f32s, hostOf, kernelOf, request, sourceOf } from './harness.ts';

const test = suite('quern/linalg');
const names = `cholesky, eigh, inverseDamped, inverseSpd, powerIteration, qr, randomizedSvd, solveSpd,
  solveTriangular, subspaceIteration, svd`;
const helpers = `
const eye = (n) => f32(reshape(iota(n), [n, 1]) === iota(n));
const worst = (x) => amax(abs(x));
const gram = (a) => matmul(transpose(a), a);
const unlike = (q) => worst(gram(q) - eye(dim(q, 1)));
`;

/** m x n with entries in [-1, 1); columns shrink by `decay` each. */
function matrix(m: number, n: number, decay = 1, seed = 5): HostArray {
  const r = integers(seed);
  const data = Array.from(
    { length: m * n },
    (_, i) => ((r() % 20000) / 10000 - 1) * decay ** (i % n),
  );
  return f32s(data, m, n);
}

interface Measure {
  readonly f32: readonly number[];
  readonly f64: readonly number[];
}

/** Scalars that a kernel over a: [M, K] returns for each matrix, from WebAssembly in f32 and the interpreter in f64. */
async function measured(
  before: string,
  results: string,
  inputs: readonly HostArray[],
): Promise<Measure[]> {
  const text = sourceOf(
    { 'quern/linalg': names },
    helpers + kernelOf('a: Tensor<f32, [M, K]>', `${before}\nreturn [${results}];`),
  );
  const host = hostOf(text);
  const { func } = stage(new SourceFiles(host), request);
  const { artifact } = await compile({ ...request, target: 'wasm' }, host);
  const out: Measure[] = [];
  for (const a of inputs) {
    const exact = interpret(func, [a], { precision: 'f64' });
    const got = await wasmRunner.run(artifact as Artifact, [a]);
    out.push({ f32: got.map((x) => x.data[0]!), f64: exact.map((x) => x.data[0]!) });
  }
  return out;
}

async function below(
  before: string,
  results: string,
  inputs: readonly HostArray[],
  limits: readonly number[],
): Promise<void> {
  for (const { f32, f64 } of await measured(before, results, inputs))
    limits.forEach((limit, i) => {
      assert.ok(f32[i]! <= limit, `${f32[i]} of ${results} is above ${limit} (f64: ${f64[i]})`);
    });
}

const shapes = [matrix(1, 1), matrix(5, 3), matrix(17, 12)];

test('Cholesky factors multiply back; triangular and full systems are solved', async () => {
  await below(
    'const g = gram(a) + eye(dim(a, 1)); const l = cholesky(g);',
    `worst(matmul(l, transpose(l)) - g) / worst(g), worst(matmul(g, inverseSpd(g)) - eye(dim(a, 1))),
     worst(matmul(l, solveTriangular(l, g)) - g) / worst(g)`,
    shapes,
    [1e-6, 1e-5, 1e-5],
  );
});

test('a matrix that is not positive definite gives NaN, and damping helps', async () => {
  const [m] = await measured(
    'const g = gram(a);',
    'sum(i32(isnan(cholesky(g - 2 * eye(dim(a, 1)))))), worst(inverseDamped(g, 0.5))',
    [f32s([1, 1, 1], 1, 3)],
  );
  assert.ok(m!.f32[0]! > 0);
  // (J + I / 2)^-1 = 2 (I - J / 3.5)
  assert.ok(Math.abs(m!.f32[1]! - 2 * (1 - 1 / 3.5)) < 1e-5);
});

test('QR: an orthonormal basis and an upper triangle, of huge numbers and zeros too', async () => {
  await below(
    'const f = qr(a); const top = worst(a) > 0 ? worst(a) : 1;',
    'worst(matmul(f.q, f.r) / top - a / top), unlike(f.q)',
    [...shapes, f32s([1e30, 2e30, 3e30, -1e30, 1e30, 5e29], 3, 2), f32s([0, 0, 0, 0, 0, 0], 3, 2)],
    [2e-6, 2e-6],
  );
});

test('SVD: factors multiply back, and small singular values keep their relative accuracy', async () => {
  const before = 'const f = svd(a);';
  const back = 'worst(matmul(f.u * f.s, transpose(f.v)) - a)';
  await below(before, `${back}, unlike(f.u), unlike(f.v)`, shapes, [5e-6, 5e-6, 5e-6]);
  const [graded] = await measured(before, 'at(f.s, 0), at(f.s, 4), at(f.s, -1)', [
    matrix(12, 9, 0.25),
  ]);
  graded!.f32.forEach((s, i) => {
    const want = graded!.f64[i]!;
    assert.ok(Math.abs(s - want) <= 5e-6 * want, `${s} is not ${want}`);
  });
  await below(before, `${back}, at(f.s, -1)`, [matrix(3, 5)], [5e-6, 1e-6]);
});

test('eigenvalues of symmetric matrices, negative ones too', async () => {
  await below(
    'const g = gram(a) - 2 * eye(dim(a, 1)); const f = eigh(g);',
    'worst(matmul(f.v * f.values, transpose(f.v)) - g), unlike(f.v)',
    shapes,
    [3e-5, 5e-6],
  );
});

test('iterations find the leading directions', async () => {
  const [m] = await measured(
    'const f = svd(a); const r = randomizedSvd(a, 3);',
    `at(f.s, 0), powerIteration(a, 60).s, at(r.s, 0), at(r.s, 2), at(f.s, 2), unlike(r.u),
     unlike(subspaceIteration(a, 4))`,
    [matrix(20, 12, 0.5)],
  );
  const [first, power, random, third, exact, basis, range] = m!.f32 as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  for (const x of [power, random]) assert.ok(Math.abs(x - first) < 1e-5 * first);
  assert.ok(Math.abs(third - exact) < 1e-5 * first);
  assert.ok(basis < 5e-6 && range < 5e-6);
  assert.ok(Math.abs(first - m!.f64[0]!) < 1e-6 * first);
});

test.run();
