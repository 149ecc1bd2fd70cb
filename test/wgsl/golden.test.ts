// The WGSL of a few kernels is what their files say.
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../compiler/index.ts';
import { kept } from '../support/emitted.ts';
import { wgslGoldens } from './golden.ts';

const test = suite('WGSL text');

for (const g of wgslGoldens)
  test(`${g.name} becomes what its file says`, async () => {
    const expected = kept(g);
    assert.ok(expected !== undefined, 'there is no such file: run npm run update-checks');
    assert.snapshot(await g.text(), expected!);
    assert.ok(expected!.split('\n').length <= 160, 'more than 160 lines are not read');
  });

test('a launch stands under the line of its author', () => {
  const text = kept(wgslGoldens.find((g) => g.name === 'linear-row-q4_0')!)!;
  assert.match(
    text,
    /\n\/\/ kernel\.ts:3: return matmul\(x, transpose\(decode\(w\)\)\);\n\/\/ gemv/,
  );
});

test('where the device has subgroups, they combine values before memory does', () => {
  const text = kept(wgslGoldens.find((g) => g.name === 'rows-subgroups')!)!;
  assert.match(text, /^\/\/ .*\n\nenable subgroups;\nrequires subgroup_id;\n/);
  assert.match(
    text,
    /let own = subgroupAdd\(value\);\n {2}if \(subgroups == 1u\) \{ return own; \}/,
  );
  assert.match(text, /subgroupMax\(key_or_most\(value\)\)/);
});

test('where the device has f16, halves are read as such', () => {
  const text = kept(wgslGoldens.find((g) => g.name === 'decode-q8_0-f16')!)!;
  assert.match(text, /^\/\/ .*\n\nenable f16;\n/);
  assert.match(text, /vec2f\(bitcast<vec2h>\(w_d\[/);
  assert.not.match(text, /unpack2x16float/);
});

test('threads wait for memory of the device only where they hand each other something in it', async () => {
  const file = '/golden/kernel.ts';
  const source = `import { at, decode, dim, matmul, range, set, transpose } from 'quern';
export function product<F extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}
export function running<N extends Dim>(x: Tensor<f32, [N]>) {
  let y = x;
  for (const i of range(dim(x, 0) - 1)) y = set(y, at(y, i) + at(y, i + 1), i + 1);
  return y;
}
`;
  const host = {
    readFile: (path: string) => (path === file ? source : readFileSync(path, 'utf8')),
  };
  const text = async (name: string, formats: readonly string[]): Promise<string> => {
    const refs = formats.map((f) => ({ file: 'quern/formats', name: f }));
    const request = { file, name, formats: refs, target: 'wgsl' } as const;
    return new TextDecoder().decode((await compile(request, host)).artifact.code);
  };
  const tiles = await text('product', ['q4_0']);
  assert.match(tiles, /workgroup_size\(256\)[\s\S]*workgroupBarrier/);
  assert.not.match(tiles, /storageBarrier/);
  assert.match(await text('running', []), /storageBarrier/);
});

test.run();
