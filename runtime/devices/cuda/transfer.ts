// Bytes between host and device, on one stream. Small writes go through page-locked memory that the driver reads later,
// so that they do not wait for the GPU; small reads come back the same way and wait without blocking the event loop.
// What is larger is copied at once.
import type { Driver } from './driver.ts';

const STAGING = 4 * 2 ** 20;
const ASYNC_READ = 2 ** 20;
/** Questions in a row before the wait becomes one of timers. */
const EAGER = 200;

interface Slot {
  readonly address: bigint;
  readonly bytes: Uint8Array;
  readonly event: bigint;
}

export class Transfer {
  readonly #driver: Driver;
  readonly #stream: bigint;
  #staging: { readonly address: bigint; readonly bytes: Uint8Array } | undefined;
  #at = 0;
  readonly #slots: Slot[] = [];
  readonly #all: Slot[] = [];

  constructor(driver: Driver, stream: bigint) {
    this.#driver = driver;
    this.#stream = stream;
  }

  /** Page-locked memory of the host. */
  pinned(size: number): { readonly address: bigint; readonly bytes: Uint8Array } {
    const address = this.#driver.make('cuMemHostAlloc', size, 0);
    return { address, bytes: new Uint8Array(this.#driver.view(address, size)) };
  }

  write(to: bigint, bytes: Uint8Array): void {
    const { length } = bytes;
    if (length === 0) return;
    const driver = this.#driver;
    if (length > STAGING) {
      driver.call('cuMemcpyHtoDAsync_v2', to, bytes, length, this.#stream);
      driver.call('cuStreamSynchronize', this.#stream);
      return;
    }
    this.#staging ??= this.pinned(STAGING);
    if (this.#at + length > STAGING) {
      driver.call('cuStreamSynchronize', this.#stream);
      this.#at = 0;
    }
    const part = this.#staging.bytes.subarray(this.#at, this.#at + length);
    part.set(bytes);
    driver.call('cuMemcpyHtoDAsync_v2', to, part, length, this.#stream);
    this.#at += Math.ceil(length / 64) * 64;
  }

  async read(from: bigint, length: number): Promise<Uint8Array> {
    const out = new Uint8Array(length);
    if (length === 0) return out;
    const driver = this.#driver;
    if (length > ASYNC_READ) {
      driver.call('cuMemcpyDtoHAsync_v2', out, from, length, this.#stream);
      driver.call('cuStreamSynchronize', this.#stream);
      return out;
    }
    const slot = this.#slots.pop() ?? this.#slot();
    try {
      driver.call('cuMemcpyDtoHAsync_v2', slot.bytes, from, length, this.#stream);
      driver.call('cuEventRecord', slot.event, this.#stream);
      await this.wait(slot.event);
      out.set(slot.bytes.subarray(0, length));
      return out;
    } finally {
      this.#slots.push(slot);
    }
  }

  #slot(): Slot {
    const slot = { ...this.pinned(ASYNC_READ), event: this.#driver.make('cuEventCreate', 0) };
    this.#all.push(slot);
    return slot;
  }

  /** Resolves when an event has happened. */
  async wait(event: bigint): Promise<void> {
    for (let asked = 0; !this.#driver.happened(event); asked += 1)
      await new Promise<void>((resolve) => {
        if (asked < EAGER) setImmediate(resolve);
        else setTimeout(resolve, 1);
      });
  }

  close(): void {
    const driver = this.#driver;
    for (const { address, event } of this.#all) {
      driver.call('cuEventDestroy_v2', event);
      driver.call('cuMemFreeHost', address);
    }
    if (this.#staging) driver.call('cuMemFreeHost', this.#staging.address);
    this.#all.length = 0;
    this.#slots.length = 0;
    this.#staging = undefined;
  }
}
