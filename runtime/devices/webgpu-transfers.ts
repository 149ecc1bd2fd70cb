// Bytes to, from and within the GPU, at any place and in any part of a buffer. Commands of WebGPU copy words; what starts or
// ends inside of one goes through a kernel.
import { byteCopy, groupsFor } from './webgpu-bytes.ts';
import type { GpuChain } from './webgpu-chain.ts';
import type { Block, GpuBuffer, GpuMemory, Segment } from './webgpu-memory.ts';
import type { GpuUniforms } from './webgpu-uniforms.ts';

/** Groups along an axis of a dispatch; more of them are laid out in rows. */
export const MOST_GROUPS = 65535;

const wordsOf = (bytes: number): number => Math.ceil(bytes / 4) * 4;

export class GpuTransfers {
  readonly #device: GPUDevice;
  readonly #memory: GpuMemory;
  readonly #chain: GpuChain;
  readonly #uniforms: GpuUniforms;
  #pipeline: GPUComputePipeline | undefined;

  constructor(device: GPUDevice, memory: GpuMemory, chain: GpuChain, uniforms: GpuUniforms) {
    this.#device = device;
    this.#memory = memory;
    this.#chain = chain;
    this.#uniforms = uniforms;
  }

  write(b: GpuBuffer, offset: number, bytes: Uint8Array): void {
    const rest = bytes.length % 4;
    // Bytes behind the end of a buffer belong to nobody.
    const ends = offset + bytes.length === b.bytes;
    const padded = rest === 0 ? bytes : new Uint8Array(wordsOf(bytes.length));
    if (rest !== 0) padded.set(bytes);
    if (offset % 4 === 0 && (rest === 0 || ends)) return this.#writeWords(b, offset, padded);
    const staging = this.#memory.allocate(padded.length);
    this.#writeWords(staging, 0, padded);
    this.#copyBytes(staging, 0, b, offset, bytes.length);
    this.#memory.free(staging);
  }

  #writeWords(b: GpuBuffer, offset: number, bytes: Uint8Array): void {
    let at = 0;
    for (const s of this.#memory.segments(b, offset, bytes.length)) {
      this.#chain.write(s.block, s.offset, bytes.subarray(at, at + s.bytes));
      at += s.bytes;
    }
  }

  async read(b: GpuBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    const from = offset - (offset % 4);
    const segments = this.#memory.segments(b, from, wordsOf(offset + bytes - from));
    const words = await this.#chain.read(segments);
    return words.subarray(offset - from, offset - from + bytes);
  }

  copy(a: GpuBuffer, from: number, b: GpuBuffer, to: number, bytes: number): void {
    if (bytes === 0) return;
    if (a === b) {
      // A buffer cannot be copied within itself.
      const between = this.#memory.allocate(bytes);
      this.copy(a, from, between, 0, bytes);
      this.copy(between, 0, b, to, bytes);
      this.#memory.free(between);
      return;
    }
    const ends = to + bytes === b.bytes;
    if (from % 4 !== 0 || to % 4 !== 0 || (bytes % 4 !== 0 && !ends))
      return this.#copyBytes(a, from, b, to, bytes);
    this.#each(a, from, b, to, wordsOf(bytes), (x, y) => {
      this.#chain.copy(x.block, x.offset, y.block, y.offset, x.bytes);
    });
  }

  /** The ranges within one part of both buffers. */
  #each(
    a: GpuBuffer,
    from: number,
    b: GpuBuffer,
    to: number,
    bytes: number,
    body: (x: Segment, y: Segment) => void,
  ): void {
    let at = 0;
    for (const x of this.#memory.segments(a, from, bytes)) {
      let own = 0;
      for (const y of this.#memory.segments(b, to + at, x.bytes)) {
        body({ block: x.block, offset: x.offset + own, bytes: y.bytes }, y);
        own += y.bytes;
      }
      at += x.bytes;
    }
  }

  #copyBytes(a: GpuBuffer, from: number, b: GpuBuffer, to: number, bytes: number): void {
    this.#each(a, from, b, to, bytes, (x, y) => this.#bytesWithin(x, y));
  }

  #bytesWithin({ block: from, offset, bytes }: Segment, { block: to, offset: at }: Segment): void {
    if (bytes === 0) return;
    this.#pipeline ??= this.#device.createComputePipeline({
      layout: 'auto',
      compute: {
        module: this.#device.createShaderModule({ code: byteCopy }),
        entryPoint: 'copy_bytes',
      },
    });
    const pipeline = this.#pipeline;
    const entry = (binding: number, buffer: GPUBuffer) => ({ binding, resource: { buffer } });
    const group = this.#device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [
        entry(0, this.#uniforms.of([offset, at, bytes]).raw),
        entry(1, from.raw),
        entry(2, to.raw),
      ],
    });
    const count = groupsFor(at, bytes);
    const x = Math.min(count, MOST_GROUPS);
    this.touch([from, to]);
    this.#chain.dispatch({ kernel: 'copy_bytes', pipeline, group, x, y: Math.ceil(count / x) });
  }

  /** The commands under construction use these. */
  touch(blocks: readonly Block[]): void {
    for (const b of blocks) b.used = this.#chain.serial;
  }
}
