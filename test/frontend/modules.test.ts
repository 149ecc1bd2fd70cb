// Files: imports of all kinds, re-exports, circles, and what a file tells about itself.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile, describe } from '../../compiler/index.ts';
import { CompileError } from '../../compiler/diagnostics/diagnostic.ts';
import {
  type Files,
  codesOf,
  file,
  hostOf,
  manifest,
  pointed,
  problems,
  t,
  values,
} from './stage.ts';

const test = suite('files');
const x = t([1, 2, 3, 4]);
const scaled = (by: number): number[] => [1, 2, 3, 4].map((v) => v * by);
const using = (imports: string, expression: string): string =>
  `${imports}\nexport function f(x: Tensor<f32, [4]>) { return ${expression}; }`;
const gives = async (source: string, by: number, files: Files): Promise<void> =>
  assert.equal(await values(source, [x], { files }), scaled(by));

const helpers = {
  './helpers.ts': `const hidden = 3;
export const two = 2;
export function times(x: Tensor, n: number) { return x * n * hidden; }
const local = 5;
export { local as five };
export const { a, b: [c] } = { a: 7, b: [8] };
export interface Options { readonly n: number }
export type Weight = number;`,
};

test('functions and constants of another file', async () => {
  await gives(using("import { two, times } from './helpers.ts';", 'times(x, two)'), 6, helpers);
  await gives(using("import { two as dos } from './helpers.ts';", 'x * dos'), 2, helpers);
  await gives(using("import { five } from './helpers.ts';", 'x * five'), 5, helpers);
  await gives(using("import { a, c } from './helpers.ts';", 'x * a * c'), 56, helpers);
  await gives(using("import { two } from './helpers.js';", 'x * two'), 2, helpers);
  await gives(using("import { two } from '../kernels/helpers.ts';", 'x * two'), 2, helpers);
});

test('namespaces of files and of the language', async () => {
  await gives(using("import * as h from './helpers.ts';", 'h.times(x, h.two)'), 6, helpers);
  await gives(using("import * as q from 'quern';", 'q.abs(-x)'), 1, {});
  assert.equal(
    codesOf(using("import * as h from './helpers.ts';", 'x * h.three'), { files: helpers }),
    ['Q1014'],
  );
});

test('re-exports, by name, renamed and all', async () => {
  const files = {
    ...helpers,
    './named.ts': "export { two, five as cinco } from './helpers.ts';",
    './all.ts': "export * from './named.ts';\nexport const two = 20;",
  };
  await gives(using("import { two, cinco } from './named.ts';", 'x * two * cinco'), 10, files);
  await gives(using("import { two, cinco } from './all.ts';", 'x * two * cinco'), 100, files);
});

test('types are skipped, wherever they are imported', async () => {
  await gives(
    using(
      "import type { Gone } from './gone.ts';\nimport { type Options, two } from './helpers.ts';",
      'x * two',
    ),
    2,
    helpers,
  );
  await gives(
    using(
      "import { Options, Weight, two } from './helpers.ts';\nimport { Dim, Tensor } from 'quern';",
      'x * two',
    ),
    2,
    helpers,
  );
});

test('files may import each other', async () => {
  const files = {
    './even.ts':
      "import { odd } from './odd.ts';\nexport const even = (n) => (n === 0 ? 1 : odd(n - 1));",
    './odd.ts':
      "import { even } from './even.ts';\nexport const odd = (n) => (n === 0 ? 2 : even(n - 1));",
  };
  await gives(using("import { even } from './even.ts';", 'x * even(5)'), 2, files);
});

test('a constant of a circle that has no value yet is named', () => {
  const files = {
    './a.ts': "import { b } from './b.ts';\nexport const a = 1;",
    './b.ts': "import { a } from './a.ts';\nexport const b = a + 1;",
  };
  const [first, ...rest] = problems(using("import { a } from './a.ts';", 'x * a'), { files });
  assert.is(first!.code, 'Q1016');
  assert.match(first!.span.file, /b\.ts$/);
  assert.equal(rest, []);
});

test('the export of a kernel may have another name', async () => {
  const source = 'function inner(x: Tensor<f32, [4]>) { return x * 2; }\nexport { inner as f };';
  assert.equal(await values(source, [x]), scaled(2));
});

test('problems of an imported file are reported there, once', () => {
  const files = {
    './broken.ts': 'export const a = missing;\nexport const b = a + 1;\nexport const c = 2;',
  };
  const found = problems(using("import { a, b, c } from './broken.ts';", 'x * a * b * c'), {
    files,
  });
  assert.equal(
    found.map((d) => d.code),
    ['Q1003'],
  );
  assert.is(pointed(files['./broken.ts'], found[0]!), 'missing');
  const syntax = problems(using("import { a, b } from './broken.ts';", 'x * a * b'), {
    files: { './broken.ts': 'const = 1;' },
  });
  assert.ok(syntax.every((d) => d.code === 'Q1001'));
});

test('several problems of several files are sorted by file and place', () => {
  const files = { './a.ts': 'export const p = one;\nexport const q = two;' };
  const found = problems(
    using("import { p, q } from './a.ts';\nconst z = three;\nconst y = four;", 'x'),
    { files },
  );
  assert.equal(
    found.map((d) => d.message.replace(/.*`(.*)`.*/, '$1')),
    ['one', 'two', 'three', 'four'],
  );
});

test('two kernels of a file have dims of their own', () => {
  const source = `import { sum } from 'quern';
export function f<N extends Dim, K extends Dim>(x: Tensor<f32, [N, K]>) { return sum(x, 1); }
export function g<K extends Dim, N extends Dim>(x: Tensor<f32, [K, N]>) { return sum(x, 1); }`;
  assert.equal(manifest(source).dims, ['N', 'K']);
  assert.equal(manifest(source, { name: 'g' }).dims, ['K', 'N']);
});

test('results say how they are put together', () => {
  const returns = (expression: string) => manifest(using('', expression));
  const names = (expression: string): string[] => returns(expression).results.map((r) => r.name);
  assert.is(returns('x').returns, 'value');
  assert.is(returns('({ a: x })').returns, 'record');
  assert.is(returns('[x]').returns, 'tuple');
  assert.equal(names('({ result: x })'), ['result']);
  assert.equal(names('[x, x * 2]'), ['0', '1']);
  assert.equal(names('({ a: { s: x, t: [x] }, b: { s: x } })'), ['a.s', 'a.t.0', 'b.s']);
});

test('a description tells kernels, formats and others apart', () => {
  const source = `import { f16, format, sum, u4 } from 'quern';
export const q = format({ block: 4, encode(x: Tensor<f32, [4]>) { const d = f16(sum(x)); return { d, q: u4(x / d) }; }, decode: ({ d, q }) => q * d });
export const make = (n: number) => q;
export const scale = 2;
export function f<F extends Format, N extends Dim, K extends Dim>(x: Tensor<f32, [K]>, w: Encoded<F, [N, K]>, bits = 4) { return x; }`;
  const { exports } = describe(file, hostOf(source));
  assert.equal(
    exports.map((e) => `${e.name} ${e.kind}`),
    ['q format', 'make other', 'scale other', 'f kernel'],
  );
  const kernel = exports[3]!;
  assert.ok(kernel.kind === 'kernel');
  assert.equal(kernel.formatParams, ['F']);
  assert.equal(
    kernel.params.map((p) => [p.name, p.kind, p.optional, p.formatParam]),
    [
      ['x', 'tensor', false, undefined],
      ['w', 'encoded', false, 0],
      ['bits', 'static', true, undefined],
    ],
  );
});

test('an error inside of the compiler names the place that led to it', async () => {
  const source = using('', 'x');
  const host = { readFile: () => source };
  const broken = { file, name: 'f', target: 'none' as 'wasm' };
  try {
    await compile(broken, host);
    assert.unreachable();
  } catch (e) {
    assert.ok(e instanceof CompileError);
    assert.equal(
      e.diagnostics.map((d) => [d.code, d.span.file]),
      [['Q9001', file]],
    );
    assert.ok(e.cause instanceof Error);
  }
});

test.run();
