// The one memory of a WebAssembly device: blocks by address, the views of it, and how it grows. Views are made anew when
// it has grown, since it may have moved.
import { raise } from '../errors.ts';
import type { WasmMemory } from '../platform.ts';
import { Allocator } from './allocator.ts';

const PAGE = 65536;
/** The address space of wasm32; the last page stays free, so that padded ends never wrap. */
const LIMIT = 2 ** 32 - PAGE;
/** Addresses below this belong to nobody: a null address faults in tests, not in silence. */
const BASE = 1024;
const GROWTH = 64 * 2 ** 20;

export class LinearMemory {
  readonly raw: WasmMemory;
  readonly #allocator: Allocator;
  /** Blocks of the device's own, which hold nobody's tensors: their bytes and number. */
  #ownBytes = 0;
  #ownBlocks = 0;
  #pages: number;
  #bytes: Uint8Array;
  #words: Int32Array;

  constructor(raw: WasmMemory, limit = LIMIT) {
    this.raw = raw;
    this.#allocator = new Allocator(BASE, Math.min(limit, LIMIT));
    this.#pages = raw.buffer.byteLength / PAGE;
    this.#bytes = new Uint8Array(raw.buffer);
    this.#words = new Int32Array(raw.buffer);
  }

  /** All of it, until it grows: words are at address / 4. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }
  get words(): Int32Array {
    return this.#words;
  }
  /** Bytes in tensors and constants. */
  get used(): number {
    return this.#allocator.used - this.#ownBytes;
  }
  get blocks(): number {
    return this.#allocator.blocks - this.#ownBlocks;
  }

  /** The address of a new block. */
  reserve(bytes: number): number {
    const a = this.#allocator;
    const address = a.allocate(bytes);
    if (address === undefined)
      this.#full(bytes, 'the address space of the WebAssembly memory is full or fragmented');
    const pages = Math.ceil(a.top / PAGE);
    if (pages > this.#pages && !this.#grow(pages)) {
      a.free(address);
      this.#full(bytes, 'the host refused to grow the WebAssembly memory');
    }
    return address;
  }

  free(address: number): void {
    this.#allocator.free(address);
  }

  /** A block of the device's own, such as scratch that is kept. */
  reserveOwn(bytes: number): number {
    const before = this.#allocator.used;
    const address = this.reserve(bytes);
    this.#ownBytes += this.#allocator.used - before;
    this.#ownBlocks += 1;
    return address;
  }

  freeOwn(address: number): void {
    const before = this.#allocator.used;
    this.#allocator.free(address);
    this.#ownBytes -= before - this.#allocator.used;
    this.#ownBlocks -= 1;
  }

  #full(needed: number, detail: string): never {
    const { used, limit } = this.#allocator;
    return raise('Q5102', { needed, used, limit, detail });
  }

  /** Grows by a share of what is there, so that many small tensors cost few moves; or exactly, when that fails. */
  #grow(pages: number): boolean {
    const ahead = Math.ceil(Math.min(this.#pages * PAGE, GROWTH) / PAGE);
    const most = LIMIT / PAGE + 1;
    for (const target of [Math.min(pages + ahead, most), pages]) {
      try {
        this.raw.grow(target - this.#pages);
        this.#pages = target;
        this.#bytes = new Uint8Array(this.raw.buffer);
        this.#words = new Int32Array(this.raw.buffer);
        return true;
      } catch (e) {
        if (!(e instanceof RangeError)) throw e;
      }
    }
    return false;
  }
}
