// What `quern build` refuses: each mistake has a code, says what would do, and leaves the folder alone.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageName } from '../../aot/index.ts';
import { build } from '../../cli/commands/build.ts';
import { quern } from '../cli/run.ts';
import { fixture, temporary } from './package.ts';

const test = suite('refusals of quern build');

const refused: [string, string[], RegExp][] = [
  [
    'an unknown target',
    ['--target', 'wsam'],
    /Q7002.*no target wsam.*expected: wasm, wgsl, cuda, gpujs/s,
  ],
  ['an unknown kernel', ['-e', 'x=nothing'], /Q7003.*nothing.*linear/s],
  ['a name that is no identifier', ['-e', 'class=look'], /Q7004.*word of JavaScript/],
  ['a name that is taken', ['-e', 'look', '-e', 'Look=look'], /Q7004.*already look/],
  ['a reserved name', ['-e', 'init=look'], /Q7004.*use that name themselves/],
  ['a missing constant', ['-e', 'norm'], /Q7008.*expected: norm\(eps\)/s],
  ['a missing format', ['-e', 'linear'], /Q7008.*expected: linear<F>/s],
  ['a format that does not exist', ['-e', 'linear=linear<q5>'], /q5/],
  ['what cannot be read', ['-e', 'x=linear<'], /Cannot read/],
];
for (const [what, args, message] of refused)
  test(`${what} is refused, and nothing is written`, async () => {
    const dir = join(temporary(), 'out');
    let found: string | undefined;
    try {
      const { target = 'wasm', exports } = parsed(args);
      const variants = 'none';
      await build(fixture, {
        target,
        variants,
        output: dir,
        ...(exports.length ? { export: exports } : {}),
      });
    } catch (e) {
      const { explanation } = e as { explanation?: { expected?: string } };
      found = `${(e as Error).message}\nexpected: ${explanation?.expected}`;
    }
    assert.match(found ?? 'it was built', message);
    assert.not.ok(existsSync(dir));
  });

/** `-e` and `--target` of a command line. */
function parsed(args: readonly string[]): { target?: string; exports: string[] } {
  const at = args.indexOf('--target');
  const exports = args.filter((_, i) => args[i - 1] === '-e');
  return at < 0 ? { exports } : { target: args[at + 1]!, exports };
}

test('a wrong build ends with 1 and a message, without a stack trace', async () => {
  const { code, err } = await quern([
    'build',
    fixture,
    '-t',
    'wasm,metal',
    '-o',
    join(temporary(), 'out'),
  ]);
  assert.is(code, 1);
  assert.match(
    err,
    /error Q7002: There is no target metal\n {2}expected: wasm, wgsl, cuda, gpujs\n {6}hint: /,
  );
  assert.not.match(err, /\n\s+at /);
});

test('names of packages follow the file', () => {
  assert.is(packageName('/a/b/Q4.kernel.ts'), 'q4');
  assert.is(packageName('/a/b/my ops.kernels.mts'), 'my-ops');
  assert.is(packageName('quern/formats'), 'formats');
});

test.run();
