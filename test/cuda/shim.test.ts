// The shim finds what a GPU would not: threads that miss a barrier, accesses outside of buffers, and results that depend
// on the order of threads.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Artifact } from '../../compiler/artifact.ts';
import { array } from '../conformance/arrays.ts';
import { skip } from '../support/skip.ts';
import { hasCompiler, runOnHost } from './host.ts';

const one = { kind: 'tensor' as const, dtype: 'f32' as const, shape: [['N']], text: '[N]' };
const artifactOf = (body: string): Artifact => ({
  manifest: {
    version: 1,
    name: 'hand',
    target: 'cuda',
    compiler: '',
    dims: ['N'],
    constraints: [],
    returns: 'value',
    params: [{ ...one, name: 'x' }],
    results: [{ ...one, name: 'y' }],
    kernels: [],
    buffers: [
      { name: 'x', role: 'param', dtype: 'f32', bytes: ['N', 4, '*'] },
      { name: 'y', role: 'result', dtype: 'f32', bytes: ['N', 4, '*'] },
    ],
    launches: [
      {
        name: 'hand',
        grid: [[2], [1], [1]],
        block: [64, 1, 1],
        shared: [0],
        when: [],
        buffers: [0, 1],
        dims: ['N'],
      },
    ],
  },
  code: new TextEncoder().encode(
    `extern "C" __global__ void __launch_bounds__(64) hand(\n    const float* x,\n    float* y,\n    int N) {\n${body}\n}\n`,
  ),
  constants: {},
});
const input = array('f32', [128], (i) => i);
const run = async (body: string, seed = 1): Promise<readonly number[]> => [
  ...(
    await runOnHost([{ name: 'hand', artifact: artifactOf(body), inputs: [input] }], seed)
  )[0]![0]!.data,
];
const failure = async (body: string): Promise<string> => {
  try {
    await run(body);
  } catch (e) {
    return String((e as { stderr?: string }).stderr);
  }
  return 'it ran';
};

const test = suite('CUDA shim');
if (!hasCompiler('g++')) skip('CUDA shim', 'no g++ at hand');
else {
  const reversed = (barrier: string): string =>
    `__shared__ float s[64]; const int i = blockIdx.x * 64 + threadIdx.x; s[threadIdx.x] = x[i]; ${barrier} y[i] = s[63 - threadIdx.x];`;
  test('barriers and shared memory work, whatever the order of threads', async () => {
    for (const seed of [1, 2])
      assert.equal(
        await run(reversed('__syncthreads();'), seed),
        Array.from({ length: 128 }, (_, i) => (i < 64 ? 63 - i : 191 - i)),
      );
  });
  const copied = (arrival: string): string =>
    `__shared__ __align__(16) float s[64]; const int i = blockIdx.x * 64; if (threadIdx.x < 16) shim::copyAsync(s + 4 * threadIdx.x, x + i + 4 * threadIdx.x, 16, 16); ${arrival} y[i + threadIdx.x] = s[63 - threadIdx.x]; shim::arrive(0);`;
  const want = Array.from({ length: 128 }, (_, i) => (i < 64 ? 63 - i : 191 - i));
  test('a copy is there after it arrived and a barrier was passed', async () => {
    assert.equal(await run(copied('shim::arrive(0); __syncthreads();')), want);
  });
  test('a copy that is read before that is not a number', async () => {
    for (const arrival of ['__syncthreads();', 'shim::arrive(1); __syncthreads();'])
      assert.ok((await run(copied(arrival))).some(Number.isNaN), arrival);
    // Of the copies of others it is there by chance.
    const early = await run(copied('shim::arrive(0);'), 3);
    assert.ok(early.some(Number.isNaN) || early.some((x, i) => x !== want[i]));
  });
  test('copies that are not aligned, and those that nobody waits for, stop with the place', async () => {
    const one = '__shared__ __align__(16) float s[64];';
    assert.match(await failure(`${one} shim::copyAsync(s + 1, x, 16, 16);`), /not aligned/);
    assert.match(
      await failure(`${one} shim::copyAsync(s, x, 16, 16);`),
      /before its copies arrived/,
    );
  });
  test('a missing barrier gives other results', async () => {
    assert.not.equal(await run(reversed(''), 3), await run(reversed('__syncthreads();'), 3));
  });
  test('a barrier that some threads miss stops with the place', async () => {
    assert.match(
      await failure('if (threadIdx.x < 5) return; __syncthreads();'),
      /__syncthreads.*in c0_hand, block \d, thread \d+/,
    );
    assert.match(
      await failure('if (threadIdx.x == 7) __syncwarp(); else __syncthreads();'),
      /not all/,
    );
  });
  test('accesses outside of a buffer and writes to parameters stop with the kernel', async () => {
    assert.match(await failure('y[N + threadIdx.x * 4096] = 1;'), /outside of a buffer.*c0_hand/);
    assert.match(await failure('((float*)x)[0] = 1;'), /write to a parameter.*c0_hand/);
  });
}
test.run();
