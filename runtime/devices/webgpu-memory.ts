// Memory of the WebGPU device: GPU buffers by size class, kept for reuse when they are freed. A buffer is padded, because
// kernels read whole words and whole vectors of them. What is larger than a binding may be lies in several GPU buffers, one
// behind the other, so that nothing is larger than any of them can be: kernels bind the parts as windows.
import type { DeviceBuffer } from './device.ts';

/** A GPU buffer, which holds parts of tensors one after another. */
export interface Block {
  readonly raw: GPUBuffer;
  readonly id: number;
  /** Bytes. */
  readonly size: number;
  /** Number of the chain of commands that last used it. */
  used: number;
}

export interface GpuBuffer extends DeviceBuffer {
  /** All but the last hold `partBytes`. */
  readonly parts: readonly Block[];
  readonly id: number;
  live: boolean;
  /** Calls that wait for their pipelines: it is freed after them. */
  pins: number;
  /** Merged copies that were made of it: see webgpu-merged.ts. */
  copies: Set<string> | undefined;
}

/** A range of bytes within one block. */
export interface Segment {
  readonly block: Block;
  readonly offset: number;
  readonly bytes: number;
}

/** Kernels read whole words and vectors, up to here beyond the end. */
export const PADDING = 16;
/** Freed memory that is kept for reuse. */
const KEEP = 256 * 2 ** 20;
const GRAIN = 256;

/** Room for a part: its bytes, a vector of padding, rounded so that sizes recur. */
export function roomFor(bytes: number): number {
  const least = Math.ceil((bytes + PADDING) / GRAIN) * GRAIN;
  if (least <= 16 * GRAIN) return least;
  const step = 2 ** Math.floor(Math.log2(least) - 3);
  return Math.ceil(least / step) * step;
}

export class GpuMemory {
  readonly #device: GPUDevice;
  readonly #free = new Map<number, Block[]>();
  /** Bytes of a part, and of the largest binding. */
  readonly partBytes: number;
  /** To be destroyed once no open chain uses it. */
  #doomed: GPUBuffer[] = [];
  #kept = 0;
  #nextId = 1;
  used = 0;

  /** `largest`: bytes of a binding. */
  constructor(device: GPUDevice, largest: number) {
    this.#device = device;
    const most = Math.min(largest, device.limits.maxBufferSize);
    // Bindings start at multiples of 256.
    this.partBytes = most - (most % 256);
  }

  /** How many parts a tensor of so many bytes has. */
  partsOf(bytes: number): number {
    return Math.ceil((bytes + PADDING) / this.partBytes);
  }

  allocate(bytes: number): GpuBuffer {
    const count = this.partsOf(bytes);
    const parts = Array.from({ length: count }, (_, k) => {
      const last = Math.min(roomFor(bytes - k * this.partBytes), this.partBytes);
      const size = k < count - 1 ? this.partBytes : last;
      return this.#take(size) ?? this.#make(size);
    });
    this.used += bytes;
    return { bytes, parts, id: this.#nextId++, live: true, pins: 0, copies: undefined };
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

  /** The parts of a range of a buffer. */
  segments(b: GpuBuffer, offset: number, bytes: number): Segment[] {
    if (b.parts.length === 1) return [{ block: b.parts[0]!, offset, bytes }];
    const out: Segment[] = [];
    for (let at = offset; at < offset + bytes; ) {
      const k = Math.min(Math.floor(at / this.partBytes), b.parts.length - 1);
      const own = at - k * this.partBytes;
      const room = k < b.parts.length - 1 ? this.partBytes - own : Infinity;
      const size = Math.min(room, offset + bytes - at);
      out.push({ block: b.parts[k]!, offset: own, bytes: size });
      at += size;
    }
    return out;
  }

  free(b: GpuBuffer): void {
    this.used -= b.bytes;
    for (const block of b.parts) this.#keep(block);
  }

  #keep(block: Block): void {
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
