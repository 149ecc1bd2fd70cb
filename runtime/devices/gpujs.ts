// The gpu.js device: kernels run as shaders of WebGL2 in a page, and as plain JavaScript where there is none. Memory is the
// host's; what a kernel reads is unpacked into floats, and its result packed. Taken only by name.
import type { Artifact, LaunchInfo, Manifest } from '../../compiler/artifact.ts';
import { type DType, dtypes, isFloat } from '../../compiler/ir/dtype.ts';
import { raise, reasonOf } from '../errors.ts';
import { packInto, unpack } from '../pack.ts';
import { compilePoly, type PolyFunction } from '../poly.ts';
import type { CompileTarget, Declined, Device, DeviceBuffer, Executable } from './device.ts';
import { Executables } from './executables.ts';
import {
  type GpujsInstance,
  type GpujsKernel,
  type GpujsLibrary,
  gpujsLibrary,
} from './gpujs-library.ts';

export interface GpujsOptions {
  readonly reason?: string;
  readonly declined?: readonly Declined[];
  /** Run as plain JavaScript, also where there is WebGL2. */
  readonly plain?: boolean;
}

/** Shaders hold all numbers as f32: whole ones, places in tensors among them, are exact up to here. */
const EXACT = 2 ** 24;

interface HostBuffer extends DeviceBuffer {
  data: Uint8Array;
  live: boolean;
  /** The elements as floats, by dtype, for as long as the bytes stay what they are. */
  numbers: Map<DType, Float32Array>;
}

interface Ready {
  readonly info: LaunchInfo;
  readonly kernel: GpujsKernel;
  readonly count: PolyFunction;
  /** Names of its last parameters: numbers that have no literal in a shader. */
  readonly specials: readonly number[];
}

const specialValues: Readonly<Record<string, number>> = {
  infinity: Infinity,
  notANumber: Number.NaN,
};

export class GpujsDevice implements Device {
  readonly kind = 'gpujs';
  readonly name: string;
  readonly reason: string;
  readonly declined: readonly Declined[];
  readonly target: CompileTarget = { name: 'gpujs' };
  /** Whether kernels run as JavaScript. */
  readonly software: boolean;
  readonly #library: GpujsLibrary;
  readonly #gpu: GpujsInstance;
  readonly #executables = new Executables((artifact) =>
    Promise.resolve().then(() => this.#prepare(artifact)),
  );
  #used = 0;

  private constructor(library: GpujsLibrary, options: GpujsOptions) {
    const { GPU } = library;
    this.software = options.plain === true || !GPU.isWebGL2Supported;
    if (!this.software && !GPU.isSinglePrecisionSupported)
      raise('Q5106', { kind: 'gpujs', detail: 'this WebGL2 has no textures of floats' });
    this.name = this.software ? 'gpu.js as JavaScript' : 'gpu.js on WebGL2';
    this.reason = options.reason ?? 'asked for by name';
    this.declined = options.declined ?? [];
    this.#library = library;
    this.#gpu = new GPU({ mode: this.software ? 'cpu' : 'webgl2' });
  }

  /** Raises Q5106 where gpu.js is not there. */
  static async open(options: GpujsOptions = {}): Promise<GpujsDevice> {
    return new GpujsDevice(await gpujsLibrary(), options);
  }

  get used(): number {
    return this.#used;
  }

  /** Gives the context back. */
  async close(): Promise<void> {
    await this.#gpu.destroy();
  }

  allocate(bytes: number): DeviceBuffer {
    this.#used += bytes;
    const made: HostBuffer = {
      bytes,
      data: new Uint8Array(bytes),
      live: true,
      numbers: new Map(),
    };
    return made;
  }

  free(buffer: DeviceBuffer): void {
    const b = buffer as HostBuffer;
    if (!b.live) return;
    b.live = false;
    this.#used -= b.bytes;
    b.data = new Uint8Array(0);
    b.numbers.clear();
  }

  write(buffer: DeviceBuffer, offset: number, bytes: Uint8Array): void {
    const b = buffer as HostBuffer;
    b.numbers.clear();
    b.data.set(bytes, offset);
  }

  read(buffer: DeviceBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    return Promise.resolve((buffer as HostBuffer).data.slice(offset, offset + bytes));
  }

  copy(
    from: DeviceBuffer,
    fromOffset: number,
    to: DeviceBuffer,
    toOffset: number,
    bytes: number,
  ): void {
    const { data } = from as HostBuffer;
    this.write(to, toOffset, data.slice(fromOffset, fromOffset + bytes));
  }

  load(artifact: Artifact): Promise<Executable> {
    return this.#executables.of(artifact);
  }

  #prepare(artifact: Artifact): Executable {
    const { manifest, constants } = artifact;
    const launches = this.#launches(artifact);
    const sizes = manifest.buffers.map((b) => compilePoly(b.bytes, manifest.dims));
    const fixed = manifest.buffers.map((b): HostBuffer | undefined => {
      if (b.role !== 'const') return undefined;
      const data = constants[b.name];
      if (!data)
        raise('Q5106', { kind: 'gpujs', detail: `the artifact lacks the constant ${b.name}` });
      return { bytes: data.length, data, live: true, numbers: new Map() };
    });
    return {
      run: async (params, dims) => {
        let param = 0;
        const made: { readonly role: string; readonly buffer: DeviceBuffer }[] = [];
        try {
          const buffers = manifest.buffers.map((b, i): HostBuffer => {
            if (b.role === 'const') return fixed[i]!;
            if (b.role === 'param') return params[param++] as HostBuffer;
            const buffer = this.allocate(sizes[i]!(dims)) as HostBuffer;
            made.push({ role: b.role, buffer });
            return buffer;
          });
          check(manifest, buffers, dims);
          for (const l of launches) await this.#launch(manifest, l, buffers, dims);
        } catch (e) {
          for (const m of made) this.free(m.buffer);
          throw e;
        }
        for (const m of made) if (m.role === 'temp') this.free(m.buffer);
        return made.filter((m) => m.role === 'result').map((m) => m.buffer);
      },
    };
  }

  /** The kernels of an artifact. gpu.js translates them when they are first called. */
  #launches({ manifest, code }: Artifact): Ready[] {
    const functions = new Map<string, { readonly text: string; readonly params: string[] }>();
    const text = new TextDecoder().decode(code);
    for (const [whole, name, params] of text.matchAll(/^function (\w+)\((.*?)\) \{\n.*?^\}/gms))
      functions.set(name!, { text: whole, params: params ? params.split(', ') : [] });
    const launches = manifest.launches ?? [];
    const own = new Set(launches.map((l) => l.name));
    const helpers = [...functions]
      .filter(([name]) => !own.has(name))
      .map(([, f]) => ({
        source: f.text,
        settings: { argumentTypes: f.params.map(() => 'Number'), returnType: 'Number' },
      }));
    return launches.map((info) => {
      const f = functions.get(info.name);
      if (!f) return raise('Q5106', { kind: 'gpujs', detail: `the artifact lacks ${info.name}` });
      const reads = info.buffers.length - 1;
      const kernel = this.#gpu.createKernel(f.text, {
        functions: helpers,
        argumentTypes: f.params.map((_, i) => (i < reads ? 'Input' : 'Float')),
        dynamicArguments: true,
        dynamicOutput: true,
        precision: 'single',
        tactic: 'precision',
        loopMaxIterations: EXACT,
        ...(this.software ? {} : { asyncMode: true }),
      });
      const specials = f.params
        .slice(reads + info.dims.length)
        .map((name) => specialValues[name] ?? Number.NaN);
      return { info, kernel, count: compilePoly(info.grid[0], manifest.dims), specials };
    });
  }

  async #launch(
    manifest: Manifest,
    { info, kernel, count, specials }: Ready,
    buffers: readonly HostBuffer[],
    dims: readonly number[],
  ): Promise<void> {
    const n = count(dims);
    if (n === 0) return;
    const read = info.buffers.slice(0, -1).map((i) => {
      const values = floatsOf(manifest, i, buffers[i]!);
      // A texture has a texel at least.
      const some = values.length ? values : new Float32Array(1);
      return this.#library.input(some, [some.length]);
    });
    const sizes = info.dims.map((d) => dims[manifest.dims.indexOf(d)]!);
    let values: Float32Array;
    try {
      kernel.setOutput([n]);
      values = await kernel(...read, ...sizes, ...specials);
    } catch (e) {
      return raise('Q5121', { kernel: info.name, detail: reasonOf(e) }, e);
    }
    const to = info.buffers.at(-1)!;
    store(manifest.buffers[to]!.dtype, values.subarray(0, n), buffers[to]!);
  }
}

/** Numbers of places, and sizes, must be exact. */
function check(
  { name, buffers: infos, dims: names }: Manifest,
  buffers: readonly HostBuffer[],
  dims: readonly number[],
): void {
  buffers.forEach((b, i) => {
    const elements = (b.bytes * 8) / dtypes[infos[i]!.dtype].bits;
    if (elements > EXACT)
      raise('Q5125', { kernel: name, what: `${infos[i]!.name} has ${elements} elements` });
  });
  dims.forEach((d, i) => {
    if (d > EXACT) raise('Q5125', { kernel: name, what: `${names[i]} is ${d}` });
  });
}

/** The elements of a buffer as floats, those that fill up rows among them. */
function floatsOf(manifest: Manifest, index: number, b: HostBuffer): Float32Array {
  const { name, dtype } = manifest.buffers[index]!;
  let values = b.numbers.get(dtype);
  if (values) return values;
  const { bits } = dtypes[dtype];
  const found = unpack(dtype, [Math.floor((b.data.length * 8) / bits)], b.data);
  if (bits === 32 && !isFloat(dtype)) {
    const large = found.find((v) => Math.abs(v) > EXACT);
    if (large !== undefined)
      raise('Q5125', { kernel: manifest.name, what: `an element of ${name} is ${large}` });
  }
  values = found instanceof Float32Array ? found : Float32Array.from(found);
  b.numbers.set(dtype, values);
  return values;
}

/** Writes what a kernel computed. Whole numbers that a float cannot hold are the largest ones, saturated. */
function store(dtype: DType, values: Float32Array, out: HostBuffer): void {
  out.numbers.clear();
  const { kind, bits } = dtypes[dtype];
  if (kind === 'float') {
    packInto(dtype, [values.length], values, out.data);
    if (dtype === 'f32') out.numbers.set(dtype, values.slice());
    return;
  }
  const whole =
    kind === 'uint' && bits === 32 ? new Uint32Array(values.length) : new Int32Array(values.length);
  const most = kind === 'uint' && bits === 32 ? 2 ** 32 - 1 : 2 ** 31 - 1;
  for (let i = 0; i < whole.length; i++) whole[i] = Math.min(values[i]!, most);
  packInto(dtype, [values.length], whole, out.data);
}
