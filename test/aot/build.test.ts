// `quern build` from end to end: the package stands alone, gives what the JIT gives, and is the same every time.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build as bundle } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DeviceTensor, EncodedTensor } from '../../index.ts';
import { array, load } from '../../index.ts';
import { quern } from '../cli/run.ts';
import { buildFixture, consumer, fixture, run, temporary } from './package.ts';

const test = suite('quern build');
const root = await consumer();
const made = join(root, 'node_modules/q4');
const files = (dir: string): string[] =>
  (readdirSync(dir, { recursive: true }) as string[]).filter((f) => /\.\w+$/.test(f)).sort();

/** Numbers that no rounding hides, the same here and in the child. */
const numbers = `const numbers = (n, seed) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);`;
const sample = (n: number, seed: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);

test('the package holds what it says, and nothing that names this machine', () => {
  assert.equal(
    files(made).filter((f) => !f.startsWith('ops')),
    [
      'README.md',
      'index.d.ts',
      'index.js',
      'init.js',
      'kernels.h',
      'manifest.json',
      'package.json',
      'runtime.js',
      'threads.js',
      'worker.js',
    ],
  );
  const manifest = JSON.parse(readFileSync(join(made, 'manifest.json'), 'utf8'));
  assert.equal(Object.keys(manifest.kernels), [
    'linear',
    'linear_q4_0',
    'linear_nf4',
    'quantize',
    'extent',
    'norm',
    'look',
  ]);
  assert.equal(Object.keys(manifest.formats), ['mine', 'q4_0', 'nf4']);
  for (const f of files(made).filter((x) => !x.endsWith('.wasm')))
    assert.not.match(
      readFileSync(join(made, f), 'utf8'),
      /[/\\](?:tmp|home|test)[/\\]|node_modules/,
      f,
    );
});

test('the results are those of the JIT, bit for bit', async () => {
  const jit = await load<typeof import('./fixtures/q4.kernel.ts')>(fixture, {
    device: 'wasm',
    cache: false,
  });
  const library = await load('quern/formats', { device: 'wasm', cache: false });
  const raw = async (t: DeviceTensor): Promise<number[]> => [...(await t.raw())];
  const want: Record<string, number[]> = {};
  for (const rows of [1, 5]) {
    const x = array(sample(rows * 128, 1), [rows, 128]);
    for (const [name, format] of [
      ['linear', jit.format('mine')],
      ['linear_q4_0', library.format('q4_0')],
      ['linear_nf4', library.format('nf4')],
    ] as const) {
      const w = await format.encode(array(sample(7 * 128, 2), [7, 128]));
      want[`${name}${rows}`] = await raw(await jit.linear(x, w));
      want[`${name}.w`] = (await Promise.all(w.parts.map(raw))).flat();
    }
    const q = (await jit.quantize(x)) as unknown as EncodedTensor;
    want[`quantize${rows}`] = (await Promise.all(q.parts.map(raw))).flat();
    want[`norm${rows}`] = await raw(await jit.norm(x, 0.75, 1e-5));
    const e = await jit.extent(x);
    want[`extent${rows}`] = [...(await raw(e.low)), ...(await raw(e.high))];
  }
  want.look = await raw(await jit.look(array(Int32Array.of(7, 0, 3, 1, 1), [5])));
  writeFileSync(join(root, 'want.json'), JSON.stringify(want));
  const out = run(
    root,
    `import { init } from 'q4';
import { readFileSync } from 'node:fs';
import { deepStrictEqual } from 'node:assert';
${numbers}
const want = JSON.parse(readFileSync('want.json', 'utf8'));
const ops = await init();
const bytes = (...list) => list.flatMap((t) => [...t.raw()]);
let checks = 0;
const is = (name, found) => { deepStrictEqual(found, want[name], name); checks++; };
for (const rows of [1, 5]) {
  const x = ops.tensor(numbers(rows * 128, 1), [rows, 128]);
  for (const [name, format] of [['linear', ops.mine], ['linear_q4_0', ops.q4_0], ['linear_nf4', ops.nf4]]) {
    const w = await format.encode(numbers(7 * 128, 2), [7, 128]);
    is(name + '.w', bytes(...Object.values(w.fields)));
    is(name + rows, bytes(await ops[name](x, w)));
    const out = ops.empty([rows, 7]);
    if (ops[name + 'Sync'](x, w, out) !== out) throw new Error('another output');
    is(name + rows, bytes(out));
    const back = format.fromRaw([7, 128], Object.fromEntries(Object.entries(w.fields).map(([k, t]) => [k, t.raw()])));
    is(name + rows, bytes(ops[name + 'Sync']({ data: numbers(rows * 128, 1), shape: [rows, 128] }, back)));
  }
  is('quantize' + rows, bytes(...Object.values(ops.quantizeSync(x).fields)));
  is('norm' + rows, bytes(await ops.norm(x, 0.75)));
  const { low, high } = await ops.extent(x);
  is('extent' + rows, bytes(low, high));
  const own = { low: ops.empty([rows]), high: { data: new Float32Array(rows), shape: [rows] } };
  ops.extentSync(x, own);
  deepStrictEqual(own.high.data, high.data());
}
is('look', bytes(await ops.look({ data: Int32Array.of(7, 0, 3, 1, 1), shape: [5] })));
console.log(checks);
`,
  );
  assert.is(Number(out), 2 * (3 * 4 + 3) + 1);
});

test('the byte-exact layout of a format goes out and in again', () => {
  const out = run(
    root,
    `import { q4_0, mine } from 'q4';
${numbers}
const w = await q4_0.encode(numbers(2 * 64, 3), [2, 64]);
const packed = await q4_0.pack(w);
const again = q4_0.packSync(await q4_0.unpack(packed, [2, 64]));
console.log(packed.length, Buffer.compare(packed, again), w.bitsPerWeight);
await mine.pack(await mine.encode(numbers(16, 1), [1, 16])).catch((e) => console.log(e.message));
`,
  );
  assert.match(out, `${4 * 18} 0 4.5\nQ5010: mine has no pack: its format declares no layout`);
});

test('the example in the README runs', async () => {
  const example = (dir: string): string =>
    /```js\n([\s\S]*?)```/.exec(readFileSync(join(dir, 'README.md'), 'utf8'))![1]!;
  assert.match(run(root, example(made)), /^\[ 2, 4 \] Float32Array\(8\)/);
  for (const kernel of ['extent', 'mine']) {
    const dir = join(root, `node_modules/${kernel}`);
    await buildFixture(dir, [kernel], { flags: ['--variants', 'none'] });
    run(root, example(dir).replace("'q4'", `'${kernel}'`));
  }
});

test('memory is reused, and everything disposed is free', () => {
  const out = run(
    root,
    `import { init, memoryUsed } from 'q4';
${numbers}
const ops = await init();
const before = memoryUsed();
for (let i = 0; i < 2000; i++) {
  const x = ops.tensor(numbers(96, i), [1, 96]);
  const w = ops.mine.encodeSync(numbers(96, i), [1, 96]);
  const y = ops.linearSync(x, w);
  for (const t of [x, w, y]) t.dispose();
}
const big = ops.empty([3000, 3000]);
big.view()[8999999] = 7;
console.log(memoryUsed() - before >= 36e6, big.data()[8999999]);
big.dispose();
big.dispose();
console.log(memoryUsed() - before);
`,
  );
  assert.is(out, 'true 7\n0\n');
});

test('a second build is the same, byte for byte, wherever it goes', async () => {
  const dir = join(temporary(), 'deep/er');
  await buildFixture(dir);
  assert.equal(files(dir), files(made));
  for (const f of files(made))
    assert.ok(readFileSync(join(dir, f)).equals(readFileSync(join(made, f))), f);
});

test('the JavaScript besides the kernels stays small, and that of threads is a file of its own', () => {
  const script = files(made).filter((f) => f.endsWith('.js') && !/^(threads|worker)/.test(f));
  const gzip = (list: string[]): number =>
    gzipSync(Buffer.concat(list.map((f) => readFileSync(join(made, f)))), { level: 9 }).length;
  const besides = ['index.js', 'init.js', 'runtime.js'];
  assert.ok(gzip(besides) < 9_700, `besides kernels: ${gzip(besides)} bytes gzip`);
  assert.ok(gzip(script) < 11_600, `with ten kernels and formats: ${gzip(script)} bytes gzip`);
  assert.ok(gzip(['threads.js', 'worker.js']) < 3_850, `${gzip(['threads.js'])} bytes gzip`);
  for (const file of ['linear.wasm', 'linear.relaxed.wasm', 'linear.threads.wasm']) {
    const { length } = readFileSync(join(made, 'ops', file));
    assert.ok(length < 16_384, `${file}: ${length} bytes`);
  }
});

test('importing one kernel of many leaves the others out of a bundle', async () => {
  writeFileSync(
    join(root, 'one.js'),
    `import { linear } from 'q4'; export const ready = linear.ready();`,
  );
  const { outputFiles, metafile } = await bundle({
    entryPoints: [join(root, 'one.js')],
    bundle: true,
    minify: true,
    format: 'esm',
    write: false,
    metafile: true,
  });
  const [out] = Object.values(metafile.outputs);
  const used = Object.entries(out!.inputs).filter(([, i]) => i.bytesInOutput > 0);
  const names = used
    .map(([path]) => path.replace(/.*\/q4\//, ''))
    .filter((n) => !n.endsWith('one.js'));
  assert.equal(names.sort(), ['ops/linear.js', 'runtime.js']);
  const gzip = gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
  assert.ok(gzip < 9_200, `${gzip} bytes gzip`);
});

test('a build takes the place of an earlier one, and of nothing else', async () => {
  const dir = join(temporary(), 'out');
  const flags = ['--variants', 'none'];
  await buildFixture(dir, ['extent'], { flags });
  await buildFixture(dir, ['look'], { flags });
  assert.not.ok(existsSync(join(dir, 'ops/extent.js')));
  writeFileSync(join(dir, 'manifest.json'), '{}');
  const { code, err } = await quern(['build', fixture, '-e', 'look', '-o', dir]);
  assert.is(code, 1);
  assert.match(err, /Q7006.*is no package made by quern build/);
  assert.ok(existsSync(join(dir, 'ops/look.js')));
  assert.equal(readdirSync(join(dir, '..')), ['out']);
});

test('without --export, all that needs nothing said is built', async () => {
  const { code, out } = await quern([
    'build',
    fixture,
    ...['--variants', 'none'],
    ...['-o', join(temporary(), 'out')],
  ]);
  assert.is(code, 0);
  assert.match(out, /linear\.wasm.*quantize\.wasm.*extent\.wasm.*look\.wasm.*mine\.encode\.wasm/s);
  assert.match(out, /left out: norm takes constants \(eps\)/);
});

test.run();
