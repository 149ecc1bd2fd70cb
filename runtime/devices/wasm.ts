// The WebAssembly device: one memory of up to 4 GiB that all kernels share, so that a tensor is an address and
// a call copies nothing. Views are made anew after every allocation, since the memory may have moved.
import type { Artifact } from '../../compiler/artifact.ts';
import { raise, reasonOf } from '../errors.ts';
import { type WasmApi, type WasmMemory, wasmApi } from '../platform.ts';
import { compilePoly } from '../poly.ts';
import { Allocator } from './allocator.ts';
import type { Device, DeviceBuffer, Executable } from './device.ts';

const PAGE = 65536;
/** The address space of wasm32; the last page stays free, so that padded ends never wrap. */
const LIMIT = 2 ** 32 - PAGE;
/** Addresses below this belong to nobody: a null address faults in tests, not in silence. */
const BASE = 1024;
const GROWTH = 64 * 2 ** 20;

interface WasmBuffer extends DeviceBuffer {
  readonly address: number;
  live: boolean;
}

export interface WasmDeviceOptions {
  readonly reason?: string;
  /** Most bytes of memory; 4 GiB less a page by default. */
  readonly limit?: number;
}

export class WasmDevice implements Device {
  readonly kind = 'wasm';
  readonly name = 'WebAssembly, one thread';
  readonly reason: string;
  readonly #api: WasmApi;
  readonly #memory: WasmMemory;
  readonly #allocator: Allocator;
  readonly #executables = new WeakMap<Artifact, Promise<Executable>>();
  #pages = 1;
  #bytes: Uint8Array;

  constructor(options: WasmDeviceOptions = {}) {
    const api = wasmApi();
    if (!api) raise('Q5106', { kind: 'wasm', detail: 'this host has no WebAssembly' });
    this.#api = api;
    this.reason = options.reason ?? 'asked for by name';
    const limit = Math.min(options.limit ?? LIMIT, LIMIT);
    this.#memory = new api.Memory({ initial: this.#pages, maximum: 65536 });
    this.#bytes = new Uint8Array(this.#memory.buffer);
    this.#allocator = new Allocator(BASE, limit);
  }

  get used(): number {
    return this.#allocator.used;
  }

  /** Live blocks, for leak tests. */
  get blocks(): number {
    return this.#allocator.blocks;
  }

  allocate(bytes: number): DeviceBuffer {
    const address = this.#reserve(bytes);
    return { bytes, address, live: true } as WasmBuffer;
  }

  #reserve(bytes: number): number {
    const a = this.#allocator;
    const address = a.allocate(bytes);
    if (address === undefined)
      raise('Q5102', {
        needed: bytes,
        used: a.used,
        limit: a.limit,
        detail: 'the address space of the WebAssembly memory is full or fragmented',
      });
    const pages = Math.ceil(a.top / PAGE);
    if (pages > this.#pages && !this.#grow(pages)) {
      a.free(address);
      raise('Q5102', {
        needed: bytes,
        used: a.used,
        limit: a.limit,
        detail: 'the host refused to grow the WebAssembly memory',
      });
    }
    return address;
  }

  /** Grows by a share of what is there, so that many small tensors cost few moves; or exactly, when that fails. */
  #grow(pages: number): boolean {
    const ahead = Math.ceil(Math.min(this.#pages * PAGE, GROWTH) / PAGE);
    const most = LIMIT / PAGE + 1;
    for (const target of [Math.min(pages + ahead, most), pages]) {
      try {
        this.#memory.grow(target - this.#pages);
        this.#pages = target;
        this.#bytes = new Uint8Array(this.#memory.buffer);
        return true;
      } catch (e) {
        if (!(e instanceof RangeError)) throw e;
      }
    }
    return false;
  }

  free(buffer: DeviceBuffer): void {
    const b = buffer as WasmBuffer;
    if (!b.live) return;
    b.live = false;
    this.#allocator.free(b.address);
  }

  write(buffer: DeviceBuffer, offset: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, (buffer as WasmBuffer).address + offset);
  }

  read(buffer: DeviceBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    return Promise.resolve(this.view(buffer, offset, bytes).slice());
  }

  view(buffer: DeviceBuffer, offset: number, bytes: number): Uint8Array {
    const from = (buffer as WasmBuffer).address + offset;
    return this.#bytes.subarray(from, from + bytes);
  }

  copy(
    from: DeviceBuffer,
    fromOffset: number,
    to: DeviceBuffer,
    toOffset: number,
    bytes: number,
  ): void {
    const start = (from as WasmBuffer).address + fromOffset;
    this.#bytes.copyWithin((to as WasmBuffer).address + toOffset, start, start + bytes);
  }

  load(artifact: Artifact): Promise<Executable> {
    let made = this.#executables.get(artifact);
    if (!made) {
      made = this.#instantiate(artifact);
      this.#executables.set(artifact, made);
      made.catch(() => this.#executables.delete(artifact));
    }
    return made;
  }

  async #instantiate(artifact: Artifact): Promise<Executable> {
    const { manifest } = artifact;
    const module = await this.#api.compile(artifact.code);
    const instance = await this.#api.instantiate(module, { env: { memory: this.#memory } });
    const run = instance.exports.run as (...args: number[]) => void;
    const sizes = manifest.buffers.map((b) => compilePoly(b.bytes, manifest.dims));
    const roles = manifest.buffers.map((b) => b.role);
    const fixed = manifest.buffers.map((b) =>
      b.role === 'const' ? this.#constant(artifact, b.name) : 0,
    );
    const n = roles.length;

    const execute = (params: readonly DeviceBuffer[], dims: readonly number[]) => {
      const args: number[] = [];
      const temps: number[] = [];
      const results: DeviceBuffer[] = [];
      let param = 0;
      let done = false;
      try {
        for (let i = 0; i < n; i++) {
          const role = roles[i]!;
          if (role === 'param') args.push((params[param++] as WasmBuffer).address);
          else if (role === 'const') args.push(fixed[i]!);
          else if (role === 'result') {
            const made = this.allocate(sizes[i]!(dims)) as WasmBuffer;
            results.push(made);
            args.push(made.address);
          } else {
            const address = this.#reserve(sizes[i]!(dims));
            temps.push(address);
            args.push(address);
          }
        }
        for (const d of dims) args.push(d);
        run(...args);
        done = true;
        return results;
      } catch (e) {
        if (isTrap(e)) raise('Q5015', { kernel: manifest.name, detail: reasonOf(e) }, e);
        throw e;
      } finally {
        for (const t of temps) this.#allocator.free(t);
        if (!done) for (const r of results) this.free(r);
      }
    };
    return { run: execute };
  }

  /** Uploads a const buffer, once an instance; it lives as long as the device. */
  #constant(artifact: Artifact, name: string): number {
    const bytes = artifact.constants[name];
    if (!bytes) raise('Q5106', { kind: 'wasm', detail: `the artifact lacks the constant ${name}` });
    const address = this.#reserve(bytes.length);
    this.#bytes.set(bytes, address);
    return address;
  }
}

const isTrap = (e: unknown): boolean => {
  const api = (globalThis as { WebAssembly?: { RuntimeError?: new () => Error } }).WebAssembly;
  return api?.RuntimeError !== undefined && e instanceof api.RuntimeError;
};
