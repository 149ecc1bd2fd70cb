// The pool of workers: who runs what, many calls at once, pages that may not wait, and everything that ends.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Artifact } from '../../compiler/artifact.ts';
import { compile } from '../../compiler/index.ts';
import { device } from '../../runtime/devices/index.ts';
import { ThreadPool } from '../../runtime/devices/pool.ts';
import { onSharedMemory } from '../../runtime/devices/shared-memory.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { QuernError } from '../../runtime/errors.ts';
import { bitsOf, noise, open, threaded } from './harness.ts';

const test = suite('the pool of workers');
const kernels = fileURLToPath(new URL('kernels.ts', import.meta.url));
const repo = fileURLToPath(new URL('../..', import.meta.url));

async function errorOf(body: () => unknown): Promise<string> {
  try {
    await body();
  } catch (e) {
    assert.instance(e, QuernError);
    return `${(e as QuernError).code}: ${(e as Error).message}`;
  }
  return 'no error';
}

/** Runs a module in a process of its own. */
function child(
  text: string,
  env: { readonly [name: string]: string } = {},
): { status: number | null; out: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', './scripts/typescript.js', '--input-type=module', '-e', text],
    { cwd: repo, env: { ...process.env, ...env }, encoding: 'utf8', timeout: 15_000 },
  );
  return { status, out: `${stdout}${stderr}`.trim() };
}

test('a call that is worth it runs on every worker, a small one on none', async () => {
  const seen: number[] = [];
  const original = ThreadPool.prototype.run;
  ThreadPool.prototype.run = function (...args) {
    seen.push(this.size);
    original.apply(this, args);
  };
  try {
    const large = new WasmDevice({ threads: 3 });
    await large.start();
    const k = await open(large);
    await k.elementwise!(noise([100]), noise([100], 2));
    assert.equal(seen, []);
    await k.elementwise!(noise([400_000]), noise([400_000], 2));
    assert.equal(seen, [3]);
    large.close();
  } finally {
    ThreadPool.prototype.run = original;
  }
});

test('devices say how many threads they use', async () => {
  assert.is(new WasmDevice({ threads: 1 }).threads, 1);
  assert.is(new WasmDevice({ threads: 1 }).name, 'WebAssembly, one thread');
  const two = await device('wasm', { threads: 2 });
  assert.is(two.threads, 2);
  assert.is(two.name, 'WebAssembly, 2 threads');
  assert.is(two, await device('wasm', { threads: 2 }));
  assert.is.not(two, await device('wasm'));
  for (const threads of [0, -1, 1.5, 1000])
    assert.match(
      await errorOf(() => new WasmDevice({ threads })),
      /Q5105: threads is out of range/,
    );
});

test('QUERN_THREADS sets the number, and nonsense in it is an error', () => {
  const report = `
    import { WasmDevice } from './runtime/devices/wasm.ts';
    try { console.log(new WasmDevice().threads); } catch (e) { console.log(e.code); }`;
  assert.is(child(report, { QUERN_THREADS: '3' }).out, '3');
  assert.is(child(report, { QUERN_THREADS: 'many' }).out, 'Q5105');
});

test('without SharedArrayBuffer there is one thread, and the device says why', () => {
  const host = globalThis as { SharedArrayBuffer?: unknown; crossOriginIsolated?: boolean };
  const kept = host.SharedArrayBuffer;
  delete host.SharedArrayBuffer;
  try {
    const d = new WasmDevice({ threads: 4 });
    assert.is(d.threads, 1);
    assert.is(d.name, 'WebAssembly, one thread (this host has no SharedArrayBuffer)');
  } finally {
    host.SharedArrayBuffer = kept;
  }
  host.crossOriginIsolated = false;
  try {
    assert.match(
      new WasmDevice({ threads: 4 }).name,
      /one thread \(the page is not cross-origin isolated\)/,
    );
  } finally {
    delete host.crossOriginIsolated;
  }
});

test('many calls at once, waiting and not, give what one call gives', async () => {
  for (const blocking of [true, false]) {
    const d = await threaded(3, blocking);
    const k = await open(d);
    const [x, w, v] = [noise([6, 64]), noise([50, 64], 2), noise([64, 50], 3)];
    const want = await bitsOf(await k.chain!(x, w, v));
    const results = await Promise.all(Array.from({ length: 60 }, () => k.chain!(x, w, v)));
    for (const r of results) {
      assert.equal(await bitsOf(r), want);
      r.dispose();
    }
    d.close();
  }
});

test('a page may drop a tensor while a call still reads it', async () => {
  const d = await threaded(2, false);
  const k = await open(d);
  const x = await k.softmax!(noise([64, 100]));
  const want = await bitsOf(await k.softmax!(x));
  const blocks = d.blocks;
  const running = k.softmax!(x);
  // The call takes its arguments a few turns later.
  await new Promise((done) => setImmediate(done));
  x.dispose();
  const other = d.allocate(64 * 100 * 4);
  d.write(other, 0, new Uint8Array(64 * 100 * 4).fill(255));
  assert.equal(await bitsOf(await running), want);
  d.free(other);
  assert.is(d.blocks, blocks);
  d.close();
});

test('memory may grow between and after calls', async () => {
  const d = await threaded(2);
  const k = await open(d);
  const want = await bitsOf(await k.softmax!(noise([33, 40])));
  const large = d.allocate(200 * 2 ** 20);
  const x = noise([33, 40]);
  assert.equal(await bitsOf(await k.softmax!(x)), want);
  d.free(large);
  d.close();
});

test('a process ends by itself with a pool that sleeps', () => {
  const { status, out } = child(`
    import { load } from './index.ts';
    import { WasmDevice } from './runtime/devices/wasm.ts';
    const d = new WasmDevice({ threads: 3, worth: 0 });
    await d.start();
    const k = await load(${JSON.stringify(kernels)}, { device: d, cache: false });
    const y = await k.softmax({ data: [1, 2, 3, 4, 5, 6], shape: [2, 3] });
    console.log((await y.data()).length);`);
  assert.is(out, '6');
  assert.is(status, 0);
});

/** A kernel that traps in every worker, or in all but the first, and would wait at a barrier otherwise. */
async function broken(out: 'far' | 'near'): Promise<Artifact> {
  const { artifact } = await compile({
    file: kernels,
    name: 'softmax',
    target: 'wasm',
    threads: true,
  });
  const { manifest } = artifact;
  const buffers = manifest.buffers.map((b) => (b.role === 'result' ? { ...b, bytes: [0] } : b));
  // So many rows that the last ones lie beyond the memory.
  return out === 'far' ? { ...artifact, manifest: { ...manifest, buffers } } : artifact;
}

test('a trap in any worker is an error that names the kernel, and the next call runs', async () => {
  for (const blocking of [true, false]) {
    const d = await threaded(3, blocking);
    const e = await d.load(await broken('far'));
    const x = d.allocate(64);
    for (let i = 0; i < 3; i++)
      assert.match(
        await errorOf(() => e.run([x], [2 ** 20, 64])),
        /Q5015: softmax: the kernel stopped/,
      );
    const good = await d.load(await broken('near'));
    const y = d.allocate(6 * 4);
    d.write(y, 0, new Uint8Array(new Float32Array([1, 1, 1, 2, 2, 2]).buffer));
    const [r] = await good.run([y], [2, 3]);
    const bytes = await d.read(r!, 0, 24);
    assert.equal([...new Float32Array(bytes.buffer)], new Array(6).fill(Math.fround(1 / 3)));
    d.close();
  }
});

test('a worker that ends between calls is an error once; then there are new ones', () => {
  const { status, out } = child(`
    import { createRequire, syncBuiltinESMExports } from 'node:module';
    const threads = createRequire(import.meta.url)('node:worker_threads');
    const made = [];
    const Real = threads.Worker;
    threads.Worker = class extends Real { constructor(...a) { super(...a); made.push(this); } };
    const { load } = await import('./index.ts');
    const { WasmDevice } = await import('./runtime/devices/wasm.ts');
    const d = new WasmDevice({ threads: 3, worth: 0 });
    await d.start();
    const k = await load(${JSON.stringify(kernels)}, { device: d, cache: false });
    const x = { data: [1, 2, 3, 4, 5, 6], shape: [2, 3] };
    await k.softmax(x);
    await made[0].terminate();
    await new Promise((r) => setTimeout(r, 50));
    await k.softmax(x).then(() => console.log('no error'), (e) => console.log(e.message));
    await d.start();
    console.log((await (await k.softmax(x)).data()).length, made.length);`);
  assert.match(out, /^(Q5107: )?A worker thread was lost: it ended with code 1/);
  assert.match(out, /6 4$/);
  assert.is(status, 0);
});

test('a worker that dies during a call is an error, not a wait for ever', () => {
  const { status, out } = child(`
    import { createRequire } from 'node:module';
    const threads = createRequire(import.meta.url)('node:worker_threads');
    const made = [];
    const Real = threads.Worker;
    threads.Worker = class extends Real { constructor(...a) { super(...a); made.push(this); } };
    const { compile } = await import('./compiler/index.ts');
    const { WasmDevice } = await import('./runtime/devices/wasm.ts');
    const { artifact } = await compile({ file: ${JSON.stringify(kernels)}, name: 'softmax', target: 'wasm', threads: true });
    for (const blocking of [true, false]) {
      made.length = 0;
      const d = new WasmDevice({ threads: 3, worth: 0, blocking, answerMs: 300 });
      await d.start();
      const e = await d.load(artifact);
      const x = d.allocate(1600);
      await e.run([x], [20, 20]);
      // Not waited for, and no turn of the event loop before the call.
      void made[1].terminate();
      try { await e.run([x], [20, 20]); console.log('no error'); } catch (e) { console.log(e.code); }
      await d.start();
      const [y] = await e.run([x], [20, 20]);
      console.log(y.bytes);
      d.close();
    }`);
  assert.equal(out.split('\n'), ['Q5107', '1600', 'Q5107', '1600']);
  assert.is(status, 0);
});

test('a plain module runs on shared memory when its import says so', async () => {
  const wasm = (globalThis as unknown as { WebAssembly: { validate(b: Uint8Array): boolean } })
    .WebAssembly;
  const { artifact } = await compile({ file: kernels, name: 'softmax', target: 'wasm' });
  const marked = onSharedMemory(artifact.code);
  assert.is(artifact.variants, undefined);
  assert.ok(wasm.validate(marked));
  assert.equal(onSharedMemory(marked), marked);
  // 3: shared, with a maximum; 65536 pages.
  const at = Buffer.from(marked).indexOf('memory') + 'memory'.length;
  assert.equal([...marked.subarray(at, at + 6)], [2, 3, 0, 128, 128, 4]);
  assert.is(marked.length, artifact.code.length + 3);
});

test.run();
