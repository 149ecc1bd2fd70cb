// Devices that share out whatever can be shared, and results of all of them side by side.
import * as assert from 'uvu/assert';
import type { HostTensor, Plan } from '../../index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { load } from '../../runtime/load.ts';
import { DeviceTensor, EncodedTensor } from '../../runtime/tensor.ts';

export const counts = [2, 3, 4] as const;

/** However little there is to do, it is shared. */
export async function threaded(threads: number, blocking = true): Promise<WasmDevice> {
  const device = new WasmDevice({ threads, worth: 0, blocking });
  await device.start();
  return device;
}

/** Reproducible numbers in [-1, 1). */
export function noise(shape: readonly number[], seed = 1): HostTensor {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
  let x = seed;
  for (let i = 0; i < data.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    data[i] = x / 2 ** 31 - 1;
  }
  return { data, shape };
}

/** Kernels and formats by name, of any signature. */
interface Exported {
  (...args: readonly unknown[]): Promise<DeviceTensor>;
  encode(x: HostTensor): Promise<EncodedTensor>;
  decode(w: EncodedTensor): Promise<DeviceTensor>;
  prepare(...args: readonly unknown[]): Promise<Plan>;
}
export interface Kernels {
  readonly [name: string]: Exported;
}
const kernels = new URL('kernels.ts', import.meta.url);
export const open = async (device: WasmDevice, file: URL | string = kernels): Promise<Kernels> =>
  (await load(file, { device, cache: false })) as unknown as Kernels;

/** The values of results, bit for bit, by name. */
export async function bitsOf(x: unknown, name = ''): Promise<[string, string][]> {
  if (x instanceof DeviceTensor) {
    const data = await x.data();
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    return [[`${name} ${x.dtype}[${x.shape}]`, bytes.toString('base64')]];
  }
  const parts = x instanceof EncodedTensor ? x.fields : (x as { [k: string]: unknown });
  const all = await Promise.all(Object.entries(parts).map(([k, v]) => bitsOf(v, `${name}.${k}`)));
  return all.flat();
}

/** Runs something on one thread and on several, and wants the same bits. */
export async function same(
  devices: readonly WasmDevice[],
  run: (k: Kernels) => unknown,
  file?: URL | string,
): Promise<void> {
  let want: [string, string][] | undefined;
  for (const d of devices) {
    const got = await bitsOf(await run(await open(d, file)));
    want ??= got;
    for (const [i, [name, bits]] of got.entries()) {
      assert.is(name, want[i]![0]);
      if (bits !== want[i]![1]) assert.unreachable(`${name} differs on ${d.name}`);
    }
  }
}
