// Transforms and order statistics against their definitions.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile, type HostArray } from '../../compiler/index.ts';
import { array, random, whole } from '../conformance/arrays.ts';
import { f32s, hostOf, kernelOf, list, request, run, sourceOf } from './harness.ts';

const test = suite('quern/transforms and quern/statistics');
const names =
  'bitDot, bitPlanes, conv1d, conv2d, fromPlanes, fwht, maxPool2d, meanPool2d, packBits';
const source = (params: string, body: string): string =>
  sourceOf(
    { 'quern/transforms': names, 'quern/statistics': 'deviation, median, quantile' },
    kernelOf(params, body),
  );

test('the Walsh-Hadamard transform is its definition, and its own inverse', async () => {
  for (const n of [1, 2, 8, 64]) {
    const x = whole('f32', [3, n], n);
    const [y, back, columns] = await run(
      source('x: Tensor<f32, [N, K]>', 'return [fwht(x), fwht(fwht(x)), fwht(transpose(x), 0)];'),
      [x],
    );
    for (let r = 0; r < 3; r += 1)
      for (let i = 0; i < n; i += 1) {
        let sum = 0;
        for (let j = 0; j < n; j += 1) {
          let odd = 0;
          for (let b = i & j; b; b &= b - 1) odd ^= 1;
          sum += (odd ? -1 : 1) * x.data[r * n + j]!;
        }
        const want = sum / Math.sqrt(n);
        assert.ok(Math.abs(y!.data[r * n + i]! - want) < 1e-4);
        assert.ok(Math.abs(back!.data[r * n + i]! - x.data[r * n + i]!) < 1e-4);
        assert.is(columns!.data[i * 3 + r], y!.data[r * n + i]);
      }
  }
});

test('another length than a power of two is refused where it is known', async () => {
  const text = source('x: Tensor<f32, [2, 6]>', 'return fwht(x);');
  let said = '';
  await compile({ ...request, target: 'wasm' }, hostOf(text)).catch((e: Error) => {
    said = e.message;
  });
  assert.match(said, 'fwht: a power of two');
});

test('bit planes come back, and their dot counts common bits', async () => {
  const q: HostArray = random('u4', [3, 64], 1);
  const [planes, back, dots, words] = await run(
    source(
      'q: Tensor<u4, [N, 64]>',
      `const p = bitPlanes(q, 4); const w = packBits(p);
      return [p, fromPlanes(p), bitDot(at(w, 0), at(w, 3)), w];`,
    ),
    [q],
  );
  assert.equal(planes!.shape, [4, 3, 64]);
  assert.equal(words!.shape, [4, 3, 2]);
  assert.equal(list(back), list(q));
  const want = [0, 1, 2].map(
    (r) =>
      list(q)
        .slice(r * 64, r * 64 + 64)
        .filter((x) => (x & 9) === 9).length,
  );
  assert.equal(list(dots), want);
});

test('convolution and pooling with strides and padding', async () => {
  const [c, h, w, o] = [2, 7, 5, 3];
  const x = whole('f32', [c, h, w], 1);
  const k = whole('f32', [o, c, 3, 3], 2);
  const [plain, wide, most, mean, line] = await run(
    source(
      'x: Tensor<f32, [2, 7, 5]>, k: Tensor<f32, [3, 2, 3, 3]>',
      `return [conv2d(x, k), conv2d(x, k, { stride: 2, padding: 1 }), maxPool2d(x, 3, { stride: 2, padding: 1 }),
        meanPool2d(slice(x, 0, 4, 2), 2, { stride: 1 }), conv1d(at(x, 0), at(transpose(k, [2, 0, 3, 1]), 0))];`.replace(
        'conv1d(at(x, 0), at(transpose(k, [2, 0, 3, 1]), 0))',
        'conv1d(reshape(x, [2, 35]), at(transpose(k, [2, 0, 1, 3]), 0), { padding: 1 })',
      ),
    ),
    [x, k],
  );
  const pixel = (ch: number, i: number, j: number): number =>
    i < 0 || j < 0 || i >= h || j >= w ? 0 : x.data[(ch * h + i) * w + j]!;
  const conv = (stride: number, by: number): number[] => {
    const out: number[] = [];
    for (let f = 0; f < o; f += 1)
      for (let i = 0; i <= (h + 2 * by - 3) / stride; i += 1)
        for (let j = 0; j <= (w + 2 * by - 3) / stride; j += 1) {
          let s = 0;
          for (let ch = 0; ch < c; ch += 1)
            for (let a = 0; a < 3; a += 1)
              for (let b = 0; b < 3; b += 1)
                s +=
                  pixel(ch, i * stride + a - by, j * stride + b - by) *
                  k.data[((f * c + ch) * 3 + a) * 3 + b]!;
          out.push(s);
        }
    return out;
  };
  assert.equal(list(plain), conv(1, 0));
  assert.equal(list(wide), conv(2, 1));
  assert.equal(most!.shape, [2, 4, 3]);
  assert.is(
    most!.data[0],
    Math.max(pixel(0, 0, 0), pixel(0, 0, 1), pixel(0, 1, 0), pixel(0, 1, 1)),
  );
  assert.equal(mean!.shape, [2, 6, 3]);
  assert.is(mean!.data[0], (pixel(0, 0, 0) + pixel(0, 0, 1) + pixel(0, 1, 0) + pixel(0, 1, 1)) / 4);
  assert.equal(line!.shape, [3, 35]);
});

test('quantiles interpolate between the nearest elements', async () => {
  const text = source(
    'x: Tensor<f32, [N, K]>, q: Scalar',
    'return [quantile(x, q), median(x, 0), quantile(x, 0), quantile(x, 1), deviation(x)];',
  );
  const x = array('f32', [3, 5], (i) => (i * 7) % 15);
  const [a, middle, low, high] = await run(
    text,
    [x, { dtype: 'f32', shape: [], data: Float32Array.of(0.3) }],
    { ulp: 4 },
  );
  for (let r = 0; r < 3; r += 1) {
    const row = list(x)
      .slice(r * 5, r * 5 + 5)
      .sort((p, q) => p - q);
    const at = 0.3 * 4;
    assert.ok(Math.abs(a!.data[r]! - (row[1]! + (row[2]! - row[1]!) * (at - 1))) < 1e-5);
    assert.is(low!.data[r], row[0]);
    assert.is(high!.data[r], row[4]);
  }
  assert.equal(middle!.shape, [5]);
  const [spoiled] = await run(source('x: Tensor<f32, [N]>', 'return [quantile(x, 0.5)];'), [
    f32s([1, NaN, 2]),
  ]);
  assert.equal(list(spoiled), [NaN]);
});

test.run();
