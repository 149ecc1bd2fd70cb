// Random numbers: the words are those of the publication's test vectors, every distribution is the same to the bit on
// the interpreter and as WebAssembly, and their moments are right.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { kernelOf, list, run, sourceOf, u32 } from './harness.ts';

const test = suite('quern/random');
const names = 'bernoulli, bits, gumbel, normal, permutation, randint, threefry, uniform';
const source = (body: string, params = 'seed: Tensor<u32, []>, p: Tensor<u32, []>'): string =>
  sourceOf({ 'quern/random': names }, kernelOf(params, body));

test('Threefry-2x32-20 gives the known answers', async () => {
  const text = source(
    'return threefry(a, b, c, d);',
    'a: u, b: u, c: u, d: u'.replaceAll('u', 'Tensor<u32, []>'),
  );
  const known = [
    [
      [0, 0, 0, 0],
      [0x6b200159, 0x99ba4efe],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0x1cb996fc, 0xbb002be7],
    ],
    [
      [0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3],
      [0xc4923a9c, 0x483df7a0],
    ],
  ] as const;
  for (const [input, want] of known) {
    const got = await run(text, input.map(u32));
    assert.equal(got.flatMap(list), [...want]);
  }
});

const mean = (x: readonly number[]): number => x.reduce((s, v) => s + v, 0) / x.length;
const variance = (x: readonly number[]): number => mean(x.map((v) => v * v)) - mean(x) ** 2;

test('distributions have their moments, and the same bits everywhere', async () => {
  const n = 5003;
  const text = source(
    `return [uniform(seed, [${n}]), normal(seed, [${n}]), gumbel(seed, [${n}]), f32(bernoulli(seed, [${n}], 0.25)),
      randint(seed, [${n}], 6), permutation(seed, ${n}), uniform(seed, [7, 3], p), bits(seed, [${n}], 1)];`,
  );
  const got = (await run(text, [u32(42), u32(1)])).map(list);
  const [u, z, g, b, d, order, small] = got as [
    number[],
    number[],
    number[],
    number[],
    number[],
    number[],
    number[],
  ];
  assert.ok(u.every((x) => x >= 0 && x < 1));
  const near = (x: number, want: number, by: number): void =>
    assert.ok(Math.abs(x - want) < by, `${x} is not ${want}`);
  near(mean(u), 0.5, 0.015);
  near(variance(u), 1 / 12, 0.005);
  near(mean(z), 0, 0.05);
  near(variance(z), 1, 0.07);
  near(mean(z.map((x) => x ** 4)), 3, 0.4);
  near(mean(g), 0.5772, 0.06);
  near(variance(g), Math.PI ** 2 / 6, 0.15);
  near(mean(b), 0.25, 0.02);
  near(mean(d), 2.5, 0.08);
  assert.equal([...new Set(d)].sort(), [0, 1, 2, 3, 4, 5]);
  assert.equal(
    [...order].sort((x, y) => x - y),
    Array.from({ length: n }, (_, i) => i),
  );
  assert.ok(order.some((x, i) => x !== i));
  // Another stream is another sequence; an element does not depend on how many there are.
  assert.ok(small.some((x, i) => x !== u[i]));
  const [again] = await run(source('return [uniform(seed, [7, 3])];'), [u32(42), u32(0)]);
  assert.equal(list(again), u.slice(0, 21));
});

test('the logarithm and the cosine inside of normal() are those of mathematics', async () => {
  const [z, x, y] = (
    await run(
      source(
        'return [normal(seed, [999]), bits(seed, [999]), threefry(seed, u32(0), u32(iota(999)), u32(iota(999)) & 0)[1]];',
      ),
      [u32(7), u32(0)],
    )
  ).map(list) as [number[], number[], number[]];
  z.forEach((v, i) => {
    const a = ((x[i]! >>> 9) + 0.5) * 2 ** -23;
    const want = Math.sqrt(-2 * Math.log(a)) * Math.cos(2 * Math.PI * (y[i]! >>> 8) * 2 ** -24);
    assert.ok(Math.abs(v - want) < 2e-6, `${v} is not ${want}`);
  });
});

test.run();
