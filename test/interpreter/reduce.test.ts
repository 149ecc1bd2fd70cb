// Reductions and matmul against nested loops, and the rules for NaN, ties, wrapping and empty axes.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ArgReduceName, ReduceName } from '../../compiler/ir/ops.ts';
import { tensorOf } from '../ir/programs.ts';
import { op, t, values } from './run.ts';

fc.configureGlobal({ includeErrorInReport: true });
const test = suite('reductions and matmul');
const all = { axes: [0], keepdims: false };

/** The elements that end up in each result, found by counting through the indices. */
function groups(
  shape: readonly number[],
  data: ArrayLike<number>,
  axes: readonly number[],
): number[][] {
  const out = new Map<string, number[]>();
  const total = shape.reduce((p, n) => p * n, 1);
  for (let i = 0; i < total; i++) {
    let rest = i;
    const index = [...shape]
      .reverse()
      .map((n) => {
        const at = rest % n;
        rest = Math.floor(rest / n);
        return at;
      })
      .reverse();
    const key = index.filter((_, axis) => !axes.includes(axis)).join();
    out.set(key, [...(out.get(key) ?? []), data[i]!]);
  }
  return [...out.values()];
}

const meaning: { readonly [R in ReduceName | ArgReduceName]: (xs: readonly number[]) => number } = {
  sum: (xs) => Math.fround(xs.reduce((s, x) => s + x, 0)),
  amin: (xs) => (xs.some(Number.isNaN) ? NaN : Math.min(...xs)),
  amax: (xs) => (xs.some(Number.isNaN) ? NaN : Math.max(...xs)),
  any: (xs) => (xs.includes(1) ? 1 : 0),
  all: (xs) => (xs.includes(0) ? 0 : 1),
  argmin: (xs) =>
    xs.some(Number.isNaN) ? xs.findIndex(Number.isNaN) : xs.indexOf(Math.min(...xs)),
  argmax: (xs) =>
    xs.some(Number.isNaN) ? xs.findIndex(Number.isNaN) : xs.indexOf(Math.max(...xs)),
};

for (const name of Object.keys(meaning) as (keyof typeof meaning)[])
  test(`${name} over any axes is what loops give`, () => {
    const dtype = name === 'any' || name === 'all' ? 'bool' : 'f32';
    const shape = [2, 3, 2];
    fc.assert(
      fc.property(
        tensorOf(dtype, shape),
        fc.subarray([0, 1, 2], { minLength: 1 }),
        fc.boolean(),
        (x, axes, keepdims) => {
          const found = op(name, { axes, keepdims }, [x]);
          const kept = keepdims
            ? shape.map((n, i) => (axes.includes(i) ? 1 : n))
            : shape.filter((_, i) => !axes.includes(i));
          assert.equal(found.shape, kept);
          const expected = groups(shape, x.data, axes).map(meaning[name]);
          found.data.forEach((v, i) => {
            assert.ok(Object.is(v, expected[i]) || v === expected[i], `${v} is not ${expected[i]}`);
          });
        },
      ),
    );
  });

test('sums of floats are rounded once, at the end', () => {
  assert.equal(values(op('sum', all, [t('f32', [1, 2 ** 24, 1])])), [2 ** 24 + 2]);
  assert.equal(values(op('sum', all, [t('f32', [2 ** 127, 2 ** 127, -(2 ** 127)])])), [2 ** 127]);
});

test('sums of integers wrap, sums of bools count', () => {
  assert.equal(values(op('sum', all, [t('i32', [2 ** 31 - 1, 1])])), [-(2 ** 31)]);
  assert.equal(values(op('sum', all, [t('u32', [2 ** 32 - 1, 2])])), [1]);
  const count = op('sum', all, [t('bool', [1, 0, 1, 1])]);
  assert.equal([count.dtype, values(count)], ['i32', [3]]);
});

test('ties go to the first, NaN wins, NaN is the least and the most', () => {
  const x = t('f32', [3, 7, NaN, 7, NaN]);
  const y = t('f32', [3, 7, 1, 7, 1]);
  assert.equal(values(op('argmax', all, [x])), [2]);
  assert.equal(values(op('argmin', all, [x])), [2]);
  assert.equal(values(op('argmax', all, [y])), [1]);
  assert.equal(values(op('argmin', all, [y])), [2]);
  assert.ok(Number.isNaN(op('amax', all, [x]).data[0]));
  assert.equal(values(op('argmax', all, [t('f32', [-Infinity, -Infinity])])), [0]);
});

test('an index over several axes counts through them row-major', () => {
  const x = t('i32', [0, 1, 2, 9, 4, 5], [2, 3]);
  assert.equal(values(op('argmax', { axes: [0, 1], keepdims: false }, [x])), [3]);
});

test('empty axes give the neutral values', () => {
  const none = t('f32', [], [0]);
  assert.equal(values(op('sum', all, [none])), [0]);
  assert.equal(values(op('amin', all, [none])), [Infinity]);
  assert.equal(values(op('amax', all, [t('i8', [])])), [-(2 ** 31)]);
  assert.equal(values(op('any', all, [t('bool', [])])), [0]);
  assert.equal(values(op('all', all, [t('bool', [])])), [1]);
  assert.equal(values(op('argmax', all, [none])), [0]);
});

test('matmul is the triple loop, batches broadcast', () => {
  fc.assert(
    fc.property(tensorOf('i8', [2, 1, 3, 4]), tensorOf('i8', [3, 4, 2]), (a, b) => {
      const found = op('matmul', {}, [a, b]);
      assert.equal([found.dtype, found.shape], ['i32', [2, 3, 3, 2]]);
      let n = 0;
      for (let p = 0; p < 2; p++)
        for (let q = 0; q < 3; q++)
          for (let i = 0; i < 3; i++)
            for (let j = 0; j < 2; j++) {
              let sum = 0;
              for (let k = 0; k < 4; k++)
                sum += a.data[(p * 3 + i) * 4 + k]! * b.data[(q * 4 + k) * 2 + j]!;
              assert.is(found.data[n++], sum);
            }
    }),
    { numRuns: 30 },
  );
});

test('matmul of floats rounds once, of integers wraps, of mixed operands is a float', () => {
  const row = (...xs: number[]) => t('f32', xs, [1, xs.length]);
  const column = (...xs: number[]) => t('f32', xs, [xs.length, 1]);
  assert.equal(values(op('matmul', {}, [row(1, 2 ** 24, 1), column(1, 1, 1)])), [2 ** 24 + 2]);
  const ints = [t('i32', [2 ** 30, 2 ** 30], [1, 2]), t('i32', [2, 2], [2, 1])] as const;
  assert.equal(values(op('matmul', {}, ints)), [0]);
  const mixed = op('matmul', {}, [t('u4', [3, 5], [1, 2]), column(0.5, -1)]);
  assert.equal([mixed.dtype, values(mixed)], ['f32', [-3.5]]);
  const exact = op('matmul', {}, [row(Math.fround(0.1)), column(Math.fround(0.1))], {
    precision: 'f64',
  });
  assert.is(exact.data[0], Math.fround(0.1) * Math.fround(0.1));
});

test('matmul over an inner axis of nothing is 0', () => {
  assert.equal(values(op('matmul', {}, [t('f32', [], [1, 0]), t('f32', [], [0, 2])])), [0, 0]);
});

test.run();
