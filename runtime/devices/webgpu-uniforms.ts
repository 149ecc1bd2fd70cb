// Uniform buffers: the sizes that a call gives its kernels. Equal ones are the same buffer, so that bind groups recur.
import type { GpuMemory } from './webgpu-memory.ts';
import { usage } from './webgpu-memory.ts';

const KEPT = 512;

export interface Uniform {
  readonly raw: GPUBuffer;
  readonly id: number;
}

export class GpuUniforms {
  readonly #device: GPUDevice;
  readonly #memory: GpuMemory;
  readonly #known = new Map<string, Uniform>();
  #nextId = 1;

  constructor(device: GPUDevice, memory: GpuMemory) {
    this.#device = device;
    this.#memory = memory;
  }

  /** One with these words. */
  of(words: readonly number[]): Uniform {
    const key = words.join(' ');
    const known = this.#known.get(key);
    if (known) return known;
    if (this.#known.size >= KEPT)
      for (const [name, { raw }] of [...this.#known].slice(0, KEPT / 2)) {
        this.#known.delete(name);
        this.#memory.doom(raw);
      }
    const size = Math.max(16, Math.ceil(words.length / 4) * 16);
    const raw = this.#device.createBuffer({ size, usage: usage.UNIFORM, mappedAtCreation: true });
    new Int32Array(raw.getMappedRange()).set(words);
    raw.unmap();
    const made = { raw, id: this.#nextId++ };
    this.#known.set(key, made);
    return made;
  }
}
