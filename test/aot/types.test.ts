// The declarations of a generated package, as a consumer's TypeScript sees them: what must be accepted, and what
// must be an error, with and without the types of the DOM.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { buildFixture, consumer } from './package.ts';

const test = suite('declarations of a package');
const root = await consumer();
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript')), 'tsc.js');

function check(source: string, ...flags: string[]): string {
  writeFileSync(join(root, 'consumer.ts'), source);
  const strict = [
    '--noEmit',
    '--strict',
    '--exactOptionalPropertyTypes',
    '--noUncheckedIndexedAccess',
    '--target',
    'es2022',
  ];
  const { stdout } = spawnSync(process.execPath, [tsc, ...strict, ...flags, 'consumer.ts'], {
    cwd: root,
    encoding: 'utf8',
  });
  return stdout;
}

const program = `import { empty, init, linear, linearSync, lookSync, mine, normSync, q4_0, QuernError, tensor } from 'q4';
import type { Encoded, Ops, Tensor } from 'q4';
const ops: Ops = await init({ source: async (file) => (file ? undefined : new Uint8Array(1)) });
const x = tensor(new Float32Array(128), [2, 64]);
const w = await mine.encode(new Float32Array(192), [3, 64]);

// Shapes are exact, and follow from the arguments.
const y: Tensor<'f32', [2, 3]> = await ops.linear(x, w);
const values: Float32Array = y.data();
linearSync({ data: new Float32Array(64), shape: [1, 64] }, w).shape satisfies [1, 3];
const kept: Encoded<'mine', [3, 64]> = w;
w.fields.q.data() satisfies Int8Array;
w.fields.d satisfies Tensor<'f16'>;
q4_0.packSync(await q4_0.encode(x)) satisfies Uint8Array;
mine.decodeSync(w).shape satisfies [3, 64];
ops.extentSync(x).low satisfies Tensor<'f32', [2]>;
ops.quantizeSync(x) satisfies Encoded<'mine', [2, 64]>;
normSync(x, 1) satisfies Tensor<'f32', [2, 64]>;
lookSync({ data: [1, 2], shape: [2] });

// An output comes back as what it is.
const into: Tensor<'f32', [2, 3]> = empty([2, 3]);
linearSync(x, w, into) satisfies typeof into;
linearSync(x, w, { data: new Float32Array(6), shape: [2, 3] }).data satisfies Float32Array;

// Shapes known only at run time fit.
const rows = Number(values[0]);
const dynamic: readonly number[] = [2, 64];
linearSync(tensor(values, [rows, 64]), w).shape satisfies [number, 3];
linearSync(tensor(values, dynamic), await mine.encode(values, [rows, rows]));

// @ts-expect-error K is 128 here and 64 there
linearSync(tensor(values, [1, 128]), w);
// @ts-expect-error one axis
linearSync(tensor(values, [128]), w);
// @ts-expect-error another dtype
linearSync(tensor(new Int32Array(64), [1, 64]), w);
// @ts-expect-error not encoded
linearSync(x, x);
// @ts-expect-error encoded in another format
linearSync(x, q4_0.encodeSync(x));
const wrong = empty([3, 2]);
// @ts-expect-error another shape
linearSync(x, w, wrong);
// @ts-expect-error an argument is missing
void linear(x);
// @ts-expect-error an array has no shape
void linear(new Float32Array(64), w);
// @ts-expect-error a scalar where a matrix is needed
void linear(1, w);
// @ts-expect-error the format has no byte layout
mine.packSync(w).length;
// @ts-expect-error a matrix has two axes
void mine.encode(values, [64]);
// @ts-expect-error there is no such kernel
ops.gemm;
try { y.dispose(); } catch (e) { if (e instanceof QuernError) e.code satisfies string; }
void kept;
`;

test('exact types are accepted and mistakes flagged, in Node and in pages', () => {
  const node = ['--lib', 'es2022', '--module', 'nodenext', '--moduleResolution', 'nodenext'];
  assert.is(check(program, ...node), '');
  const page = ['--lib', 'es2022,dom', '--module', 'esnext', '--moduleResolution', 'bundler'];
  assert.is(check(program, ...page), '');
});

const gpuProgram = `import { init, linear, mine, tensor } from 'gpu';
import type { Encoded, Tensor } from 'gpu';
const ops = await init({ gpu: {}, source: async () => new Uint8Array(1) });
const x = tensor(new Float32Array(128), [2, 64]);
const w = await mine.encode(new Float32Array(192), [3, 64]);
const y: Tensor<'f32', [2, 3]> = await ops.linear(x, w);
(await y.data()) satisfies Float32Array;
const kept: Encoded<'mine', [3, 64]> = w;
(await kept.fields.q!.raw()) satisfies Uint8Array;
// @ts-expect-error reading is asynchronous
y.data().length;
// @ts-expect-error memory of a GPU has no view
y.view();
// @ts-expect-error nothing is synchronous
ops.linearSync;
// @ts-expect-error nothing is synchronous
mine.encodeSync(x);
// @ts-expect-error K is 128 here and 64 there
void linear(tensor(new Float32Array(128), [1, 128]), w);
// @ts-expect-error threads are for WebAssembly
void init({ threads: 2 });
`;

test('a package for WebGPU has types of its own', async () => {
  const flags = ['--target', 'wgsl', '--name', 'gpu'];
  await buildFixture(join(root, 'node_modules/gpu'), ['linear=linear<mine>'], { flags });
  const page = ['--lib', 'es2022,dom', '--module', 'esnext', '--moduleResolution', 'bundler'];
  assert.is(check(gpuProgram, ...page), '');
});

const gpujsProgram = `import { init, linear, linearSync, mine, q4_0, tensor } from 'functions';
import type { Encoded, Tensor } from 'functions';
class GPU {}
const ops = await init({ GPU });
await init({ gpu: new GPU() });
const x = tensor(new Float32Array(128), [2, 64]);
const w: Encoded<'mine', [3, 64]> = mine.encodeSync(new Float32Array(192), [3, 64]);
const y: Tensor<'f32', [2, 3]> = await ops.linear(x, w);
y.data() satisfies Float32Array;
linearSync(x, w).view() satisfies Float32Array;
linear.variant() satisfies string | undefined;
void q4_0.encode(x);
// @ts-expect-error gpu.js cannot express it
q4_0.packSync;
// @ts-expect-error K is 128 here and 64 there
void linear(tensor(new Float32Array(128), [1, 128]), w);
// @ts-expect-error threads are for WebAssembly
void init({ threads: 2 });
// @ts-expect-error there are no files to fetch
void init({ source: () => undefined });
// @ts-expect-error nor threads to tell of
ops.threads;
`;

test('a package for gpu.js has types of its own, without what it cannot express', async () => {
  const flags = ['--target', 'gpujs', '--name', 'functions'];
  const exports = ['linear=linear<mine>', 'q4_0'];
  await buildFixture(join(root, 'node_modules/functions'), exports, { flags });
  const node = ['--lib', 'es2022', '--module', 'nodenext', '--moduleResolution', 'nodenext'];
  assert.is(check(gpujsProgram, ...node), '');
});

test('the documentation of the source comes along', () => {
  const text = readFileSync(join(root, 'node_modules/q4/index.d.ts'), 'utf8');
  assert.match(
    text,
    'y = x · wᵀ, for weights stored in any format.\n *\n * The decode of the format is fused',
  );
  assert.match(text, 'A comment with a * / in it stays one.');
  assert.match(
    text,
    /Symmetric codes of 4 bits[\s\S]*- `q`: i4\[N, K \/ 16, 16\], once a block[\s\S]*export declare const mine:/,
  );
  assert.match(text, '`K` must be a multiple of 16: the block of format mine.');
  assert.match(text, /4-bit codes on a signed grid of 16 levels[\s\S]*export declare const q4_0/);
});

test.run();
