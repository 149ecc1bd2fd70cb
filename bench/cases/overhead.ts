// What calling costs besides the work: compiling a kernel, starting from nothing, a warm call, and the way of generated packages.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildPackage, writePackage } from '../../aot/index.ts';
import { compile } from '../../compiler/index.ts';
import { array, load } from '../../index.ts';
import type { CompileRequest } from '../../runtime/compiler-api.ts';
import { type Context, contest } from '../contest.ts';
import type * as Kernels from '../kernels.ts';
import { clocks, noise } from '../measure.ts';
import { median } from '../results.ts';
import { finish, kernelFile, Quern } from '../subjects/quern.ts';

export const startCase = 'start-up';
export const compileCase = 'compile';
export const packageCase = 'package gemv q4_0 1024x1024';

export async function overheadCases(context: Context): Promise<void> {
  if (context.wants(compileCase)) await compileTimes(context);
  if (context.wants(startCase)) await startTimes(context);
  if (context.wants(packageCase)) await packageCalls(context);
}

const library = (name: string) => ({ file: 'quern/formats', name });

/** Milliseconds from source to machine-independent code, the compiler itself being loaded and warm. */
async function compileTimes(context: Context): Promise<void> {
  const requests: { readonly [name: string]: Omit<CompileRequest, 'target'> } = {
    'linear<q4_0>': { file: kernelFile, name: 'linear', formats: [library('q4_0')] },
    'linearQ8<q4_0>': { file: kernelFile, name: 'linearQ8', formats: [library('q4_0')] },
    'linearQ8<q4_K>': { file: kernelFile, name: 'linearQ8', formats: [library('q4_K')] },
    'q4_K.encode': { file: 'quern/formats', name: 'q4_K.encode' },
    'llama attention': { file: 'quern/llama', name: 'attention', statics: [...Array(4), 128] },
  };
  const now = clocks[context.pace.clock];
  const once = async (request: Omit<CompileRequest, 'target'>): Promise<number> => {
    const start = now();
    await compile({ ...request, target: 'wasm' });
    return (now() - start) / 1000;
  };
  const runs = context.quick ? 2 : 7;
  const facts: Record<string, number> = {};
  for (const request of Object.values(requests)) for (let i = 0; i < 3; i += 1) await once(request);
  for (const [name, request] of Object.entries(requests)) {
    const times: number[] = [];
    for (let i = 0; i < runs; i += 1) times.push(await once(request));
    facts[name] = median(times);
  }
  context.report({ id: compileCase, timed: [], absent: [], facts });
}

const FIRST = 'process start to first result, nothing cached';
const CACHED = 'the same from the disk cache';
const CALL = 'a warm call on tensors of 8 elements';
export const startFacts = { first: FIRST, cached: CACHED, call: CALL } as const;

async function startTimes(context: Context): Promise<void> {
  const [cold, cached]: number[][] = [[], []];
  for (let i = 0; i < (context.quick ? 2 : 5); i += 1) {
    const cache = mkdtempSync(join(tmpdir(), 'quern-bench-'));
    cold!.push(firstCall(cache));
    cached!.push(firstCall(cache));
    rmSync(cache, { recursive: true });
  }
  const facts = {
    [FIRST]: median(cold!),
    [CACHED]: median(cached!),
    [CALL]: await warmCall(),
  };
  context.report({ id: startCase, timed: [], absent: [], facts });
}

function firstCall(cache: string): number {
  const script = fileURLToPath(new URL('../first-call.ts', import.meta.url));
  const hooks = new URL('../../scripts/typescript.js', import.meta.url).href;
  const out = execFileSync(process.execPath, ['--import', hooks, script, kernelFile, cache], {
    encoding: 'utf8',
  });
  return (JSON.parse(out) as { process: number }).process;
}

/** Milliseconds a call, result disposed, the median of batches. */
async function warmCall(): Promise<number> {
  const k = await load<typeof Kernels>(kernelFile, { cache: false });
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

interface PackageTensor {
  dispose(): void;
}
interface Generated {
  tensor(data: Float32Array, shape: readonly number[]): PackageTensor;
  empty(shape: readonly number[]): PackageTensor;
  linearSync(x: PackageTensor, w: PackageTensor, out: PackageTensor): PackageTensor;
  readonly q4_0: { encodeSync(data: Float32Array, shape: readonly number[]): PackageTensor };
}

/** A generated package against the JIT: the same kernel on one thread, so only the way of calling it differs. */
async function packageCalls(context: Context): Promise<void> {
  const size = 1024;
  const shape = [size, size];
  const folder = mkdtempSync(join(tmpdir(), 'quern-bench-'));
  const [weights, activations] = [noise(size * size), noise(size, 2)];
  try {
    await contest(context, packageCase, [
      {
        column: 'quern',
        make: async () => {
          const exports = [{ name: 'linear', of: 'linear', formats: [library('q4_0')] }];
          const built = await buildPackage({ file: kernelFile, exports });
          writePackage(built.files, join(folder, 'out'));
          const module = (await import(pathToFileURL(join(folder, 'out/index.js')).href)) as {
            init(): Promise<Generated>;
          };
          const ops = await module.init();
          const w = ops.q4_0.encodeSync(weights, shape);
          const x = ops.tensor(activations, [1, size]);
          const y = ops.empty([1, size]);
          return {
            what: 'generated package',
            copies: 1,
            run: () => void ops.linearSync(x, w, y),
            dispose: () => [x, w, y].forEach((t) => t.dispose()),
          };
        },
      },
      {
        column: 'jit',
        make: async () => {
          const quern = await Quern.open();
          const format = await quern.format({ name: 'q4_0' });
          const w = await format.encode(quern.tensor(weights, shape));
          const x = quern.tensor(activations, [1, size]);
          const plan = await quern.kernels.linear.prepare(x, w);
          return {
            what: 'load()',
            copies: 1,
            run: () => finish(plan.run([x, w])),
            dispose: () => quern.close(),
          };
        },
      },
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
