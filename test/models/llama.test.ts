// The sample model on compiled kernels against what its authors recorded in F32 with NumPy.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compressModel } from '../../runtime/models/compress.ts';
import { evaluateText } from '../../runtime/models/evaluate.ts';
import { type Llama, loadLlama } from '../../runtime/models/llama.ts';
import { skip } from '../support/skip.ts';
import { sampleModel, sharedModel } from './tiny.ts';

const test = suite('sample model');
let model: Llama;
test.before(async () => {
  model = await loadLlama(sampleModel);
});
test.after(() => model.dispose());

const text = readFileSync(join(sampleModel, 'kjv.txt'), 'utf8');

test('its loss over all windows is that of the reference', async () => {
  const { loss, windows, perplexity } = await evaluateText(model, text);
  assert.is(windows, 60);
  // 2.74303 in F32; rounding the weights to F16 changes the sixth digit.
  assert.ok(Math.abs(loss - 2.743) < 0.0005, `${loss}`);
  assert.ok(Math.abs(perplexity - Math.exp(loss)) < 1e-9);
});

test('every window has the loss of the reference', async () => {
  const { windowLosses } = await evaluateText(model, text, { limit: 10 });
  const reference = [3.0437, 2.62, 2.9524, 2.891, 3.2578, 3.058, 2.9189, 2.8093, 2.8422, 2.7023];
  for (const [i, loss] of windowLosses.entries())
    assert.ok(Math.abs(loss - reference[i]!) < 0.001, `window ${i}: ${loss}`);
});

test('evaluating leaves no memory behind', async () => {
  await evaluateText(model, text, { limit: 1 });
  const before = model.device.used;
  await evaluateText(model, text, { limit: 2 });
  assert.is(model.device.used, before);
});

const continued = async (prompt: string, count: number): Promise<string> => {
  const ids: number[] = [];
  for await (const id of model.generate(prompt, { count })) ids.push(id);
  return prompt + model.tokenizer.decode(ids);
};

const file = join(sharedModel, 'reference.json');
if (existsSync(file)) {
  const { greedy } = JSON.parse(readFileSync(file, 'utf8')) as { greedy: Record<string, string> };
  for (const [prompt, expected] of Object.entries(greedy))
    test(`greedy continuation of ${JSON.stringify(prompt)} is that of the reference`, async () => {
      assert.is(await continued(prompt, 70), expected);
    });
} else skip('greedy continuations of the reference', 'the shared models are not here');

test('a stopped generation frees its cache', async () => {
  const before = model.device.used;
  for await (const id of model.generate('And', { count: 20 })) if (id >= 0) break;
  assert.is(model.device.used, before);
});

test('activations of 8 bits change the loss of compressed weights little, and layers run whole', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'quern-llama-'));
  try {
    await compressModel({
      model: sampleModel,
      output: folder,
      format: { file: 'quern/formats', name: 'q4_0' },
      version: '0',
      selects: () => true,
    });
    const losses: number[] = [];
    for (const activations of ['f32', 'q8'] as const) {
      const compressed = await loadLlama(folder, { activations });
      losses.push((await evaluateText(compressed, text, { limit: 3 })).loss);
      const ids: number[] = [];
      for await (const id of compressed.generate('And God said', { count: 5 })) ids.push(id);
      assert.is(ids.length, 5);
      compressed.dispose();
    }
    const [exact, rounded] = losses as [number, number];
    assert.ok(Math.abs(exact - rounded) < 0.01, `${exact} and ${rounded}`);
    assert.is.not(exact, rounded);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
