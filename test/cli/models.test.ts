// quern eval and quern generate on real models, as users run them.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  sampleModel,
  temporaryFolder,
  tinyConfig,
  tinyTensors,
  writeTinyModel,
} from '../models/tiny.ts';
import { quern } from './run.ts';

const test = suite('eval and generate');
let folder = '';
test.before(async () => {
  folder = await temporaryFolder();
  await writeTinyModel(join(folder, 'tiny'));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

test('eval of the sample model gives the loss of the NumPy reference on the first windows', async () => {
  const { code, out, err } = await quern([
    'eval',
    sampleModel,
    '--text',
    join(sampleModel, 'kjv.txt'),
    '--limit-windows',
    '5',
    '--json',
  ]);
  assert.is(code, 0, err);
  // Windows 0 to 4 in F32 with NumPy: 3.0436, 2.6200, 2.9524, 2.8910, 3.2578.
  assert.ok(Math.abs(JSON.parse(out).loss - 2.95296) < 0.0005, out);
});

test('eval prints loss, perplexity and speed', async () => {
  const { code, out, err } = await quern([
    'eval',
    at('tiny'),
    '--text',
    join(sampleModel, 'kjv.txt'),
    '--limit-windows',
    '2',
  ]);
  assert.is(code, 0, err);
  assert.match(out, /loss\s+\d+\.\d{4} nats\/token over 2 windows \(64 tokens\)/);
  assert.match(out, /perplexity\s+\d/);
  assert.match(out, /tokens\/s/);
});

test('generate continues a prompt as the reference does', async () => {
  const { code, out, err } = await quern([
    'generate',
    sampleModel,
    '-p',
    'In the beginning God',
    '-n',
    '12',
  ]);
  assert.is(code, 0, err);
  assert.is(out, 'In the beginning God was in the temple of the Lord, and the Lord Jesus\n');
});

test('a seeded sample is the same twice and another with another seed', async () => {
  const run = async (seed: string) =>
    (
      await quern([
        'generate',
        at('tiny'),
        '-p',
        'And',
        '-n',
        '8',
        '--temperature',
        '1.5',
        '--seed',
        seed,
        '--json',
      ])
    ).out;
  const ids = (json: string) => JSON.parse(json).ids;
  const first = ids(await run('1'));
  assert.equal(first, ids(await run('1')));
  assert.not.equal(first, ids(await run('2')));
});

test('generation stops where the context is full', async () => {
  const { code, out } = await quern(['generate', at('tiny'), '-p', 'And', '-n', '1000', '--json']);
  assert.is(code, 0);
  // Start token and prompt take two of the 32 positions; the last position still predicts one.
  assert.ok(JSON.parse(out).ids.length <= 31);
});

const refused: [string, () => Promise<string[]>, RegExp][] = [
  [
    'a prompt longer than the context',
    async () => ['generate', at('tiny'), '-p', 'word '.repeat(40)],
    /Q6009/,
  ],
  [
    'a text that is not there',
    async () => ['eval', at('tiny'), '--text', at('absent.txt')],
    /ENOENT/,
  ],
  [
    'a text too short for a window',
    async () => {
      writeFileSync(at('short.txt'), 'Amen.');
      return ['eval', at('tiny'), '--text', at('short.txt')];
    },
    /Q6011/,
  ],
  [
    'weights that do not match the config',
    async () => {
      const wide = { ...tinyConfig, hidden_dim: 128 };
      return ['generate', await writeTinyModel(at('wide'), tinyTensors(), wide), '-p', 'a'];
    },
    /Q6004.*w1.*\[96, 64\].*\[128, 64\]/,
  ],
  [
    'a model without a layer',
    async () => {
      const rest = tinyTensors().filter((t) => t.name !== 'layers.1.attention.wo.weight');
      return ['generate', await writeTinyModel(at('gap'), rest), '-p', 'a'];
    },
    /Q6003.*layers\.1\.attention\.wo/,
  ],
  [
    'a config that is no JSON',
    async () => {
      const path = await writeTinyModel(at('config'));
      writeFileSync(join(path, 'config.json'), '{');
      return ['generate', path, '-p', 'a'];
    },
    /Q6002/,
  ],
  [
    'a compressed model whose description lies',
    async () => {
      const path = at('lying');
      const made = await quern(['compress', at('tiny'), '-f', 'q4_0', '-o', path]);
      assert.is(made.code, 0, made.err);
      const file = join(path, 'model.safetensors');
      const bytes = readFileSync(file);
      // Same length, other shape: [64,64] becomes [64,32] in the description of one matrix.
      const text = bytes.toString('latin1').replace('\\"shape\\":[64,64]', '\\"shape\\":[64,32]');
      writeFileSync(file, Buffer.from(text, 'latin1'));
      return ['generate', path, '-p', 'a'];
    },
    /Q5012|Q6004|Q6008/,
  ],
];
for (const [what, args, message] of refused)
  test(`${what} is refused with one message`, async () => {
    const { code, err } = await quern(await args());
    assert.is(code, 1, err);
    assert.match(err, message);
    assert.not.match(err, /\n\s+at /);
  });

test.run();
