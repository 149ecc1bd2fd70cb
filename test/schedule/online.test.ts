// Softmax-weighted contractions run in one pass over their axis, whatever the scores and the values are made of, and
// agree with the interpreter. Near misses keep their stored scores.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FormatRef } from '../../compiler/artifact.ts';
import { type HostArray, interpret } from '../../compiler/index.ts';
import { scalar, unit } from '../conformance/arrays.ts';
import { wasmRunner } from '../conformance/wasm-runner.ts';
import { type Compiled, compiled, shipped } from './harness.ts';

const test = suite('online softmax');
const folder = mkdtempSync(join(tmpdir(), 'quern-online-'));
test.after(() => rmSync(folder, { recursive: true }));

const imports = `import { abs, amax, amin, decode, dim, exp, f16, format, iota, matmul, reshape, round, shape, sqrt, sum,
  transpose, u2, u4 } from 'quern';
import type { Dim, Encoded, Format, Scalar, Tensor, f32 } from 'quern';
/** KIVI-like: a minimum and a step for each group of 16 values. */
export const kv2 = format({
  block: 16,
  encode(x: Tensor<f32>) {
    const low = amin(x);
    const d = (amax(x) - low) / 3;
    return { d: f16(d), low: f16(low), q: u2(round((x - low) * (d === 0 ? 0 : 1 / d))) };
  },
  decode: ({ d, low, q }) => q * d + low,
});
`;
let files = 0;
const write = (text: string): string => {
  const path = join(folder, `k${files++}.ts`);
  writeFileSync(path, imports + text);
  return path;
};

/** Largest difference allowed: results are averages of values in [-1, 1]. */
const close = 2e-6;
function agree(what: string, got: HostArray, want: HostArray): void {
  assert.equal([...got.shape], [...want.shape]);
  want.data.forEach((w, i) => {
    const g = got.data[i]!;
    const fine = Number.isNaN(w) ? Number.isNaN(g) : Math.abs(g - w) <= close;
    assert.ok(fine, `${what}: element ${i} is ${g}, the interpreter has ${w}`);
  });
}

const attention = write(`
function attend(q: Tensor<f32>, k: Tensor<f32>, v: Tensor<f32>, start: Scalar, headDim: number) {
  const [rows, groups, width] = shape(q);
  const slots = dim(k, 0);
  const heads = width / headDim;
  const queries = transpose(reshape(q, [rows, groups, heads, headDim]), [2, 1, 0, 3]);
  const keys = transpose(reshape(k, [slots, heads, 1, headDim]), [1, 2, 3, 0]);
  const values = transpose(reshape(v, [slots, heads, 1, headDim]), [1, 2, 0, 3]);
  const visible = iota(slots) <= reshape(iota(rows) + start, [rows, 1]);
  const masked = visible ? matmul(queries, keys) * (1 / sqrt(headDim)) : -1 / 0;
  const weights = exp(masked - amax(masked, -1, { keepdims: true }));
  return matmul(weights, values) / sum(weights, -1, { keepdims: true });
}
export function plain<T extends Dim, R extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [T, R, E]>, k: Tensor<f32, [S, E]>, v: Tensor<f32, [S, E]>, start: Scalar) {
  return attend(q, k, v, start, 32);
}
export function coded<F extends Format, G extends Format, T extends Dim, R extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [T, R, E]>, k: Encoded<F, [S, E]>, v: Encoded<G, [S, E]>, start: Scalar) {
  return attend(q, decode(k), decode(v), start, 32);
}
export function oneRow<S extends Dim>(
  q: Tensor<f32, [1, 1, 64]>, k: Tensor<f32, [S, 64]>, v: Tensor<f32, [S, 64]>, start: Scalar) {
  return attend(q, k, v, start, 32);
}`);
const isOnline = (c: Compiled, kernels = 1): void => {
  assert.is(c.manifest.kernels.length, kernels);
  assert.is(c.manifest.kernels[0]!.schedule, 'online');
};
async function encoded(format: FormatRef, x: HostArray): Promise<readonly HostArray[]> {
  const name = `${format.name}.encode`;
  return (await interpret({ file: format.file, name }, [x])).results;
}

/** Queries, queries to a key, keys. */
const sizes = [
  [1, 1, 1],
  [1, 1, 31],
  [1, 1, 33],
  [1, 4, 64],
  [1, 3, 70],
  [5, 1, 100],
  [7, 2, 37],
] as const;

test('attention over plain keys, every number of rows and keys', async () => {
  const c = await compiled({ file: attention, name: 'plain' });
  isOnline(c);
  for (const [t, r, s] of sizes)
    for (const start of [0, s - t, 2]) {
      const inputs = [
        unit([t, r, 96], 1),
        unit([s, 96], 2),
        unit([s, 96], 3),
        scalar('f32', start),
      ];
      const want = await interpret({ file: attention, name: 'plain' }, inputs);
      const got = await wasmRunner.run(c.artifact, inputs);
      agree(`${t} rows, ${r} a key, ${s} keys from ${start}`, got[0]!, want.results[0]!);
    }
});

test('one row of a known size has one way only', async () => {
  const c = await compiled({ file: attention, name: 'oneRow' });
  isOnline(c);
  assert.not.match(c.stage('schedule'), /panel/);
  const inputs = [unit([1, 1, 64], 1), unit([45, 64], 2), unit([45, 64], 3), scalar('f32', 44)];
  const want = await interpret({ file: attention, name: 'oneRow' }, inputs);
  agree('one row', (await wasmRunner.run(c.artifact, inputs))[0]!, want.results[0]!);
});

test('keys and values in formats of their own are decoded where they are used', async () => {
  const own = { file: attention, name: 'kv2' };
  for (const [k, v] of [
    [own, own],
    [shipped('q4_0'), shipped('nf4')],
    [shipped('q8_0'), own],
  ] as const) {
    const formats = [k, v];
    const c = await compiled({ file: attention, name: 'coded', formats });
    isOnline(c);
    for (const [t, r, s] of sizes) {
      const width = 64;
      const keys = await encoded(k, unit([s, width], 2));
      const values = await encoded(v, unit([s, width], 3));
      const inputs = [unit([t, r, width], 1), ...keys, ...values, scalar('f32', s - t)];
      const want = await interpret({ file: attention, name: 'coded', formats }, inputs);
      const got = await wasmRunner.run(c.artifact, inputs);
      agree(`${k.name}, ${v.name}: ${t}, ${r}, ${s}`, got[0]!, want.results[0]!);
    }
  }
});

test('weights divided before they are used, other epilogues, scores that are given', async () => {
  for (const body of [
    'const e = exp(z - amax(z, -1, { keepdims: true })); return matmul(e / sum(e, -1, { keepdims: true }), v);',
    `const e = exp(z - amax(z, -1, { keepdims: true }));
     return abs(matmul(e, v) * 2 / sum(e, -1, { keepdims: true })) - b;`,
    `const y = matmul(z, z2) * 3; const e = exp(y - amax(y, -1, { keepdims: true }));
     return matmul(e, v) / sum(e, -1, { keepdims: true }) + b;`,
  ]) {
    const file = write(`export function kernel<M extends Dim, S extends Dim, D extends Dim>(
      z: Tensor<f32, [M, S]>, z2: Tensor<f32, [S, S]>, v: Tensor<f32, [S, D]>, b: Tensor<f32, [D]>) { ${body} }`);
    const c = await compiled({ file, name: 'kernel' });
    isOnline(c);
    for (const [m, s, d] of [
      [1, 9, 5],
      [3, 65, 8],
      [6, 40, 19],
    ] as const) {
      const inputs = [unit([m, s], 4), unit([s, s], 5), unit([s, d], 6), unit([d], 7)];
      const want = await interpret({ file, name: 'kernel' }, inputs);
      agree(body, (await wasmRunner.run(c.artifact, inputs))[0]!, want.results[0]!);
    }
  }
});

test('Inf and NaN among the scores do what they do in the definition', async () => {
  const file = write(`export function kernel<M extends Dim, S extends Dim, D extends Dim>(
    z: Tensor<f32, [M, S]>, v: Tensor<f32, [S, D]>) {
    const e = exp(z - amax(z, -1, { keepdims: true }));
    return matmul(e, v) / sum(e, -1, { keepdims: true });
  }`);
  const c = await compiled({ file, name: 'kernel' });
  isOnline(c);
  const s = 70;
  const z = unit([6, s], 8);
  // Rows: a block of -Inf first, -Inf throughout, a NaN late, an Inf, growing by leaps, falling.
  const row = (r: number, f: (i: number, x: number) => number): void => {
    for (let i = 0; i < s; i += 1) z.data[r * s + i] = f(i, z.data[r * s + i]!);
  };
  row(0, (i, x) => (i < 40 ? -Infinity : x));
  row(1, () => -Infinity);
  row(2, (i, x) => (i === 66 ? NaN : x));
  row(3, (i, x) => (i === 3 ? Infinity : x));
  row(4, (i, x) => x + i * 3);
  row(5, (i, x) => x - i * 3);
  const inputs = [z, unit([s, 8], 9)];
  const want = await interpret({ file, name: 'kernel' }, inputs);
  agree('special scores', (await wasmRunner.run(c.artifact, inputs))[0]!, want.results[0]!);
});

for (const [why, body] of [
  ['scores that are a result too', 'return [matmul(e, v) / sum(e, 1, { keepdims: true }), e];'],
  ['values made from the weights', 'return matmul(e, transpose(e) * amax(v));'],
  [
    'a shift by the smallest',
    'const f = exp(z - amin(z, 1, { keepdims: true })); return matmul(f, v);',
  ],
  ['sums along the other axis', 'return matmul(e, v) / sum(e);'],
] as const)
  test(`no single pass over ${why}`, async () => {
    const file = write(`export function kernel<M extends Dim, S extends Dim>(
      z: Tensor<f32, [M, S]>, v: Tensor<f32, [S, M]>) {
      const e = exp(z - amax(z, 1, { keepdims: true })); ${body} }`);
    const c = await compiled({ file, name: 'kernel' });
    assert.not.ok(c.manifest.kernels.some((k) => k.schedule === 'online'));
    const inputs = [unit([5, 33], 4), unit([33, 5], 6)];
    const want = await interpret({ file, name: 'kernel' }, inputs);
    const got = await wasmRunner.run(c.artifact, inputs);
    want.results.forEach((w, i) =>
      w.data.forEach((x, n) => {
        const g = got[i]!.data[n]!;
        assert.ok(Math.abs(g - x) <= 1e-5 * Math.max(1, Math.abs(x)), `${why}: ${g}, ${x}`);
      }),
    );
  });

test.run();
