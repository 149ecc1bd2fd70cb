// The library's kernels as CUDA text, run on the CPU, agree with the interpreter: linear, encode and decode of every
// format, and the layers of a model.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Artifact } from '../../compiler/artifact.ts';
import { compile, interpret } from '../../compiler/index.ts';
import { skip } from '../support/skip.ts';
import { hasCompiler, type Job, runOnHost, withoutTiles } from './host.ts';
import { type LibraryCall, formatCalls, formatNames, layerCalls } from './library.ts';

async function check(calls: readonly LibraryCall[]): Promise<void> {
  const jobs: Job[] = [];
  const made = new Map<string, Artifact>();
  for (const c of calls) {
    // Calls of several sizes are of one kernel.
    const key = JSON.stringify(c.request);
    const artifact =
      made.get(key) ??
      (await compile({ ...c.request, limits: withoutTiles, target: 'cuda' })).artifact;
    made.set(key, artifact);
    jobs.push({ name: c.name, artifact, inputs: c.inputs });
  }
  const results = await runOnHost(jobs, 5);
  for (const [i, c] of calls.entries()) {
    const want = (await interpret(c.request, c.inputs)).results;
    want.forEach((w, r) => {
      const got = results[i]![r]!;
      assert.equal([...got.shape], [...w.shape], c.name);
      w.data.forEach((x, j) => {
        const y = got.data[j]!;
        if (Object.is(x, y) || Math.abs(x - y) <= c.tolerance * Math.max(1, Math.abs(x))) return;
        assert.unreachable(`${c.name}: result ${r}[${j}] is ${y}, the interpreter has ${x}`);
      });
    });
  }
}

const test = suite('CUDA on the host: the library');
if (hasCompiler('g++')) {
  test('linear, encode and decode of every format agree', async () => {
    await check((await Promise.all(formatNames.map(formatCalls))).flat());
  });
  test('the layers of a model agree', () => check(layerCalls()));
} else skip('CUDA on the host: the library', 'no g++ at hand');
test.run();
