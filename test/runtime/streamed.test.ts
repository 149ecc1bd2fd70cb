// Files written by plan: whole under their names or not at all, and continued after a cut at any moment.
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type PlannedFile, StreamedOutput, journalOf } from '../../runtime/files/streamed.ts';

const test = suite('streamed output');
const root = mkdtempSync(join(tmpdir(), 'quern-streamed-'));
test.after(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const path = (name = `${count++}.bin`): string => join(root, name);
const head = new TextEncoder().encode('HEAD');

/** Two files of three pieces, with room between them. */
const plan = (): PlannedFile[] => [
  {
    path: path(),
    head,
    pieces: [
      { name: 'a', offset: 8, bytes: 5 },
      { name: 'b', offset: 16, bytes: 3 },
    ],
    size: 32,
  },
  { path: path(), head, pieces: [{ name: 'c', offset: 4, bytes: 2 }], size: 6 },
];
const fill: [string, number[]][] = [
  ['a', [1, 2, 3, 4, 5]],
  ['b', [6, 7, 8]],
  ['c', [9, 10]],
];
const put = async (out: StreamedOutput, parts = fill) => {
  for (const [name, bytes] of parts) {
    await out.append(name, Uint8Array.from(bytes));
    await out.commit(name, [name], { of: name });
  }
};
const contents = (files: PlannedFile[]) => files.map((f) => [...readFileSync(f.path)]);
const expected = [
  [...head, 0, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0, 6, 7, 8, ...new Array(13).fill(0)],
  [...head, 9, 10],
];
const fails = async (work: Promise<unknown>, pattern: RegExp) =>
  assert.match(String(await work.catch((e: unknown) => e)), pattern);
const hidden = (): string[] => readdirSync(root).filter((n) => n.startsWith('.'));

test('pieces filled in any order and in turns make the planned bytes', async () => {
  const files = plan();
  const out = await StreamedOutput.create(files, { key: 'k' });
  await out.append('c', Uint8Array.of(9));
  await out.append('a', Uint8Array.of(1, 2));
  await Promise.all([out.append('a', Uint8Array.of(3)), out.append('a', Uint8Array.of(4, 5))]);
  await out.append('c', Uint8Array.of(10));
  await out.append('b', Uint8Array.of(6, 7, 8));
  await out.commit('all', ['a', 'b', 'c'], null);
  assert.not(existsSync(files[0]!.path));
  await out.finish();
  assert.equal(contents(files), expected);
  assert.equal(hidden(), []);
});

test('an output that is given up leaves nothing, unless it is to be kept', async () => {
  const files = plan();
  const out = await StreamedOutput.create(files, { key: 'k' });
  await put(out, fill.slice(0, 1));
  await out.abort();
  assert.equal(hidden(), []);
  const kept = await StreamedOutput.create(files, { key: 'k' });
  await put(kept, fill.slice(0, 1));
  await kept.abort({ keep: true });
  assert.is(hidden().length, 3);
  const again = await StreamedOutput.create(files, { key: 'k', resume: true });
  assert.equal(again.finished, [{ part: 'a', pieces: ['a'], record: { of: 'a' } }]);
  await put(again, fill.slice(1));
  await again.finish();
  assert.equal(contents(files), expected);
});

test('a cut at any byte of the journal and anywhere in a piece is continued to the same bytes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(3), fc.nat(200), fc.nat(4), async (whole, lost, partly) => {
      const files = plan();
      const out = await StreamedOutput.create(files, { key: 'k' });
      await put(out, fill.slice(0, whole));
      const next = fill[whole];
      if (next)
        await out.append(next[0], new Uint8Array(Math.min(partly, next[1].length)).fill(99));
      await out.abort({ keep: true });
      const journal = journalOf(files);
      const text = readFileSync(journal);
      writeFileSync(journal, text.subarray(0, Math.max(0, text.length - lost)));
      const again = await StreamedOutput.create(files, { key: 'k', resume: true });
      const done = again.finished.map((f) => f.part);
      assert.equal(
        done,
        fill.slice(0, done.length).map(([name]) => name),
      );
      await put(again, fill.slice(done.length));
      await again.finish();
      assert.equal(contents(files), expected);
      for (const f of files) rmSync(f.path);
    }),
    { numRuns: 60 },
  );
});

test('a cut between two names is continued', async () => {
  const files = plan();
  const out = await StreamedOutput.create(files, { key: 'k' });
  await put(out);
  await out.abort({ keep: true });
  // As if the first file had its name already.
  const unfinished = hidden().find((n) => n.endsWith('quern-part'))!;
  const first = files.find((f) => unfinished.includes(f.path.split('/').at(-1)!))!;
  writeFileSync(first.path, readFileSync(join(root, unfinished)));
  rmSync(join(root, unfinished));
  const again = await StreamedOutput.create(files, { key: 'k', resume: true });
  assert.is(again.finished.length, 3);
  await again.finish();
  assert.equal(contents(files), expected);
});

test('an older file under the final name is not taken for the unfinished one', async () => {
  const files = plan();
  const out = await StreamedOutput.create(files, { key: 'k' });
  await out.abort({ keep: true });
  for (const n of hidden().filter((x) => x.endsWith('quern-part'))) rmSync(join(root, n));
  writeFileSync(files[0]!.path, 'older');
  await fails(StreamedOutput.create(files, { key: 'k', resume: true }), /Q6111.*unfinished/);
  assert.is(readFileSync(files[0]!.path, 'utf8'), 'older');
  for (const n of hidden()) rmSync(join(root, n));
});

test('other work under the same name is not continued', async () => {
  const files = plan();
  await (await StreamedOutput.create(files, { key: 'k' })).abort({ keep: true });
  await fails(StreamedOutput.create(files, { key: 'other', resume: true }), /Q6111.*options/);
  const anew = await StreamedOutput.create(files, { key: 'other' });
  assert.equal(anew.finished, []);
  await anew.abort();
});

test('without anything to continue, --resume begins', async () => {
  const files = plan();
  const out = await StreamedOutput.create(files, { key: 'k', resume: true });
  assert.equal(out.finished, []);
  await put(out);
  await out.finish();
  assert.equal(contents(files), expected);
});

test('two processes do not write one file', async () => {
  const files = plan();
  const line = { quern: 1, key: 'k', pid: process.ppid, host: hostname() };
  writeFileSync(journalOf(files), `${JSON.stringify(line)}\n`);
  await fails(StreamedOutput.create(files, { key: 'k' }), new RegExp(`Q6112.*${process.ppid}`));
  // A number that has gone to another process since is no hindrance.
  writeFileSync(journalOf(files), `${JSON.stringify({ ...line, started: 'long ago' })}\n`);
  if (existsSync('/proc/self/stat'))
    await (await StreamedOutput.create(files, { key: 'k' })).abort();
  else rmSync(journalOf(files));
});

test('too much, too little and unknown data are refused', async () => {
  const files = plan();
  const out = await StreamedOutput.create(files, { key: 'k' });
  await fails(out.append('a', new Uint8Array(6)), /Q6105/);
  await fails(out.append('z', new Uint8Array(1)), /Q6105.*\n.*no such piece/);
  await fails(out.commit('a', ['a'], null), /Q6105/);
  await fails(out.finish(), /Q6105.*"a"/);
  await out.abort();
  await fails(out.append('a', new Uint8Array(1)), /Q6105.*\n.*closed/);
});

test('a folder that is not there is an error with its name', async () => {
  const files = [{ path: path('no/where.bin'), head, pieces: [], size: 4 }];
  await fails(StreamedOutput.create(files, { key: 'k' }), /Q6107.*where/);
});

test.run();
