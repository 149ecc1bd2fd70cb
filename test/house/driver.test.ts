// The test driver, run over temporary folders with every kind of bad test file.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const repo = fileURLToPath(new URL('../..', import.meta.url));
const uvu = `import { suite } from ${JSON.stringify(import.meta.resolve('uvu'))};\n`;
const body = (tests: string): string => `${uvu}const test = suite('s');\n${tests}\ntest.run();\n`;
const good = body(`test('one', () => {}); test('two', () => {});`);

/** Runs the driver over files of a temporary folder. */
function drive(files: { [name: string]: string }, ...args: string[]) {
  const root = mkdtempSync(join(tmpdir(), 'quern-driver-'));
  try {
    writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
    const { status, stdout } = spawnSync(
      process.execPath,
      ['--import', './scripts/typescript.js', 'scripts/test.ts', '--root', root, ...args],
      { cwd: repo, encoding: 'utf8' },
    );
    assert.ok(stdout.endsWith('\n'));
    return { status, stdout, last: stdout.trimEnd().split('\n').at(-1) };
  } finally {
    rmSync(root, { recursive: true });
  }
}

const test = suite('test driver');

test('passing files and named skips give exit code 0', () => {
  const skips = body(
    `console.log('SKIP gpu: no adapter: none'); test.skip('later', () => {}); test('runs', () => {});`,
  );
  const run = drive({ 'a.test.ts': good, 'b.test.ts': skips, 'helper.ts': 'throw 1;' });
  assert.is(run.last, '3 passed, 0 failed, 2 skipped');
  assert.is(run.status, 0);
  assert.match(run.stdout, /^ok {3}a\.test\.ts: 2 passed, \d+\.\d s$/m);
  assert.match(run.stdout, 'Skipped:\n  b.test.ts: gpu: no adapter: none\n  b.test.ts: a test:');
});

test('a failing test is counted and its output shown', () => {
  const bad = body(`test('fine', () => {}); test('is broken', () => { throw new Error('boom') });`);
  const run = drive({ 'a.test.ts': good, 'bad.test.ts': bad });
  assert.is(run.last, '3 passed, 1 failed, 0 skipped');
  assert.is(run.status, 1);
  assert.match(run.stdout, '=== bad.test.ts');
  assert.match(run.stdout, 'boom');
  assert.not.match(run.stdout, '=== a.test.ts');
});

test('files that crash, exit early or hold no test fail', () => {
  const run = drive({
    'crash.test.ts': `${good}\nthrow new Error('at load');`,
    'empty.test.ts': '',
    'exit.test.ts': body(`test('leaves', () => process.exit(0));`),
    'unrun.test.ts': `${uvu}suite('never run')('x', () => {});`,
    'void.test.ts': body(''),
  });
  assert.is(run.last, '0 passed, 5 failed, 0 skipped');
  assert.is(run.status, 1);
  assert.match(run.stdout, /FAIL empty\.test\.ts: .*no test suite ran/);
  assert.match(run.stdout, /FAIL void\.test\.ts: .*the file has no test/);
});

test('a file that hangs is ended with its children', () => {
  const hang = body(`test('hangs', async () => {
    const { spawn } = await import('node:child_process');
    spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' });
    await new Promise((done) => setTimeout(done, 60_000));
  });`);
  const run = drive({ 'hang.test.ts': hang }, '--timeout', '1');
  assert.is(run.last, '0 passed, 1 failed, 0 skipped');
  assert.match(run.stdout, /FAIL hang\.test\.ts: .*exceeded 1 s/);
});

test('a filter selects files, and a filter without a match fails', () => {
  const files = { 'one.test.ts': good, 'two.test.ts': good };
  assert.is(drive(files, 'one').last, '2 passed, 0 failed, 0 skipped');
  assert.is(drive(files, 'one', 'two').last, '4 passed, 0 failed, 0 skipped');
  const none = drive(files, 'three');
  assert.is(none.last, '0 passed, 0 failed, 0 skipped');
  assert.is(none.status, 1);
  assert.match(none.stdout, 'Nothing ran: no test matches three');
});

test.run();
