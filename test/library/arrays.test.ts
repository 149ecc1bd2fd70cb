// Scans, scattering, searching and compaction, against plain code; with empty axes, tails, ties and indices that
// lie outside.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { HostArray } from '../../compiler/index.ts';
import { array, integers, whole } from '../conformance/arrays.ts';
import { f32s, i32s, kernelOf, list, run, sourceOf } from './harness.ts';

const test = suite('quern/arrays');
const names = `bincount, compact, cummax, cummin, cumprod, cumsum, histogram, linearScan, packRows, scan,
  scatter, scatterAdd, scatterMax, scatterMin, searchSorted, segmentSum, unpackRows`;
const source = (params: string, body: string): string =>
  sourceOf({ 'quern/arrays': names }, kernelOf(params, body));
const f = Math.fround;

test('scans run in order along any axis, each step rounded to f32', async () => {
  const text = source(
    'x: Tensor<f32, [N, K]>',
    `return [cumsum(x), cumsum(x, 0), cumsum(x, 1, { reverse: true }), cumsum(x, 1, { exclusive: true }),
      cumprod(x), cummax(x), cummin(x, 0), scan(x, (h, v) => h * 0.5 + v, 0)];`,
  );
  for (const [n, k] of [
    [1, 1],
    [3, 5],
    [2, 33],
    [5, 16],
  ] as const) {
    const r = integers(n * k);
    const x = array('f32', [n, k], () => (r() % 2000) / 7 - 100);
    const got = await run(text, [x]);
    const sums = [...x.data];
    for (let i = 0; i < n; i += 1)
      for (let j = 1; j < k; j += 1) sums[i * k + j] = f(sums[i * k + j - 1]! + sums[i * k + j]!);
    assert.equal(list(got[0]), sums);
    assert.is(got[3]!.data[0], 0);
    if (k > 1) assert.is(got[3]!.data[1], x.data[0]);
    const peaks = list(got[5]);
    assert.ok(peaks.every((p, i) => p >= x.data[i]! && (i % k === 0 || p >= peaks[i - 1]!)));
  }
  await run(text, [f32s([], 0, 4)]);
});

test('scans of integers wrap, those of masks count, and a NaN stays', async () => {
  const text = source(
    'x: Tensor<i32, [N]>, y: Tensor<f32, [N]>',
    'return [cumsum(x), cumsum(x > 0), cummax(y), linearScan(y, y)];',
  );
  const [sums, counts, peaks] = await run(text, [
    i32s([2 ** 31 - 1, 1, -5, 7]),
    f32s([1, NaN, 3, 2]),
  ]);
  assert.equal(list(sums), [2147483647, -2147483648, 2147483643, -2147483646]);
  assert.equal(list(counts), [1, 2, 2, 3]);
  assert.equal(list(peaks), [1, NaN, NaN, NaN]);
});

test('a linear recurrence is what a loop gives', async () => {
  const text = source(
    'a: Tensor<f32, [N, K]>, b: Tensor<f32, [N, K]>',
    'return [linearScan(a, b), linearScan(a, b, 0)];',
  );
  const a = array('f32', [3, 9], (i) => 0.9 - i / 50);
  const b = array('f32', [3, 9], (i) => (i % 5) - 2.3);
  const [h] = await run(text, [a, b]);
  const want: number[] = [];
  for (let i = 0; i < 27; i += 1)
    want.push(f(f(a.data[i]! * (i % 9 ? want[i - 1]! : 0)) + b.data[i]!));
  assert.equal(list(h), want);
});

test('scattering goes in order and drops what lies outside', async () => {
  const text = source(
    'x: Tensor<f32, [N, K]>, ids: Tensor<i32, [M]>, v: Tensor<f32, [M, K]>',
    `return [scatter(x, ids, v), scatterAdd(x, ids, v), scatterMax(x, ids, v), scatterMin(x, ids, v),
      segmentSum(v, ids, 3), bincount(ids, 4), scatterAdd(x, ids, 1), segmentSum(i32(ids), ids, 2)];`,
  );
  const x = whole('f32', [4, 5], 1);
  const ids = [2, 0, -1, 2, 9, 0, 3];
  const v = whole('f32', [7, 5], 2);
  const got = await run(text, [x, i32s(ids), v]);
  const replaced = [...x.data];
  const added = [...x.data];
  ids.forEach((id, m) => {
    for (let k = 0; k < 5; k += 1)
      if (id >= 0 && id < 4) {
        replaced[id * 5 + k] = v.data[m * 5 + k]!;
        added[id * 5 + k] = f(added[id * 5 + k]! + v.data[m * 5 + k]!);
      }
  });
  assert.equal(list(got[0]), replaced);
  assert.equal(list(got[1]), added);
  assert.equal(got[4]!.shape, [3, 5]);
  assert.equal(list(got[5]), [2, 0, 2, 1]);
  assert.equal(list(got[7]), [0, 0]);
});

test('histograms include the upper end and leave NaN out', async () => {
  const text = source('x: Tensor<f32, [N]>', 'return histogram(x, 4, 0, 2);');
  const [counts] = await run(text, [f32s([0, 0.49, 0.5, 2, 2.01, -0.001, NaN, 1.99, Infinity])]);
  assert.equal(list(counts), [2, 1, 0, 2]);
});

test('searching gives the first or the last place', async () => {
  const text = source(
    's: Tensor<f32, [N]>, v: Tensor<f32, [M, K]>',
    'return [searchSorted(s, v), searchSorted(s, v, true)];',
  );
  const [left, right] = await run(text, [f32s([1, 2, 2, 5]), f32s([0, 1, 2, 3, 5, 9], 2, 3)]);
  assert.equal(list(left), [0, 0, 1, 3, 3, 4]);
  assert.equal(list(right), [0, 1, 3, 3, 4, 4]);
});

test('compaction keeps order and dtype', async () => {
  const text = source(
    'x: Tensor<u8, [N, K]>, m: Tensor<bool, [N]>',
    'const c = compact(x, m); const e = compact(at(x, 0), at(x, 0) > 3); return [c.values, c.count, e.values, e.count];',
  );
  for (const mask of [
    [1, 0, 1, 1],
    [0, 0, 0, 0],
    [1, 1, 1, 1],
  ]) {
    const x: HostArray = {
      dtype: 'u8',
      shape: [4, 3],
      data: Uint32Array.from({ length: 12 }, (_, i) => i * 2),
    };
    const m: HostArray = { dtype: 'bool', shape: [4], data: Uint8Array.from(mask) };
    const [values, count, few, left] = await run(text, [x, m]);
    const kept = [0, 1, 2, 3].filter((i) => mask[i]);
    const want = kept.flatMap((i) => [i * 6, i * 6 + 2, i * 6 + 4]);
    assert.equal(list(values), [...want, ...new Array<number>(12 - want.length).fill(0)]);
    assert.is(values!.dtype, 'u8');
    assert.is(count!.data[0], kept.length);
    assert.equal([...list(few), ...list(left)], [4, 0, 0, 1]);
  }
});

test('rows of different lengths are packed and unpacked', async () => {
  const text = source(
    'rows: Tensor<u8, [N, K]>, sizes: Tensor<i32, [N]>',
    `const p = packRows(rows, sizes);
    return [p.data, p.offsets, unpackRows(p.data, p.offsets, dim(rows, 1))];`,
  );
  const rows: HostArray = {
    dtype: 'u8',
    shape: [5, 4],
    data: Uint32Array.from({ length: 20 }, (_, i) => i + 1),
  };
  const [data, offsets, back] = await run(text, [rows, i32s([2, 0, 4, -3, 99])]);
  assert.equal(list(offsets), [0, 2, 2, 6, 6, 10]);
  const used = [1, 2, 9, 10, 11, 12, 17, 18, 19, 20];
  assert.equal(list(data), [...used, ...new Array<number>(10).fill(0)]);
  assert.equal(list(back), [1, 2, 0, 0, 0, 0, 0, 0, 9, 10, 11, 12, 0, 0, 0, 0, 17, 18, 19, 20]);
});

test.run();
