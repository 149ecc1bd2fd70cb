// Rows of encoded tables, looked up by index: every kind of block is decoded in vectors.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compiled, shipped } from './harness.ts';

const test = suite('embeddings');
const names = ['nf4', 'q4_0', 'q8_0', 'q4_K', 'q6_K', 'mxfp4', 'nvfp4_modelopt', 'iq4_nl'];
for (const name of names)
  test(`rows of a table in ${name} are gathered and decoded by one kernel`, async () => {
    const made = await compiled({ file: 'quern/llama', name: 'embed', formats: [shipped(name)] });
    assert.is(made.manifest.kernels.length, 1);
  });

test.run();
