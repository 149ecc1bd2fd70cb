// The oracles themselves: their bytes are those of ggml. The digests were made once by running ggml's own
// quantize_row_*_ref (llama.cpp release v0.5.0, the build in @node-llama-cpp/linux-x64 3.22.1) and its
// dequantize_row_* over the same seeded inputs.
import { createHash } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { golden } from './reference/golden.ts';
import { fromHalf, toHalf } from './reference/half.ts';
import { type BlockReference, dequantize, quantize } from './reference/reference.ts';
import * as searched from './reference/searched.ts';
import * as simple from './reference/simple.ts';
import { adversarial, join, randomBytes, weights } from './samples.ts';

const test = suite('format oracles');

const digest = (x: Uint8Array | Float32Array): string =>
  createHash('sha256')
    .update(new Uint8Array(x.buffer, x.byteOffset, x.byteLength))
    .digest('hex');

/** NaNs have many bit patterns; one is enough to compare. */
const plainNaN = (x: Float32Array): Float32Array => x.map((v) => (Number.isNaN(v) ? NaN : v));

for (const [group, extreme] of [
  [simple, true],
  [searched, false],
] as const)
  for (const [name, r] of Object.entries(group as Record<string, BlockReference>)) {
    test(`${name}: the oracle quantizes to ggml's bytes`, () => {
      const x = join(adversarial(1, r.values, { extreme }), weights(2, 256 * 400));
      assert.is(digest(quantize(r, x)), golden[name]!.encode);
    });
    test(`${name}: the oracle decodes random structs to ggml's floats`, () => {
      const y = dequantize(r, randomBytes(3, r.bytes * 4000));
      assert.is(digest(plainNaN(y)), golden[name]!.decode);
    });
  }

test('half: every finite pattern converts to f32 and back', () => {
  for (let bits = 0; bits < 0x10000; bits++)
    if ((bits & 0x7fff) <= 0x7c00) assert.is(toHalf(fromHalf(bits)), bits);
});

test('half: values half way between two patterns go to the even one', () => {
  for (let bits = 0; bits < 0x7bff; bits++) {
    const middle = (fromHalf(bits) + fromHalf(bits + 1)) / 2;
    assert.is(toHalf(middle), bits % 2 ? bits + 1 : bits);
    assert.is(toHalf(-middle) & 0x7fff, bits % 2 ? bits + 1 : bits);
  }
});

test.run();
