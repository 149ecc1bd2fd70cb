// The loop IR of a few kernels is what their files say.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { goldens, kept } from './golden.ts';

const test = suite('loop IR, as text');

for (const g of goldens)
  test(`${g.name} becomes what its file says`, async () => {
    const expected = kept(g);
    assert.ok(expected !== undefined, 'there is no such file: run npm run update-checks');
    assert.snapshot(await g.text(), expected!);
    assert.ok(expected!.split('\n').length <= 80, 'more than 80 lines are not read');
  });

test.run();
