// Importance matrices: both forms of llama.cpp byte for byte, damaged files, and sums checked against plain arithmetic.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { QuernError } from '../../runtime/errors.ts';
import { openGguf } from '../../runtime/files/gguf/reader.ts';
import {
  type Importance,
  columnWeights,
  encodeDat,
  encodeImatrixGguf,
  parseDat,
  readImatrix,
  writeImatrix,
} from '../../runtime/files/imatrix.ts';
import { collectImportance } from '../../runtime/models/importance.ts';
import { loadLlama } from '../../runtime/models/llama.ts';
import { windowsOf } from '../../runtime/models/windows.ts';
import { tinyConfig, tinyTensors, writeTinyModel } from '../models/tiny.ts';

const test = suite('importance matrices');
const root = mkdtempSync(join(tmpdir(), 'quern-imatrix-'));
test.after(() => rmSync(root, { recursive: true, force: true }));
const path = (name: string): string => join(root, name);

const sample: Importance = {
  entries: new Map([
    ['blk.1.w', { sums: Float64Array.of(8, 4, 0), counts: [8] }],
    ['blk.0.w', { sums: Float64Array.of(16, 32), counts: [16] }],
  ]),
  chunks: 2,
  chunkSize: 8,
  datasets: ['text.txt'],
};
const int = (n: number): Buffer => {
  const b = Buffer.alloc(4);
  b.writeInt32LE(n);
  return b;
};
const floats = (...list: number[]): Buffer => Buffer.from(Float32Array.from(list).buffer);

test('the old form is names in order, and means times the number of chunks', () => {
  const expected = Buffer.concat([
    int(2),
    int(7),
    Buffer.from('blk.0.w'),
    int(2),
    int(2),
    floats(2, 4),
    int(7),
    Buffer.from('blk.1.w'),
    int(1),
    int(3),
    floats(1, 0.5, 0),
    int(2),
    int(8),
    Buffer.from('text.txt'),
  ]);
  assert.equal(Buffer.from(encodeDat(sample)), expected);
  const back = parseDat('f', expected);
  assert.equal([...back.entries.get('blk.0.w')!.sums], [2, 4]);
  assert.equal(back.entries.get('blk.0.w')!.counts, [2]);
  assert.equal([back.chunks, back.datasets], [2, ['text.txt']]);
  // The end may be missing.
  assert.is(parseDat('f', expected.subarray(0, expected.length - 16)).chunks, 0);
});

test('the new form has a tensor of sums and one of counts for each matrix', async () => {
  await writeImatrix(path('a.gguf'), sample);
  const r = await openGguf(path('a.gguf'));
  assert.equal(
    [...r.tensors.values()].map((t) => [t.name, t.shape]),
    [
      ['blk.0.w.in_sum2', [1, 2]],
      ['blk.0.w.counts', [1, 1]],
      ['blk.1.w.in_sum2', [1, 3]],
      ['blk.1.w.counts', [1, 1]],
    ],
  );
  await r.close();
  const back = await readImatrix(path('a.gguf'));
  assert.equal(back.entries.get('blk.1.w'), sample.entries.get('blk.1.w'));
  assert.equal([back.chunks, back.chunkSize, back.datasets], [2, 8, ['text.txt']]);
});

test('both forms give the same weights of columns', async () => {
  await writeImatrix(path('b.dat'), sample);
  await writeImatrix(path('b.gguf'), sample);
  for (const name of ['b.dat', 'b.gguf']) {
    const m = await readImatrix(path(name));
    assert.equal(columnWeights(name, m, 'blk.0.w', 2), [Float32Array.of(1, 2)]);
    assert.is(columnWeights(name, m, 'other', 2), undefined);
    assert.throws(() => columnWeights(name, m, 'blk.0.w', 3), /Q6113.*3 columns/);
  }
});

const refused = (work: () => unknown): string => {
  try {
    work();
    return 'accepted';
  } catch (e) {
    assert.ok(e instanceof QuernError, String(e));
    return e.message;
  }
};
for (const [what, bytes, message] of [
  ['nothing', Buffer.alloc(0), /Q6113.*number of entries/],
  ['no entries', int(0), /Q6113.*0 entries/],
  ['2^31 - 1 entries', int(2 ** 31 - 1), /Q6113.*left/],
  ['a name of negative length', Buffer.concat([int(1), int(-5)]), /Q6113.*-5/],
  ['a huge name', Buffer.concat([int(1), int(2 ** 30)]), /Q6113.*left/],
  [
    'values past the end',
    Buffer.concat([int(1), int(1), Buffer.from('a'), int(1), int(2 ** 29)]),
    /Q6113.*values/,
  ],
  [
    'no values',
    Buffer.concat([int(1), int(1), Buffer.from('a'), int(1), int(0)]),
    /Q6113.*0 values/,
  ],
  [
    'a sum that is NaN',
    Buffer.concat([int(1), int(1), Buffer.from('a'), int(1), int(1), floats(NaN)]),
    /Q6113.*finite/,
  ],
  [
    'a sum below 0',
    Buffer.concat([int(1), int(1), Buffer.from('a'), int(1), int(1), floats(-1)]),
    /Q6113.*>= 0/,
  ],
  [
    'a name that is not UTF-8',
    Buffer.concat([int(1), int(1), Buffer.from([0xff])]),
    /Q6113.*UTF-8/,
  ],
] as const)
  test(`${what} in the old form is refused`, () =>
    assert.match(
      refused(() => parseDat('f', bytes)),
      message,
    ));

test('a name twice in the old form is refused', () => {
  const one = Buffer.concat([int(1), Buffer.from('a'), int(1), int(1), floats(1)]);
  assert.match(
    refused(() => parseDat('f', Buffer.concat([int(2), one, one]))),
    /Q6113.*"a" twice/,
  );
});

test('changed bytes of the old form are refused or read, never worse', () => {
  const whole = Buffer.from(encodeDat(sample));
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (place, byte, cut) => {
      const bytes = Buffer.from(whole);
      bytes[place] = byte;
      for (const input of [bytes, bytes.subarray(0, cut)])
        assert.match(
          refused(() => parseDat('f', input)),
          /Q6113|accepted/,
        );
    }),
    { numRuns: 1000 },
  );
});

test('a GGUF file that is no importance matrix is refused', async () => {
  const file = encodeImatrixGguf('f', sample);
  const say = async (from: string, to: string): Promise<string> => {
    const text = Buffer.from(file).toString('latin1').replace(from, to);
    writeFileSync(path('c.gguf'), Buffer.from(text, 'latin1'));
    return String(await readImatrix(path('c.gguf')).catch((e: unknown) => e));
  };
  assert.match(await say('imatrix', 'adapter'), /Q6113.*"adapter"/);
  assert.match(await say('blk.0.w.counts', 'blk.0.w.countz'), /Q6113.*no tensor.*counts/);
  assert.match(await say('blk.0.w.in_sum2', 'blk.0.w.in_sumZ'), /Q6113.*no sums/);
});

test('the sums of a model are those of plain arithmetic', async () => {
  await writeTinyModel(path('tiny'));
  const model = await loadLlama(path('tiny'));
  const text = 'In the beginning God created the heaven and the earth. '.repeat(12);
  const m = await collectImportance(model, text, 'x');
  const windows = windowsOf(text, model.tokenizer, { bos: 0, length: tinyConfig.max_seq_len });
  model.dispose();
  assert.is(m.entries.size, 7 * tinyConfig.n_layers);
  // Into the first layer goes the table's row of each token, divided by its rms; the norm's weights are 1.
  const table = tinyTensors()[0]!.data as Float32Array;
  const { dim, norm_eps } = tinyConfig;
  const expected = new Float64Array(dim);
  for (const { inputs } of windows)
    for (const id of inputs) {
      const row = table.subarray(id * dim, (id + 1) * dim);
      const mean = row.reduce((s, x) => s + x * x, 0) / dim + norm_eps;
      for (const [j, x] of row.entries()) expected[j]! += (x * x) / mean;
    }
  const { sums, counts } = m.entries.get('blk.0.attn_k.weight')!;
  assert.equal(counts, [windows.length * tinyConfig.max_seq_len]);
  for (const [j, x] of expected.entries())
    assert.ok(Math.abs(sums[j]! - x) < 1e-4 * x, `${sums[j]} ${x}`);
  assert.is(m.entries.get('blk.1.ffn_down.weight')!.sums.length, tinyConfig.hidden_dim);
});

test('writing the same sums twice gives the same bytes', async () => {
  await writeImatrix(path('1.gguf'), sample);
  await writeImatrix(path('2.gguf'), sample);
  assert.ok(readFileSync(path('1.gguf')).equals(readFileSync(path('2.gguf'))));
});

test.run();
