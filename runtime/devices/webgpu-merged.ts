// Buffers that share a binding are copied behind each other: once for weights and other things that stay, before (and, where
// they are written, after) each launch for the others.
import type { GpuBuffer, GpuMemory } from './webgpu-memory.ts';
import { PADDING } from './webgpu-memory.ts';
import type { GpuTransfers } from './webgpu-transfers.ts';

/** Bytes that a buffer takes in a merged one. */
export const spaceOf = (bytes: number): number => Math.ceil((bytes + PADDING) / 16) * 16;

export class GpuMerged {
  readonly #memory: GpuMemory;
  readonly #transfers: GpuTransfers;
  readonly #kept = new Map<string, GpuBuffer>();

  constructor(memory: GpuMemory, transfers: GpuTransfers) {
    this.#memory = memory;
    this.#transfers = transfers;
  }

  /** Frees the copies that hold what a buffer held: it changes, or is freed. */
  forget(b: GpuBuffer): void {
    for (const key of b.copies ?? []) {
      const copy = this.#kept.get(key);
      this.#kept.delete(key);
      if (copy) this.#memory.free(copy);
    }
    b.copies = undefined;
  }

  /** Several buffers behind each other in new memory. */
  #joined(list: readonly GpuBuffer[]): GpuBuffer {
    const made = this.#memory.allocate(list.reduce((n, b) => n + spaceOf(b.bytes), 0));
    let at = 0;
    for (const b of list) {
      this.#transfers.copy(b, 0, made, at, Math.ceil(b.bytes / 4) * 4);
      at += spaceOf(b.bytes);
    }
    return made;
  }

  /** For a launch that writes: everything goes in before and comes out after it. */
  written(list: readonly GpuBuffer[], after: (() => void)[]): GpuBuffer {
    const made = this.#joined(list);
    after.push(() => {
      let at = 0;
      for (const b of list) {
        this.forget(b);
        this.#transfers.copy(made, at, b, 0, Math.ceil(b.bytes / 4) * 4);
        at += spaceOf(b.bytes);
      }
      this.#memory.free(made);
    });
    return made;
  }

  /** For a launch that only reads: where they outlive the call, kept for as long as none of the buffers changes. */
  read(list: readonly GpuBuffer[], outlive: boolean, after: (() => void)[]): GpuBuffer {
    if (!outlive) {
      const made = this.#joined(list);
      after.push(() => this.#memory.free(made));
      return made;
    }
    const key = list.map((b) => b.id).join(' ');
    const known = this.#kept.get(key);
    if (known) return known;
    const made = this.#joined(list);
    this.#kept.set(key, made);
    for (const b of list) b.copies = (b.copies ?? new Set()).add(key);
    return made;
  }
}
