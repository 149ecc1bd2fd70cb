// quern convert as users run it: between the kinds of files, with recipes, in parts, and continued after a kill.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ConvertOptions, convert as command } from '../../cli/commands/convert.ts';
import { openGguf } from '../../runtime/files/gguf/reader.ts';
import { encodeHead } from '../../runtime/files/gguf/header.ts';
import {
  type GgufValue,
  numberOf,
  numberValue,
  numbersValue,
  stringOf,
  stringValue,
} from '../../runtime/files/gguf/values.ts';
import { SafetensorsWriter, openSafetensors } from '../../runtime/files/safetensors.ts';
import { compressModel } from '../../runtime/models/compress.ts';
import { evaluateText } from '../../runtime/models/evaluate.ts';
import { loadLlama } from '../../runtime/models/llama.ts';
import packageJson from '../../package.json' with { type: 'json' };
import {
  randomValues,
  temporaryFolder,
  tinyConfig,
  writeTensors,
  writeTinyModel,
} from '../models/tiny.ts';
import { quern } from './run.ts';

const test = suite('quern convert');
let folder = '';
test.before(async () => {
  folder = await temporaryFolder();
  await writeTinyModel(join(folder, 'tiny'));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

const at = (...names: string[]) => join(folder, ...names);
interface Report {
  readonly paths: string[];
  readonly resumed: number;
  readonly tensors: {
    readonly name: string;
    readonly stored: string;
    readonly dtype: string;
    readonly relativeError?: number;
    readonly weighted?: boolean;
  }[];
}
/** The command in this process: most tests need no other. */
async function convert(from: string, to: string, options: ConvertOptions = {}): Promise<Report> {
  const { log } = console;
  let out = '';
  console.log = (text: string) => {
    out += text;
  };
  try {
    await command(from, to, { ...options, json: true });
  } finally {
    console.log = log;
  }
  return JSON.parse(out);
}
const refusal = async (from: string, to: string, options: ConvertOptions = {}): Promise<string> =>
  convert(from, to, options).then(
    () => 'accepted',
    (e: unknown) => String(e),
  );
/** A failure names the files, and does not print their bytes. */
const identical = (a: string, b: string): void =>
  assert.ok(readFileSync(a).equals(readFileSync(b)), `${basename(a)} is ${basename(b)}`);
const storedAs = (tensors: { name: string; stored: string }[]) =>
  Object.fromEntries(tensors.map((t) => [t.name, t.stored]));

test('safetensors to GGUF and back is the same model, with config and tokenizer', async () => {
  await convert(at('tiny'), at('plain.gguf'));
  const gguf = await openGguf(at('plain.gguf'));
  assert.is(stringOf(gguf.metadata.get('general.architecture')), 'llama');
  assert.is(numberOf(gguf.metadata.get('llama.attention.head_count_kv')), tinyConfig.n_kv_heads);
  assert.is(gguf.tensors.size, 20);
  assert.equal(gguf.tensors.get('blk.1.ffn_gate.weight')?.shape, [96, 64]);
  await gguf.close();
  await convert(at('plain.gguf'), at('back'));
  const [before, after] = [await openSafetensors(at('tiny')), await openSafetensors(at('back'))];
  assert.equal(after.names, before.names);
  for (const name of before.names)
    assert.equal(await after.readBytes(name), await before.readBytes(name));
  await before.close();
  await after.close();
  const config = JSON.parse(readFileSync(at('back', 'config.json'), 'utf8'));
  assert.equal(config, tinyConfig);
  identical(at('back', 'tokenizer.json'), at('tiny', 'tokenizer.json'));
  // And once more: what came from GGUF goes back to the same bytes.
  await convert(at('back'), at('again.gguf'));
  identical(at('again.gguf'), at('plain.gguf'));
});

test('a format goes from kind to kind without being encoded anew', async () => {
  const first = await convert(at('tiny'), at('q4.gguf'), { format: 'q4_0' });
  assert.equal([...new Set(first.tensors.map((t) => t.stored))].sort(), ['F32', 'q4_0']);
  assert.ok(first.tensors[0]!.relativeError! > 0.05);
  const second = await convert(at('q4.gguf'), at('q4'));
  assert.ok(second.tensors.every((t) => t.relativeError === undefined && t.stored === t.dtype));
  await convert(at('q4'), at('q4-again.gguf'), { format: 'q4_0' });
  identical(at('q4-again.gguf'), at('q4.gguf'));
  // `compress` gives what `convert` gives.
  await compressModel({
    model: at('tiny'),
    output: at('compressed'),
    format: { file: 'quern/formats', name: 'q4_0' },
    version: packageJson.version,
    selects: () => true,
  });
  const [a, b] = [await openSafetensors(at('compressed')), await openSafetensors(at('q4'))];
  for (const name of a.names) assert.equal(await b.readBytes(name), await a.readBytes(name));
  await a.close();
  await b.close();
});

test('an encoded model is decoded to numbers, and encoded in another format', async () => {
  await convert(at('tiny'), at('q8.gguf'), { format: 'q8_0' });
  const numbers = await convert(at('q8.gguf'), at('f16.gguf'), { format: 'f16' });
  const wq = numbers.tensors.find((t) => t.name === 'blk.0.attn_q.weight')!;
  assert.is(wq.stored, 'F16');
  assert.ok(wq.relativeError! < 1e-3);
  const q4 = await convert(at('q8.gguf'), at('q4-of-q8.gguf'), { format: 'q4_0' });
  assert.equal([q4.tensors[0]!.dtype, q4.tensors[0]!.stored], ['q8_0', 'q4_0']);
});

test('losses are the same from both kinds of files', async () => {
  const text = 'In the beginning God created the heaven and the earth. '.repeat(12);
  const losses: number[] = [];
  for (const model of ['q4.gguf', 'q4', 'plain.gguf', 'tiny']) {
    const llama = await loadLlama(at(model));
    losses.push((await evaluateText(llama, text)).loss);
    llama.dispose();
  }
  assert.is(losses[0], losses[1]);
  assert.is(losses[2], losses[3]);
  assert.is.not(losses[0], losses[2]);
});

test('a recipe gives formats by name, and the first pattern counts', async () => {
  writeFileSync(
    at('recipe.json'),
    JSON.stringify({ '*.wv.*': 'q8_0', 'tok*': 'keep', '*.w2.*': 'f16' }),
  );
  const { tensors } = await convert(at('tiny'), at('mixed.safetensors'), {
    recipe: at('recipe.json'),
    format: 'q4_0',
    skip: ['*.w1.*'],
  });
  const stored = storedAs(tensors);
  assert.is(stored['layers.0.attention.wv.weight'], 'q8_0');
  assert.is(stored['layers.0.attention.wq.weight'], 'q4_0');
  assert.is(stored['layers.1.feed_forward.w2.weight'], 'F16');
  assert.is(stored['layers.1.feed_forward.w1.weight'], 'F32');
  assert.is(stored['tok_embeddings.weight'], 'F32');
});

for (const [what, text, message] of [
  ['no JSON', '{', /Q6015.*cannot be read/],
  ['a list', '[]', /Q6015.*object/],
  ['a pattern twice', '{"a":"q4_0","a":"q8_0"}', /Q6015.*"a" twice/],
  ['a number', '{"a":4}', /Q6015.*"a".*4/],
] as const)
  test(`a recipe that is ${what} is refused`, async () => {
    writeFileSync(at('bad.json'), text);
    assert.match(await refusal(at('tiny'), at('x.gguf'), { recipe: at('bad.json') }), message);
  });

test('a format that GGUF does not have is refused before anything is written', async () => {
  const err = await refusal(at('tiny'), at('x.gguf'), { format: 'nf4' });
  assert.match(err, /Q6014.*nf4.*tok_embeddings.*\n.*q4_K/);
  assert.equal(
    readdirSync(folder).filter((n) => n.includes('x.gguf')),
    [],
  );
});

test('rows that blocks do not divide are named', async () => {
  await writeTensors(at('odd.safetensors'), [
    { name: 'odd', shape: [2, 48], data: new Float32Array(96) },
  ]);
  const err = await refusal(at('odd.safetensors'), at('x.gguf'), { format: 'q4_0' });
  assert.match(err, /Q6007.*odd.*\[2, 48\]/);
});

test('an output in parts is read as one model, in both kinds of files', async () => {
  for (const kind of ['gguf', 'safetensors']) {
    const whole = await convert(at('tiny'), at(`one.${kind}`), { format: 'q8_0' });
    // The table of the tiny model is larger than a part: it has one of its own.
    const out = kind === 'gguf' ? at('parts.gguf') : at('parts', 'model.safetensors');
    const split = await convert(at('tiny'), out, { format: 'q8_0', shard: 0.1 });
    assert.equal(
      split.tensors.map(({ name }) => name),
      whole.tensors.map(({ name }) => name),
    );
    const files = split.paths.map((p) => basename(p));
    assert.ok(
      files.some((f) => f.includes('-00002-of-0000')),
      files.join(),
    );
    const start = kind === 'gguf' ? at(files[0]!) : at('parts');
    await convert(start, at(`joined.${kind}`));
    identical(at(`joined.${kind}`), at(`one.${kind}`));
  }
});

test('tensors of three axes go through as stacks of matrices', async () => {
  mkdirSync(at('stack'));
  await writeTensors(at('stack', 'experts.safetensors'), [
    { name: 'experts', shape: [3, 5, 64], data: randomValues(960, 1) },
  ]);
  const { tensors } = await convert(
    at('stack', 'experts.safetensors'),
    at('stack', 'experts.gguf'),
    { format: 'q8_0' },
  );
  assert.is(tensors[0]!.stored, 'q8_0');
  await convert(at('stack', 'experts.gguf'), at('stack', 'experts2.safetensors'), {
    format: 'f32',
  });
  const r = await openSafetensors(at('stack', 'experts2.safetensors'));
  assert.equal(r.info('experts').shape, [3, 5, 64]);
  const values = await r.readRows('experts');
  assert.ok(randomValues(960, 1).every((x, i) => Math.abs(x - values[i]!) < 0.005));
  await r.close();
  await convert(at('stack', 'experts.safetensors'), at('stack', 'experts-q8.safetensors'), {
    format: 'q8_0',
  });
  await convert(at('stack', 'experts-q8.safetensors'), at('stack', 'experts3.gguf'));
  identical(at('stack', 'experts3.gguf'), at('stack', 'experts.gguf'));
});

test('metadata goes along unchanged, but for what it says of formats that change', async () => {
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', stringValue('unheard-of')],
    ['general.file_type', numberValue('u32', 1)],
    ['unheard-of.list', numbersValue('i16', [1, -2, 3])],
    ['general.alignment', numberValue('u32', 128)],
  ]);
  const { bytes, places, size } = encodeHead('f', metadata, [
    { name: 'w', type: 0, shape: [4, 32] },
  ]);
  const file = Buffer.alloc(size);
  file.set(bytes);
  file.set(Buffer.from(randomValues(128, 3).buffer), places[0]!.offset);
  writeFileSync(at('other.gguf'), file);
  mkdirSync(at('other'));
  // Through safetensors and back, not a byte is lost.
  await convert(at('other.gguf'), at('other', 'm.safetensors'));
  assert.equal(readdirSync(at('other')), ['m.safetensors']);
  await convert(at('other', 'm.safetensors'), at('other', 'back.gguf'));
  identical(at('other', 'back.gguf'), at('other.gguf'));
  await convert(at('other.gguf'), at('other', 'q.gguf'), { format: 'q8_0' });
  const r = await openGguf(at('other', 'q.gguf'));
  assert.equal([...r.metadata.keys()].sort(), [
    'general.alignment',
    'general.architecture',
    'general.quantization_version',
    'unheard-of.list',
  ]);
  assert.is(r.alignment, 128);
  await r.close();
});

test('a format that this version lacks is named', async () => {
  const fields = { d: { dtype: 'f16', shape: [2, 1] } };
  const format = { file: 'quern/formats', name: 'of_tomorrow' };
  const archive = { version: 1, quern: '9', tensors: { w: { format, shape: [2, 32], fields } } };
  const plan = { name: 'w.d', dtype: 'F16', shape: [2, 1] } as const;
  const path = at('tomorrow.safetensors');
  const writer = await SafetensorsWriter.create(path, [plan], { quern: JSON.stringify(archive) });
  await writer.append('w.d', new Uint8Array(4));
  await writer.finish();
  assert.match(await refusal(path, at('y.gguf')), /Q6013.*w is stored as of_tomorrow/);
  assert.not(existsSync(at('y.gguf')));
});

test('an importance matrix goes to the formats that take one', async () => {
  writeFileSync(
    at('weighted.ts'),
    `import { abs, amax, clamp, f16, format, i4, round, sum } from 'quern';
    import type { Tensor, f32 } from 'quern';
    export const weighted = format({
      block: 32,
      encode(x: Tensor<f32, [32]>, _: object, weights: Tensor<f32, [32]> | undefined) {
        const first = amax(abs(x)) / 7;
        const q = clamp(round(first === 0 ? 0 : x / first), -7, 7);
        if (weights === undefined) return { d: f16(first), q: i4(q) };
        const norm = sum(weights * q * q);
        return { d: f16(norm === 0 ? first : sum(weights * q * x) / norm), q: i4(q) };
      },
      decode: ({ d, q }) => q * d,
    });`,
  );
  const text = at('calibration.txt');
  writeFileSync(text, 'And the evening and the morning were the first day. '.repeat(12));
  const made = await quern(['imatrix', at('tiny'), '-t', text, '-o', at('sums.gguf')]);
  assert.is(made.code, 0, made.err);
  const format = `${at('weighted.ts')}#weighted`;
  const only = ['layers.0.*'];
  const imatrix = at('sums.gguf');
  const without = await convert(at('tiny'), at('w0.safetensors'), { format, only });
  const { error } = console;
  console.error = () => {};
  const with_ = await convert(at('tiny'), at('w1.safetensors'), { format, only, imatrix });
  const plain = await convert(at('tiny'), at('w2.gguf'), { format: 'q8_0', only, imatrix });
  console.error = error;
  const encoded = with_.tensors.filter((t) => t.stored === 'weighted');
  assert.is(encoded.length, 7);
  for (const t of encoded) {
    assert.is(t.weighted, true);
    const other = without.tensors.find((u) => u.name === t.name)!;
    assert.is(other.weighted, undefined);
    assert.is.not(t.relativeError, other.relativeError);
  }
  assert.ok(plain.tensors.every((t) => t.weighted === undefined));
});

test('a run that was killed is continued to the same bytes', async () => {
  const tensors = Array.from({ length: 24 }, (_, i) => ({
    name: `w${i}`,
    shape: [512, 1024],
    data: randomValues(512 * 1024, i + 1),
  }));
  await writeTensors(at('mass.safetensors'), tensors);
  const args = ['-f', 'q4_K'];
  await convert(at('mass.safetensors'), at('calm.gguf'), { format: 'q4_K' });
  const journal = at('.killed.gguf.quern-journal');
  let resumed = 0;
  for (let round = 0; round < 3; round++) {
    const lines = () =>
      existsSync(journal) ? readFileSync(journal, 'utf8').split('\n').length : 0;
    const before = lines();
    await quern(['convert', at('mass.safetensors'), at('killed.gguf'), ...args, '--resume'], {
      started: (child) => {
        // Some time after more tensors are noted; which ones, nobody knows.
        const timer = setInterval(() => {
          if (child.exitCode !== null || lines() <= before + 1) return;
          clearInterval(timer);
          setTimeout(() => child.kill('SIGKILL'), Math.random() * 60);
        }, 2);
        child.on('exit', () => clearInterval(timer));
      },
    });
    if (existsSync(at('killed.gguf'))) break;
  }
  if (!existsSync(at('killed.gguf'))) {
    const last = await convert(at('mass.safetensors'), at('killed.gguf'), {
      format: 'q4_K',
      resume: true,
    });
    resumed = last.resumed;
    assert.ok(resumed > 0 && resumed < 24, `${resumed} tensors were there`);
    assert.is(last.tensors.length, 24);
    assert.ok(last.tensors.every((t) => t.relativeError! > 0));
  }
  identical(at('killed.gguf'), at('calm.gguf'));
  assert.not(existsSync(journal));
});

test('what an interrupted run left is continued only by the same work', async () => {
  const child = quern(['convert', at('mass.safetensors'), at('int.gguf'), '-f', 'q4_K'], {
    started: (c) => {
      const timer = setInterval(() => {
        if (!existsSync(at('.int.gguf.quern-journal'))) return;
        clearInterval(timer);
        c.kill('SIGINT');
      }, 5);
      c.on('exit', () => clearInterval(timer));
    },
  });
  const { code, err } = await child;
  assert.is(code, 130, err);
  assert.match(err, /--resume continues/);
  const other = { format: 'q8_0', resume: true };
  assert.match(await refusal(at('mass.safetensors'), at('int.gguf'), other), /Q6111/);
});

test('the wrong use of options is told', async () => {
  const { code, err } = await quern(['convert', at('tiny'), at('x.gguf'), '--only', 'a*']);
  assert.is(code, 2);
  assert.match(err, /--format/);
  const none = { format: 'q4_0', only: ['nosuch'] };
  assert.match(await refusal(at('tiny'), at('x.gguf'), none), /Q6011/);
  assert.match(await refusal(at('q4.gguf'), at('q4.gguf')), /Q6010.*being read/);
});

test.run();
