// The WebGPU device. Calls are recorded and return at once with the buffers of their results; only reading bytes back
// waits. The same code runs in a page and, through Dawn, in Node.
import type { Artifact } from '../../compiler/artifact.ts';
import { raise } from '../errors.ts';
import type { CompileTarget, Declined, Device, DeviceBuffer, Executable } from './device.ts';
import { adapterName, hostGpu, isSoftware, openGpu } from './webgpu-adapter.ts';
import { GpuCalls } from './webgpu-calls.ts';
import { GpuChain, type Timing } from './webgpu-chain.ts';
import { type GpuBuffer, GpuMemory } from './webgpu-memory.ts';
import { GpuMerged } from './webgpu-merged.ts';
import { GpuTransfers } from './webgpu-transfers.ts';
import { GpuUniforms } from './webgpu-uniforms.ts';

export interface WebGpuOptions {
  readonly reason?: string;
  readonly declined?: readonly Declined[];
  /** Where adapters come from: the host's WebGPU unless another is given. */
  readonly gpu?: GPU;
  /** Keep to WebGPU's default limits and features, whatever the adapter offers. */
  readonly defaults?: boolean;
  /** Largest binding of storage to be used, where the adapter offers more. */
  readonly bindingBytes?: number;
  /** Time every launch on the GPU: see timings(). */
  readonly profile?: boolean;
}

export class WebGpuDevice implements Device {
  readonly kind = 'webgpu';
  readonly name: string;
  readonly reason: string;
  readonly declined: readonly Declined[];
  readonly target: CompileTarget;
  /** Whether the adapter computes on the processor. */
  readonly software: boolean;
  readonly #device: GPUDevice;
  readonly #memory: GpuMemory;
  readonly #chain: GpuChain;
  readonly #transfers: GpuTransfers;
  readonly #merged: GpuMerged;
  readonly #calls: GpuCalls;
  #lost: string | undefined;
  #fault: string | undefined;
  #closing = false;

  private constructor(
    device: GPUDevice,
    info: GPUAdapterInfo,
    target: CompileTarget,
    options: WebGpuOptions,
  ) {
    this.#device = device;
    this.name = adapterName(info);
    this.software = isSoftware(info);
    this.target = target;
    this.reason = options.reason ?? 'asked for by name';
    this.declined = options.declined ?? [];
    const profile = options.profile === true && device.features.has('timestamp-query');
    const largest = device.limits.maxStorageBufferBindingSize;
    const memory = new GpuMemory(device, Math.min(largest, options.bindingBytes ?? Infinity));
    const chain = new GpuChain(device, memory, profile);
    const uniforms = new GpuUniforms(device, memory);
    const transfers = new GpuTransfers(device, memory, chain, uniforms);
    const merged = new GpuMerged(memory, transfers);
    this.#memory = memory;
    this.#chain = chain;
    this.#transfers = transfers;
    this.#merged = merged;
    const alive = (): void => this.#alive();
    const free = (b: GpuBuffer): void => this.free(b);
    this.#calls = new GpuCalls({
      device,
      memory,
      chain,
      uniforms,
      transfers,
      merged,
      alive,
      free,
    });
    device.onuncapturederror = (event) => {
      this.#fault ??= event.error.message;
    };
    void device.lost.then((why) => {
      this.#lost ??= this.#closing
        ? 'it was closed'
        : why.message || why.reason || 'no reason given';
    });
  }

  /** Raises Q5106 where the host has no WebGPU or no adapter that will do. */
  static async open(options: WebGpuOptions = {}): Promise<WebGpuDevice> {
    const { device, info, target } = await openGpu(options.gpu ?? (await hostGpu()), options);
    return new WebGpuDevice(device, info, target, options);
  }

  get used(): number {
    return this.#memory.used;
  }
  /** Why the GPU is gone, once it is: then a new device is needed, and tensors are lost. */
  get lost(): string | undefined {
    return this.#lost;
  }
  /** Times that commands were submitted. */
  get submits(): number {
    return this.#chain.submits;
  }

  /** What each launch took on the GPU so far, most first. Empty unless the device was opened with `profile`. */
  async timings(): Promise<readonly Timing[]> {
    await this.#chain.settled();
    return [...this.#chain.timings.values()].sort((a, b) => b.nanoseconds - a.nanoseconds);
  }

  /** Gives the GPU back. Tensors on it are gone. */
  close(): void {
    this.#closing = true;
    this.#lost ??= 'it was closed';
    this.#device.destroy();
  }

  #alive(): void {
    if (this.#lost !== undefined) raise('Q5122', { name: this.name, detail: this.#lost });
    if (this.#fault !== undefined) {
      const detail = this.#fault;
      this.#fault = undefined;
      raise('Q5123', { name: this.name, detail });
    }
  }

  allocate(bytes: number): DeviceBuffer {
    this.#alive();
    return this.#memory.allocate(bytes);
  }

  free(buffer: DeviceBuffer): void {
    const b = buffer as GpuBuffer;
    if (!b.live) return;
    b.live = false;
    if (b.pins > 0) return;
    this.#merged.forget(b);
    this.#memory.free(b);
  }

  write(buffer: DeviceBuffer, offset: number, bytes: Uint8Array): void {
    this.#alive();
    const b = buffer as GpuBuffer;
    this.#merged.forget(b);
    this.#transfers.write(b, offset, bytes);
  }

  async read(buffer: DeviceBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    this.#alive();
    let found: Uint8Array;
    try {
      found = await this.#transfers.read(buffer as GpuBuffer, offset, bytes);
    } catch (e) {
      // The loss is told by a promise of its own.
      await new Promise((done) => setTimeout(done, 0));
      this.#alive();
      throw e;
    }
    this.#alive();
    return found;
  }

  copy(
    from: DeviceBuffer,
    fromOffset: number,
    to: DeviceBuffer,
    toOffset: number,
    bytes: number,
  ): void {
    this.#alive();
    this.#merged.forget(to as GpuBuffer);
    this.#transfers.copy(from as GpuBuffer, fromOffset, to as GpuBuffer, toOffset, bytes);
  }

  load(artifact: Artifact): Promise<Executable> {
    return this.#calls.load(artifact);
  }
}
