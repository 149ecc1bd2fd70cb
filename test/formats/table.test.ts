// docs/formats.md, which `npm run formats` writes: it has a row for every format, and none that says it failed.
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { describe } from '../../compiler/index.ts';

const test = suite('table of formats');
const library = new URL('../../ops/formats/index.ts', import.meta.url);
const text = readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8');
const rows = text.split('\n').filter((line) => line.startsWith('| `'));

test('every format of the library has a row', () => {
  const names = describe(library.pathname).exports.filter((e) => e.kind === 'format');
  assert.equal(
    rows.map((r) => r.split('`')[1]!).sort(),
    names.map((e) => e.name).sort(),
    'npm run formats',
  );
});

test('no decoder or encoder differs from its oracle', () => {
  assert.equal(
    rows.filter((r) => r.includes('**')),
    [],
  );
});

test('products are sums in f32 and no worse', () => {
  for (const row of rows) {
    const products = row
      .split(' | ')
      .slice(6)
      .map((cell) => Number.parseFloat(cell));
    for (const error of products) assert.ok(!(error > 1e-6), row);
  }
});

test.run();
