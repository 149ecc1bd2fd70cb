// The CUDA device: an NVIDIA GPU through the driver's own library, called from Node. Everything is enqueued on one
// stream in the order of the calls; only reading waits. Loaded when a cuda device is asked for, and never before.
import type { Artifact, LaunchInfo, Manifest } from '../../compiler/artifact.ts';
import { raise } from '../errors.ts';
import { compilePoly } from '../poly.ts';
import { type CudaCompilerOptions, ImageMaker } from './cuda/compiler.ts';
import { Driver, deviceAttributes } from './cuda/driver.ts';
import { type Block, MemoryPool } from './cuda/memory.ts';
import { Transfer } from './cuda/transfer.ts';
import type { CompileTarget, Declined, Device, DeviceBuffer, Executable } from './device.ts';
import { Executables } from './executables.ts';

/** Most bytes of the arguments of a launch. */
const ARGUMENTS = 4096;
/** CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, and what a block has without asking. */
const MOST_SHARED = 8;
const SHARED = 48 * 1024;
const NON_BLOCKING = 1;
/** Words of cuLaunchKernel's last parameter: the address of packed arguments, the address of their size, the end. */
const POINTER = 1n;
const SIZE = 2n;
const END = 0n;
/** Warp operations with independent threads, and what the schedules are made for. */
const OLDEST = 70;
const presets = [75, 80, 90] as const;

interface CudaBuffer extends DeviceBuffer {
  readonly block: Block;
  live: boolean;
}

export interface CudaDeviceOptions extends CudaCompilerOptions {
  readonly reason?: string;
  readonly declined?: readonly Declined[];
  /** Number of the GPU, 0 by default; CUDA_VISIBLE_DEVICES is respected. */
  readonly index?: number;
  /** Path of the driver's library, libcuda.so.1 by default. */
  readonly driver?: string;
}

export class CudaDevice implements Device {
  readonly kind = 'cuda';
  readonly name: string;
  readonly reason: string;
  readonly target: CompileTarget;
  readonly declined?: readonly Declined[];
  /** Such as 90 for 9.0. */
  readonly capability: number;
  readonly #driver: Driver;
  readonly #index: number;
  readonly #stream: bigint;
  readonly #memory: MemoryPool;
  readonly #transfer: Transfer;
  readonly #images: ImageMaker;
  readonly #executables = new Executables((artifact) => this.#prepare(artifact));
  readonly #modules: bigint[] = [];
  /** Page-locked: the arguments of a launch, packed, and in front of them what the driver is told of them. */
  readonly #arguments: { readonly address: bigint; readonly bytes: Uint8Array };
  #closed = false;

  constructor(options: CudaDeviceOptions = {}) {
    this.reason = options.reason ?? 'asked for by name';
    this.declined = options.declined ?? [];
    const driver = new Driver(options.driver ?? 'libcuda.so.1');
    this.#driver = driver;
    driver.call('cuInit', 0);
    const count = driver.number('cuDeviceGetCount');
    const index = options.index ?? 0;
    if (!Number.isInteger(index) || index < 0 || index >= count)
      raise('Q5106', { kind: 'cuda', detail: `there is no GPU ${index}: the driver has ${count}` });
    const gpu = driver.number('cuDeviceGet', index);
    this.#index = gpu;
    const attribute = (a: number): number => driver.number('cuDeviceGetAttribute', a, gpu);
    this.capability = 10 * attribute(deviceAttributes.major) + attribute(deviceAttributes.minor);
    const text = new Uint8Array(256);
    driver.call('cuDeviceGetName', text, text.length, gpu);
    const title = new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
    if (this.capability < OLDEST)
      raise('Q5106', { kind: 'cuda', detail: `${title} is older than compute capability 7.0` });
    const preset = presets.findLast((p) => p <= this.capability) ?? presets[0];
    this.target = { name: 'cuda', preset: `sm_${preset}` };
    this.#images = new ImageMaker(options, this.capability);
    const version = (this.capability / 10).toFixed(1);
    this.name = `${title}, compute capability ${version}, ${this.#images.compiler.name}`;
    driver.use(driver.make('cuDevicePrimaryCtxRetain', gpu));
    this.#stream = driver.make('cuStreamCreate', NON_BLOCKING);
    const total = Number(driver.make('cuDeviceTotalMem_v2', gpu));
    this.#memory = new MemoryPool(driver, total);
    this.#transfer = new Transfer(driver, this.#stream);
    this.#arguments = this.#transfer.pinned(64 + ARGUMENTS);
    const words = new BigUint64Array(this.#arguments.bytes.buffer, 0, 8);
    words.set([POINTER, this.#arguments.address + 64n, SIZE, this.#arguments.address + 40n, END]);
  }

  get used(): number {
    return this.#memory.used;
  }

  allocate(bytes: number): DeviceBuffer {
    return { bytes, block: this.#memory.take(bytes), live: true } as CudaBuffer;
  }

  free(buffer: DeviceBuffer): void {
    const b = buffer as CudaBuffer;
    if (!b.live || this.#closed) return;
    b.live = false;
    this.#memory.give(b.block);
  }

  write(buffer: DeviceBuffer, offset: number, bytes: Uint8Array): void {
    this.#transfer.write(addressOf(buffer, offset), bytes);
  }

  read(buffer: DeviceBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    return this.#transfer.read(addressOf(buffer, offset), bytes);
  }

  copy(
    from: DeviceBuffer,
    fromOffset: number,
    to: DeviceBuffer,
    toOffset: number,
    bytes: number,
  ): void {
    if (bytes === 0) return;
    const overlaps = from === to && Math.abs(fromOffset - toOffset) < bytes;
    const move = (target: bigint, source: bigint): void =>
      this.#driver.call('cuMemcpyDtoDAsync_v2', target, source, bytes, this.#stream);
    const [source, target] = [addressOf(from, fromOffset), addressOf(to, toOffset)];
    if (!overlaps) return move(target, source);
    const between = this.#memory.take(bytes);
    move(between.address, source);
    move(target, between.address);
    this.#memory.give(between);
  }

  load(artifact: Artifact): Promise<Executable> {
    return this.#executables.of(artifact);
  }

  async #prepare({ manifest, code, constants }: Artifact): Promise<Executable> {
    const image = await this.#images.image(manifest.name, new TextDecoder().decode(code));
    const module = this.#driver.make('cuModuleLoadData', image);
    this.#modules.push(module);
    const launches = (manifest.launches ?? []).map((l) => this.#launch(manifest, l, module));
    const sizes = manifest.buffers.map((b) => compilePoly(b.bytes, manifest.dims));
    const fixed = manifest.buffers.map((b) => {
      if (b.role !== 'const') return undefined;
      const bytes = constants[b.name];
      if (!bytes)
        return raise('Q5106', {
          kind: 'cuda',
          detail: `the artifact lacks the constant ${b.name}`,
        });
      const block = this.#memory.take(bytes.length);
      this.#transfer.write(block.address, bytes);
      return block.address;
    });

    return {
      run: (params, dims) => {
        const results: DeviceBuffer[] = [];
        const temps: Block[] = [];
        const addresses: bigint[] = [];
        let param = 0;
        let done = false;
        try {
          manifest.buffers.forEach((b, i) => {
            if (b.role === 'param') addresses.push(addressOf(params[param++]!, 0));
            else if (b.role === 'result') {
              const made = this.allocate(sizes[i]!(dims));
              results.push(made);
              addresses.push(addressOf(made, 0));
            } else if (b.role === 'temp') {
              const block = this.#memory.take(sizes[i]!(dims));
              temps.push(block);
              addresses.push(block.address);
            } else addresses.push(fixed[i]!);
          });
          for (const start of launches) start(addresses, dims);
          done = true;
          return results;
        } finally {
          // What a launch still uses is written again only by what comes after it.
          for (const t of temps) this.#memory.give(t);
          if (!done) for (const r of results) this.free(r);
        }
      },
    };
  }

  /** What starts one kernel. */
  #launch(
    manifest: Manifest,
    info: LaunchInfo,
    module: bigint,
  ): (addresses: readonly bigint[], dims: readonly number[]) => void {
    const driver = this.#driver;
    const size = 8 * info.buffers.length + 4 * info.dims.length;
    if (size > ARGUMENTS) {
      const detail = `a launch has ${size} bytes of arguments, CUDA takes ${ARGUMENTS}`;
      raise('Q5015', { kernel: manifest.name, detail });
    }
    const kernel = driver.make('cuModuleGetFunction', module, info.name);
    const poly = (code: LaunchInfo['shared']) => compilePoly(code, manifest.dims);
    const grid = info.grid.map(poly);
    const when = info.when.map(poly);
    const shared = poly(info.shared);
    const places = info.dims.map((d) => manifest.dims.indexOf(d));
    const { bytes } = this.#arguments;
    const words = new BigUint64Array(bytes.buffer, 0, 8);
    const pointers = new BigUint64Array(bytes.buffer, 64, info.buffers.length);
    const numbers = new Int32Array(bytes.buffer, 64 + 8 * info.buffers.length, places.length);
    let asked = SHARED;
    return (addresses, dims) => {
      if (!when.every((w) => w(dims) > 0)) return;
      const [x, y, z] = grid.map((g) => g(dims)) as [number, number, number];
      if (x <= 0 || y <= 0 || z <= 0) return;
      const dynamic = shared(dims);
      if (dynamic > asked) {
        driver.call('cuFuncSetAttribute', kernel, MOST_SHARED, dynamic);
        asked = dynamic;
      }
      info.buffers.forEach((b, i) => {
        pointers[i] = addresses[b]!;
      });
      places.forEach((d, i) => {
        numbers[i] = dims[d]!;
      });
      words[5] = BigInt(size);
      // The driver copies the arguments before it returns.
      driver.call(
        'cuLaunchKernel',
        kernel,
        x,
        y,
        z,
        ...info.block,
        dynamic,
        this.#stream,
        null,
        bytes,
      );
    };
  }

  /** Waits until everything so far has run; raises what went wrong in it. */
  async synchronize(): Promise<void> {
    const event = this.#driver.make('cuEventCreate', 0);
    try {
      this.#driver.call('cuEventRecord', event, this.#stream);
      await this.#transfer.wait(event);
    } finally {
      this.#driver.call('cuEventDestroy_v2', event);
    }
  }

  /** Milliseconds on the GPU between what was enqueued before `body` and the last of what it enqueues. */
  async time<T>(body: () => T | Promise<T>): Promise<{ value: T; milliseconds: number }> {
    const driver = this.#driver;
    const events = [driver.make('cuEventCreate', 0), driver.make('cuEventCreate', 0)] as const;
    try {
      driver.call('cuEventRecord', events[0], this.#stream);
      const value = await body();
      driver.call('cuEventRecord', events[1], this.#stream);
      await this.#transfer.wait(events[1]);
      const out = new Uint8Array(4);
      driver.call('cuEventElapsedTime', out, ...events);
      return { value, milliseconds: new DataView(out.buffer).getFloat32(0, true) };
    } finally {
      for (const e of events) driver.call('cuEventDestroy_v2', e);
    }
  }

  /** Gives free memory back to the driver, for other programs. */
  trim(): void {
    this.#memory.trim();
  }

  /** Gives everything back. Tensors of the device cannot be used any more. */
  close(): void {
    if (this.#closed) return;
    const driver = this.#driver;
    driver.call('cuStreamSynchronize', this.#stream);
    this.#closed = true;
    for (const m of this.#modules) driver.call('cuModuleUnload', m);
    this.#memory.trim();
    this.#transfer.close();
    driver.call('cuMemFreeHost', this.#arguments.address);
    driver.call('cuStreamDestroy_v2', this.#stream);
    driver.call('cuDevicePrimaryCtxRelease_v2', this.#index);
  }
}

const addressOf = (buffer: DeviceBuffer, offset: number): bigint =>
  (buffer as CudaBuffer).block.address + BigInt(offset);
