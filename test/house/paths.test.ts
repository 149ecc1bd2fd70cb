// No file of the repository may name a place on the machine that it was written on.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { filesIn, readRepo, repo } from './imports.ts';

// Spelled so that this file does not find itself. A path segment inside a longer path is no match.
const roots = ['work', ['tmp', 'q'].join('/'), 'root', 'home'];
const absolute = new RegExp(`(?<![\\w.\\-*\\])}>])/(?:${roots.join('|')})/(?=[\\w.])`);

/** The lines of a text that name such a place. */
const offenders = (path: string, text: string): string[] =>
  absolute.test(text)
    ? text.split('\n').flatMap((line, i) => (absolute.test(line) ? [`${path}:${i + 1}`] : []))
    : [];

const test = suite('paths');

test('no file contains an absolute path of a workplace', () => {
  const ignored = /^(\.git|dist|\.quern-cache|coverage|out|\.whl|\.carry|examples\/models)\//;
  const small = (path: string): boolean =>
    !ignored.test(path) && path !== '.git' && statSync(join(repo, path)).size < 2 ** 20;
  const files = filesIn('.', small);
  assert.ok(files.length > 10);
  assert.equal(
    files.flatMap((path) => offenders(path, readRepo(path))),
    [],
  );
});

test('the pattern finds such paths, and not those that only look alike', () => {
  const place = ['', 'work', 'main'].join('/');
  assert.equal(offenders('f', `ok\nread ${place}/x.ts`), ['f:2']);
  assert.equal(offenders('f', `see '${place}/x.ts'`), ['f:1']);
  assert.equal(offenders('f', `docs${place}/x.ts and https://example.org${place}/x`), []);
});

test.run();
