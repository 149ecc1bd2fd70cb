// Encoders of ggml's types with an oracle, on real weights.
import { suite } from 'uvu';
import { skip } from '../support/skip.ts';
import { realWeights, sameBlocks } from './checks.ts';
import { harness } from './harness.ts';
import { formulas, searches } from './reference/ggml.ts';
import { quantize } from './reference/reference.ts';

const test = suite('ggml structs of real weights');
const device = harness('wasm');

for (const matrix of ['layers.0.attention.wq.weight', 'layers.2.feed_forward.w2.weight']) {
  const real = realWeights(matrix);
  if (!real) {
    skip(`ggml structs of ${matrix}`, 'the model verse-4m is not beside the repository');
    continue;
  }
  const { data, shape } = real;
  for (const [name, r] of Object.entries({ ...formulas, ...searches }))
    test(`${name}: encodes ${matrix} to the oracle's bytes`, async () => {
      const found = await (await device).encodeStruct(name, data, shape);
      sameBlocks(found, quantize(r, data), r.bytes, name);
    });
}

test.run();
