// Quern as a subject: kernels of bench/kernels.ts on a device of its own, and weights in as many copies as a case rotates over.
import { fileURLToPath } from 'node:url';
import {
  array,
  DeviceTensor,
  EncodedTensor,
  type FormatHandle,
  type Loaded,
  load,
  type Plan,
} from '../../index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { type Candidate, type Expected, Missing } from '../contest.ts';
import type * as Kernels from '../kernels.ts';
import type * as RowKernels from '../row-kernels.ts';
import { type Product, tolerances } from '../product.ts';

export const kernelFile = fileURLToPath(new URL('../kernels.ts', import.meta.url));
const rowKernelFile = fileURLToPath(new URL('../row-kernels.ts', import.meta.url));

/** A format by name, with the arguments of its factory. */
export interface FormatName {
  readonly name: string;
  readonly args?: readonly { readonly [option: string]: number | boolean }[];
  /** A kernel file that exports it; the library's own formats if left out. */
  readonly file?: string;
}

export class Quern {
  readonly device: WasmDevice;
  readonly kernels: Loaded<typeof Kernels>;
  readonly #libraries = new Map<string, Loaded>();

  private constructor(device: WasmDevice, kernels: Loaded<typeof Kernels>) {
    this.device = device;
    this.kernels = kernels;
  }

  static async open(threads = 1): Promise<Quern> {
    const device = new WasmDevice({ threads });
    await device.start();
    return new Quern(device, await load<typeof Kernels>(kernelFile, { device, cache: false }));
  }

  async format({ name, args, file = 'quern/formats' }: FormatName): Promise<FormatHandle> {
    let library = this.#libraries.get(file);
    if (!library) {
      library = await load(file, { device: this.device, cache: false });
      this.#libraries.set(file, library);
    }
    try {
      return library.format(name, args);
    } catch (e) {
      if ((e as { code?: string }).code !== 'Q5010') throw e;
      throw new Missing(`this version has no format ${name}`);
    }
  }

  /** The kernels of bench/row-kernels.ts. */
  async rowKernels(): Promise<Loaded<typeof RowKernels>> {
    return load<typeof RowKernels>(rowKernelFile, { device: this.device, cache: false });
  }

  tensor(data: Float32Array | Int32Array, shape: readonly number[]): DeviceTensor {
    return DeviceTensor.from(this.device, array(data, shape));
  }

  close(): void {
    this.device.close();
  }
}

/** Operands of which there are several copies, apart in memory. */
export interface Copies<T> {
  readonly list: readonly T[];
  readonly bytes: number;
  dispose(): void;
}

async function copyOf(t: DeviceTensor): Promise<DeviceTensor> {
  const made = DeviceTensor.empty(t.device, t.dtype, t.shape);
  t.device.copy(t.buffer, 0, made.buffer, 0, t.bytes);
  return made;
}

/** `w` and so many copies of it less one. Takes `w` over. */
export async function encodedCopies(
  w: EncodedTensor,
  count: number,
): Promise<Copies<EncodedTensor>> {
  const list = [w];
  while (list.length < count) {
    const fields: Record<string, DeviceTensor> = {};
    for (const [name, t] of Object.entries(w.fields)) fields[name] = await copyOf(t);
    list.push(new EncodedTensor(w.format, w.shape, fields));
  }
  return { list, bytes: w.bytes, dispose: () => list.forEach((t) => t.dispose()) };
}

export async function denseCopies(w: DeviceTensor, count: number): Promise<Copies<DeviceTensor>> {
  const list = [w];
  while (list.length < count) list.push(await copyOf(w));
  return { list, bytes: w.bytes, dispose: () => list.forEach((t) => t.dispose()) };
}

/** The two ways to multiply encoded weights. */
export const roads = { q8: 'linearQ8', f32: 'linear' } as const;
export type Road = keyof typeof roads;

/** x · wᵀ on copies of weights that belong to the caller. */
export async function productCandidate(
  quern: Quern,
  p: Product,
  m: number,
  weights: Copies<DeviceTensor | EncodedTensor>,
  road: Road,
  expected: Expected,
): Promise<Candidate> {
  const x = quern.tensor(p.x(m), [m, p.k]);
  const first = weights.list[0]!;
  const plan: Plan =
    first instanceof EncodedTensor
      ? await quern.kernels[roads[road]].prepare(x, first)
      : await quern.kernels.dense.prepare(x, first);
  return {
    what: first instanceof EncodedTensor ? roads[road] : 'dense',
    copies: weights.list.length,
    bytes: weights.bytes,
    ops: p.ops(m),
    run: (copy) => finish(plan.run([x, weights.list[copy]!])),
    check: {
      result: async () => {
        const y = (await plan.run([x, first])) as DeviceTensor;
        const data = await y.data();
        y.dispose();
        return data;
      },
      expected,
      tolerance: tolerances[road],
    },
    dispose: () => x.dispose(),
  };
}

/** Frees a result, at once where the call did not have to wait. */
export function finish(made: unknown): Promise<void> | undefined {
  if (made instanceof Promise) return made.then(finish);
  (made as { dispose(): void }).dispose();
  return undefined;
}
