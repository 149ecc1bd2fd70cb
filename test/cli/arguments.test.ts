// The notation of formats and kernels, and how a wrong command line ends.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { formatOf, formatText, kernelOf } from '../../cli/format-name.ts';
import { significant } from '../../cli/table.ts';
import { quern } from './run.ts';

const test = suite('command line');

test('a bare name is a built-in format', () => {
  assert.equal(formatOf('q4_0'), { file: 'quern/formats', name: 'q4_0' });
});

test('a call of a factory carries named or positional arguments', () => {
  assert.equal(formatOf('uniform(bits=3, group=64)').args, [{ bits: 3, group: 64 }]);
  assert.equal(formatOf('uniform(bits=3,symmetric=true)').args, [{ bits: 3, symmetric: true }]);
  assert.equal(formatOf('nf(4, [1, 2], {"a": "b, c"})').args, [4, [1, 2], { a: 'b, c' }]);
  assert.equal(formatOf('f(kind=half)').args, [{ kind: 'half' }]);
  assert.equal(formatOf('f()').args, []);
});

test('a format of a file is named by path and export', () => {
  assert.equal(formatOf('ops/llama.ts#x'), { file: `${process.cwd()}/ops/llama.ts`, name: 'x' });
  assert.throws(() => formatOf('./absent.ts#x'), /No file/);
});

test('what cannot be read is refused with what was expected', () => {
  for (const text of ['', '4bit', 'q4_0 q8_0', 'uniform(bits=)', 'a#b#c', 'q4_0<f>', 'f({)'])
    assert.throws(
      () => formatOf(text),
      (e: Error) => e.name === 'UsageError',
      text,
    );
  assert.throws(() => kernelOf('linear'), /FILE#NAME/);
});

test('a kernel takes formats and constants', () => {
  const k = kernelOf('ops/llama.ts#swiglu<q4_0, uniform(bits=3, group=64)>(1, "x")');
  assert.is(k.name, 'swiglu');
  assert.equal(
    k.formats.map((f) => f.name),
    ['q4_0', 'uniform'],
  );
  assert.equal(k.statics, [1, 'x']);
});

test('a format is printed as it is written', () => {
  for (const text of ['q4_0', 'uniform(bits=3, group=64)', 'nf(4, [1,2])'])
    assert.is(formatText(formatOf(text)), text);
});

test('numbers have three digits that count', () => {
  assert.equal([0, 0.123456, 12345.6, 1e-7].map(significant), ['0', '0.123', '12300', '1.00e-7']);
});

test('help and version end with 0', async () => {
  const help = await quern(['--help']);
  assert.is(help.code, 0);
  for (const c of ['compress', 'eval', 'generate', 'formats', 'check', 'explain', 'build', 'demo'])
    assert.match(help.out, c);
  assert.match((await quern(['--version'])).out, /^\d+\.\d+\.\d+\n$/);
});

const usage: [string, string[], RegExp][] = [
  ['an unknown command', ['comprss'], /unknown command.*compress/s],
  ['an unknown option', ['formats', '--jsn'], /unknown option/],
  ['a missing option', ['compress', 'x', '-o', 'y'], /--format/],
  [
    'an option that is no number',
    ['eval', 'x', '--text', 'y', '--limit-windows', 'all'],
    /whole number/,
  ],
  ['a negative temperature', ['generate', 'x', '-p', 'y', '--temperature', '-1'], /0 to 100/],
  [
    'a format that cannot be read',
    ['compress', 'x', '-f', '4 bit', '-o', 'y'],
    /Cannot read `4 bit`/,
  ],
];
for (const [what, args, message] of usage)
  test(`${what} ends with 2 and no stack trace`, async () => {
    const { code, err } = await quern(args);
    assert.is(code, 2, err);
    assert.match(err, message);
    assert.not.match(err, /\n\s+at /);
  });

test.run();
