// kernels.h: it compiles as C and as C++ without a warning, its sizes are those of the package, and a C host that
// follows it alone runs a kernel. The engine of that host is wasmtime's library, if there is one.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../support/skip.ts';
import { consumer, run } from './package.ts';

const test = suite('C header');
const root = await consumer();
const made = join(root, 'node_modules/q4');

const onPath = (name: string): boolean =>
  (process.env.PATH ?? '').split(delimiter).some((d) => existsSync(join(d, name)));
function sh(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
  });
  assert.is(status, 0, error?.message ?? stdout + stderr);
  return stdout;
}

/** libwasmtime: named by QUERN_LIBWASMTIME, or inside of the Python package wasmtime. */
function wasmtime(): string | undefined {
  const named = process.env.QUERN_LIBWASMTIME;
  if (named) return existsSync(named) ? named : undefined;
  const code = 'import wasmtime, os; print(os.path.dirname(wasmtime.__file__))';
  const { stdout } = spawnSync('python3', ['-c', code], { encoding: 'utf8' });
  const dir = stdout?.trim();
  if (!dir || !existsSync(dir)) return undefined;
  const found = (readdirSync(dir, { recursive: true }) as string[]).find((f) =>
    /libwasmtime\.so$/.test(f),
  );
  return found && join(dir, found);
}

const warnings = ['-Wall', '-Wextra', '-Wpedantic', '-Werror'];
for (const [compiler, language] of [
  ['gcc', ['-std=c99', '-x', 'c']],
  ['g++', ['-std=c++17', '-x', 'c++']],
] as const) {
  if (!onPath(compiler)) {
    skip(`kernels.h under ${compiler}`, `no ${compiler}`);
    continue;
  }
  test(`kernels.h compiles under ${compiler} without a warning`, () => {
    writeFileSync(
      join(root, 'all.c'),
      '#include "node_modules/q4/kernels.h"\nint main(void) { return 0; }\n',
    );
    sh(
      compiler,
      ...warnings,
      '-Wno-unused-function',
      '-Wno-unused-const-variable',
      ...language,
      '-fsyntax-only',
      'all.c',
    );
  });
}

if (onPath('gcc')) {
  test('sizes and constants in C are those of the package', () => {
    writeFileSync(
      join(root, 'sizes.c'),
      `#include <stdio.h>
#include "node_modules/q4/kernels.h"
int main(void) {
  printf("%d %llu %llu %llu %zu\\n", LINEAR_ARGUMENTS, (unsigned long long)linear_bytes_w_d(2, 64, 3),
         (unsigned long long)linear_bytes_w_q(2, 64, 3), (unsigned long long)linear_bytes_result(2, 64, 3),
         sizeof(look_constant_${'c0'}));
  return 0;
}
`.replace('c0', constantName()),
    );
    sh('gcc', 'sizes.c', '-o', 'sizes');
    const [count, d, q, result, table] = sh('./sizes').trim().split(' ').map(Number);
    assert.ok(count! >= 7);
    const js = run(
      root,
      `import { mine } from 'q4';
const w = await mine.encode(new Float32Array(192), [3, 64]);
console.log(w.fields.d.bytes, w.fields.q.bytes);`,
    );
    assert.is(js.trim(), `${d} ${q}`);
    assert.is(result, 2 * 3 * 4);
    assert.is(table, 32);
  });
} else skip('sizes in C', 'no gcc');

/** The table of \`look\`, under the name that the header gives it. */
function constantName(): string {
  const text = readFileSync(join(made, 'kernels.h'), 'utf8');
  return /look_constant_(\w+)\[/.exec(text)![1]!;
}

const library = onPath('gcc') ? wasmtime() : undefined;
if (library) {
  test('a C host that follows the header runs a kernel', () => {
    const host = fileURLToPath(new URL('../../examples/c-host/host.c', import.meta.url));
    sh(
      'gcc',
      ...warnings,
      '-Wno-unused-function',
      '-Wno-unused-const-variable',
      '-std=c11',
      '-I',
      made,
      host,
      library,
      '-o',
      'host',
    );
    const found = sh('./host', join(made, 'ops')).trim().split(/\s+/).map(Number);
    const js = run(
      root,
      `import { init } from 'q4';
const ops = await init();
const wave = (n, step) => Float32Array.from({ length: n }, (_, i) => ((i * step) % 17) - 8);
const w = ops.mine.encodeSync(wave(5 * 64, 3), [5, 64]);
console.log(ops.linearSync({ data: wave(64, 5), shape: [1, 64] }, w).data().join(' '));`,
    );
    const want = js
      .trim()
      .split(' ')
      .map((v) => Math.fround(Number(v)));
    assert.equal(found.map(Math.fround), want);
  });
} else skip('a C host', 'no gcc, or no libwasmtime; name one in QUERN_LIBWASMTIME');

test.run();
