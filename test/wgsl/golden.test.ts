// The WGSL of a few kernels is what their files say.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
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

test.run();
