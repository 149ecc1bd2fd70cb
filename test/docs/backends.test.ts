// The table of ops and backends is what the conformance cases make of it, and no op is without a case.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { columns, coverage, isThere } from '../conformance/coverage.ts';
import { keptRefusals } from '../conformance/refusals.ts';
import { backendsPage, keptPage, rowsOf } from '../conformance/table.ts';

const test = suite('docs/backends.md');
const refusals = keptRefusals();
const rows = rowsOf(refusals);

test('it is up to date', () => {
  assert.is(keptPage(), backendsPage(refusals, rows), 'run npm run update-checks');
});

test('every op is run by every backend, or refused with what is missing', () => {
  for (const [op, row] of rows) {
    assert.ok(row.results > 0, op);
    for (const column of columns) {
      const { runs, left, lacks } = row.cells[column];
      assert.equal(left, [], `${op} on ${column}`);
      assert.ok(runs > 0 || lacks.size > 0, `${op} on ${column}`);
      assert.ok(column === 'gpujs' || runs === row.results, `${op} on ${column}`);
    }
  }
});

test('every test file of the table is there', () => {
  for (const column of columns)
    for (const file of Object.keys(coverage[column])) assert.ok(isThere(file), file);
});

test.run();
