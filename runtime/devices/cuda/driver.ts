// The CUDA driver API by foreign function calls: one row a function, and a method that raises the driver's own name and
// text for whatever goes wrong. Device pointers and handles are bigints. Nothing is loaded before `openDriver`.
import { raise, reasonOf } from '../../errors.ts';
import { type Foreign, foreign, type Library } from './foreign.ts';

/** C types of the parameters, as koffi names them. Handles and device pointers go as uint64. */
const signatures = {
  cuInit: ['uint32'],
  cuDriverGetVersion: ['void *'],
  cuDeviceGetCount: ['void *'],
  cuDeviceGet: ['void *', 'int'],
  cuDeviceGetName: ['void *', 'int', 'int'],
  cuDeviceGetAttribute: ['void *', 'int', 'int'],
  cuDeviceTotalMem_v2: ['void *', 'int'],
  cuDevicePrimaryCtxRetain: ['void *', 'int'],
  cuDevicePrimaryCtxRelease_v2: ['int'],
  cuCtxSetCurrent: ['uint64'],
  cuStreamCreate: ['void *', 'uint32'],
  cuStreamDestroy_v2: ['uint64'],
  cuStreamSynchronize: ['uint64'],
  cuEventCreate: ['void *', 'uint32'],
  cuEventDestroy_v2: ['uint64'],
  cuEventRecord: ['uint64', 'uint64'],
  cuEventQuery: ['uint64'],
  cuEventElapsedTime: ['void *', 'uint64', 'uint64'],
  cuMemAlloc_v2: ['void *', 'size_t'],
  cuMemFree_v2: ['uint64'],
  cuMemHostAlloc: ['void *', 'size_t', 'uint32'],
  cuMemFreeHost: ['uint64'],
  cuMemcpyHtoDAsync_v2: ['uint64', 'void *', 'size_t', 'uint64'],
  cuMemcpyDtoHAsync_v2: ['void *', 'uint64', 'size_t', 'uint64'],
  cuMemcpyDtoDAsync_v2: ['uint64', 'uint64', 'size_t', 'uint64'],
  cuModuleLoadData: ['void *', 'void *'],
  cuModuleUnload: ['uint64'],
  cuModuleGetFunction: ['void *', 'uint64', 'str'],
  cuFuncSetAttribute: ['uint64', 'int', 'int'],
  // The function; grid and block; bytes of shared memory; the stream; arguments one by one, or packed.
  cuLaunchKernel: [
    'uint64',
    ...(['uint32', 'uint32', 'uint32', 'uint32', 'uint32', 'uint32', 'uint32'] as const),
    'uint64',
    'void *',
    'void *',
  ],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type DriverFunction = keyof typeof signatures;
type Argument = number | bigint | string | Uint8Array | BigUint64Array | null;

const OUT_OF_MEMORY = 2;
const NOT_READY = 600;

/** CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, and most shared memory of a block that opts in. */
export const deviceAttributes = { major: 75, minor: 76, sharedBytes: 97 } as const;

/** Whose context is the thread's; several GPUs take turns. */
let active: Driver | undefined;

function open(api: Foreign, path: string): Library {
  try {
    return api.load(path);
  } catch (e) {
    const detail = `the driver ${path} cannot be loaded (${reasonOf(e)})`;
    return raise('Q5106', { kind: 'cuda', detail }, e);
  }
}

export class Driver {
  #context: bigint | undefined;
  readonly #foreign: Foreign;
  readonly #functions: ReadonlyMap<DriverFunction, (...args: Argument[]) => number>;
  readonly #name: (code: number, out: [string | null]) => number;
  readonly #text: (code: number, out: [string | null]) => number;

  constructor(path: string) {
    this.#foreign = foreign();
    const lib = open(this.#foreign, path);
    const rows = Object.entries(signatures) as [DriverFunction, readonly string[]][];
    try {
      this.#functions = new Map(
        rows.map(([name, types]) => [name, lib.func(name, 'int', [...types])]),
      );
      this.#name = lib.func('int cuGetErrorName(int, _Out_ const char **)');
      this.#text = lib.func('int cuGetErrorString(int, _Out_ const char **)');
    } catch (e) {
      raise('Q5106', { kind: 'cuda', detail: `${path} is too old: ${reasonOf(e)}` }, e);
    }
  }

  /** Makes the calls that follow those of a context; it stays current until another driver object is used. */
  use(context: bigint): void {
    this.#context = context;
    active = undefined;
  }

  #run(name: DriverFunction, args: readonly Argument[]): number {
    if (this.#context !== undefined && active !== this) {
      active = this;
      this.call('cuCtxSetCurrent', this.#context);
    }
    return this.#functions.get(name)!(...args);
  }

  /** Calls a function; raises unless it succeeds. */
  call(name: DriverFunction, ...args: Argument[]): void {
    const status = this.#run(name, args);
    if (status !== 0) this.#fail(name, status);
  }

  #fail(name: DriverFunction, status: number): never {
    return raise('Q5108', { call: name, ...this.#describe(status) });
  }

  #describe(status: number): { readonly name: string; readonly text: string } {
    const read = (f: (code: number, out: [string | null]) => number): string | null => {
      const out: [string | null] = [null];
      return f(status, out) === 0 ? out[0] : null;
    };
    return {
      name: read(this.#name) ?? `error ${status}`,
      text: read(this.#text) ?? 'the driver does not know this error',
    };
  }

  /** A function whose first parameter is where it puts a handle or an address. */
  make(name: DriverFunction, ...args: Argument[]): bigint {
    const out = new BigUint64Array(1);
    this.call(name, out, ...args);
    return out[0]!;
  }

  /** The same for an int. */
  number(name: DriverFunction, ...args: Argument[]): number {
    const out = new Uint8Array(4);
    this.call(name, out, ...args);
    return new DataView(out.buffer).getInt32(0, true);
  }

  /** Whether an event has happened; raises what went wrong before it. */
  happened(event: bigint): boolean {
    const status = this.#run('cuEventQuery', [event]);
    if (status === NOT_READY) return false;
    return status === 0 || this.#fail('cuEventQuery', status);
  }

  /** Device memory; undefined when there is no such block. */
  allocate(bytes: number): bigint | undefined {
    const out = new BigUint64Array(1);
    const status = this.#run('cuMemAlloc_v2', [out, bytes]);
    if (status === OUT_OF_MEMORY) return undefined;
    return status === 0 ? out[0]! : this.#fail('cuMemAlloc_v2', status);
  }

  /** Bytes of the host at an address, such as those of cuMemHostAlloc. */
  view(address: bigint, bytes: number): ArrayBuffer {
    return this.#foreign.view(address, bytes);
  }
}
