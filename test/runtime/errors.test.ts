// The table of runtime errors: every row makes whole sentences, and codes are never shared.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Explanation, QuernError, runtimeCodes } from '../../runtime/errors.ts';

const test = suite('runtime errors');
const root = join(import.meta.dirname, '../..');

/** Facts that name themselves, so that every hole of a sentence shows. */
const facts = new Proxy({}, { get: (_, name) => `<${String(name)}>` });
const rows = Object.entries(runtimeCodes) as [
  keyof typeof runtimeCodes,
  (f: object) => Explanation,
][];

test('every code says what is wrong and what to do', () => {
  for (const [code, explain] of rows) {
    const { message, hint } = explain(facts);
    assert.ok(message.includes('<') && hint?.endsWith('.'), `${code}: ${message} ${hint}`);
    const error = new QuernError(code, explain(facts));
    assert.ok(error.message.startsWith(`${code}: `));
    assert.not.match(error.message, /undefined|\[object/);
  }
});

test('every code is raised somewhere in the runtime', () => {
  const files = readdirSync(join(root, 'runtime'), { recursive: true, encoding: 'utf8' });
  const text = files
    .filter((f) => f.endsWith('.ts') && f !== 'errors.ts')
    .map((f) => readFileSync(join(root, 'runtime', f), 'utf8'))
    .join('\n');
  for (const [code] of rows) assert.ok(text.includes(`'${code}'`), code);
});

/** Modules that a file loads at once, types left out. */
function staticImports(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const found = text.matchAll(/^(?:import|export) (?!type )[^;]*? from '([^']+)'/gm);
  return [...found].map((m) => m[1]!);
}

test('what a page loads has no module of Node and no compiler in it', () => {
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const name of staticImports(file)) {
      assert.ok(name.startsWith('.'), `${relative(root, file)} imports ${name}`);
      visit(join(dirname(file), name));
    }
  };
  for (const entry of ['load', 'scope', 'tensor', 'devices/index'])
    visit(join(root, 'runtime', `${entry}.ts`));
  const compiler = [...seen].map((f) => relative(root, f)).filter((f) => f.startsWith('compiler'));
  assert.equal(compiler, ['compiler/ir/dtype.ts']);
  assert.ok(seen.size > 10);
});

test.run();
