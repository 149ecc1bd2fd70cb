// The oracles themselves: their bytes are those of ggml. The digests were made once by running
// ggml's own quantize_row_*_ref (llama.cpp release v0.5.0, the build in @node-llama-cpp/linux-x64
// 3.22.1) and its dequantize_row_* over the same seeded inputs.
import { createHash } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { all, encoderInput, formulas, searches } from './reference/ggml.ts';
import { golden } from './reference/golden.ts';
import { fromHalf, toHalf } from './reference/half.ts';
import { dequantize, quantize } from './reference/reference.ts';
import { randomBytes } from './samples.ts';

const test = suite('format oracles');

const digest = (x: Uint8Array | Float32Array): string =>
  createHash('sha256')
    .update(new Uint8Array(x.buffer, x.byteOffset, x.byteLength))
    .digest('hex');

/** NaNs have many bit patterns; one is enough to compare. */
const plainNaN = (x: Float32Array): Float32Array => x.map((v) => (Number.isNaN(v) ? NaN : v));

for (const [name, r] of Object.entries({ ...formulas, ...searches }))
  test(`${name}: the oracle quantizes to ggml's bytes`, () => {
    assert.is(digest(quantize(r, encoderInput(name, false))), golden[name]!.encode);
  });

for (const [name, r] of Object.entries(all)) {
  const { decode } = golden[name]!;
  // ggml has no decoder of q8_1, which only its dot products read.
  if (name === 'q8_1') assert.is(decode, undefined);
  else
    test(`${name}: the oracle decodes random structs to ggml's floats`, () => {
      const y = dequantize(r, randomBytes(3, r.bytes * 4000));
      assert.is(digest(plainNaN(y)), decode);
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
