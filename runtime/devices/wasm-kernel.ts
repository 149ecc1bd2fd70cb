// A kernel on the WebAssembly device: what its manifest says of sizes, scratch and work, computed once for given dims; and
// how a call becomes a step of a tape.
import type { Manifest } from '../../compiler/artifact.ts';
import { raise } from '../errors.ts';
import { compilePoly, type PolyFunction } from '../poly.ts';
import type { DeviceBuffer } from './device.ts';
import type { PoolKernel } from './pool.ts';
import { type Placement, place, type Scratch } from './scratch.ts';
import type { Tape, WasmBuffer } from './tape.ts';

/** What the memory of a call is for given dims. */
interface Sizes {
  readonly dims: readonly number[];
  readonly bytes: readonly number[];
  readonly work: number;
  /** Scratch on one thread, and on as many as the pool has, once it is asked for. */
  alone?: Placement;
  shared?: Placement & { readonly workers: number };
}

/** Dims whose sizes are remembered. */
const REMEMBERED = 8;

/** What a kernel asks of its device. */
export interface Host {
  /** A new block. */
  block(bytes: number): DeviceBuffer;
  free(buffer: DeviceBuffer): void;
  /** The memory as words. */
  readonly words: Int32Array;
  /** What loads so many arguments from a tape. */
  adapter(args: number, sliced: boolean): PoolKernel;
}

export class WasmKernel {
  readonly name: string;
  readonly plain: PoolKernel;
  readonly threaded: PoolKernel | undefined;
  /** Arguments: addresses of buffers, then dims. */
  readonly args: number;
  readonly #manifest: Manifest;
  /** Addresses of the constants, by buffer; 0 for others. */
  readonly #fixed: readonly number[];
  readonly #size: readonly PolyFunction[];
  readonly #work: PolyFunction;
  readonly #scratch: readonly Scratch[];
  /** For each result, the param in whose memory it is made, or -1. */
  readonly #given: readonly number[];
  readonly #known: Sizes[] = [];
  #next = 0;

  constructor(
    manifest: Manifest,
    fixed: readonly number[],
    plain: PoolKernel,
    threaded: PoolKernel | undefined,
  ) {
    const { buffers, dims, reuses = [], threads } = manifest;
    this.name = manifest.name;
    this.plain = plain;
    this.threaded = threaded;
    this.args = buffers.length + dims.length;
    this.#manifest = manifest;
    this.#fixed = fixed;
    this.#size = buffers.map((b) => compilePoly(b.bytes, dims));
    this.#work = compilePoly(threads?.work ?? [0], dims);
    this.#scratch = buffers.flatMap((b, buffer) => {
      if (b.role !== 'temp') return [];
      return [{ buffer, private: b.private ?? false, live: b.live }];
    });
    const results = buffers.filter((b) => b.role === 'result');
    this.#given = results.map((_, i) => reuses.find((r) => r.result === i)?.param ?? -1);
  }

  /** Bytes through which workers meet. */
  get sync(): number {
    return this.threaded?.threads.bytes ?? 0;
  }

  /** Estimated operations of a call that workers can share. */
  work(dims: readonly number[]): number {
    return this.#sizes(dims).work;
  }

  #sizes(dims: readonly number[]): Sizes {
    for (let i = 0; i < this.#known.length; i++)
      if (sameDims(this.#known[i]!.dims, dims)) return this.#known[i]!;
    const bytes = this.#size.map((size) => size(dims));
    const made = { dims: [...dims], bytes, work: this.#work(dims) };
    this.#known[this.#next] = made;
    this.#next = (this.#next + 1) % REMEMBERED;
    return made;
  }

  #placement(sizes: Sizes, workers: number): Placement {
    if (workers === 1) {
      sizes.alone ??= place(this.#scratch, sizes.bytes, 1);
      return sizes.alone;
    }
    if (sizes.shared?.workers !== workers)
      sizes.shared = { ...place(this.#scratch, sizes.bytes, workers), workers };
    return sizes.shared;
  }

  /**
   * Adds a call to a tape that has room for it; gives the buffers of the results, which are new. With `workers` above 1
   * that many share the step, and the threaded code runs it.
   */
  record(
    host: Host,
    tape: Tape,
    params: readonly DeviceBuffer[],
    dims: readonly number[],
    workers: number,
  ): readonly DeviceBuffer[] {
    const { buffers } = this.#manifest;
    const sizes = this.#sizes(dims);
    const shared = workers > 1;
    const code = shared ? this.threaded! : this.plain;
    const results: DeviceBuffer[] = [];
    let scratch = 0;
    let placement: Placement | undefined;
    let adapter: PoolKernel;
    try {
      for (let i = 0; i < buffers.length; i++) {
        if (buffers[i]!.role !== 'result') continue;
        const given = this.#given[results.length]!;
        results.push(given < 0 ? host.block(sizes.bytes[i]!) : params[given]!);
      }
      if (this.#scratch.length > 0) {
        placement = this.#placement(sizes, workers);
        scratch = tape.scratch(placement.bytes);
      }
      adapter = host.adapter(this.args, shared);
    } catch (e) {
      results.forEach((r, i) => {
        if (this.#given[i]! < 0) host.free(r);
      });
      throw e;
    }
    let at = tape.add(this.name, adapter, code, this.args, shared);
    const { words } = host;
    let [param, result, temp] = [0, 0, 0];
    for (let i = 0; i < buffers.length; i++) {
      let slice = 0;
      switch (buffers[i]!.role) {
        case 'param': {
          const b = params[param++] as WasmBuffer;
          tape.reads(b);
          words[at] = b.address;
          break;
        }
        case 'result': {
          const b = results[result++] as WasmBuffer;
          tape.writes(b);
          words[at] = b.address;
          break;
        }
        case 'temp':
          words[at] = scratch + placement!.offsets[temp]!;
          slice = placement!.slices[temp++]!;
          break;
        case 'const':
          words[at] = this.#fixed[i]!;
      }
      at += 1;
      if (shared) words[at++] = slice;
    }
    for (let i = 0; i < dims.length; i++) {
      words[at++] = dims[i]!;
      if (shared) words[at++] = 0;
    }
    return results;
  }
}

function sameDims(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return a.length === b.length;
}

/** A block that holds something: not what a failed chain left. */
export function usable(b: WasmBuffer): void {
  if (b.lost !== undefined) raise('Q5018', { kernel: b.lost });
}
