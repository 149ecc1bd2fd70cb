// Device memory by size class. The driver's own allocation stops the GPU, so freed blocks are kept and given to the next
// who asks for their class: everything runs on one stream, so whatever still uses a block comes before its next use.
import { raise } from '../../errors.ts';
import type { Driver } from './driver.ts';

const SMALLEST = 512;
const LARGE = 16 * 2 ** 20;
const LARGE_STEP = 2 * 2 ** 20;

/** Bytes of the block that serves a request: eight classes an octave, and whole steps of 2 MiB above 16 MiB. */
export function classOf(bytes: number): number {
  if (bytes <= SMALLEST) return SMALLEST;
  if (bytes > LARGE) return Math.ceil(bytes / LARGE_STEP) * LARGE_STEP;
  const step = Math.max(SMALLEST, 2 ** (Math.floor(Math.log2(bytes - 1)) - 3));
  return Math.ceil(bytes / step) * step;
}

export interface Block {
  readonly address: bigint;
  /** Bytes of its class. */
  readonly size: number;
}

export class MemoryPool {
  readonly #driver: Driver;
  readonly #limit: number;
  readonly #free = new Map<number, bigint[]>();
  #used = 0;
  #kept = 0;

  constructor(driver: Driver, limit: number) {
    this.#driver = driver;
    this.#limit = limit;
  }

  /** Bytes in use. */
  get used(): number {
    return this.#used;
  }
  /** Bytes that are free but not given back to the driver. */
  get kept(): number {
    return this.#kept;
  }

  take(bytes: number): Block {
    const size = classOf(bytes);
    const list = this.#free.get(size);
    let address = list?.pop();
    if (address !== undefined) this.#kept -= size;
    else address = this.#fresh(size, bytes);
    this.#used += size;
    return { address, size };
  }

  #fresh(size: number, bytes: number): bigint {
    let address = this.#driver.allocate(size);
    if (address === undefined && this.#kept > 0) {
      this.trim();
      address = this.#driver.allocate(size);
    }
    if (address !== undefined) return address;
    const detail = 'the GPU has no free block of that size';
    return raise('Q5102', { needed: bytes, used: this.#used, limit: this.#limit, detail });
  }

  give(block: Block): void {
    this.#used -= block.size;
    this.#kept += block.size;
    const list = this.#free.get(block.size);
    if (list) list.push(block.address);
    else this.#free.set(block.size, [block.address]);
  }

  /** Gives what is free back to the driver. */
  trim(): void {
    for (const list of this.#free.values())
      for (const address of list) this.#driver.call('cuMemFree_v2', address);
    this.#free.clear();
    this.#kept = 0;
  }
}
