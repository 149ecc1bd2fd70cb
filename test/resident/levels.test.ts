// Block constants of several levels: formats with blocks in blocks, of sizes that fill vectors and of others, give on
// resident weights what the interpreter gives, in all variants of the kernels.
import fc from 'fast-check';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FormatRef, Json } from '../../compiler/artifact.ts';
import { type HostArray, interpret } from '../../compiler/index.ts';
import type { Residence } from '../../compiler/schedule/lower.ts';
import { residentKernel } from './evaluated.ts';

const test = suite('levels of block constants');
const kernels = fileURLToPath(new URL('./kernel.ts', import.meta.url));
const file = fileURLToPath(new URL('./nested.ts', import.meta.url));

const variants = [
  { relaxed: false, unsignedDot: false },
  { relaxed: true, unsignedDot: false },
  { relaxed: true, unsignedDot: true },
];

interface Nested {
  readonly name: 'twoLevel' | 'threeLevel';
  readonly outer: number;
  readonly middle: number;
  readonly inner: number;
  readonly bits: number;
  readonly minima: 'none' | 'inner' | 'outer';
  readonly unit: number;
}
const refOf = ({ name, ...options }: Nested): FormatRef => ({
  file,
  name,
  args: [options as unknown as Json],
});

const numbers = (shape: readonly number[], seed: number): HostArray => {
  let s = seed;
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return (s / 2 ** 31) * (1 + ((s >>> 8) % 5));
  });
  return { dtype: 'f32', shape, data };
};

const gcd = (a: number, b: number): number => (b ? gcd(b, a % b) : a);

/** Largest difference from the interpreter, relative to sums of the magnitudes of products. */
async function worst(f: Nested, simd: (typeof variants)[number], residence: Residence) {
  const ref = refOf(f);
  const kernel = residentKernel({ file: kernels, name: 'linear', formats: [ref] }, simd, residence);
  const k = (f.outer * 32) / gcd(f.outer, 32);
  let most = 0;
  for (const [m, n] of [
    [1, 19],
    [4, 5],
  ] as const) {
    const x = numbers([m, k], m);
    const w = numbers([n, k], n);
    const args = ref.args!;
    const fields = (await interpret({ file, name: `${f.name}.encode`, formatArgs: args }, [w]))
      .results;
    const inputs = [x, ...fields, numbers([n], 3)];
    const request = { file: kernels, name: 'linear', formats: [ref] };
    const want = (await interpret(request, inputs)).results[0]!;
    const got = kernel.run(inputs);
    assert.equal(got.shape, want.shape);
    for (let i = 0; i < m * n; i += 1) {
      let size = 1;
      for (let l = 0; l < k; l += 1)
        size += Math.abs(x.data[Math.floor(i / n) * k + l]! * w.data[(i % n) * k + l]!);
      const error = Math.abs(got.data[i]! - want.data[i]!) / size;
      assert.not(Number.isNaN(error), `element ${i}`);
      most = Math.max(most, error);
    }
  }
  return { most, notes: kernel.notes.join('\n') };
}

const rounding = 4e-6;

/** Blocks of four and more weights in blocks of up to 288. */
const nested: fc.Arbitrary<Nested> = fc
  .record({
    name: fc.constantFrom('twoLevel' as const, 'threeLevel' as const),
    inner: fc.constantFrom(4, 8, 12, 16, 20, 32, 48, 64),
    counts: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 4 })),
    bits: fc.integer({ min: 2, max: 6 }),
    minima: fc.constantFrom('none' as const, 'inner' as const, 'outer' as const),
    unit: fc.constantFrom(1, 0.5, -1, 1 / 7, -3),
  })
  .map(({ counts: [a, b], inner, ...rest }) => ({
    ...rest,
    inner,
    middle: a * inner,
    outer: a * b * inner,
  }))
  .filter(({ outer }) => outer <= 288);

test('made-up formats of two and three levels are what the interpreter says', async () => {
  await fc.assert(
    fc.asyncProperty(
      nested,
      fc.constantFrom(...variants),
      fc.constantFrom<Residence>('compact', 'wide'),
      async (f, simd, residence) => {
        const { most } = await worst(f, simd, residence);
        assert.ok(most < rounding, `${most}`);
      },
    ),
    {
      numRuns: 24,
      // Places in records are quotients here.
      examples: [
        [
          { name: 'twoLevel', outer: 48, middle: 12, inner: 4, bits: 2, minima: 'none', unit: 1 },
          { relaxed: true, unsignedDot: true },
          'compact',
        ],
      ],
    },
  );
});

for (const minima of ['none', 'inner', 'outer'] as const)
  for (const simd of variants)
    test(`constants of 256 weights multiply sums, minima: ${minima}, ${JSON.stringify(simd)}`, async () => {
      for (const f of [
        { name: 'twoLevel', outer: 256, middle: 0, inner: 32, bits: 4, minima, unit: 1 },
        { name: 'threeLevel', outer: 256, middle: 64, inner: 16, bits: 5, minima, unit: -0.25 },
      ] as const) {
        const { most, notes } = await worst(f, simd, 'compact');
        assert.ok(most < rounding, `${most}`);
        assert.match(notes, 'what belongs to 256 weights multiplies the sum over them');
      }
    });

test.run();
