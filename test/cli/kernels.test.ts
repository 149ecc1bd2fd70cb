// quern formats, check and explain: what authors of kernels use.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { temporaryFolder } from '../models/tiny.ts';
import { quern } from './run.ts';

const test = suite('formats, check and explain');
let folder = '';
test.before(async () => {
  folder = await temporaryFolder();
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test('formats lists what each format stores', async () => {
  const { code, out } = await quern(['formats']);
  assert.is(code, 0);
  assert.match(out, /q4_0\s+32\s+4\.500\s+d f16, q u4\[32\]\s+yes/);
  assert.match(out, /bitnet\s+32\s+2\.000\s+scale f32 a tensor, q i2\[32\]/);
  const rows = JSON.parse((await quern(['formats', '--json'])).out);
  assert.is(rows.find((r: { name: string }) => r.name === 'dense_f32').bitsPerWeight, 32);
});

test('check passes a file without faults and says what it could not compile', async () => {
  const { code, out, err } = await quern(['check', 'ops/llama.ts']);
  assert.is(code, 0, err);
  assert.match(out, /ok: \d+ functions compile/);
  assert.match(out, /no default: rmsnorm/);
});

test('check leaves functions that are open in dtypes or dims to the kernels that call them', async () => {
  const { code, out } = await quern(['check', 'ops/linalg/svd.ts']);
  assert.is(code, 0);
  assert.match(out, /^not compiled, .*: svd\n$/);
});

test('check shows the faults of all kernels at their lines and ends with 1', async () => {
  const file = join(folder, 'faults.ts');
  writeFileSync(
    file,
    `import { matmul, sum } from 'quern';
import type { Dim, Tensor, f32 } from 'quern';
export function product<M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Tensor<f32, [N, K]>) {
  return matmul(x, w);
}
export function total<M extends Dim>(x: Tensor<f32, [M]>) {
  return sum(x, 1);
}
`,
  );
  const { code, err } = await quern(['check', file]);
  assert.is(code, 1);
  assert.match(err, /Q2002 .*faults\.ts:4:10/);
  assert.match(err, /Q2003 .*faults\.ts:7:10/);
  assert.match(err, /2 errors/);
});

test('check shows the fault of a format', async () => {
  const file = join(folder, 'format.ts');
  writeFileSync(
    file,
    `import { f16, format } from 'quern';
export const bad = format({
  block: 32,
  encode(x) {
    return { d: f16(amaxx(x)) };
  },
  decode: ({ d }) => d,
});
`,
  );
  const { code, err } = await quern(['check', file]);
  assert.is(code, 1);
  assert.match(err, /Q1003 .*format\.ts:5:\d+/);
});

test('check of a file that is not there is one message', async () => {
  const { code, err } = await quern(['check', join(folder, 'absent.ts')]);
  assert.is(code, 1);
  assert.match(err, /absent\.ts/);
  assert.not.match(err, /\n\s+at /);
});

test('explain prints every stage, down to the code', async () => {
  const { code, out, err } = await quern(['explain', 'ops/llama.ts#linear<q4_0>']);
  assert.is(code, 0, err);
  const stages = [...out.matchAll(/^== (.+)$/gm)].map((m) => m[1]);
  assert.is(stages[0], 'frontend');
  assert.ok(stages.includes('fuse'));
  assert.is(stages.at(-1), 'wasm');
  assert.match(out, /matmul/);
});

test('explain takes constants by position and one stage by name', async () => {
  const { code, out, err } = await quern([
    'explain',
    'ops/llama.ts#attention(32)',
    '--stage',
    'frontend',
  ]);
  assert.is(code, 0, err);
  assert.match(out, /func attention/);
  assert.is([...out.matchAll(/^== /gm)].length, 1);
});

test('explain of a function of a format', async () => {
  const { code, out, err } = await quern([
    'explain',
    'quern/formats#q4_0.encode',
    '--stage',
    'fuse',
  ]);
  assert.is(code, 0, err);
  assert.match(out, /q4_0/);
});

const refused: [string, string[], number, RegExp][] = [
  ['a kernel that is not there', ['explain', 'ops/llama.ts#linaer<q4_0>'], 1, /Q1004/],
  ['a format parameter that is not given', ['explain', 'ops/llama.ts#linear'], 1, /Q3005/],
  [
    'a stage that is not there',
    ['explain', 'ops/llama.ts#gated', '--stage', 'x'],
    2,
    /there are frontend/,
  ],
];
for (const [what, args, status, message] of refused)
  test(`${what} is refused with one message`, async () => {
    const { code, err } = await quern(args);
    assert.is(code, status, err);
    assert.match(err, message);
    assert.not.match(err, /\n\s+at /);
  });

test.run();
