// JavaScript array libraries, which multiply f32 only: jax-js and TensorFlow.js on their WebAssembly backends, and gpu.js. Each on
// one thread, with the weights resident where the library can keep them.
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import type { Candidate, Entrant } from '../contest.ts';
import { type Product, type Source, tolerances } from '../product.ts';

const require = createRequire(import.meta.url);

interface Multiplier {
  readonly what: string;
  readonly copies: number;
  run(copy: number): unknown;
  result(): Promise<ArrayLike<number>>;
  dispose(): void;
}

const entrant = (
  column: 'jax' | 'tfjs' | 'gpujs',
  source: Source,
  m: number,
  make: (p: Product, copies: number) => Promise<Multiplier>,
): Entrant => ({
  column,
  make: async (): Promise<Candidate> => {
    const { product: p } = source;
    const bytes = p.weights.byteLength;
    const made = await make(p, source.copies(bytes));
    const { what, copies, run, result, dispose } = made;
    const expected = p.expected(m, p.weights);
    const check = { result, expected, tolerance: tolerances.f32 };
    return { what, copies, bytes, ops: p.ops(m), run, check, dispose };
  },
});

interface TfTensor {
  dataSync(): Float32Array;
  dispose(): void;
}
interface Tf {
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  tensor2d(data: Float32Array, shape: readonly [number, number]): TfTensor;
  matMul(a: TfTensor, b: TfTensor): TfTensor;
}
interface TfWasm {
  setWasmPaths(folder: string): void;
  setThreadsCount(count: number): void;
}

export const tfjs = (source: Source, m: number): Entrant =>
  entrant('tfjs', source, m, async (p, copies) => {
    const tf = require('@tensorflow/tfjs-core') as Tf;
    const backend = require('@tensorflow/tfjs-backend-wasm') as TfWasm;
    backend.setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
    backend.setThreadsCount(1);
    await tf.setBackend('wasm');
    await tf.ready();
    const x = tf.tensor2d(p.x(m), [m, p.k]);
    const weights = Array.from({ length: copies }, () => tf.tensor2d(p.transposed, [p.k, p.n]));
    const product = (copy: number): Float32Array => {
      const y = tf.matMul(x, weights[copy]!);
      const data = y.dataSync();
      y.dispose();
      return data;
    };
    return {
      what: 'matMul, f32',
      copies,
      run: (copy) => void product(copy),
      result: () => Promise.resolve(product(0)),
      dispose: () => [x, ...weights].forEach((t) => t.dispose()),
    };
  });

/** Every use of a jax-js array gives it up; `ref` keeps it for another. */
interface JaxArray {
  readonly ref: JaxArray;
  reshape(shape: readonly number[]): JaxArray;
  data(): Promise<Float32Array>;
  dispose(): void;
}
interface Jax {
  init(device: string): Promise<unknown>;
  defaultDevice(device: string): void;
  readonly numpy: {
    array(data: Float32Array): JaxArray;
    matmul(a: JaxArray, b: JaxArray): JaxArray;
  };
}

export const jax = (source: Source, m: number): Entrant =>
  entrant('jax', source, m, async (p, copies) => {
    const module: string = '@jax-js/jax';
    const { init, defaultDevice, numpy: np } = (await import(module)) as Jax;
    await init('wasm');
    defaultDevice('wasm');
    const x = np.array(p.x(m)).reshape([m, p.k]);
    const weights = Array.from({ length: copies }, () =>
      np.array(p.transposed).reshape([p.k, p.n]),
    );
    const product = (copy: number): Promise<Float32Array> =>
      np.matmul(x.ref, weights[copy]!.ref).data();
    return {
      what: 'matmul, f32',
      copies,
      run: async (copy) => {
        await product(copy);
      },
      result: () => product(0),
      dispose: () => [x, ...weights].forEach((t) => t.dispose()),
    };
  });

interface GpuKernel {
  (x: unknown, w: unknown): Float32Array[] | Float32Array;
  setConstants(constants: { readonly [name: string]: number }): GpuKernel;
  setOutput(size: readonly number[]): GpuKernel;
  destroy(): void;
}
interface GpuJs {
  readonly GPU: new (options: {
    mode: string;
  }) => {
    createKernel(body: (...args: never[]) => number): GpuKernel;
    destroy(): Promise<void>;
  };
  input(data: Float32Array, size: readonly number[]): unknown;
}
/** What `this` is inside of a gpu.js kernel. */
interface GpuThis {
  readonly thread: { readonly x: number; readonly y: number };
  readonly constants: { readonly size: number };
}

/** Its WebAssembly mode, the fastest it has without a GPU. It keeps nothing resident: each call copies the weights in. */
export const gpujs = (source: Source, m: number): Entrant =>
  entrant('gpujs', source, m, async (p) => {
    const { GPU, input } = require('gpu.js') as GpuJs;
    const gpu = new GPU({ mode: 'webasm' });
    // gpu.js reads the text of this function, so it must be in the subset of JavaScript that it knows.
    const kernel = gpu
      .createKernel(function (this: GpuThis, a: number[][], b: number[][]) {
        let sum = 0;
        for (let i = 0; i < this.constants.size; i++) {
          sum += a[this.thread.y]![i]! * b[i]![this.thread.x]!;
        }
        return sum;
      } as unknown as (...args: never[]) => number)
      .setConstants({ size: p.k })
      .setOutput([p.n, m]);
    const x = input(p.x(m), [p.k, m]);
    const w = input(p.transposed, [p.n, p.k]);
    return {
      what: 'mode webasm, f32',
      copies: 1,
      run: () => void kernel(x, w),
      result: async () => {
        const rows = kernel(x, w) as Float32Array[];
        const out = new Float32Array(m * p.n);
        rows.forEach((row, i) => out.set(row, i * p.n));
        return out;
      },
      dispose: () => kernel.destroy(),
    };
  });
