// config.json comes from anywhere: every field that the model relies on is checked.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseArchive } from '../../runtime/models/archive.ts';
import { parseConfig, readConfig } from '../../runtime/models/config.ts';
import { sampleToken, uniformDraw } from '../../runtime/models/sample.ts';
import { sampleModel, tinyConfig } from './tiny.ts';

const test = suite('model description');

test('the sample model is read', async () => {
  const c = await readConfig(sampleModel);
  assert.equal(
    [c.dim, c.layers, c.heads, c.keyValueHeads, c.headDim, c.hiddenDim],
    [256, 4, 8, 4, 32, 768],
  );
  assert.is(c.tiedEmbeddings, true);
});

const wrong: [string, object, RegExp][] = [
  ['another architecture', { arch: 'mamba' }, /arch.*mamba/],
  ['half-split rotary positions', { rope: 'half-split' }, /interleaved/],
  ['a missing size', { dim: undefined }, /dim.*missing/],
  ['a size that is no number', { n_layers: '4' }, /n_layers.*"4"/],
  ['a negative size', { vocab_size: -1 }, /vocab_size/],
  ['a fraction', { hidden_dim: 1.5 }, /hidden_dim.*1\.5/],
  ['heads that do not divide the width', { n_heads: 5 }, /dim.*5 heads/],
  ['heads that do not share evenly', { n_kv_heads: 3 }, /n_kv_heads/],
  ['a start token outside the vocabulary', { bos_id: 2048 }, /bos_id/],
  ['an unclear output matrix', { tied_embeddings: 'yes' }, /tied_embeddings/],
  ['a huge size', { max_seq_len: 1e300 }, /max_seq_len/],
];
for (const [what, change, message] of wrong)
  test(`${what} is refused`, () => {
    assert.throws(() => parseConfig({ ...tinyConfig, ...change }, 'config.json'), message);
  });

const archive = (change: object) =>
  JSON.stringify({ version: 1, quern: '0', tensors: {}, ...change });
const entry = {
  format: { file: 'quern/formats', name: 'q4_0' },
  shape: [4, 32],
  fields: { d: { dtype: 'f16', shape: [4, 1] } },
};

test('a description of compressed tensors is read', () => {
  const a = parseArchive(archive({ tensors: { w: entry } }), 'x');
  assert.equal({ ...a.tensors.w!.fields }, entry.fields);
});

const damaged: [string, string][] = [
  ['text that is no JSON', '{'],
  ['another version', archive({ version: 2 })],
  ['no tensors', archive({ tensors: null })],
  ['a shape of strings', archive({ tensors: { w: { ...entry, shape: ['4'] } } })],
  [
    'an unknown dtype',
    archive({ tensors: { w: { ...entry, fields: { d: { dtype: 'f17', shape: [1] } } } } }),
  ],
  [
    'a format without a name',
    archive({ tensors: { w: { ...entry, format: { file: 'quern/formats' } } } }),
  ],
  ['a negative size', archive({ tensors: { w: { ...entry, shape: [-4, 32] } } })],
];
for (const [what, text] of damaged)
  test(`${what} in the description of compressed tensors is refused`, () => {
    assert.throws(() => parseArchive(text, 'x'), /Q6008/);
  });

test('a seeded draw is the same every time and covers the unit interval', () => {
  const draws = Array.from({ length: 1000 }, (_, i) => uniformDraw(7, i));
  assert.equal(
    draws,
    Array.from({ length: 1000 }, (_, i) => uniformDraw(7, i)),
  );
  assert.ok(draws.every((u) => u >= 0 && u < 1));
  assert.ok(Math.abs(draws.reduce((a, b) => a + b) / 1000 - 0.5) < 0.05);
  assert.is.not(uniformDraw(8, 0), uniformDraw(7, 0));
});

test('a low temperature takes the most likely token, a draw at the end the last one', () => {
  assert.is(sampleToken([0, 5, 1], 0.01, 0.5), 1);
  assert.is(sampleToken([0, 0, 0], 1, 0.999), 2);
  assert.is(sampleToken([0, 0, 0], 1, 0), 0);
});

test.run();
