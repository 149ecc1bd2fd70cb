// Files that mean harm, or were written by accident: each ends with a diagnostic, soon and in bounded memory,
// and nothing of the file is ever executed.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CompileError } from '../../compiler/diagnostics/diagnostic.ts';
import { describe } from '../../compiler/index.ts';
import { type Files, codesOf, file, hostOf, kernel, problems, t, values } from './stage.ts';

const test = suite('hostile files');
/** Of processor time: the machine may be busy. */
const limitMs = 2000;
const limitBytes = 400 * 2 ** 20;

function timed(source: string, files: Files = {}): string[] {
  const memory = process.memoryUsage().heapUsed;
  const start = process.cpuUsage();
  const codes = codesOf(source, { files });
  const { user, system } = process.cpuUsage(start);
  const ms = (user + system) / 1000;
  assert.ok(ms < limitMs, `took ${Math.round(ms)} ms`);
  const bytes = process.memoryUsage().heapUsed - memory;
  assert.ok(bytes < limitBytes, `took ${Math.round(bytes / 2 ** 20)} MiB`);
  return codes;
}
const deep = (n: number, open: string, inner: string, close: string): string =>
  open.repeat(n) + inner + close.repeat(n);

const exhausting: Readonly<Record<string, string>> = {
  'an endless loop': 'for (;;) {} return x;',
  'an endless loop that counts': 'let i = 0; for (;;) i += 1; return x;',
  'an endless loop of operations': 'let y = x; for (;;) y = y + 1; return y;',
  'an endless loop that keeps arrays':
    'const a = []; for (;;) a.push(Array.from({ length: 100000 })); return x;',
  'an endless loop that keeps tables':
    'const a = []; const b = Array.from({ length: 100000 }).fill(1); for (;;) a.push(tensor(b)); return x;',
  'endless recursion': 'const g = (n) => g(n + 1); return g(0);',
  'recursion of two':
    'function a(n) { return b(n); } function b(n) { return a(n) + a(n); } return a(0);',
  'recursion without a bottom in breadth':
    'const g = (n) => (n === 0 ? 0 : g(n - 1) + g(n - 1)); return x * g(60);',
  'a huge array': 'return Array.from({ length: 1e9 });',
  'an infinite array': 'return Array.from({ length: Infinity });',
  'an array that doubles': 'let a = [1]; for (;;) a = [...a, ...a]; return x;',
  'an array that doubles by concat': 'let a = [1]; for (;;) a = a.concat(a); return x;',
  'an array in itself, read':
    'let a = [1]; for (let i = 0; i < 60; i++) a = [a, a]; let b = a; for (const i of range(2)) b = a; return x;',
  'an array in itself, as a table':
    'let a = [1]; for (let i = 0; i < 60; i++) a = [a, a]; return tensor(a);',
  'text that doubles': "let s = 'a'; for (;;) s = s + s; return x;",
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the source of a kernel
  'text that doubles in a template': 'let s = `ab`; for (;;) s = `${s}${s}`; return x;',
  'dims that multiply': 'let k = dim(x, 0) + 1; let d = k; for (;;) d = d * d; return x;',
  'a tensor of many axes': 'let y = x; for (let i = 0; i < 1000; i++) y = stack([y, y]); return y;',
  'an unrolled loop of a million passes':
    'let y = x; for (const v of Array.from({ length: 1e6 })) y = y + 1; return y;',
  'ten thousand parentheses': `return ${deep(10000, '(', 'x', ')')};`,
  'ten thousand negations': `return ${deep(10000, '- ', 'x', '')};`,
  'ten thousand additions': `return x${' + x'.repeat(10000)};`,
  'ten thousand nested arrays': `return ${deep(10000, '[', 'x', ']')};`,
  'ten thousand nested blocks': `${deep(10000, '{', 'return x;', '}')}`,
  'ten thousand nested functions': `return ${deep(10000, '(() => ', 'x', ')')};`,
  'a long chain of calls': `return x${'.a()'.repeat(10000)};`,
};
for (const [name, code] of Object.entries(exhausting))
  test(name, () => {
    const codes = timed(kernel(code));
    assert.ok(codes.length === 1 && /^Q(1006|1014|2006)$/.test(codes[0]!), codes.join());
  });

test('a symbolic dim multiplied without end', () => {
  const source = `import { dim } from 'quern';
export function f<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  let d = dim(x, 0) + dim(x, 1) + 1; for (;;) d = d * d; return x;
}`;
  assert.equal(timed(source), ['Q1006']);
});

test('a table of a million entries, nested loops of a thousand', () => {
  assert.equal(timed(kernel('return tensor(Array.from({ length: 1000001 }).fill(1));')), ['Q1006']);
  const nested =
    'let n = 0; for (let i = 0; i < 1000; i++) for (let j = 0; j < 1000; j++) n += 1; return x * n;';
  assert.equal(timed(kernel(nested)), ['Q1006']);
});

test('names of the prototype are names like others', async () => {
  const code = `const o = { constructor: 1, toString: 2, hasOwnProperty: 3 };
    const { constructor, valueOf = 4 } = o;
    return x * (o.constructor + o.toString + o.hasOwnProperty + constructor + valueOf);`;
  assert.equal(await values(kernel(code), [t([1, 2, 3, 4])]), [11, 22, 33, 44]);
  for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    assert.equal(codesOf(kernel(`return ${name};`)), ['Q1003'], name);
    assert.equal(codesOf(kernel(`return Math.${name}(x);`)), ['Q1014'], name);
    assert.equal(codesOf(kernel(`return [1].${name};`)), ['Q1014'], name);
    assert.equal(codesOf(kernel(`return ({}).${name};`)), ['Q1014'], name);
    assert.equal(
      codesOf(
        `import { ${name} } from 'quern';\nexport function f(x: Tensor<f32, [4]>) { return x; }`,
      ),
      ['Q1003'],
      name,
    );
    assert.equal(
      codesOf(`import { a } from '${name}';\nexport function f(x: Tensor<f32, [4]>) { return x; }`),
      ['Q1005'],
      name,
    );
    assert.equal(
      codesOf(`export function f(x: Tensor<${name}, [4]>) { return x; }`),
      ['Q1003'],
      name,
    );
  }
  assert.equal(codesOf(kernel('const o = { __proto__: x }; return x;')), ['Q1002']);
  assert.equal(codesOf(kernel("const o = {}; o['__proto__'] = x; return x;")), ['Q1002']);
  assert.equal(codesOf(kernel('return { __proto__: x };')), ['Q1002']);
  assert.equal(codesOf(kernel('return x;'), { name: 'constructor' }), ['Q1004']);
  assert.equal(codesOf(kernel('return x;'), { name: '__proto__.encode' }), ['Q1004']);
});

test('nothing that reaches out of the language is known', () => {
  for (const name of [
    'process',
    'globalThis',
    'require',
    'eval',
    'Function',
    'fetch',
    'console',
    'setTimeout',
    'Promise',
  ])
    assert.equal(codesOf(kernel(`return ${name};`)), ['Q1003'], name);
  for (const code of [
    'new Array(3)',
    'this',
    'import.meta',
    "import('fs')",
    'class {}',
    'async () => 1',
    'delete x.y',
    'typeof x',
    '/a/',
    'x`a`',
    'function* () {}',
  ])
    assert.equal(codesOf(kernel(`const y = ${code}; return x;`)), ['Q1002'], code);
  for (const path of ['node:fs', 'fs', '/etc/passwd', 'https://example.com/a.ts', ''])
    assert.equal(
      codesOf(`import { a } from '${path}';\nexport function f(x: Tensor<f32, [4]>) { return x; }`),
      ['Q1005'],
      path,
    );
});

test('user code is parsed, never executed', () => {
  const holder = globalThis as { touched?: number };
  const source = `globalThis.touched = 1; ({}).constructor.constructor('globalThis.touched = 2')();\n${kernel('return x;')}`;
  assert.ok(problems(source).length > 0);
  assert.is(holder.touched, undefined);
});

test('very long files', () => {
  const line = 'export const value = [1, 2, 3].map((v) => v * 2);\n';
  const many = Array.from({ length: 8000 }, (_, i) => line.replace('value', `value${i}`)).join('');
  assert.equal(timed(many + kernel('return x;')), []);
  assert.equal(timed(`/*${' '.repeat(3_000_000)}*/${kernel('return x;')}`), ['Q1006']);
  const unknown = Array.from({ length: 5000 }, (_, i) => `const v${i} = missing${i};\n`).join('');
  assert.ok(timed(unknown + kernel('return x;')).length <= 20);
  assert.equal(
    timed(`${'('.repeat(50)}${kernel('return x;')}`).every((c) => c === 'Q1001'),
    true,
  );
});

test('files that import themselves or each other without end', () => {
  const files = {
    './a.ts':
      "export * from './kernel.ts';\nexport * from './a.ts';\nexport { nothing } from './a.ts';",
  };
  const source = `import { z } from './a.ts';\nexport * from './a.ts';\n${kernel('return z;')}`;
  assert.ok(timed(source, files).every((c) => c === 'Q1004'));
});

test('aliases of types that stand for themselves', () => {
  assert.ok(
    timed('type A = A;\ntype D = D;\nexport function f(x: A, y: Tensor<f32, [D]>) { return y; }')
      .length > 0,
  );
});

test('descriptions are as safe', () => {
  for (const code of [
    'for (;;) {}',
    'const a = Array.from({ length: 1e9 });',
    `const a = ${deep(10000, '(', '1', ')')};`,
  ])
    assert.throws(
      () =>
        describe(
          file,
          hostOf(code.startsWith('for') ? `const g = () => { ${code} };\ng();` : code),
        ),
      (e: unknown) => e instanceof CompileError && e.diagnostics[0]!.code === 'Q1006',
    );
});

test.run();
