// How diagnostics look. The snapshots are the specification: change them on purpose only.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Diagnostic, diagnostic, type Span } from '../../compiler/diagnostics/diagnostic.ts';
import { nearest } from '../../compiler/diagnostics/near.ts';
import { positionOf, renderDiagnostics } from '../../compiler/diagnostics/render.ts';

const kernel = `import { matmul } from 'quern';

export function linear(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [N, K]>,
) {
  return matmul(x, w);
}
`;
/** The span of the first occurrence of `part`. */
const at = (part: string, text = kernel, file = 'linear.ts'): Span => {
  const start = text.indexOf(part);
  return { file, start, end: start + part.length };
};
const read = (file: string): string | undefined => (file === 'linear.ts' ? kernel : undefined);
const shapes = diagnostic('Q2002', at('matmul(x, w)'), {
  a: 'f32[M, K]',
  b: 'f32[N, K]',
  inner: 'K is not N',
});
/** An expected text, written indented in the test. */
const text = (indented: string): string =>
  indented
    .trim()
    .replace(/^ {4}/gm, '')
    .replace(/^ *\$$/gm, '');

const test = suite('render');

test('a diagnostic shows place, excerpt, facts and hint', () => {
  const expected = `
    error Q2002 linear.ts:7:10
      matmul contracts the last axis of its first operand with the second-to-last of its second: K is not N
      5 |   w: Tensor<f32, [N, K]>,
      6 | ) {
      7 |   return matmul(x, w);
        |          ^^^^^^^^^^^^
      8 | }
      found:    f32[M, K] x f32[N, K]
      expected: [..., M, K] x [..., K, N]
      hint:     A weight stored [N, K] needs transpose(w).

    1 error`;
  assert.snapshot(renderDiagnostics([shapes], read), text(expected));
});

test('several diagnostics are counted, and related places quoted', () => {
  const unknown: Diagnostic = {
    ...diagnostic('Q1003', at('matmul'), { name: 'matmull', near: 'matmul' }),
    related: [{ span: at('matmul(x, w)'), message: 'called here' }],
  };
  const nowhere = diagnostic('Q9001', { file: '', start: 0, end: 0 }, { detail: 'it broke' });
  const expected = `
    error Q1003 linear.ts:1:10
      Unknown name \`matmull\`
      1 | import { matmul } from 'quern';
        |          ^^^^^^
      2 |
      3 | export function linear(
      hint:     Did you mean \`matmul\`?
      see:      linear.ts:7:10 called here
                return matmul(x, w);

    error Q9001
      Fault of the compiler: it broke
      hint:     Please report this with the kernel file.

    2 errors`;
  assert.snapshot(renderDiagnostics([unknown, nowhere], read), text(expected));
});

test('a span of several lines is underlined on its first', () => {
  const span = { ...at('export function linear('), end: kernel.indexOf(') {') };
  const lines = renderDiagnostics([{ ...shapes, span }], read).split('\n');
  const marked = lines.findIndex((l) => l.includes('^'));
  assert.is(lines[marked - 1], '  3 | export function linear(');
  assert.is(lines[marked], '    | ^^^^^^^^^^^^^^^^^^^^^^^');
});

test('tabs and carriage returns keep the underline below its text', () => {
  const source = 'a;\r\n\tconst x\t= bad(1);\r\nb;';
  const span = at('bad(1)', source, 'tabs.ts');
  const lines = renderDiagnostics([{ ...shapes, span }], () => source).split('\n');
  assert.is(lines[0], 'error Q2002 tabs.ts:2:12');
  assert.equal(lines.slice(2, 6), [
    '  1 | a;',
    '  2 |     const x = bad(1);',
    '    |               ^^^^^^',
    '  3 | b;',
  ]);
});

test('line numbers of different width are aligned', () => {
  const source = Array.from({ length: 12 }, (_, i) => `line${i + 1};`).join('\n');
  const span = at('line10', source, 'long.ts');
  const lines = renderDiagnostics([{ ...shapes, span }], () => source).split('\n');
  assert.equal(lines.slice(2, 8), [
    '   8 | line8;',
    '   9 | line9;',
    '  10 | line10;',
    '     | ^^^^^^',
    '  11 | line11;',
    '  12 | line12;',
  ]);
});

test('empty spans, the end of the file and spans beyond it still get one caret', () => {
  for (const [start, end] of [
    [0, 0],
    [kernel.length, kernel.length],
    [kernel.length + 5, kernel.length + 9],
  ] as const) {
    const span = { file: 'linear.ts', start, end };
    const carets = renderDiagnostics([{ ...shapes, span }], read).match(/\^+/g);
    assert.equal(carets, ['^'], `span ${start} to ${end}`);
  }
});

test('a file that cannot be read is named without an excerpt', () => {
  const span = { ...shapes.span, file: 'gone.ts' };
  const lines = renderDiagnostics([{ ...shapes, span }], read).split('\n');
  assert.is(lines[0], 'error Q2002 gone.ts');
  assert.not(lines.some((l) => l.includes('|')));
});

test('facts of several lines are indented', () => {
  const lines = renderDiagnostics([{ ...shapes, found: 'one\ntwo' }], read).split('\n');
  const i = lines.indexOf('  found:    one');
  assert.is(lines[i + 1], '            two');
});

test('colours appear only when asked for, and change no text', () => {
  const plain = renderDiagnostics([shapes], read);
  const colored = renderDiagnostics([shapes], read, { color: true });
  const esc = String.fromCharCode(27);
  assert.not(plain.includes(esc));
  assert.ok(colored.includes(`${esc}[31m^^^`));
  assert.is(colored.replaceAll(new RegExp(`${esc}\\[\\d+m`, 'g'), ''), plain);
});

test('no diagnostics, no text', () => {
  assert.is(renderDiagnostics([], read), '');
});

test('positions count from one', () => {
  assert.equal(positionOf('ab\ncd', 0), { line: 1, column: 1 });
  assert.equal(positionOf('ab\ncd', 2), { line: 1, column: 3 });
  assert.equal(positionOf('ab\ncd', 3), { line: 2, column: 1 });
});

test('the nearest name is a small edit away', () => {
  const names = ['matmul', 'mean', 'max', 'amax', 'argmax', 'roundHalfUp', 'f16', 'bf16', 'i8'];
  assert.is(nearest('matmull', names), 'matmul');
  assert.is(nearest('mamtul', names), 'matmul');
  assert.is(nearest('Matmul', names), 'matmul');
  assert.is(nearest('roundhalfup', names), 'roundHalfUp');
  assert.is(nearest('agmax', names), 'amax');
  assert.is(nearest('f15', names), 'f16');
  assert.is(nearest('softmax', names), undefined);
  assert.is(nearest('x', ['y', 'z']), undefined);
  assert.is(nearest('', names), undefined);
});

test.run();
