// Best-fit allocator over one growing range of addresses. Free blocks are kept in order of address, so that
// neighbours merge when a block is freed; the range shrinks again when its last block goes.
// It only counts: whoever owns the memory grows it to `top`.

/** Alignment of every block, the width of a v128. */
export const ALIGNMENT = 16;
/** Bytes after each block that belong to nobody, so that a kernel may load a whole vector at the end. */
export const PADDING = 16;

const roundUp = (n: number): number => Math.ceil(n / ALIGNMENT) * ALIGNMENT;

export class Allocator {
  readonly #base: number;
  readonly #limit: number;
  /** Free blocks below `top`, ascending, no two adjacent. */
  readonly #starts: number[] = [];
  readonly #sizes: number[] = [];
  /** Size of each live block, padding included. */
  readonly #live = new Map<number, number>();
  #top: number;
  #used = 0;

  constructor(base: number, limit: number) {
    this.#base = roundUp(base);
    this.#limit = limit;
    this.#top = this.#base;
  }

  /** End of the highest block: the memory must reach this far. */
  get top(): number {
    return this.#top;
  }
  /** Bytes in live blocks, padding included. */
  get used(): number {
    return this.#used;
  }
  get blocks(): number {
    return this.#live.size;
  }
  get limit(): number {
    return this.#limit - this.#base;
  }

  /** Address of a new block, or undefined when there is no room below the limit. */
  allocate(bytes: number): number | undefined {
    const size = roundUp(bytes) + PADDING;
    let best = -1;
    for (let i = 0; i < this.#sizes.length; i++) {
      const s = this.#sizes[i]!;
      if (s < size || (best >= 0 && s >= this.#sizes[best]!)) continue;
      best = i;
      if (s === size) break;
    }
    let address: number;
    if (best >= 0) {
      address = this.#starts[best]!;
      if (this.#sizes[best] === size) {
        this.#starts.splice(best, 1);
        this.#sizes.splice(best, 1);
      } else {
        this.#starts[best] = address + size;
        this.#sizes[best]! -= size;
      }
    } else {
      address = this.#top;
      if (address + size > this.#limit) return undefined;
      this.#top = address + size;
    }
    this.#live.set(address, size);
    this.#used += size;
    return address;
  }

  /** Frees a block; false when the address is not that of a live one. */
  free(address: number): boolean {
    const size = this.#live.get(address);
    if (size === undefined) return false;
    this.#live.delete(address);
    this.#used -= size;
    let i = this.#after(address);
    this.#starts.splice(i, 0, address);
    this.#sizes.splice(i, 0, size);
    if (i + 1 < this.#starts.length && address + size === this.#starts[i + 1]) this.#merge(i);
    if (i > 0 && this.#starts[i - 1]! + this.#sizes[i - 1]! === address) this.#merge(--i);
    if (this.#starts[i]! + this.#sizes[i]! === this.#top) {
      this.#top = this.#starts[i]!;
      this.#starts.length = i;
      this.#sizes.length = i;
    }
    return true;
  }

  /** Index of the first free block above an address. */
  #after(address: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const mid = (low + high) >>> 1;
      if (this.#starts[mid]! < address) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  /** Joins free block i with the one after it. */
  #merge(i: number): void {
    this.#sizes[i]! += this.#sizes[i + 1]!;
    this.#starts.splice(i + 1, 1);
    this.#sizes.splice(i + 1, 1);
  }
}
