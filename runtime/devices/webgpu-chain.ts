// Commands on their way to the GPU: dispatches and copies are recorded into one encoder, which is submitted when somebody
// waits for a result, when the host comes to rest, or when it has grown long. With `profile`, every dispatch is a pass of
// its own between two timestamps.
import type { Block, GpuMemory, Segment } from './webgpu-memory.ts';
import { mapRead, usage } from './webgpu-memory.ts';

/** Dispatches after which a chain is submitted, so that the GPU has work while the host records more. */
const LONG = 64;

export interface Timing {
  readonly kernel: string;
  calls: number;
  /** Nanoseconds on the GPU. */
  nanoseconds: number;
}

export interface Dispatch {
  readonly kernel: string;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly x: number;
  readonly y: number;
}

export class GpuChain {
  readonly #device: GPUDevice;
  readonly #memory: GpuMemory;
  readonly #profile: boolean;
  readonly timings = new Map<string, Timing>();
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #count = 0;
  #armed = false;
  #names: string[] = [];
  #queries: GPUQuerySet | undefined;
  readonly #pending = new Set<Promise<void>>();
  /** Number of the chain under construction. */
  serial = 1;
  /** Chains that were submitted, for tests. */
  submits = 0;

  constructor(device: GPUDevice, memory: GpuMemory, profile: boolean) {
    this.#device = device;
    this.#memory = memory;
    this.#profile = profile;
  }

  #open(): GPUCommandEncoder {
    if (!this.#encoder) {
      this.#encoder = this.#device.createCommandEncoder();
      this.#arm();
    }
    return this.#encoder;
  }

  /** When the host has nothing else to do, what was recorded goes to the GPU. */
  #arm(): void {
    if (this.#armed) return;
    this.#armed = true;
    const timer = setTimeout(() => {
      this.#armed = false;
      this.flush();
    }, 0) as { unref?: () => void };
    timer.unref?.();
  }

  dispatch(d: Dispatch): void {
    const encoder = this.#open();
    if (this.#profile) this.#endPass();
    this.#pass ??= encoder.beginComputePass(this.#profile ? this.#timed(d.kernel) : undefined);
    this.#pass.setPipeline(d.pipeline);
    this.#pass.setBindGroup(0, d.group);
    this.#pass.dispatchWorkgroups(d.x, d.y);
    this.#count += 1;
    if (this.#count >= LONG) this.flush();
  }

  #timed(kernel: string): GPUComputePassDescriptor {
    this.#queries ??= this.#device.createQuerySet({ type: 'timestamp', count: 2 * LONG });
    const at = 2 * this.#names.length;
    this.#names.push(kernel);
    return {
      timestampWrites: {
        querySet: this.#queries,
        beginningOfPassWriteIndex: at,
        endOfPassWriteIndex: at + 1,
      },
    };
  }

  copy(from: Block, fromOffset: number, to: Block, toOffset: number, bytes: number): void {
    const encoder = this.#open();
    this.#endPass();
    encoder.copyBufferToBuffer(from.raw, fromOffset, to.raw, toOffset, bytes);
    from.used = this.serial;
    to.used = this.serial;
  }

  /** Writes words: at once, or behind the commands that use the memory and are not yet submitted. */
  write({ raw, used }: Block, offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (used !== this.serial) {
      this.#device.queue.writeBuffer(raw, offset, bytes as Uint8Array<ArrayBuffer>);
      return;
    }
    const size = bytes.length;
    const staging = this.#device.createBuffer({
      size,
      usage: usage.COPY_SRC,
      mappedAtCreation: true,
    });
    new Uint8Array(staging.getMappedRange()).set(bytes);
    staging.unmap();
    const encoder = this.#open();
    this.#endPass();
    encoder.copyBufferToBuffer(staging, 0, raw, offset, size);
    this.#memory.doom(staging);
  }

  /** A copy of words, as soon as everything before it has run. */
  async read(segments: readonly Segment[]): Promise<Uint8Array> {
    const stagings = segments.map(({ block, offset, bytes }) => {
      const size = Math.max(16, bytes);
      const staging = this.#device.createBuffer({ size, usage: usage.COPY_DST | usage.MAP_READ });
      const encoder = this.#open();
      this.#endPass();
      if (bytes > 0) encoder.copyBufferToBuffer(block.raw, offset, staging, 0, bytes);
      return staging;
    });
    this.flush();
    const out = new Uint8Array(segments.reduce((n, s) => n + s.bytes, 0));
    try {
      await Promise.all(stagings.map((s) => s.mapAsync(mapRead)));
      let at = 0;
      segments.forEach(({ bytes }, i) => {
        out.set(new Uint8Array(stagings[i]!.getMappedRange()).subarray(0, bytes), at);
        at += bytes;
      });
      return out;
    } finally {
      for (const s of stagings) s.destroy();
    }
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  /** Submits what was recorded. */
  flush(): void {
    const encoder = this.#encoder;
    if (!encoder) return;
    this.#endPass();
    const resolve = this.#resolve(encoder);
    this.#device.queue.submit([encoder.finish()]);
    this.#encoder = undefined;
    this.#count = 0;
    this.serial += 1;
    this.submits += 1;
    this.#memory.submitted();
    resolve?.();
  }

  /** Reads the timestamps of a chain back, behind its end. */
  #resolve(encoder: GPUCommandEncoder): (() => void) | undefined {
    const names = this.#names;
    const queries = this.#queries;
    if (!queries || names.length === 0) return undefined;
    const bytes = 16 * names.length;
    const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ } = usage;
    const raw = this.#device.createBuffer({ size: bytes, usage: QUERY_RESOLVE | COPY_SRC });
    const staging = this.#device.createBuffer({ size: bytes, usage: COPY_DST | MAP_READ });
    encoder.resolveQuerySet(queries, 0, 2 * names.length, raw, 0);
    encoder.copyBufferToBuffer(raw, 0, staging, 0, bytes);
    this.#names = [];
    this.#queries = undefined;
    return () => {
      const done = staging
        .mapAsync(mapRead)
        .then(() => {
          const at = new BigUint64Array(staging.getMappedRange());
          names.forEach((kernel, i) => {
            const known = this.timings.get(kernel) ?? { kernel, calls: 0, nanoseconds: 0 };
            known.calls += 1;
            known.nanoseconds += Number(at[2 * i + 1]! - at[2 * i]!);
            this.timings.set(kernel, known);
          });
        })
        // A lost device has no timings; that it is lost is told to whoever uses it next.
        .catch(() => {})
        .finally(() => {
          staging.destroy();
          raw.destroy();
          queries.destroy();
          this.#pending.delete(done);
        });
      this.#pending.add(done);
    };
  }

  /** Waits for the timestamps of everything that was submitted. */
  async settled(): Promise<void> {
    this.flush();
    await Promise.all(this.#pending);
  }
}
