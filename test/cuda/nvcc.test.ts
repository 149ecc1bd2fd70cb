// The emitted text goes through nvcc without a warning, for the oldest and the newest preset that matter, and the
// contractions of every format keep all of their values in registers.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../compiler/index.ts';
import { skip } from '../support/skip.ts';
import { hasCompiler } from './host.ts';
import { formatNames, layerCalls } from './library.ts';

const run = promisify(execFile);
const layers = new URL('../../ops/llama.ts', import.meta.url).pathname;

interface Usage {
  readonly registers: number;
  readonly spills: number;
  /** Bytes of shared memory. */
  readonly shared: number;
}

/** Compiles texts as one file, each in a namespace; usage by kernel. Any warning throws. */
async function cubin(texts: readonly string[], arch: string): Promise<Map<string, Usage>> {
  const dir = mkdtempSync(join(tmpdir(), 'quern-nvcc-'));
  try {
    const file = join(dir, 'all.cu');
    const unique = texts.map((t, i) =>
      t.replace(/__launch_bounds__\(([\d, ]+)\) (\w+)\(/g, `__launch_bounds__($1) c${i}_$2(`),
    );
    writeFileSync(
      file,
      `#include <cuda_fp16.h>\n${unique.map((t, i) => `namespace n${i} {\n${t}}`).join('\n')}`,
    );
    const flags = [
      '-std=c++17',
      '-cubin',
      `-arch=${arch}`,
      '-Xptxas',
      '-v',
      '-Werror',
      'all-warnings',
    ];
    const { stderr } = await run('nvcc', [...flags, '-o', join(dir, 'all.cubin'), file], {
      maxBuffer: 1 << 26,
    });
    const usage = new Map<string, Usage>();
    for (const [, name, spills, registers, rest] of stderr.matchAll(
      /Compiling entry function '(\w+)'[\s\S]*?(\d+) bytes spill stores[\s\S]*?Used (\d+) registers(.*)/g,
    )) {
      const shared = Number(/(\d+) bytes smem/.exec(rest!)?.[1] ?? 0);
      usage.set(name!, { registers: Number(registers), spills: Number(spills), shared });
    }
    return usage;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const textOf = async (request: Omit<Parameters<typeof compile>[0], 'target'>): Promise<string> =>
  new TextDecoder().decode((await compile({ ...request, target: 'cuda' })).artifact.code);

const linear = (format: string) => ({
  file: layers,
  name: 'linear',
  formats: [{ file: 'quern/formats', name: format }],
});
const report = (arch: string, usage: ReadonlyMap<string, Usage>): void => {
  const most = Math.max(...[...usage.values()].map((u) => u.registers));
  console.log(`${arch}: ${usage.size} kernels, at most ${most} registers`);
};

const test = suite('CUDA text and nvcc');
if (!hasCompiler('nvcc')) skip('CUDA text and nvcc', 'no nvcc at hand');
else {
  for (const arch of ['sm_80', 'sm_90'])
    test(`contractions of few rows compile clean for ${arch} and do not spill`, async () => {
      const texts: string[] = [];
      const gpu = { warp: 32, threads: 256 };
      for (const name of formatNames)
        texts.push(await textOf({ ...linear(name), limits: { gpu } }));
      if (arch === 'sm_80') for (const c of layerCalls()) texts.push(await textOf(c.request));
      const usage = await cubin(texts, arch);
      assert.ok(usage.size >= 2 * formatNames.length, `${usage.size} kernels`);
      const spilling = [...usage].filter(([, u]) => u.spills > 0);
      assert.equal(spilling, [], 'kernels that keep values in memory');
      report(arch, usage);
    });
  test('tiles of contractions compile clean and do not spill', async () => {
    const texts: string[] = [];
    for (const name of ['q4_0', 'nf4']) texts.push(await textOf(linear(name)));
    texts.push(
      await textOf({
        ...linear('q4_0'),
        name: 'swiglu',
        formats: Array(2).fill(linear('q4_0').formats[0]),
      }),
    );
    const usage = await cubin(texts, 'sm_80');
    const tiles = [...usage].filter(([, u]) => u.shared > 0);
    // As a whole and divided along k: four sizes of tiles of products, three of sums, and three of products for two
    // contractions, of which the largest tile would hold too many sums.
    assert.is(tiles.length, 8 + 6 + 6);
    for (const [name, { spills, registers, shared }] of tiles) {
      assert.is(spills, 0, `${name} spills`);
      assert.ok(registers * 256 <= 65536, `${name}: ${registers} registers`);
      assert.ok(shared <= 48 * 1024, `${name}: ${shared} bytes of shared memory`);
    }
    report('sm_80', new Map(tiles));
  });
}
test.run();
