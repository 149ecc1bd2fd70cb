// Every code of the table, produced by a kernel and compared with its stored text (npm run update-checks). Read
// the texts as an author would: do they name the author's own variables, and say what to do?
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { codes } from '../../compiler/diagnostics/codes.ts';
import { codeOf, names, rendered, snapshotPath } from './cases.ts';

const test = suite('diagnostics');

for (const name of names())
  test(`${name} reads as stored`, () => {
    const path = snapshotPath(name);
    assert.ok(existsSync(path), `no ${path}: npm run update-checks`);
    const text = rendered(name);
    assert.snapshot(`${text}\n`, readFileSync(path, 'utf8'));
    const code = codeOf(name);
    if (code) assert.equal(text.match(/^error Q\d+/gm), [`error ${code}`]);
  });

test('every code of the table has a kernel', () => {
  const covered = new Set(names().map(codeOf));
  assert.equal(
    Object.keys(codes).filter((c) => !covered.has(c as keyof typeof codes)),
    [],
  );
});

test('every stored text belongs to a kernel', () => {
  const known = new Set(names().map((n) => basename(snapshotPath(n))));
  const stored = readdirSync(dirname(snapshotPath('any')));
  assert.equal(
    stored.filter((n) => !known.has(n)),
    [],
  );
});

test.run();
