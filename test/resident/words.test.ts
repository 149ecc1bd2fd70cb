// Codes multiplied as words of 16 bits: what the parts of words and the factors of activations come to, in integers of 16
// and 32 bits, is the sum of products.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type DType, dtypes } from '../../compiler/ir/dtype.ts';
import { flipsOf } from '../../compiler/schedule/packed.ts';
import { packingOf } from '../../compiler/schedule/packing.ts';
import { fitsWords, recipeOf, type WordRecipe } from '../../compiler/schedule/words.ts';

const test = suite('words');

/** Codes as a kernel for words has them. */
const field = (dtype: DType) => ({ dtype, packing: packingOf(dtype, 32, true) });

const int16 = (x: number): number => (x << 16) >> 16;

/** Bytes of one row of a vector: byte j holds, from its low bits up, the codes 4 p + j. */
function stored(codes: readonly number[], d: DType, bits: number): number[] {
  const flips = flipsOf(d, 'word tile');
  return [0, 1, 2, 3].map((j) => {
    let byte = 0;
    for (let p = 0; p < 8 / bits; p += 1)
      byte |= (codes[4 * p + j]! & (2 ** bits - 1)) << (bits * p);
    return byte ^ flips[j % 2]!;
  });
}

/** The dot product of a row, as the kernel computes it. */
function product(r: WordRecipe, bytes: readonly number[], x: readonly number[]): number {
  let sum = 0;
  for (const { plane, half, by } of [r.more])
    for (const word of [0, 2]) sum = (sum + by * r.unit * x[4 * plane + word + half]!) | 0;
  for (const word of [0, 2]) {
    const whole = int16(bytes[word]! | (bytes[word + 1]! << 8));
    for (const { from, mask, factors } of r.parts) {
      const part = from === 'upper' ? whole >> 8 : whole;
      const masked = mask === undefined ? part : part & mask;
      const factor = factors.reduce((s, f) => s + f.factor * x[4 * f.plane + word + f.half]!, 0);
      assert.is(int16(factor), factor);
      sum = (sum + masked * factor) | 0;
    }
  }
  return sum;
}

for (const d of ['u1', 'u2', 'u4', 'u8', 'i8'] as const)
  test(`the parts of words of ${d} add up to products of codes and activations`, () => {
    const recipe = recipeOf(field(d))!;
    const { bits } = dtypes[d];
    const [min, max] = d === 'i8' ? [-128, 127] : [0, 2 ** bits - 1];
    const count = 4 * recipe.planes;
    assert.ok(fitsWords(recipe, [min, max], [-127, 127], count));
    const list = (low: number, high: number) =>
      fc.array(fc.integer({ min: low, max: high }), { minLength: count, maxLength: count });
    fc.assert(
      fc.property(list(min, max), list(-127, 127), (codes, x) => {
        const want = codes.reduce((s, q, i) => s + q * x[i]!, 0) * recipe.unit;
        assert.is(product(recipe, stored(codes, d, bits), x), want | 0);
      }),
    );
  });

test('codes in pieces have no words', () => {
  for (const d of ['i5', 'u6'] as const) {
    const packing = packingOf(d, 32, false);
    assert.is(recipeOf({ dtype: d, packing }), undefined);
    assert.ok(recipeOf(field(d)));
  }
});

test('factors and sums that do not fit are refused', () => {
  assert.not(
    fitsWords(recipeOf(field('i8'))!, [-128, 127], [-128, 127], 32),
    'a factor of 16 bits',
  );
  assert.not(fitsWords(recipeOf(field('u8'))!, [0, 255], [-127, 127], 2048), 'a sum of 32 bits');
});

test.run();
