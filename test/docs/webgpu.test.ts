// The figures of docs/webgpu.md are those of the kernels as they are, and weights are read once where that is the goal.
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { figuresPath, withTable } from '../../bench/static.ts';

const test = suite('docs/webgpu.md');
const page = readFileSync(figuresPath, 'utf8');

test('its table is up to date', async () => {
  assert.is(page, await withTable(page), 'run npm run update-checks');
});

test('of one row, and of tiles, every encoded weight is read once', () => {
  const rows = page.split('\n').filter((l) => l.startsWith('| linear of'));
  assert.is(rows.length, 16);
  for (const row of rows) {
    const times = Number(/w\.\w+, ([\d.]+) \|$/.exec(row)?.[1]);
    assert.ok(times >= 1 && times < 1.02, row);
  }
});

test('formats that the goals name have products of 1, 16 and 64 rows, and their encoder', () => {
  for (const format of ['q4_0', 'q8_0', 'q4_K', 'nf4', 'mxfp4'])
    for (const what of ['linear of 1 row,', 'linear of 16 rows,', 'linear of 64 rows,', 'encode'])
      assert.ok(
        page.split('\n').some((l) => l.startsWith(`| ${what}`) && l.includes(format)),
        `${what} ${format}`,
      );
});

test.run();
