// Activations, normalisations and losses against their definitions in doubles.
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { HostArray } from '../../compiler/index.ts';
import { f32s, i32s, kernelOf, list, run, sourceOf } from './harness.ts';

const test = suite('quern/nn');
const names =
  'crossEntropy, erf, gelu, geluTanh, layerNorm, logSoftmax, relu, rmsNorm, sigmoid, silu, softmax, softplus';
const source = (params: string, body: string): string =>
  sourceOf({ 'quern/nn': names }, kernelOf(params, body));

/** Simpson's rule on 2 / sqrt(pi) e^(-t²). */
function erf(x: number): number {
  const [n, h] = [2000, x / 2000];
  let sum = 0;
  for (let i = 0; i <= n; i += 1)
    sum += (i === 0 || i === n ? 1 : i % 2 ? 4 : 2) * Math.exp(-((i * h) ** 2));
  return Math.abs(x) > 7 ? Math.sign(x) : ((2 / Math.sqrt(Math.PI)) * sum * h) / 3;
}

const functions: Readonly<Record<string, (x: number) => number>> = {
  relu: (x) => Math.max(x, 0),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  silu: (x) => x / (1 + Math.exp(-x)),
  softplus: (x) => (x > 50 ? x : Math.log1p(Math.exp(x))),
  erf,
  gelu: (x) => x * (0.5 + 0.5 * erf(x * Math.SQRT1_2)),
  geluTanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

/** The largest distance from what is wanted, over 1 + |x|. */
const worst = (got: readonly number[], want: readonly number[], x: readonly number[]): number =>
  Math.max(0, ...got.map((y, i) => Math.abs(y - want[i]!) / (1 + Math.abs(x[i]!))));

test('activations are within 5e-7 of their definitions, relative to 1 + |x|', async () => {
  const x = Array.from({ length: 501 }, (_, i) => Math.fround((i - 250) / 17));
  x.push(0, 1e-30, -1e-30, 60, -60, 1e30);
  const calls = Object.keys(functions).map((f) => `${f}(x)`);
  const got = await run(source('x: Tensor<f32, [N]>', `return [${calls.join(', ')}];`), [f32s(x)], {
    absolute: 1e-6,
  });
  Object.entries(functions).forEach(([name, f], i) => {
    const want = x.map(f);
    const off = worst(list(got[i]), want, x);
    assert.ok(off < 5e-7, `${name}: ${off}`);
  });
});

test('NaN stays NaN in all of them', async () => {
  const calls = Object.keys(functions).map((f) => `${f}(x)`);
  const x = f32s([Number.NaN, 1]);
  for (const got of await run(source('x: Tensor<f32, [N]>', `return [${calls.join(', ')}];`), [x], {
    absolute: 1e-6,
  }))
    assert.equal(list(got).map(Number.isNaN), [true, false]);
});

const rows = (x: HostArray): number[][] => {
  const width = x.shape.at(-1)!;
  return Array.from({ length: x.shape[0]! }, (_, r) =>
    Array.from(x.data.subarray(r * width, (r + 1) * width), Number),
  );
};
const total = (v: readonly number[]): number => v.reduce((a, b) => a + b, 0);

test('softmax, its logarithm and the loss agree with doubles, over any axis and with large numbers', async () => {
  const text = source(
    'x: Tensor<f32, [N, K]>, t: Tensor<i32, [N]>',
    `return [softmax(x), logSoftmax(x), crossEntropy(x, t), transpose(softmax(transpose(x), 0)),
      crossEntropy(reshape(x, [1, dim(x, 0), dim(x, 1)]), reshape(t, [1, dim(x, 0)]))];`,
  );
  const shapes = fc.record({
    n: fc.integer({ min: 1, max: 5 }),
    k: fc.integer({ min: 1, max: 70 }),
  });
  await fc.assert(
    fc.asyncProperty(shapes, fc.integer({ min: 0, max: 300 }), async ({ n, k }, shift) => {
      const data = Array.from({ length: n * k }, (_, i) =>
        Math.fround(Math.sin(i * 7.1) * 9 + shift),
      );
      const targets = Array.from({ length: n }, (_, r) => (r * 13) % k);
      const inputs = [f32s(data, n, k), i32s(targets)];
      const got = await run(text, inputs, { absolute: 1e-5 });
      rows(inputs[0]!).forEach((row, r) => {
        const top = Math.max(...row);
        const logs = row.map((v) => v - top - Math.log(total(row.map((u) => Math.exp(u - top)))));
        const close = (y: number, want: number): void =>
          assert.ok(Math.abs(y - want) < 1e-5 * (1 + Math.abs(want)), `${y} for ${want}`);
        logs.forEach((want, i) => {
          close(rows(got[0]!)[r]![i]!, Math.exp(want));
          close(rows(got[3]!)[r]![i]!, Math.exp(want));
          close(rows(got[1]!)[r]![i]!, want);
        });
        close(list(got[2])[r]!, -logs[targets[r]!]!);
        close(list(got[4])[r]!, -logs[targets[r]!]!);
      });
    }),
    { numRuns: 12 },
  );
});

test('normalisations agree with doubles', async () => {
  const text = source(
    'x: Tensor<f32, [N, K]>, w: Tensor<f32, [K]>, b: Tensor<f32, [K]>',
    'return [rmsNorm(x, w), layerNorm(x, w, b), layerNorm(reshape(x, [dim(x, 0), 1, -1]), w, b, 0.5)];',
  );
  for (const [n, k] of [
    [1, 1],
    [3, 67],
    [2, 256],
  ] as const) {
    const x = f32s(
      Array.from({ length: n * k }, (_, i) => Math.fround(Math.cos(i * 3.3) * 4 + 1)),
      n,
      k,
    );
    const [w, b] = [2.5, 0.5].map((a) =>
      Array.from({ length: k }, (_, i) => Math.fround(a + i / k)),
    );
    const got = await run(text, [x, f32s(w!), f32s(b!)], { absolute: 1e-5 });
    rows(x).forEach((row, r) => {
      const mean = total(row) / k;
      const variance = total(row.map((v) => (v - mean) ** 2)) / k;
      const size = Math.sqrt(total(row.map((v) => v * v)) / k + 1e-5);
      row.forEach((v, i) => {
        const close = (y: number, want: number): void =>
          assert.ok(Math.abs(y - want) < 2e-5 * (1 + Math.abs(want)), `${y} for ${want}`);
        close(rows(got[0]!)[r]![i]!, (v / size) * w![i]!);
        close(rows(got[1]!)[r]![i]!, ((v - mean) / Math.sqrt(variance + 1e-5)) * w![i]! + b![i]!);
        close(list(got[2])[r * k + i]!, ((v - mean) / Math.sqrt(variance + 0.5)) * w![i]! + b![i]!);
      });
    });
  }
});

test.run();
