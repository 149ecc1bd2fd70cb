// Memory of the WebGPU device: buffers by size class, kept for reuse when they are freed. A buffer is padded, because
// kernels read whole words and whole vectors of them, and never ends inside of one.
import { raise } from '../errors.ts';
import type { DeviceBuffer } from './device.ts';

/** Memory that buffers have one after another. */
export interface Block {
  readonly raw: GPUBuffer;
  readonly id: number;
  /** Bytes. */
  readonly size: number;
  /** Number of the chain of commands that last used it. */
  used: number;
}

export interface GpuBuffer extends DeviceBuffer {
  readonly block: Block;
  readonly id: number;
  live: boolean;
  /** Calls that wait for their pipelines: it is freed after them. */
  pins: number;
  /** Merged copies that were made of it: see webgpu.ts. */
  copies: Set<string> | undefined;
}

/** Freed memory that is kept for reuse. */
const KEEP = 256 * 2 ** 20;
const GRAIN = 256;

/** Room for a buffer: its bytes, a vector of padding, rounded so that sizes recur. */
export function roomFor(bytes: number): number {
  const least = Math.ceil((bytes + 16) / GRAIN) * GRAIN;
  if (least <= 16 * GRAIN) return least;
  const step = 2 ** Math.floor(Math.log2(least) - 3);
  return Math.ceil(least / step) * step;
}

export class GpuMemory {
  readonly #device: GPUDevice;
  readonly #free = new Map<number, Block[]>();
  /** To be destroyed once no open chain uses it. */
  #doomed: GPUBuffer[] = [];
  #kept = 0;
  #nextId = 1;
  used = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  allocate(bytes: number): GpuBuffer {
    let size = roomFor(bytes);
    const most = this.#device.limits.maxBufferSize;
    if (size > most) size = Math.ceil((bytes + 16) / 16) * 16;
    if (size > most)
      raise('Q5102', {
        needed: bytes,
        used: this.used,
        limit: most,
        detail: 'the GPU allows no buffer of that size',
      });
    const block = this.#take(size) ?? this.#make(size);
    this.used += bytes;
    return { bytes, block, id: this.#nextId++, live: true, pins: 0, copies: undefined };
  }

  #take(size: number): Block | undefined {
    const block = this.#free.get(size)?.pop();
    if (block) this.#kept -= size;
    return block;
  }

  #make(size: number): Block {
    const { STORAGE, COPY_SRC, COPY_DST } = usage;
    const raw = this.#device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST });
    return { raw, id: this.#nextId++, size, used: 0 };
  }

  free(b: GpuBuffer): void {
    this.used -= b.bytes;
    const { block } = b;
    if (this.#kept + block.size > KEEP) {
      this.#doomed.push(block.raw);
      return;
    }
    this.#kept += block.size;
    const list = this.#free.get(block.size);
    if (list) list.push(block);
    else this.#free.set(block.size, [block]);
  }

  /** Destroyed when the commands under construction have been submitted. */
  doom(raw: GPUBuffer): void {
    this.#doomed.push(raw);
  }
  submitted(): void {
    for (const b of this.#doomed) b.destroy();
    this.#doomed = [];
  }
}

/** GPUBufferUsage and GPUMapMode, which Dawn's package does not make global. */
export const usage = {
  MAP_READ: 1,
  COPY_SRC: 4,
  COPY_DST: 8,
  UNIFORM: 64,
  STORAGE: 128,
  QUERY_RESOLVE: 512,
} as const;
export const mapRead = 1;
