// Packages for gpu.js, in Node: their functions run as they are and through the library, give what the interpreter gives, and what
// the language of shaders cannot say is refused by name.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { EncodedTensor } from '../../index.ts';
import { array, load } from '../../index.ts';
import { quern } from '../cli/run.ts';
import { buildFixture, exportsOfFixture, fixture, run, temporary } from './package.ts';

const test = suite('packages for gpu.js');
const root = temporary();
const made = join(root, 'node_modules/q4');
const printed = await buildFixture(made, exportsOfFixture, { flags: ['--target', 'gpujs'] });
writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
const files = (readdirSync(made, { recursive: true }) as string[])
  .filter((f) => /\.\w+$/.test(f))
  .sort();

const shared = `import { GPU } from ${JSON.stringify(import.meta.resolve('gpu.js'))};
const numbers = (n, seed) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);
`;
const sample = (n: number, seed: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);

test('a package for gpu.js alone has no WebAssembly and no dependency, and is small', () => {
  assert.equal(
    files.filter((f) => !f.startsWith('gpujs/ops')),
    [
      'README.md',
      'gpujs/index.d.ts',
      'gpujs/index.js',
      'gpujs/init.js',
      'gpujs/runtime.js',
      'manifest.json',
      'package.json',
    ],
  );
  for (const f of files.filter((x) => x.endsWith('.js')))
    for (const [, name] of readFileSync(join(made, f), 'utf8').matchAll(
      /(?:\bfrom|\bimport)\s*\(?\s*['"]([^'"]+)['"]/g,
    ))
      assert.match(name!, /^\.\.?\//, f);
  const gzip = (list: string[]): number =>
    gzipSync(Buffer.concat(list.map((f) => readFileSync(join(made, f)))), { level: 9 }).length;
  const besides = ['index', 'init', 'runtime'].map((f) => `gpujs/${f}.js`);
  assert.ok(gzip(besides) < 8_400, `${gzip(besides)} bytes gzip`);
  const described = files.filter((f) => /^gpujs\/ops\/\w+\.js$/.test(f));
  const all = gzip([...besides, ...described]);
  assert.ok(all < 10_200, `with ten kernels and formats: ${all} bytes gzip`);
  const manifest = JSON.parse(readFileSync(join(made, 'manifest.json'), 'utf8'));
  assert.is(manifest.kernels.linear.gpujs.file, 'gpujs/ops/linear.functions.js');
  assert.equal(manifest.kernels.linear.gpujs.launches[0].count, ['M', 'N', '*']);
});

test('the results are those of the interpreter, as JavaScript and through gpu.js', async () => {
  const ops = await load<typeof import('./fixtures/q4.kernel.ts')>(fixture, {
    device: 'reference',
  });
  const library = await load('quern/formats', { device: 'reference' });
  const want: Record<string, number[]> = {};
  const raw: Record<string, Record<string, number[]>> = {};
  for (const rows of [1, 5]) {
    const x = array(sample(rows * 128, 1), [rows, 128]);
    for (const [name, format] of [
      ['linear', ops.format('mine')],
      ['linear_q4_0', library.format('q4_0')],
      ['linear_nf4', library.format('nf4')],
    ] as const) {
      const w = await format.encode(array(sample(7 * 128, 2), [7, 128]));
      raw[name] = Object.fromEntries(
        await Promise.all(
          Object.entries(w.fields).map(async ([field, t]) => [field, [...(await t.raw())]]),
        ),
      );
      want[`${name}${rows}`] = [...(await (await ops.linear(x, w)).data())];
    }
    const q = (await ops.quantize(x)) as unknown as EncodedTensor;
    want[`quantize${rows}`] = [...(await q.parts[1]!.data())];
    want[`norm${rows}`] = [...(await (await ops.norm(x, 0.75, 1e-5)).data())];
    want[`extent${rows}`] = [...(await (await ops.extent(x)).high.data())];
  }
  want.look = [...(await (await ops.look(array(Int32Array.of(7, 0, 3, 1, 1), [5]))).data())];
  writeFileSync(join(root, 'want.json'), JSON.stringify({ want, raw }));
  const program = (options: string): string => `${shared}
import { init, memoryUsed } from 'q4';
import { readFileSync } from 'node:fs';
const { want, raw } = JSON.parse(readFileSync('want.json', 'utf8'));
const ops = await init(${options});
const before = memoryUsed();
let checks = 0;
const near = (name, t) => {
  const found = t.data();
  const most = Math.max(...want[name].map(Math.abs));
  found.forEach((v, i) => {
    if (!(Math.abs(v - want[name][i]) <= 1e-6 * most)) throw new Error(name + ' ' + i + ': ' + v + ', not ' + want[name][i]);
  });
  if (found.length !== want[name].length) throw new Error(name + ' has another length');
  checks++;
};
for (const rows of [1, 5]) {
  const x = ops.tensor(numbers(rows * 128, 1), [rows, 128]);
  for (const [name, format] of [['linear', ops.mine], ['linear_q4_0', ops.q4_0], ['linear_nf4', ops.nf4]]) {
    const stored = Object.fromEntries(Object.entries(raw[name]).map(([k, b]) => [k, Uint8Array.from(b)]));
    // gpu.js cannot encode the third.
    const w = name === 'linear_nf4' ? format.fromRaw([7, 128], stored) : await format.encode(numbers(7 * 128, 2), [7, 128]);
    const y = await ops[name](x, w);
    near(name + rows, y);
    if (ops[name + 'Sync'](x, w, y) !== y) throw new Error('another output');
    near(name + rows, y);
    const own = { data: new Float32Array(rows * 7), shape: [rows, 7] };
    await ops[name](x, w, own);
    near(name + rows, { data: () => own.data });
    // What is written into weights is seen by the next call.
    const [scale] = Object.values(w.fields);
    scale.writeRaw(new Uint8Array(scale.bytes));
    if (ops[name + 'Sync'](x, w).data().some((v) => v !== 0)) throw new Error('stale weights');
    scale.writeRaw(Object.values(stored)[0]);
    near(name + rows, ops[name + 'Sync'](x, w));
    for (const t of [w, y]) t.dispose();
  }
  const q = await ops.quantize(x);
  near('quantize' + rows, q.fields.q);
  const n = ops.normSync(x, 0.75);
  near('norm' + rows, n);
  n.view().fill(2);
  if (ops.extentSync(n).high.data()[0] !== 2) throw new Error('a view is not read again');
  const e = await ops.extent(x);
  near('extent' + rows, e.high);
  for (const t of [x, q, n, e.low, e.high]) t.dispose();
}
near('look', await ops.look({ data: Int32Array.of(7, 0, 3, 1, 1), shape: [5] }));
console.log(checks, ops.linear.variant());`;
  assert.is(run(root, program('')), '31 javascript\n');
  assert.is(run(root, program("{ gpu: new GPU({ mode: 'cpu' }) }")), '31 cpu\n');
});

test('everything disposed is free, and no code is made from text', () => {
  const out = run(
    root,
    `import { init, memoryUsed } from 'q4';
const ops = await init();
const before = memoryUsed();
const x = ops.tensor(new Float32Array(64).fill(1), [1, 64]);
const w = ops.mine.encodeSync(new Float32Array(192).fill(7), [3, 64]);
const y = await ops.linear(x, w);
console.log(y.data()[2], memoryUsed() > before);
for (const t of [x, w, y]) t.dispose();
console.log(memoryUsed() - before);`,
    ['--disallow-code-generation-from-strings'],
  );
  assert.is(out, '448 true\n0\n');
});

test('mistakes name the argument, and what gpu.js lacks is said', () => {
  const out = run(
    root,
    `${shared}
import { init, linear, linearSync, look, lookSync, mine, q4_0, tensor } from 'q4';
const said = async (f) => { try { await f(); console.log('no error'); } catch (e) { console.log(e.message); } };
await said(() => linearSync(1, 2));
await said(() => init({ GPU: { isWebGL2Supported: false } }));
await said(() => init({ GPU: { GPU: { isWebGL2Supported: true, isSinglePrecisionSupported: false } } }));
await look.ready();
await said(() => init({ gpu: new GPU({ mode: 'cpu' }) }));
await init();
const x = tensor(new Float32Array(128), [2, 64]);
const w = await mine.encode(new Float32Array(192), [3, 64]);
await said(() => linear(x, x));
await said(() => linear({ data: new Float32Array(32), shape: [1, 32] }, w));
await said(() => lookSync({ data: Int32Array.of(2 ** 25), shape: [1] }));
await said(() => lookSync(tensor(new Uint8Array(2 ** 24 + 1), [2 ** 24 + 1], 'i32')));
x.dispose();
await said(() => linear(x, w));
await said(() => q4_0.packSync(q4_0.encodeSync(new Float32Array(32), [1, 32])));
await said(() => tensor([1], [2 ** 40]));
await said(() => mine.pack(w));`,
  );
  const wanted = [
    /^Q5108: linear: not loaded/,
    /^Q5106: this host has no WebGL2/,
    /^Q5106: this host has no WebGL2/,
    /^Q5111: a GPU is given before the first kernel is loaded/,
    /^Q5002: linear: argument w is a tensor f32\[2, 64\], expected a tensor encoded as mine/,
    /^Q5005: linear: argument w: axis 1 is 64, but K = 32 from argument x/,
    /^Q5125: look: ids holds numbers beyond 16777216/,
    /^Q5125: look: result has 16777217 elements/,
    /^Q5101: linear: argument x: the tensor f32\[2, 64\] was disposed/,
    /^Q5010: q4_0 has no pack: shr on i32 is not supported by the target gpujs/,
    /^Q5008: tensor\(\): 1 elements do not fill/,
    /^Q5010: mine has no pack: its format declares no layout/,
  ];
  const found = out.trim().split('\n');
  assert.is(found.length, wanted.length, out);
  wanted.forEach((w, i) => assert.match(found[i]!, w));
});

test('a GPU object that refuses a function, or answers later than asked, is an error of the kernel', () => {
  const out = run(
    root,
    `import { init, norm, normSync } from 'q4';
let answer = () => { throw new Error('no such instruction'); };
const kernel = Object.assign((...args) => answer(...args), { setOutput() {} });
await init({ gpu: { mode: 'odd', createKernel: () => kernel } });
const x = { data: new Float32Array(4), shape: [2, 2] };
const said = async (f) => { try { await f(); console.log('no error'); } catch (e) { console.log(e.message); } };
await said(() => norm(x, 1));
answer = () => Promise.reject(new Error('lost'));
await said(() => norm(x, 1));
answer = () => Promise.resolve(new Float32Array(4).fill(3));
await said(() => normSync(x, 1));
console.log((await norm(x, 1)).data()[3]);`,
  );
  assert.match(
    out,
    /^Q5121: norm: gpu\.js refuses \w+: no such instruction\nQ5121: norm: gpu\.js refuses \w+: lost\nQ5108: norm: gpu\.js answers later in this mode.*\n3\n$/,
  );
});

test('parts of formats that gpu.js cannot express are said; a kernel that it cannot is an error that names the op', async () => {
  assert.match(
    printed,
    /not for gpu\.js: q4_0\.pack: shr on i32 is not supported by the target gpujs/,
  );
  const types = readFileSync(join(made, 'gpujs/index.d.ts'), 'utf8');
  assert.match(types, /const q4_0: Omit<Format<'q4_0', [^\n]*'pack' \| 'packSync'/);
  assert.match(types, /const nf4: Omit<Format<'nf4', [^\n]*'encode' \| 'encodeSync'/);
  const dir = temporary();
  const file = join(dir, 'hard.kernel.ts');
  writeFileSync(
    file,
    `import { range } from 'quern';
import type { Dim, Tensor, f32 } from 'quern';
export function grow<N extends Dim>(x: Tensor<f32, [N]>): Tensor<f32, [N]> {
  let y = x;
  for (const i of range(3)) y = y * y + i;
  return y;
}
`,
  );
  const out = join(dir, 'out');
  const { code, err } = await quern(['build', file, '--target', 'gpujs', '-o', out]);
  assert.is(code, 1);
  assert.match(err, /Q4001 .*hard\.kernel\.ts:5:\d+\n[^\n]*is not supported by the target gpujs/);
  assert.not.ok(existsSync(out));
});

test('the example in the README runs, of a package for three targets, and a second build is the same', async () => {
  const flags = ['--target', 'wasm,wgsl,gpujs', '--variants', 'none', '--name', 'all'];
  const dirs = ['node_modules/all', 'again'].map((d) => join(root, d));
  for (const dir of dirs) await buildFixture(dir, ['linear=linear<mine>'], { flags });
  const [one, two] = dirs as [string, string];
  const list = (readdirSync(one, { recursive: true }) as string[]).filter((f) => /\.\w+$/.test(f));
  for (const f of list) assert.ok(readFileSync(join(one, f)).equals(readFileSync(join(two, f))), f);
  const text = readFileSync(join(one, 'README.md'), 'utf8');
  const examples = [...text.matchAll(/```js\n([\s\S]*?)```/g)].map((m) => m[1]!);
  assert.is(examples.length, 3);
  assert.match(examples[2]!, "from 'all/gpujs'");
  assert.is(run(root, examples[2]!), run(root, examples[0]!));
  assert.match(run(root, examples[2]!), /^\[ 2, 4 \] Float32Array\(8\)/);
});

test.run();
