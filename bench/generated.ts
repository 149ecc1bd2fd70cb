// A generated package against the JIT, in one process and on one thread: the same kernel, so only the way of
// calling it differs.
// Run by itself: node --import ./scripts/typescript.js bench/generated.ts
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildPackage, writePackage } from '../aot/index.ts';
import { array, load } from '../index.ts';
import { WasmDevice } from '../runtime/devices/wasm.ts';
import { DeviceTensor } from '../runtime/tensor.ts';
import { alternate, noise, table } from './support.ts';

const kernels = fileURLToPath(new URL('../ops/llama.ts', import.meta.url));

interface Tensor {
  dispose(): void;
}
interface Generated {
  tensor(data: Float32Array, shape: readonly number[]): Tensor;
  empty(shape: readonly number[]): Tensor;
  linearSync(x: Tensor, w: Tensor, out: Tensor): Tensor;
  readonly q4_0: { encodeSync(data: Float32Array, shape: readonly number[]): Tensor };
}

export async function generated(size: number): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'quern-bench-'));
  try {
    const q4_0 = { file: 'quern/formats', name: 'q4_0' };
    const exports = [{ name: 'linear', of: 'linear', formats: [q4_0] }];
    writePackage((await buildPackage({ file: kernels, exports })).files, join(dir, 'out'));
    const { init } = (await import(pathToFileURL(join(dir, 'out/index.js')).href)) as {
      init(): Promise<Generated>;
    };
    const ops = await init();
    const weights = noise(size * size);
    const w = ops.q4_0.encodeSync(weights, [size, size]);
    const x = ops.tensor(noise(size, 2), [1, size]);
    const y = ops.empty([1, size]);

    // One thread on both sides: packages have no threaded variant yet.
    const device = new WasmDevice({ threads: 1 });
    const jit = await load(kernels, { device, cache: false });
    const library = await load('quern/formats', { device, cache: false });
    const wj = await library.format('q4_0').encode(array(weights, [size, size]));
    const xj = DeviceTensor.from(wj.device, array(noise(size, 2), [1, size]));
    const plan = await jit.linear!.prepare(xj, wj);

    // Several calls a sample: one alone is as long as the pauses of the machine.
    const calls = 40;
    const [aot, own] = await alternate(
      [
        {
          name: 'generated',
          run: async () => {
            for (let i = 0; i < calls; i += 1) ops.linearSync(x, w, y);
          },
        },
        {
          name: 'JIT',
          run: async () => {
            for (let i = 0; i < calls; i += 1)
              ((await plan.run([xj, wj])) as DeviceTensor).dispose();
          },
        },
      ],
      25,
      10,
    );
    const us = (ms: number): string => `${((ms * 1000) / calls).toFixed(1)} us`;
    return table([
      [`GEMV q4_0 ${size} x ${size}`, 'median', 'ratio'],
      ['JIT', us(own!), '1.00'],
      ['generated package', us(aot!), (aot! / own!).toFixed(2)],
    ]);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(await generated(256));
  console.log();
  console.log(await generated(1024));
}
