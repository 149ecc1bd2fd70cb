// quern compress as users run it: what it writes, and how it refuses what it cannot compress.
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openSafetensors } from '../../runtime/files/safetensors.ts';
import {
  randomValues,
  temporaryFolder,
  tinyTensors,
  writeTensors,
  writeTinyModel,
} from '../models/tiny.ts';
import { quern } from './run.ts';

const test = suite('quern compress');
let folder = '';
test.before(async () => {
  folder = await temporaryFolder();
  await writeTinyModel(join(folder, 'tiny'));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

const at = (...names: string[]) => join(folder, ...names);
const compress = (model: string, output: string, ...rest: string[]) =>
  quern(['compress', model, '-f', 'q4_0', '-o', output, ...rest]);

test('encodes the matrices, copies the rest, and describes what it wrote', async () => {
  const { code, out, err } = await compress(at('tiny'), at('q4'));
  assert.is(code, 0, err);
  assert.match(out, /layers\.0\.attention\.wq\.weight\s+64 x 64\s+q4_0\s+4\.500/);
  assert.match(out, /norm\.weight\s+64\s+F32, copied\s+32\.000/);
  assert.match(out, /encoded in all\s+15 of 20 tensors\s+4\.500/);
  assert.equal(readdirSync(at('q4')).sort(), [
    'config.json',
    'model.safetensors',
    'tokenizer.json',
  ]);
  const reader = await openSafetensors(at('q4'));
  const archive = JSON.parse(reader.metadata.quern!);
  assert.equal(archive.tensors['layers.0.attention.wk.weight'], {
    format: { file: 'quern/formats', name: 'q4_0' },
    shape: [32, 64],
    fields: { d: { dtype: 'f16', shape: [32, 2] }, q: { dtype: 'u4', shape: [32, 2, 32] } },
  });
  assert.is(reader.info('layers.0.attention.wk.weight.q').bytes, 32 * 32);
  assert.equal(await reader.readRows('norm.weight'), new Float32Array(64).fill(1));
  await reader.close();
});

test('the relative error is that of the decoded weights', async () => {
  const { out } = await quern(['compress', at('tiny'), '-f', 'q8_0', '-o', at('q8'), '--json']);
  const { tensors } = JSON.parse(out);
  const wq = tensors.find((t: { name: string }) => t.name === 'layers.0.attention.wq.weight');
  // Uniform values in [-0.3, 0.3) on a grid of 254 steps: the error of rounding is a step / sqrt(12).
  assert.ok(Math.abs(wq.relativeError - 1 / 127 / 2) < 0.001, wq.relativeError);
});

test('--only and --skip choose by name', async () => {
  const { code, out, err } = await compress(
    at('tiny'),
    at('some'),
    '--only',
    'layers.*',
    '--skip',
    '*.w2.*',
    '--json',
  );
  assert.is(code, 0, err);
  const encoded = JSON.parse(out).tensors.filter((t: { format?: object }) => t.format);
  assert.is(encoded.length, 12);
  assert.ok(
    encoded.every((t: { name: string }) => t.name.startsWith('layers.') && !t.name.includes('w2')),
  );
});

test('a pattern that leaves nothing is an error', async () => {
  const { code, err } = await compress(at('tiny'), at('nothing'), '--only', 'nosuch*');
  assert.is(code, 1);
  assert.match(err, /Q6011.*\n.*--only/);
  assert.not.ok(existsSync(at('nothing')));
});

test('a user-defined format compresses like a built-in one', async () => {
  writeFileSync(
    at('mine.ts'),
    `
    import { abs, amax, clamp, f16, format, i4, round } from 'quern';
    import type { Tensor, f32 } from 'quern';
    export const mine = format({
      block: 16,
      encode(x: Tensor<f32, [16]>) {
        const d = f16(amax(abs(x)) / 7);
        return { d, q: i4(clamp(round(d === 0 ? 0 : x / d), -7, 7)) };
      },
      decode: ({ d, q }) => q * d,
    });
  `,
  );
  const { code, out, err } = await quern([
    'compress',
    at('tiny'),
    '-f',
    `${at('mine.ts')}#mine`,
    '-o',
    at('mine'),
  ]);
  assert.is(code, 0, err);
  assert.match(out, /wq\.weight\s+64 x 64\s+mine\s+5\.000/);
  const run = await quern(['generate', at('mine'), '-p', 'And', '-n', '2', '--json']);
  assert.is(run.code, 0, run.err);
});

test('a fault in a format is shown at its line', async () => {
  writeFileSync(
    at('bad.ts'),
    `import { format, f16 } from 'quern';
export const bad = format({
  block: 32,
  encode: (x) => ({ d: f16(summ(x)) }),
  decode: ({ d }) => d,
});
`,
  );
  const { code, err } = await quern([
    'compress',
    at('tiny'),
    '-f',
    `${at('bad.ts')}#bad`,
    '-o',
    at('bad'),
  ]);
  assert.is(code, 1);
  assert.match(err, /Q1003.*bad\.ts:4:28/);
  assert.match(err, /summ/);
});

test('a matrix that the block does not divide is named, and --skip offered', async () => {
  await writeTensors(at('odd.safetensors'), [
    { name: 'odd', shape: [2, 48], data: new Float32Array(96) },
  ]);
  const { code, err } = await compress(at('odd.safetensors'), at('odd'));
  assert.is(code, 1);
  assert.match(err, /Q6007.*odd.*\[2, 48\].*32/);
  assert.match(err, /--skip 'odd'/);
  assert.not.ok(existsSync(at('odd')));
});

for (const value of [NaN, Infinity, -Infinity])
  test(`a weight that is ${value} is named by tensor and place`, async () => {
    const data = randomValues(128, 1);
    data[70] = value;
    await writeTensors(at('nonfinite.safetensors'), [{ name: 'w', shape: [4, 32], data }]);
    const { code, err } = await compress(at('nonfinite.safetensors'), at('nonfinite'));
    assert.is(code, 1);
    assert.match(err, new RegExp(`Q6006.*w holds ${value} at \\[2, 6\\]`));
    assert.not.ok(existsSync(at('nonfinite')));
    const allowed = await compress(
      at('nonfinite.safetensors'),
      at('allowed.safetensors'),
      '--allow-nonfinite',
    );
    assert.is(allowed.code, 0, allowed.err);
  });

const header = (text: string, length = text.length): Buffer => {
  const b = Buffer.alloc(8 + text.length);
  b.writeBigUInt64LE(BigInt(length));
  b.write(text, 8);
  return b;
};
const hostile: [string, () => Buffer, RegExp][] = [
  ['an empty file', () => Buffer.alloc(0), /Q6102/],
  ['a header longer than the file', () => header('{}', 1e7), /Q6102.*truncated/],
  [
    'a header of 2^63 bytes',
    () => {
      const b = Buffer.alloc(16);
      b.writeBigUInt64LE(2n ** 63n);
      return b;
    },
    /Q6102/,
  ],
  ['a header that is no JSON', () => header('{"w":'), /Q6102/],
  [
    'an unknown dtype',
    () => header('{"w":{"dtype":"F12","shape":[0],"data_offsets":[0,0]}}'),
    /Q6103.*F12/,
  ],
  [
    'offsets outside the file',
    () => header('{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    /Q6103/,
  ],
  [
    'a shape that overflows',
    () => header('{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}'),
    /Q610[23]/,
  ],
];
for (const [what, bytes, message] of hostile)
  test(`${what} is refused with one message`, async () => {
    writeFileSync(at('hostile.safetensors'), bytes());
    const { code, err } = await compress(at('hostile.safetensors'), at('hostile'));
    assert.is(code, 1);
    assert.match(err, message);
    assert.not.match(err, /\n\s+at /);
    assert.not.ok(existsSync(at('hostile')));
  });

test('a truncated model is refused before anything is written', async () => {
  await writeTensors(at('cut.safetensors'), tinyTensors());
  truncateSync(at('cut.safetensors'), 100_000);
  const { code, err } = await compress(at('cut.safetensors'), at('cut'));
  assert.is(code, 1);
  assert.match(err, /Q610[23].*truncated/);
});

test('an output that cannot be written is refused, and so is the input itself', async () => {
  writeFileSync(at('file'), '');
  const blocked = await compress(at('tiny'), at('file', 'under'));
  assert.is(blocked.code, 1);
  assert.match(blocked.err, /Q6010/);
  const before = readFileSync(at('tiny', 'model.safetensors'));
  const same = await compress(at('tiny'), at('tiny'));
  assert.is(same.code, 1);
  assert.match(same.err, /Q6010.*being read/);
  assert.equal(readFileSync(at('tiny', 'model.safetensors')), before);
});

test('a model that is not there is an error with the path', async () => {
  const { code, err } = await compress(at('absent'), at('out'));
  assert.is(code, 1);
  assert.match(err, /Q6001.*absent/);
});

test('a sharded model is read through its index', async () => {
  mkdirSync(at('shards'));
  await writeTensors(at('shards', 'a.safetensors'), [
    { name: 'a', shape: [2, 32], data: randomValues(64, 1) },
  ]);
  await writeTensors(at('shards', 'b.safetensors'), [
    { name: 'b', shape: [2, 64], data: randomValues(128, 2) },
  ]);
  const index = at('shards', 'model.safetensors.index.json');
  writeFileSync(index, JSON.stringify({ weight_map: { a: 'a.safetensors', b: 'b.safetensors' } }));
  const { code, out, err } = await compress(index, at('joined.safetensors'), '--json');
  assert.is(code, 0, err);
  assert.equal(
    JSON.parse(out).tensors.map((t: { name: string }) => t.name),
    ['a', 'b'],
  );
});

test.run();
