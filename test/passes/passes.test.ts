// Runs the text cases; `npm run update-checks` rewrites what they expect.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { actual, cases } from './cases.ts';

const test = suite('passes, as text');

for (const c of cases())
  test(`${c.name} becomes what it says`, () => {
    assert.ok(c.expected, 'the case has no expected part: run npm run update-checks');
    assert.snapshot(actual(c), c.expected);
  });

test('a case names what its pass must leave alone, for every pass', () => {
  const all = cases();
  for (const pass of new Set(all.map((c) => c.pass)))
    assert.ok(
      all.some((c) => c.pass === pass && c.name.includes('does-not')),
      `${pass} has no case of what it does not do`,
    );
});

test.run();
