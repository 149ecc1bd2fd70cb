// The tokenizer of the sample model against the encodings its authors recorded.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readTokenizer } from '../../runtime/models/tokenizer.ts';
import { windowsOf } from '../../runtime/models/windows.ts';
import { skip } from '../support/skip.ts';
import { sampleModel, sharedModel, temporaryFolder } from './tiny.ts';

const test = suite('tokenizer');

test('encodes a verse as the model was trained on it', async () => {
  const t = await readTokenizer(sampleModel);
  const ids = t.encode('In the beginning God created the heaven and the earth.');
  assert.equal(ids, [1010, 260, 852, 264, 1528, 438, 278, 561, 280, 260, 830, 268, 260, 741, 47]);
});

test('decode gives back the text, with blanks, newlines, emoji and accents', async () => {
  const t = await readTokenizer(sampleModel);
  for (const text of ["don't  stop", ' , .', '\n\n x', 'été 😀', 'a\tb', ''])
    assert.is(t.decode(t.encode(text)), text);
});

test('the end-of-text token is one token and is not printed', async () => {
  const t = await readTokenizer(sampleModel);
  assert.equal(t.encode('<|endoftext|>'), [0]);
  assert.is(t.decode([0, 1010]), 'In');
});

test('a folder without a tokenizer is an error that says so', async () => {
  const folder = await temporaryFolder();
  try {
    await readTokenizer(folder);
    assert.unreachable();
  } catch (e) {
    assert.match(String(e), /Q6005.*tokenizer\.json/);
  }
});

test('the text of the sample model makes the 60 windows of the reference', async () => {
  const t = await readTokenizer(sampleModel);
  const text = readFileSync(join(sampleModel, 'kjv.txt'), 'utf8');
  const windows = windowsOf(text, t, { bos: 0, length: 256 });
  assert.is(windows.length, 60);
  assert.is(windows[0]!.inputs[0], 0, 'a document begins with token 0');
  assert.is(windows[0]!.targets[255], windows[1]!.inputs[0], 'windows follow each other');
  assert.is(windowsOf(text, t, { bos: 0, length: 256, limit: 3 }).length, 3);
});

test('a text too short for one window is an error', async () => {
  const t = await readTokenizer(sampleModel);
  assert.throws(() => windowsOf('Amen.', t, { bos: 0, length: 256 }), /Q6011/);
});

const reference = join(sharedModel, 'reference.json');
if (existsSync(reference)) {
  test('encodes every recorded example', async () => {
    const t = await readTokenizer(sampleModel);
    const { encode_examples } = JSON.parse(readFileSync(reference, 'utf8'));
    for (const [text, ids] of encode_examples) assert.equal(t.encode(text), ids);
  });
} else skip('encodes every recorded example', 'the shared models are not here');

test.run();
