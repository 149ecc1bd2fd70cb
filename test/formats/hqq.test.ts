// HQQ: planes byte for byte, and the proximal solver against the same algorithm in double precision.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../support/skip.ts';
import { realWeights, relativeError } from './checks.ts';
import { nameOf, on, type PlaneCase, planeTests } from './planes.ts';
import { hqq, solve } from './reference/hqq.ts';
import { fromHalf } from './reference/half.ts';
import { halves } from './reference/planes.ts';
import { weights } from './samples.ts';

const test = suite('hqq');

const planes = (bits: number, axis: 0 | 1, group = 64): PlaneCase => ({
  format: { name: 'hqq', options: { bits, axis, group } },
  reference: hqq({ bits, axis, group }),
  // Rows of which 3-bit words take ten groups, and axis 0 whole groups.
  shape: [axis === 0 ? 2 * group : 40, 256],
  rows: axis === 0 ? 4 * group : 160,
  bits: bits + 32 / group,
  onlyWasm: bits > 4 || (axis === 0 && bits !== 3),
});

planeTests(test, [
  { ...planes(4, 1), format: 'hqq_int4', rows: 1040 },
  ...[1, 2, 3, 5, 6, 7, 8].map((bits) => planes(bits, 1)),
  ...[1, 2, 3, 4, 8].map((bits) => planes(bits, 0)),
  planes(3, 0, 32),
  planes(4, 1, 128),
]);

/** f16 rounds values that differ in the last bits of f32 to neighbours. */
const near = (a: number, b: number): boolean => Math.abs(a - b) <= 2e-3 * Math.max(1, Math.abs(b));

for (const kind of ['reference', 'wasm'] as const)
  for (const o of [
    { bits: 4, group: 64, axis: 1, solve: true },
    { bits: 2, group: 64, axis: 1, solve: true },
    { bits: 3, group: 64, axis: 0, solve: true },
    { bits: 4, group: 32, axis: 0, solve: false },
    { bits: 8, group: 128, axis: 1, solve: true },
  ] as const) {
    const format = { name: 'hqq', options: o };
    test(`${nameOf(format)} on ${kind}: scales and zero points of the solver`, async () => {
      const [n, k] = kind === 'wasm' ? [256, 256] : [64, 128];
      const x = weights(4, n * k).map((v, i) => (i % 97 === 0 ? v * 8 : v));
      const h = await on(kind);
      const scale = await h.encodeField(format, 'scale', x, [n, k]);
      const zero = await h.encodeField(format, 'zero', x, [n, k]);
      const expected = solve(x, n, k, o);
      assert.is(scale.length, expected.density.length);
      // A code on the edge between two may fall to either side in f32, which moves the mean of its group a little.
      const wrong = zero.filter((z, g) => !near(z, expected.zero[g]!)).length;
      assert.ok(wrong <= zero.length / 50, `${wrong} of ${zero.length} zero points differ`);
      assert.ok(scale.every((s, g) => near(s, 1 / expected.density[g]!)));
      const y = await h.roundTrip(format, x, [n, k]);
      const error = relativeError(x, y);
      const allowed = relativeError(x, expected.y) * 1.005;
      assert.ok(error <= allowed, `relative error ${error}, allowed ${allowed}`);
    });
  }

/** Mean |x - y|^0.7, which the solver brings down. */
const loss = (x: Float32Array, y: Float32Array): number =>
  x.reduce((s, v, i) => s + Math.abs(v - y[i]!) ** 0.7, 0) / x.length;

const name = 'layers.1.feed_forward.w1.weight';
const real = realWeights(name);
if (!real) skip(`hqq of ${name}`, 'the model verse-4m is not beside the repository');
else
  for (const bits of [2, 3, 4])
    test(`the solver lowers the loss of ${name} at ${bits} bits`, async () => {
      const h = await on('wasm');
      const run = (solve: boolean) =>
        h.roundTrip({ name: 'hqq', options: { bits, solve } }, real.data, real.shape);
      const [plain, solved] = [loss(real.data, await run(false)), loss(real.data, await run(true))];
      assert.ok(solved < plain, `${solved} with the solver, ${plain} without`);
    });

test('a group of equal values comes back', async () => {
  const x = new Float32Array(256).fill(0.25);
  const y = await (await on('wasm')).roundTrip('hqq_int4', x, [1, 256]);
  assert.ok(y.every((v) => Math.abs(v - 0.25) < 1e-3));
  const { scale } = await (await on('wasm')).encodePlanes(
    'hqq_int4',
    new Float32Array(512),
    [2, 256],
  );
  assert.ok(halves(scale!).every((bits) => fromHalf(bits) > 0));
});

test.run();
