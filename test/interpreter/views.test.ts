// Ops that move elements, against nested loops over indices; the position of each element is its
// value.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { op, poly, t, values } from './run.ts';

fc.configureGlobal({ includeErrorInReport: true });
const test = suite('views');

type Index = readonly number[];
const size = (shape: Index): number => shape.reduce((p, n) => p * n, 1);
const counting = (shape: Index) =>
  t(
    'i32',
    Array.from({ length: size(shape) }, (_, i) => i),
    shape,
  );
const flat = (shape: Index, index: Index): number =>
  shape.reduce((at, n, axis) => at * n + index[axis]!, 0);

/** Row-major values of a tensor that `value` gives element by element. */
function byLoops(shape: Index, value: (index: Index) => number): number[] {
  const out: number[] = [];
  const visit = (index: Index): void => {
    if (index.length === shape.length) out.push(value(index));
    else for (let i = 0; i < shape[index.length]!; i++) visit([...index, i]);
  };
  visit([]);
  return out;
}

const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });
const withAxis = shapes.chain((s) => fc.tuple(fc.constant(s), fc.nat(s.length - 1)));
const at = (index: Index, axis: number, i: number): Index =>
  index.map((v, k) => (k === axis ? i : v));

test('reshape keeps the order of the elements', () => {
  const found = op('reshape', { shape: [poly(3), poly(1), poly(2)] }, [counting([2, 3])]);
  assert.equal(
    [found.shape, values(found)],
    [
      [3, 1, 2],
      [0, 1, 2, 3, 4, 5],
    ],
  );
});

test('broadcast repeats along new axes and axes of 1', () => {
  const found = op('broadcast', { shape: [poly(2), poly(2), poly(3)] }, [counting([2, 1])]);
  assert.equal(
    values(found),
    byLoops([2, 2, 3], ([, j]) => j!),
  );
});

test('transpose moves axes', () => {
  const perms = shapes.chain((s) =>
    fc.tuple(
      fc.constant(s),
      fc.shuffledSubarray(
        s.map((_, i) => i),
        { minLength: s.length },
      ),
    ),
  );
  fc.assert(
    fc.property(perms, ([shape, perm]) => {
      const found = op('transpose', { perm }, [counting(shape)]);
      const moved = perm.map((p) => shape[p]!);
      assert.equal(found.shape, moved);
      const expected = byLoops(moved, (index) => {
        const source = shape.map(() => 0);
        perm.forEach((p, i) => {
          source[p] = index[i]!;
        });
        return flat(shape, source);
      });
      assert.equal(values(found), expected);
    }),
  );
});

test('slice takes a run of an axis', () => {
  fc.assert(
    fc.property(withAxis, fc.nat(3), fc.nat(4), ([shape, axis], from, length) => {
      const start = Math.min(from, shape[axis]!);
      const n = Math.min(length, shape[axis]! - start);
      const found = op('slice', { axis, start: poly(start), size: poly(n) }, [counting(shape)]);
      const expected = byLoops(at(shape, axis, n), (i) =>
        flat(shape, at(i, axis, i[axis]! + start)),
      );
      assert.equal(values(found), expected);
    }),
  );
});

test('concat puts operands behind each other and widens them', () => {
  const found = op('concat', { axis: 1 }, [
    t('u4', [1, 2, 3, 4], [2, 2]),
    t('f16', [0.5, -0.5], [2, 1]),
  ]);
  assert.equal([found.dtype, found.shape], ['f32', [2, 3]]);
  assert.equal(values(found), [1, 2, 0.5, 3, 4, -0.5]);
  assert.equal(
    values(op('concat', { axis: 0 }, [counting([1, 2]), counting([2, 2])])),
    [0, 1, 0, 1, 2, 3],
  );
});

test('pad surrounds an axis by the fill, and cuts where it is negative', () => {
  fc.assert(
    fc.property(
      withAxis,
      fc.integer({ min: -1, max: 2 }),
      fc.integer({ min: 0, max: 2 }),
      ([shape, axis], low, high) => {
        const fill = t('f32', [-7.9], []);
        const found = op('pad', { axis, low: poly(low), high: poly(high) }, [
          counting(shape),
          fill,
        ]);
        const expected = byLoops(at(shape, axis, shape[axis]! + low + high), (i) => {
          const source = i[axis]! - low;
          return source < 0 || source >= shape[axis]! ? -7 : flat(shape, at(i, axis, source));
        });
        assert.equal(values(found), expected);
      },
    ),
  );
});

test('gather picks along an axis, and clamps', () => {
  const shape = [2, 3, 2];
  const indices = [
    [2, -5],
    [9, 0],
    [1, 1],
  ];
  const found = op('gather', { axis: 1 }, [counting(shape), t('i32', indices.flat(), [3, 2])]);
  assert.equal(found.shape, [2, 3, 2, 2]);
  const expected = byLoops(found.shape, ([a, r, c, b]) =>
    flat(shape, [a!, Math.min(Math.max(indices[r!]![c!]!, 0), 2), b!]),
  );
  assert.equal(values(found), expected);
});

test('at indexes leading axes, and clamps', () => {
  const x = counting([2, 3]);
  const scalar = (n: number) => t('i32', [n], []);
  assert.equal(values(op('at', {}, [x, scalar(1)])), [3, 4, 5]);
  assert.equal(values(op('at', {}, [x, scalar(-1), scalar(7)])), [2]);
  assert.equal(values(op('at', {}, [x, t('u32', [4294967295], []), scalar(0)])), [3]);
  assert.equal(values(op('at', {}, [x])), [0, 1, 2, 3, 4, 5]);
});

test('an empty axis has no element to index', () => {
  const none = t('f32', [], [0]);
  assert.throws(() => op('at', {}, [none, t('i32', [0], [])]), /without elements/);
  assert.throws(() => op('gather', { axis: 0 }, [none, t('i32', [0])]), /without elements/);
});

test('a result never shares memory with an input', () => {
  const x = counting([4]);
  const y = op('reshape', { shape: [poly(2), poly(2)] }, [x]);
  y.data[0] = 99;
  assert.is(x.data[0], 0);
});

test.run();
