// ggml's block structs on WASM: those of up to 64 values, and the sizes of all. What encoders without an oracle
// give is held by digests of ggml's bytes in encode.test.ts and lattices.test.ts.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { harness } from './harness.ts';
import { all } from './reference/ggml.ts';
import { testStructs } from './structs.ts';

const test = suite('ggml structs');
const device = harness('wasm');

const bitsPerWeight: Readonly<Record<string, number>> = {
  iq1_m: 1.75,
  iq1_s: 1.5625,
  iq2_s: 2.5625,
  iq2_xs: 2.3125,
  iq2_xxs: 2.0625,
  iq3_s: 3.4375,
  iq3_xxs: 3.0625,
  iq4_nl: 4.5,
  iq4_xs: 4.25,
  mxfp4: 4.25,
  nvfp4: 4.5,
  q2_K: 2.625,
  q3_K: 3.4375,
  q4_0: 4.5,
  q4_1: 5,
  q4_K: 4.5,
  q5_0: 5.5,
  q5_1: 6,
  q5_K: 5.5,
  q6_K: 6.5625,
  q8_0: 8.5,
  q8_1: 9,
  q8_K: 9.125,
  tq1_0: 1.6875,
  tq2_0: 2.0625,
};

testStructs(test, 'wasm', (values) => values < 256);

for (const [name, r] of Object.entries(all)) {
  test(`${name}: takes the bits per weight of its struct`, async () => {
    const h = await device;
    assert.is((8 * r.bytes) / r.values, bitsPerWeight[name]);
    assert.is(await h.bitsPerWeight(name, [4, 4 * r.values]), bitsPerWeight[name]);
  });
  test(`${name}: a row that is not whole blocks is an error that names the block`, async () => {
    const h = await device;
    const length = r.values + 1;
    try {
      await h.encodeStruct(name, new Float32Array(length), [1, length]);
      assert.unreachable('accepted');
    } catch (e) {
      assert.match((e as Error).message, new RegExp(`\\b${r.values}\\b`));
      assert.match((e as Error).message, /multiple|divisible|divides/);
    }
  });
}

test.run();
