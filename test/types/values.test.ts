// The language as JavaScript values: kernel files must be importable, and builtins must say why they cannot run.
import { readdirSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { dtypes } from '../../compiler/ir/dtype.ts';
import * as language from '../../compiler/language/index.ts';

const exports = language as unknown as { readonly [name: string]: unknown };
const folder = new URL('../../compiler/language/', import.meta.url);
const test = suite('language values');

test('every builtin of the language is there, and nothing else', () => {
  const builtins = `abs floor ceil trunc round roundHalfAway roundHalfUp sign sqrt exp exp2 log log2 sin cos
    tanh popcount exponent isnan min max pow clamp sum mean amin amax any all argmin argmax shape dim reshape
    group transpose slice concat stack pad at gather broadcastTo iota zeros full tensor bitcast matmul format
    encode decode fields materialize factors formatInfo assemble range map set setSlice upTo sort argsort topk takeAlong zerosLike`;
  const expected = [...builtins.split(/\s+/), ...Object.keys(dtypes)].sort();
  assert.equal(Object.keys(exports).sort(), expected);
});

test('calling a builtin outside of a kernel points to load()', () => {
  for (const [name, value] of Object.entries(exports)) {
    if (name === 'format') continue;
    assert.throws(
      value as () => unknown,
      new RegExp(`^${name}\\(\\) is part .* await load\\(file\\)`),
    );
  }
});

test('a dtype names itself', () => {
  for (const name of Object.keys(dtypes)) {
    assert.is((exports[name] as { dtype: string }).dtype, name);
  }
});

test('a file with a format can be imported: the format is a frozen marker', async () => {
  const { q4_0 } = await import('./fixtures/format.ts');
  assert.is(q4_0.kind, 'format');
  assert.ok(Object.isFrozen(q4_0));
});

test('format() refuses a record without decode', () => {
  const broken = { block: 8, encode: () => ({}) } as unknown as Parameters<
    typeof language.format
  >[0];
  assert.throws(() => language.format(broken), 'format() needs `decode`');
});

test('every export of the language has a docstring', () => {
  for (const file of readdirSync(folder)) {
    const lines = readFileSync(new URL(file, folder), 'utf8').split('\n');
    lines.forEach((line, i) => {
      const name = /^export (?:const|function) (\w+)/.exec(line)?.[1];
      let above = i - 1;
      while (lines[above]?.startsWith('// biome-ignore')) above -= 1;
      if (name) assert.ok(lines[above]?.endsWith('*/'), `${file}: ${name} has no docstring`);
    });
  }
});

test.run();
