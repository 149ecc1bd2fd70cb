// Variants of a package: relaxed SIMD where numbers say that the host computes it right, threads where they are asked for and
// can be had, and weights in the layouts that kernels derive. All give what the JIT gives, bit for bit.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DeviceTensor } from '../../index.ts';
import { array, load } from '../../index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { repo } from '../house/imports.ts';
import { node24, node24Missing } from '../support/node24.ts';
import { skip } from '../support/skip.ts';
import { dotConsumer, dotFixture, run } from './package.ts';

const test = suite('variants of a package');
const sample = (n: number, seed: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);
const shared = `import { init, memoryUsed } from 'dot8';
import { readFileSync } from 'node:fs';
import { deepStrictEqual } from 'node:assert';
const numbers = (n, seed) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);
const want = JSON.parse(readFileSync('want.json', 'utf8'));
const is = (name, t) => deepStrictEqual([...t.raw()], want[name], name);
`;

/** What the JIT of this Node gives, for rows of few and of many activations. */
const rows = [1, 5];
const [N, K] = [1030, 1024];
const jit = async (): Promise<Record<string, number[]>> => {
  const device = new WasmDevice({ threads: 1 });
  const ops = await load<typeof import('./fixtures/dot8.kernel.ts')>(dotFixture, {
    device,
    cache: false,
  });
  const formats = await load('quern/formats', { device, cache: false });
  const out: Record<string, number[]> = {};
  for (const [name, format, kernel] of [
    ['dot', 'q4_0', ops.dot8],
    ['dot8', 'q8_0', ops.dot8],
    ['linear', 'q4_0', ops.linear],
  ] as const) {
    const w = await formats.format(format).encode(array(sample(N * K, 2), [N, K]));
    for (const m of rows) {
      const y = (await kernel(array(sample(m * K, 1), [m, K]), w)) as DeviceTensor;
      out[`${name}${m}`] = [...(await y.raw())];
    }
  }
  return out;
};

// Another Node runs this file for what its JIT gives: with relaxed SIMD sums are rounded once a product less.
if (process.argv[2] === 'jit') {
  writeFileSync(process.argv[3]!, JSON.stringify(await jit()));
  process.exit();
}
const root = await dotConsumer();
const made = join(root, 'node_modules/dot8');
writeFileSync(join(root, 'want.json'), JSON.stringify(await jit()));

const compare = `
const check = async (ops) => {
  for (const [name, format] of [['dot', 'q4_0'], ['dot8', 'q8_0'], ['linear', 'q4_0']]) {
    const w = await ops[format].encode(numbers(${N} * ${K}, 2), [${N}, ${K}]);
    for (const m of [${rows}]) {
      const x = ops.tensor(numbers(m * ${K}, 1), [m, ${K}]);
      const y = await ops[name](x, w);
      is(name + m, y);
      is(name + m, ops[name + 'Sync'](x, w, y));
      x.dispose();
      y.dispose();
    }
    w.dispose();
  }
};
`;

test('the plain variant runs where the probe for relaxed SIMD fails, on weights in its own layout', () => {
  const out = run(
    root,
    `const { Instance } = WebAssembly;
// An engine is known that doubles the result of the dot product: the probe's ok() is 0 there.
WebAssembly.Instance = class { constructor() { this.exports = { ok: () => 0 }; } };
${shared.replace("import { init, memoryUsed } from 'dot8';", "const { init, memoryUsed } = await import('dot8');")}${compare}
const ops = await init();
const before = memoryUsed();
await check(ops);
console.log(ops.dot.variant(), ops.linear.variant(), ops.threads.count, memoryUsed() - before);`,
  );
  assert.is(out, 'plain plain 1 0\n');
});

if (node24) {
  test('the relaxed variant runs where the host computes it right, and gives the same bits', () => {
    const loader = join(repo, 'scripts/typescript.js');
    const file = join(root, 'relaxed.json');
    const { status, stderr } = spawnSync(
      node24!,
      ['--import', loader, fileURLToPath(import.meta.url), 'jit', file],
      { encoding: 'utf8' },
    );
    assert.is(status, 0, stderr);
    const program = `${shared.replace('want.json', 'relaxed.json')}${compare}
const ops = await init({ threads: 1 });
await check(ops);
console.log(ops.dot.variant(), ops.linear.variant(), ops.threads.count);`;
    assert.match(run(root, program, [], node24), /^(unsigned|relaxed) relaxed 1\n$/);
    const many = program.replace('threads: 1', 'threads: 2');
    assert.match(run(root, many, [], node24), /^(unsigned|relaxed) relaxed 2\n$/);
  });
} else skip('the relaxed variant in Node', node24Missing);

test('threads give the same bits, and memory is free again', () => {
  const out = run(
    root,
    `${shared}${compare}
const ops = await init({ threads: 3 });
const before = memoryUsed();
await check(ops);
console.log(ops.threads.count, memoryUsed() - before);`,
  );
  assert.is(out, '3 0\n');
});

test('threads that cannot be had leave one, and the reason', () => {
  const out = run(
    root,
    `delete globalThis.SharedArrayBuffer;
const { init } = await import('dot8');
const ops = await init({ threads: 'auto' });
const w = ops.q4_0.encodeSync(new Float32Array(64).fill(1), [2, 32]);
console.log(ops.threads.count, ops.threads.reason, ops.dotSync({ data: new Float32Array(32).fill(1), shape: [1, 32] }, w).data()[1] > 31);`,
  );
  assert.is(out, '1 this host has no SharedArrayBuffer true\n');
});

test('threads that come too late, and numbers that are none, are errors', () => {
  const out = run(
    root,
    `import { init, tensor } from 'dot8';
for (const threads of [0.5, 65, -1]) await init({ threads }).catch((e) => console.log(e.message));
tensor([1], [1]);
await init({ threads: 2 }).catch((e) => console.log(e.message));
process.exit();`,
  );
  assert.match(
    out,
    /^(Q5105: threads is [-\d.]+, expected 'auto' or a number from 1 to 64\n){3}Q5111: threads are started before the first tensor/,
  );
});

test('what is written into weights is seen by the next call', () => {
  const out = run(
    root,
    `${shared}
const ops = await init();
const x = { data: numbers(64, 1), shape: [1, 64] };
const a = ops.q8_0.encodeSync(numbers(128, 5), [2, 64]);
const b = ops.q8_0.encodeSync(numbers(128, 6), [2, 64]);
const y = ops.dot8Sync(x, b);
ops.dot8Sync(x, a);
for (const f of ['d', 'q']) a.fields[f].writeRaw(b.fields[f].raw());
deepStrictEqual(ops.dot8Sync(x, a).data(), y.data());
a.fields.q.view().fill(0);
deepStrictEqual([...ops.dot8Sync(x, a).data()].map(Math.abs), [0, 0]);
ops.q8_0.encodeSync(numbers(128, 6), [2, 64], a);
deepStrictEqual(ops.dot8Sync(x, a).data(), y.data());
const before = memoryUsed();
a.dispose();
console.log(before - memoryUsed() > 2 * 128);`,
  );
  assert.is(out, 'true\n');
});

/** Weights whose scales are below the normal half floats, without and with waiting, against sums of decoded ones. */
const tinyScales = `${shared}
import { dotSync, dot, q4_0, tensor } from 'dot8';
const tiny = numbers(128, 5).map((v) => v * 2e-6);
const x = tensor(numbers(64, 1), [1, 64]);
let first = true;
await dot.ready({ source: (f) => { if (f.includes('wide') && first) { first = false; throw new Error('not now'); } } }).catch((e) => console.log(e.code));
const w = await q4_0.encode(tiny, [2, 64]);
try { dotSync(x, w); } catch (e) { console.log(e.code); }
const later = await dot(x, w);
const plain = await q4_0.decode(w);
const y = dotSync(x, w).data();
deepStrictEqual(y, later.data());
const [p, v] = [plain.data(), x.data()];
const near = [0, 1].every((r) => {
  let sum = 0;
  for (let k = 0; k < 64; k++) sum += p[64 * r + k] * v[k];
  return Math.abs(sum - y[r]) < 0.02 * 64 * 6e-6 * 3;
});
console.log(near, y.some((n) => n !== 0));`;

test('weights with scales below the normal half floats are right in plain code, which reads any', () => {
  assert.is(run(root, tinyScales), 'true true\n');
});
if (node24)
  test('weights with scales below the normal half floats take the wide code of relaxed SIMD', () => {
    assert.is(run(root, tinyScales, [], node24), 'Q5107\nQ5108\ntrue true\n');
  });
else skip('the wide code in Node', node24Missing);

test('a kernel that other threads compute keeps what it uses until it is done', () => {
  // As in the main thread of a page, which may not wait.
  const out = run(
    root,
    `Atomics.wait = () => { throw new TypeError('not here'); };
const { init, memoryUsed } = await import('dot8');
const numbers = (n, seed) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);
const ops = await init({ threads: 2 });
const before = memoryUsed();
const w = await ops.q4_0.encode(numbers(${N} * ${K}, 2), [${N}, ${K}]);
const x = ops.tensor(numbers(${K}, 1), [1, ${K}]);
const alone = ops.linearSync(x, w);
const all = [0, 1, 2].map(() => ops.linear(x, w));
x.dispose();
w.dispose();
// What takes freed memory must not take theirs.
const other = ops.tensor(new Float32Array(${N} * ${K}), [${N}, ${K}]);
for (const y of await Promise.all(all)) {
  console.log(Buffer.compare(Buffer.from(y.raw()), Buffer.from(alone.raw())));
  y.dispose();
}
alone.dispose();
other.dispose();
console.log(memoryUsed() - before);`,
  );
  assert.is(out, '0\n0\n0\n0\n');
});

test('--variants none leaves plain code for one thread', async () => {
  const dir = await dotConsumer(['--variants', 'none']);
  const files = readdirSync(join(dir, 'node_modules/dot8'), { recursive: true }) as string[];
  assert.equal(
    files.filter((f) => /relaxed|threads|worker/.test(f)),
    [],
  );
  const out = run(
    dir,
    `import { init } from 'dot8';
const ops = await init({ threads: 4 });
console.log(ops.dot.variant(), ops.threads.count, ops.threads.reason);`,
  );
  assert.is(out, 'plain 1 the package was built without threads\n');
});

test('programs that repack are named by what they are, and the manifest says what each file is', () => {
  const manifest = JSON.parse(readFileSync(join(made, 'manifest.json'), 'utf8'));
  const of = (name: string) => manifest.kernels[name].variants as Shown[];
  assert.equal(
    of('dot').map((v) => [v.variant, v.file, v.threads.file, v.wide?.file]),
    [
      // Where dot products take whole bytes, codes stay where they are in them, and signed ones need no steps of their own.
      [
        ...['unsigned', 'ops/dot.unsigned.wasm'],
        ...['ops/dot.unsigned.threads.wasm', 'ops/dot.unsigned.wide.wasm'],
      ],
      [
        ...['relaxed', 'ops/dot.relaxed.wasm'],
        ...['ops/dot.relaxed.threads.wasm', 'ops/dot.relaxed.wide.wasm'],
      ],
      // Its scales are f32.
      ['plain', 'ops/dot.wasm', 'ops/dot.threads.wasm', undefined],
    ],
  );
  assert.equal(
    of('dot8').map((v) => v.variant),
    ['unsigned', 'relaxed', 'plain'],
  );
  const packs = [...of('dot'), ...of('dot8')].map((v) => v.packed.map((p) => p.repack.file));
  for (const file of packs.flat()) {
    assert.match(file, /repack-[0-9a-f]{10}\.wasm$/);
    assert.ok(manifest.files[file].bytes > 100, file);
  }
});

test('kernels with weights in layouts of their own, in all variants, stay below 12 KB of JavaScript', () => {
  const files = (readdirSync(made, { recursive: true }) as string[]).filter((f) =>
    /^(?!threads|worker).*\.js$/.test(f),
  );
  const text = Buffer.concat(files.map((f) => readFileSync(join(made, f))));
  const { length } = gzipSync(text, { level: 9 });
  assert.ok(length < 11_500, `${length} bytes gzip`);
});
interface Shown {
  readonly variant: string;
  readonly file: string;
  readonly threads: { readonly file: string };
  readonly wide: { readonly file: string };
  readonly packed: readonly { readonly repack: { readonly file: string } }[];
}

test.run();
