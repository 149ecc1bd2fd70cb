// Regenerates the expected part of the pass tests; prints the files that changed. Review the diff.
import { writeFileSync } from 'node:fs';
import { actual, cases, marker } from '../test/passes/cases.ts';

let changed = 0;
for (const c of cases()) {
  const expected = actual(c);
  if (expected === c.expected) continue;
  writeFileSync(c.path, `${c.input}${marker}${expected}`);
  console.log(`updated ${c.name}`);
  changed += 1;
}
console.log(`${changed} cases changed`);
