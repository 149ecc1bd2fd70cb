// Packages for WebGPU, in Node over Dawn on a driver that computes on the processor: they stand alone, give what the interpreter
// gives, and say what is missing.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { EncodedTensor } from '../../index.ts';
import { array, load } from '../../index.ts';
import { skip } from '../support/skip.ts';
import { gpuMissing, vulkanEnvironment } from '../support/vulkan.ts';
import { buildFixture, exportsOfFixture, fixture, run, temporary } from './package.ts';

const test = suite('packages for WebGPU');
const root = temporary();
const made = join(root, 'node_modules/q4');
const exports = [...exportsOfFixture, 'kq=linear<q4_K>'];
await buildFixture(made, exports, { flags: ['--target', 'wgsl'] });
writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
const files = (readdirSync(made, { recursive: true }) as string[])
  .filter((f) => /\.\w+$/.test(f))
  .sort();

test('a package for WebGPU alone has no WebAssembly, and is small', () => {
  assert.equal(
    files.filter((f) => !f.startsWith('webgpu/ops')),
    [
      'README.md',
      'manifest.json',
      'package.json',
      'webgpu/index.d.ts',
      'webgpu/index.js',
      'webgpu/init.js',
      'webgpu/runtime.js',
    ],
  );
  const gzip = (list: string[]): number =>
    gzipSync(Buffer.concat(list.map((f) => readFileSync(join(made, f)))), { level: 9 }).length;
  const besides = ['index', 'init', 'runtime'].map((f) => `webgpu/${f}.js`);
  assert.ok(gzip(besides) < 11_000, `${gzip(besides)} bytes gzip`);
  const manifest = JSON.parse(readFileSync(join(made, 'manifest.json'), 'utf8'));
  for (const f of files.filter((x) => x.endsWith('.wgsl'))) assert.ok(manifest.files[f], f);
  assert.is(manifest.kernels.linear.wgsl.at(-1).file, 'webgpu/ops/linear.wgsl');
});

test('a host without WebGPU is told what to do', () => {
  const out = run(
    root,
    `import { init, tensor, linear } from 'q4';
try { tensor([1], [1]); } catch (e) { console.log(e.message); }
await init().catch((e) => console.log(e.name, e.message));
await linear(1, 2).catch((e) => console.log(e.code));
await init({ gpu: { requestAdapter: async () => null } }).catch((e) => console.log(e.message));`,
  );
  assert.match(
    out,
    /^Q5108: the GPU is not open; await init\(\).*\nQuernError Q5106: Node has no WebGPU of its own: init\(\{ gpu: create\(\[\]\) \}\).*webgpu\nQ5106\nQ5106: WebGPU finds no adapter/,
  );
});

if (gpuMissing) skip('packages for WebGPU on a driver', gpuMissing);
else {
  const env = vulkanEnvironment();
  const opened = `import { create } from ${JSON.stringify(import.meta.resolve('webgpu'))};
const gpu = create([]);
const numbers = (n, seed) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);
`;
  const onGpu = (program: string): string =>
    run(root, `${opened}${program}\nprocess.exit(0);`, [], process.execPath, env);
  const sample = (n: number, seed: number): Float32Array =>
    Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);

  test('the results are those of the interpreter, and weights stay on the GPU', async () => {
    const ops = await load<typeof import('./fixtures/q4.kernel.ts')>(fixture, {
      device: 'reference',
    });
    const library = await load('quern/formats', { device: 'reference' });
    const want: Record<string, number[]> = {};
    for (const rows of [1, 20]) {
      const x = array(sample(rows * 256, 1), [rows, 256]);
      for (const [name, format] of [
        ['linear', ops.format('mine')],
        ['linear_q4_0', library.format('q4_0')],
        ['linear_nf4', library.format('nf4')],
        ['kq', library.format('q4_K')],
      ] as const) {
        const w = await format.encode(array(sample(7 * 256, 2), [7, 256]));
        want[`${name}${rows}`] = [...(await (await ops.linear(x, w)).data())];
      }
      const q = (await ops.quantize(x)) as unknown as EncodedTensor;
      want[`quantize${rows}`] = [...(await q.parts[1]!.data())];
      want[`norm${rows}`] = [...(await (await ops.norm(x, 0.75, 1e-5)).data())];
      want[`extent${rows}`] = [...(await (await ops.extent(x)).high.data())];
    }
    want.look = [...(await (await ops.look(array(Int32Array.of(7, 0, 3, 1, 1), [5]))).data())];
    writeFileSync(join(root, 'want.json'), JSON.stringify(want));
    const out = onGpu(`
import { init, memoryUsed } from 'q4';
import { readFileSync } from 'node:fs';
const want = JSON.parse(readFileSync('want.json', 'utf8'));
const ops = await init({ gpu });
const before = memoryUsed();
let checks = 0;
const near = async (name, t) => {
  const found = await t.data();
  const most = Math.max(...want[name].map(Math.abs));
  found.forEach((v, i) => {
    if (!(Math.abs(v - want[name][i]) <= 2e-5 * most)) throw new Error(name + ' ' + i + ': ' + v + ', not ' + want[name][i]);
  });
  if (found.length !== want[name].length) throw new Error(name + ' has another length');
  checks++;
};
for (const rows of [1, 20]) {
  const x = ops.tensor(numbers(rows * 256, 1), [rows, 256]);
  for (const [name, format] of [['linear', ops.mine], ['linear_q4_0', ops.q4_0], ['linear_nf4', ops.nf4], ['kq', ops.q4_K]]) {
    const w = await format.encode(numbers(7 * 256, 2), [7, 256]);
    const y = await ops[name](x, w);
    await near(name + rows, y);
    if ((await ops[name](x, w, y)) !== y) throw new Error('another output');
    await near(name + rows, y);
    const own = { data: new Float32Array(rows * 7), shape: [rows, 7] };
    await ops[name](x, w, own);
    await near(name + rows, { data: async () => own.data });
    for (const t of [w, y]) t.dispose();
  }
  const q = await ops.quantize(x);
  await near('quantize' + rows, q.fields.q);
  const n = await ops.norm(x, 0.75);
  await near('norm' + rows, n);
  const e = await ops.extent(x);
  await near('extent' + rows, e.high);
  for (const t of [x, q, n, e.low, e.high]) t.dispose();
}
const found = await ops.look({ data: Int32Array.of(7, 0, 3, 1, 1), shape: [5] });
await near('look', found);
found.dispose();
console.log(checks, memoryUsed() - before, ops.linear.variant());`);
    assert.match(out, /^31 0 (plain|packed)\n$/);
  });

  test('layouts go out and in, and storage bytes are those of WebAssembly', () => {
    const out = onGpu(`
import { init } from 'q4';
const { q4_0, mine } = await init({ gpu });
const w = await q4_0.encode(numbers(2 * 64, 3), [2, 64]);
const packed = await q4_0.pack(w);
const again = await q4_0.pack(await q4_0.unpack(packed, [2, 64]));
const raw = { d: await w.fields.d.raw(), q: await w.fields.q.raw() };
const back = await q4_0.pack(q4_0.fromRaw([2, 64], raw));
console.log(packed.length, Buffer.compare(packed, again), Buffer.compare(packed, back));`);
    assert.is(out, `${4 * 18} 0 0\n`);
  });

  test('mistakes name the argument, the file or the GPU', () => {
    const out = onGpu(`
import { init, tensor, linear, look } from 'q4';
import { readFileSync } from 'node:fs';
const said = (p) => p.then(() => console.log('no error'), (e) => console.log(e.message));
const cut = (f) => f.startsWith('look') ? new Uint8Array(100) : undefined;
await said(init({ gpu, source: cut }));
await said(look.ready({ source: () => new URL('file:///nowhere/look.wgsl') }));
const bad = readFileSync('node_modules/q4/webgpu/ops/look.wgsl');
bad.set(Buffer.from('fnn'), bad.indexOf('fn '));
await said(look.ready({ source: () => bad }));
const ops = await init({ gpu });
const x = ops.tensor(numbers(128, 1), [2, 64]);
const w = await ops.mine.encode(numbers(192, 2), [3, 64]);
await said(ops.linear(x, x));
await said(ops.linear({ data: new Float32Array(32), shape: [1, 32] }, w));
x.dispose();
await said(ops.linear(x, w));
await said((async () => x.data())());
try { w.fields.d.view(); } catch (e) { console.log(e.message); }
await said((async () => ops.empty([65536, 65536]))());
`);
    const lines = out.trim().split('\n');
    const wanted = [
      /^Q5107: look: look(\.packed)?\.wgsl has 100 bytes, expected \d+: truncated/,
      /^Q5107: look: cannot load look(\.packed)?\.wgsl: .*ENOENT/,
      /^Q5121: look: the GPU refuses look(\.packed)?\.wgsl, line \d+: /,
      /^Q5002: linear: argument w is a tensor f32\[2, 64\], expected a tensor encoded as mine/,
      /^Q5005: linear: argument w: axis 1 is 64, but K = 32 from argument x/,
      /^Q5101: linear: argument x: the tensor f32\[2, 64\] was disposed/,
      /^Q5101: data\(\): the tensor/,
      /^Q5003: view\(\)/,
      /^Q5102: out of memory: \d+ bytes asked for; this GPU has buffers of up to/,
    ];
    const found = lines.filter((l) => /^Q|no error/.test(l));
    assert.is(found.length, wanted.length, out);
    wanted.forEach((w, i) => assert.match(found[i]!, w));
  });

  test('calls wait for each other on the GPU alone: a sequence of them is submitted once, when somebody reads', () => {
    const out = onGpu(`
import { init, memoryUsed } from 'q4';
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice();
let submits = 0;
const submit = device.queue.submit.bind(device.queue);
device.queue.submit = (list) => { submits++; submit(list); };
const ops = await init({ gpu, device });
const before = memoryUsed();
const x = ops.tensor(numbers(32, 1), [2, 16]);
let y = await ops.norm(x, 1);
await y.data();
submits = 0;
for (let i = 0; i < 20; i++) {
  const next = await ops.norm(y, 2);
  y.dispose();
  y = next;
}
const last = await y.data();
console.log(submits, last.every((v, i) => Math.abs(v - 2 * numbers(32, 1)[i] / Math.hypot(...numbers(32, 1).subarray(16 * (i >> 4), 16 * (i >> 4) + 16)) * 4) < 1e-4));
// What is written after a call is not what the call reads.
const one = await ops.extent(x);
x.set(new Float32Array(32).fill(9));
const two = await ops.extent(x);
console.log((await one.high.data())[0] < 4, (await two.high.data())[0]);
// Without a read they are submitted when the host comes to rest, and a long sequence in parts.
submits = 0;
for (let i = 0; i < 100; i++) (await ops.norm(x, 1)).dispose();
await new Promise((done) => setTimeout(done, 20));
const parts = submits;
await x.data();
for (const t of [x, y, one.low, one.high, two.low, two.high]) t.dispose();
console.log(parts, memoryUsed() - before);`);
    const [chain, order, rest] = out.trim().split('\n');
    assert.is(chain, '1 true');
    assert.is(order, 'true 9');
    assert.match(rest!, /^[2-4] 0$/);
  });

  test('a GPU that is lost is told by the next call', () => {
    const out = onGpu(`
import { init } from 'q4';
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice();
const ops = await init({ gpu, device });
const x = ops.tensor(numbers(32, 1), [2, 16]);
const y = await ops.norm(x, 1);
device.destroy();
await device.lost;
await ops.norm(x, 1).catch((e) => console.log(e.message.split(':').slice(0, 2).join(':')));
await y.data().catch((e) => console.log(e.code));`);
    assert.is(out, 'Q5122: the GPU was lost\nQ5122\n');
  });

  test('the example in the README runs, for a package of both targets', async () => {
    const both = join(root, 'node_modules/both');
    const flags = ['--target', 'wasm,wgsl', '--variants', 'none', '--name', 'both'];
    await buildFixture(both, ['linear=linear<mine>'], { flags });
    assert.ok(existsSync(join(both, 'ops/linear.wasm')));
    const text = readFileSync(join(both, 'README.md'), 'utf8');
    const examples = [...text.matchAll(/```js\n([\s\S]*?)```/g)].map((m) => m[1]!);
    assert.is(examples.length, 2);
    assert.match(run(root, examples[0]!), /^\[ 2, 4 \] Float32Array\(8\)/);
    assert.match(examples[1]!, "from 'both/webgpu'");
    const given = examples[1]!.replace('init()', 'init({ gpu })');
    assert.match(onGpu(given), /^\[ 2, 4 \] Float32Array\(8\)/m);
  });
}

test.run();
