// Sparse forms come back to the matrix that they were made of, their products are those of the dense matrix, and a
// weight that is a sum of parts is multiplied by in one kernel.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../compiler/index.ts';
import { whole } from '../conformance/arrays.ts';
import { f32s, kernelOf, list, run, sourceOf } from './harness.ts';

const test = suite('quern/sparse');
const names = 'csrMatmul, fromBitmap, fromNm, linearNm, linearParts, toBitmap, toCsr, toNm';
const source = (params: string, body: string): string =>
  sourceOf({ 'quern/sparse': names, 'quern/formats': 'q8_0' }, kernelOf(params, body));

test('a bitmap comes back, whatever is kept', async () => {
  const text = source(
    'x: Tensor<f32, [N, 64]>, limit: Scalar',
    `const b = toBitmap(x, abs(x) > limit);
    return [fromBitmap(b.bits, b.values, b.starts), b.bits, b.count];`,
  );
  for (const limit of [-1, 2, 5, 1000]) {
    const x = whole('f32', [3, 64], 4);
    const [back, bits, count] = await run(text, [x, { ...f32s([limit]), shape: [] }]);
    const kept = list(x).map((v) => (Math.abs(v) > limit ? v : 0));
    assert.equal(
      list(back).map((v) => v + 0),
      kept.map((v) => v + 0),
    );
    assert.equal(bits!.shape, [3, 2]);
    assert.is(count!.data[0], list(x).filter((v) => Math.abs(v) > limit).length);
  }
});

test('n:m keeps the largest of each group, the first on ties', async () => {
  const text = source(
    'x: Tensor<f32, [N, K]>',
    'const s = toNm(x, 2, 4); return [s.values, s.places, fromNm(s.values, s.places, 4)];',
  );
  const [values, places, back] = await run(text, [
    f32s([1, -5, 3, 3, 0, 0, 0, 0, 2, 2, 2, -9], 1, 12),
  ]);
  assert.equal(list(values), [-5, 3, 0, 0, 2, -9]);
  assert.equal(list(places), [1, 2, 0, 1, 0, 3]);
  assert.equal(list(back), [0, -5, 3, 0, 0, 0, 0, 0, 2, 0, 0, -9]);
});

test('compressed rows multiply as the dense matrix', async () => {
  const text = source(
    'x: Tensor<f32, [M, K]>, w: Tensor<f32, [N, K]>',
    `const s = toCsr(w, abs(w) > 4);
    return [csrMatmul(x, s.values, s.columns, s.starts), matmul(x, transpose(abs(w) > 4 ? w : 0)), s.starts];`,
  );
  for (const [m, n, k] of [
    [1, 1, 1],
    [2, 5, 17],
    [3, 4, 32],
  ] as const) {
    const [got, want, starts] = await run(text, [whole('f32', [m, k], 1), whole('f32', [n, k], 2)]);
    assert.equal(
      list(got).map((v) => v + 0),
      list(want).map((v) => v + 0),
    );
    assert.is(starts!.data.length, n + 1);
  }
});

test('a sum of dense, sparse and low rank is the sum of the products', async () => {
  const text = source(
    'x: Tensor<f32, [M, 64]>, w: Tensor<f32, [N, 64]>, u: Tensor<f32, [N, K]>, v: Tensor<f32, [64, K]>',
    `const big = abs(w) > 5; const d = encode(q8_0, big ? 0 : w);
    const b = toBitmap(w, big); const s = toNm(w, 2, 4);
    const low = matmul(u, transpose(v));
    return [linearParts(x, d, b.bits, b.values, b.starts, u, v) - matmul(x, transpose(decode(d) + (big ? w : 0) + low)),
      linearNm(x, d, s.values, s.places, u, v) - matmul(x, transpose(decode(d) + fromNm(s.values, s.places, 4) + low))];`,
  );
  for (const [m, n, r] of [
    [1, 3, 1],
    [5, 7, 4],
  ] as const) {
    const differences = await run(
      text,
      [
        whole('f32', [m, 64], 1),
        whole('f32', [n, 64], 2),
        whole('f32', [n, r], 3),
        whole('f32', [64, r], 4),
      ],
      { absolute: 0.05 },
    );
    for (const d of differences)
      assert.ok(
        list(d).every((x) => Math.abs(x) < 0.05),
        `${list(d)}`,
      );
  }
});

test('the product with a sum of parts is one kernel; only x v is made before', async () => {
  for (const name of ['linearParts', 'linearNm']) {
    const { artifact } = await compile({
      file: 'quern/sparse',
      name,
      target: 'wasm',
      formats: [{ file: 'quern/formats', name: 'q4_0' }],
    });
    assert.is(artifact.manifest.kernels.length, 2);
    assert.is(artifact.manifest.kernels.at(-1)!.schedule, 'gemm');
  }
});

test.run();
