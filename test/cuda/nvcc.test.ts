// The emitted text goes through nvcc without a warning, for the oldest and the newest preset that matter, and the
// contractions of every format keep all of their values in registers.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../compiler/index.ts';
import { skip } from '../support/skip.ts';
import { hasCompiler } from './host.ts';
import { formatNames, layerCalls } from './library.ts';
import { cubin, type Source, type Usage } from './nvcc.ts';

const layers = new URL('../../ops/llama.ts', import.meta.url).pathname;

const textOf = async (request: Omit<Parameters<typeof compile>[0], 'target'>): Promise<Source> => ({
  name: request.name,
  text: new TextDecoder().decode((await compile({ ...request, target: 'cuda' })).artifact.code),
});

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
      const texts: Source[] = [];
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
    const texts: Source[] = [];
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
