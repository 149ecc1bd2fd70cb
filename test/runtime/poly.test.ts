// Sizes of a manifest: evaluation, solving from shapes, and the sentences when shapes disagree.
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ArgInfo, Manifest, PolyCode } from '../../compiler/artifact.ts';
import { QuernError } from '../../runtime/errors.ts';
import { DimSolver, evaluatePoly, polyText } from '../../runtime/poly.ts';

const test = suite('poly');

const tensor = (name: string, ...shape: PolyCode[]): ArgInfo => ({
  kind: 'tensor',
  name,
  dtype: 'f32',
  shape,
  text: `[${shape.map(polyText).join(', ')}]`,
});
const solver = (
  dims: string[],
  args: ArgInfo[],
  constraints: Manifest['constraints'] = [],
): DimSolver => new DimSolver({ name: 'linear', dims, constraints }, args);
const solve = (s: DimSolver, ...shapes: number[][]): number[] => {
  const dims: number[] = [];
  s.solve(shapes, dims);
  return dims;
};
const messageOf = (f: () => unknown): string => {
  try {
    f();
  } catch (e) {
    assert.instance(e, QuernError);
    return (e as QuernError).message.split('\n')[0]!;
  }
  throw new Error('nothing was thrown');
};

test('a size in postfix form evaluates to its value', () => {
  assert.is(evaluatePoly(['K', 32, '/'], { K: 96 }), 3);
  assert.is(evaluatePoly(['N', 'K', '*', 2, '*', 1, '+'], { N: 3, K: 5 }), 31);
  assert.is(evaluatePoly(['K', 31, '+', 32, 'div'], { K: 33 }), 2);
  assert.is(evaluatePoly([7], {}), 7);
});

test('a malformed size is refused, not guessed', () => {
  assert.throws(() => evaluatePoly(['K', '+'], { K: 1 }), /malformed/);
  assert.throws(() => evaluatePoly(['K', 'K'], { K: 1 }), /malformed/);
  assert.throws(() => evaluatePoly(['L'], { K: 1 }), /unknown dim/);
});

test('a size prints as an author would write it', () => {
  assert.is(polyText(['K', 32, '/']), 'K / 32');
  assert.is(polyText(['N', 1, '+', 2, '*']), '(N + 1)*2');
});

test('dims come from axes that are a dim alone', () => {
  const s = solver(['M', 'K', 'N'], [tensor('x', ['M'], ['K']), tensor('w', ['N'], ['K'])]);
  assert.equal(solve(s, [2, 96], [5, 96]), [2, 96, 5]);
});

test('dims come from multiples, quotients and sums, in whatever order they appear', () => {
  const s = solver(
    ['K', 'N', 'T'],
    [
      tensor('q', ['N', 'K', '*', 'T', '+'], ['K', 32, '/'], [32]),
      tensor('t', ['T', 2, '*'], ['N']),
    ],
  );
  assert.equal(solve(s, [3 * 64 + 5, 2, 32], [10, 3]), [64, 3, 5]);
});

test('a third does not lose a dim to rounding', () => {
  const s = solver(['K'], [tensor('q', ['K', 3, '/'])]);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 30 }), (n) => {
      assert.equal(solve(s, [n]), [3 * n]);
    }),
  );
});

test('two sizes for one dim name both arguments and the axis', () => {
  const s = solver(['M', 'K', 'N'], [tensor('x', ['M'], ['K']), tensor('w', ['N'], ['K'])]);
  assert.is(
    messageOf(() => solve(s, [2, 96], [5, 100])),
    'Q5005: linear: argument w: axis 1 is 100, but K = 96 from argument x',
  );
});

test('a computed axis says what it should have been, and from which dims', () => {
  const s = solver(['N', 'K'], [tensor('x', ['N'], ['K']), tensor('q', ['N', 'K', '*'])]);
  assert.is(
    messageOf(() => solve(s, [2, 3], [7])),
    'Q5005: linear: argument q: axis 0 is 7, but N*K = 6 with N = 2 from argument x, K = 3 from argument x',
  );
});

test('a literal axis must be that number', () => {
  const s = solver([], [tensor('b', [32])]);
  assert.is(
    messageOf(() => solve(s, [31])),
    'Q5005: linear: argument b: axis 0 is 31, but it must be 32',
  );
});

test('an axis that no dim could make is refused', () => {
  const s = solver(['K'], [tensor('x', ['K', 2, '*'])]);
  assert.is(
    messageOf(() => solve(s, [7])),
    'Q5005: linear: argument x: axis 0 is 7, but no K makes K*2 that size',
  );
});

test('the wrong number of axes shows the written shape', () => {
  const s = solver(['M', 'K'], [tensor('x', ['M'], ['K'])]);
  const text = messageOf(() => solve(s, [7]));
  assert.is(text, 'Q5004: linear: argument x has the wrong number of axes');
});

test('a failing constraint says who asked for it, even where a shape also disagrees because of it', () => {
  const constraints = [{ poly: ['K'], modulus: 32, text: 'K', reason: 'format q4_0, argument w' }];
  const args = [tensor('x', ['K']), tensor('q', ['K', 32, '/'])];
  assert.is(
    messageOf(() => solve(solver(['K'], args, constraints), [100], [3])),
    'Q5006: linear: K must be a multiple of 32 (format q4_0, argument w), got 100',
  );
  assert.equal(solve(solver(['K'], args, constraints), [96], [3]), [96]);
});

test('a fractional axis without a constraint is still a disagreement', () => {
  const s = solver(['K'], [tensor('x', ['K']), tensor('q', ['K', 32, '/'])]);
  assert.match(
    messageOf(() => solve(s, [100], [3])),
    /axis 0 is 3, but K \/ 32 = 3.125/,
  );
});

test('a dim that no shape determines is named', () => {
  const s = solver(['A', 'B'], [tensor('x', ['A', 'B', '*'])]);
  assert.match(
    messageOf(() => solve(s, [6])),
    /Q5007: linear: the size of A does not follow/,
  );
});

test('whatever the dims, shapes made from them give them back', () => {
  const args = [
    tensor('x', ['M'], ['K', 2, '*']),
    tensor('w', ['N', 3, '+'], ['K', 8, '/'], [8]),
    tensor('y', ['M', 'N', '*'], ['K', 'M', '*', 'N', '+']),
  ];
  const dims = ['M', 'N', 'K'];
  const s = solver(dims, args);
  const size = fc.integer({ min: 0, max: 5000 });
  fc.assert(
    fc.property(size, size, size, (M, N, k) => {
      const env = { M, N, K: k * 8 };
      const shapes = args.map((a) => a.shape.map((c) => evaluatePoly(c, env)));
      assert.equal(solve(s, ...shapes), [M, N, k * 8]);
    }),
  );
});

test.run();
