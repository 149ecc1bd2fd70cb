// Time from an empty process to the first result, with and without the cache on disk, and the cost of a warm call.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { array, load } from '../index.ts';
import type * as Kernels from './kernels.ts';
import { median, table } from './support.ts';

const kernels = fileURLToPath(new URL('kernels.ts', import.meta.url));

export async function startup(runs = 5): Promise<string> {
  const cold: number[] = [];
  const cached: number[] = [];
  for (let i = 0; i < runs; i += 1) {
    const cache = mkdtempSync(join(tmpdir(), 'quern-bench-'));
    cold.push(child(cache));
    cached.push(child(cache));
    rmSync(cache, { recursive: true });
  }
  const warm = await warmCall();
  return table([
    ['start-up and dispatch', 'median', 'goal'],
    ['process start to first result, nothing cached', `${median(cold).toFixed(0)} ms`, '< 2000 ms'],
    ['the same from the disk cache', `${median(cached).toFixed(0)} ms`, '< 300 ms'],
    ['a warm call on tensors of 8 elements', `${(warm * 1000).toFixed(1)} us`, '< 50 us'],
  ]);
}

function child(cache: string): number {
  const script = fileURLToPath(new URL('first-call.ts', import.meta.url));
  const hooks = new URL('../scripts/typescript.js', import.meta.url).href;
  const out = execFileSync(process.execPath, ['--import', hooks, script, kernels, cache], {
    encoding: 'utf8',
  });
  return (JSON.parse(out) as { process: number }).process;
}

/** Milliseconds a call, result disposed, the median of batches. */
async function warmCall(): Promise<number> {
  const k = await load<typeof Kernels>(kernels, { cache: false });
  const x = array(new Float32Array(8), [8]);
  const call = async (): Promise<void> => {
    (await k.scale(x)).dispose();
  };
  for (let i = 0; i < 2000; i += 1) await call();
  const batches: number[] = [];
  for (let b = 0; b < 9; b += 1) {
    const start = performance.now();
    for (let i = 0; i < 1000; i += 1) await call();
    batches.push((performance.now() - start) / 1000);
  }
  return median(batches);
}
