// Several problems of one file come in one run, also where the later one stands beside the use of a variable
// that the earlier one spoiled.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CompileError } from '../../compiler/diagnostics/diagnostic.ts';
import { describe } from '../../compiler/index.ts';

const test = suite('several problems in one run');

/** Codes and offending text of what describe() finds wrong with a file. */
function problems(text: string): string[] {
  const source = `import { abs, amax, clamp, f16, format, round, u4 } from 'quern';\n${text}`;
  try {
    describe('/several/kernel.ts', { readFile: () => source });
    return [];
  } catch (e) {
    if (!(e instanceof CompileError)) throw e;
    return e.diagnostics.map((d) => `${d.code} ${source.slice(d.span.start, d.span.end)}`);
  }
}
const encoder = (body: string): string =>
  `export const mine = format({ block: 16, encode(x) { ${body} }, decode: ({ d, q }) => q * d });`;

test('a record tells of each of its fields', () => {
  const found = problems(
    encoder('const d = amax(abs(y)); return { d: f16(d), q: u4(rouned(x)) };'),
  );
  assert.equal(found, ['Q1003 y', 'Q1003 rouned']);
});

test('both sides of an operator and all arguments are looked at', () => {
  const found = problems(
    encoder('const q = clamp(one + two, three, 15); return { d: f16(0), q };'),
  );
  assert.equal(found, ['Q1003 one', 'Q1003 two', 'Q1003 three']);
});

test('what a spoiled variable spoils is not told again', () => {
  const found = problems(
    encoder('const d = nowhere; const e = d + 1; return { d: e, q: round(e * x) };'),
  );
  assert.equal(found, ['Q1003 nowhere']);
});

test.run();
