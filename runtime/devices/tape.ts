// Recorded calls in the memory of a WebAssembly device: a record a step, which sequencer.ts runs in order. Beside the
// records lie the sync areas of the steps that workers share, and apart from them one block of scratch that all steps use in
// turn. Nothing is allocated on the way of a warm call.
import type { ThreadsInfo } from '../../compiler/artifact.ts';
import type { DeviceBuffer } from './device.ts';
import type { LinearMemory } from './linear-memory.ts';
import type { PoolKernel, ThreadPool } from './pool.ts';
import { flag, playSync, record, tapeHead } from './sequencer.ts';

/** A block of the device's memory. */
export interface WasmBuffer extends DeviceBuffer {
  readonly address: number;
  live: boolean;
  /** Serial numbers of the last tapes that have a step which uses the block, and one which writes it; 0 for none. */
  used: number;
  written: number;
  /** The kernel that stopped before the block was written as it should have been. */
  lost: string | undefined;
}

/** Scratch that is kept from call to call; what is larger is freed. */
const KEPT = 16 * 2 ** 20;
/** Sync areas begin on a line of their own. */
const LINE = 64;

export class Tape {
  /** Tapes run in the order of these. */
  serial = 0;
  readonly address: number;
  /** Where workers meet between the steps. */
  readonly sync: number;
  readonly #memory: LinearMemory;
  readonly #end: number;
  /** Where the next record goes, and where the lowest sync area begins. */
  #at: number;
  #top: number;
  #steps = 0;
  #shared = false;
  #wasShared = false;
  /** By step: names, for errors, what loads the arguments, and the code. */
  readonly #names: string[] = [];
  readonly #adapters: PoolKernel[] = [];
  readonly #kernels: PoolKernel[] = [];
  /** What steps write, and the numbers of these. */
  readonly #written: (WasmBuffer | undefined)[] = [];
  readonly #writers: number[] = [];
  #writes = 0;
  /** A block, how much of it is of use, from a line of its own on. */
  #scratch = 0;
  #scratchBytes = 0;
  /** Scratch that was too small for a later step, but is in the records of earlier ones. */
  readonly #outgrown: number[] = [];

  constructor(memory: LinearMemory, bytes: number) {
    this.#memory = memory;
    const start = memory.reserveOwn(bytes + LINE);
    this.sync = Math.ceil(start / LINE) * LINE;
    this.address = this.sync + playSync.bytes;
    this.#end = this.sync + bytes;
    this.#at = this.address + tapeHead.bytes;
    this.#top = this.#end;
    memory.words.fill(0, this.sync >>> 2, this.#at >>> 2);
  }

  get steps(): number {
    return this.#steps;
  }
  /** Whether any step is for several workers. */
  get shared(): boolean {
    return this.#shared;
  }

  /** Whether there is room for a step. */
  fits(args: number, syncBytes: number): boolean {
    const top = this.#top - (syncBytes ? syncBytes + LINE : 0);
    return this.#at + record.args + 8 * args <= top;
  }

  /**
   * Adds a step. Gives the word of the memory at which its arguments begin: values one after the other, or pairs of value
   * and slice where workers share the step.
   */
  add(
    name: string,
    adapter: PoolKernel,
    kernel: PoolKernel,
    args: number,
    shared: boolean,
  ): number {
    const threads: ThreadsInfo | undefined = shared ? kernel.threads : undefined;
    const { words } = this.#memory;
    const at = this.#at >>> 2;
    const bytes = record.args + (threads ? 8 : 4) * args;
    let sync = 0;
    if (threads) {
      sync = Math.floor((this.#top - threads.bytes) / LINE) * LINE;
      this.#top = sync;
      words.fill(0, sync >>> 2, (sync + threads.bytes) >>> 2);
    }
    const meet = this.#steps > 0 && (shared || this.#wasShared);
    words[at + record.bytes / 4] = bytes;
    words[at + record.adapter / 4] = adapter.id;
    words[at + record.kernel / 4] = kernel.id;
    words[at + record.flags / 4] = (shared ? flag.shared : 0) | (meet ? flag.meet : 0);
    words[at + record.step / 4] = this.#steps;
    words[at + record.sync / 4] = sync;
    words[at + record.failed / 4] = threads ? sync + threads.failed : 0;
    words[at + record.round / 4] = threads ? sync + threads.round : 0;
    this.#names[this.#steps] = name;
    this.#adapters[this.#steps] = adapter;
    this.#kernels[this.#steps] = kernel;
    this.#steps += 1;
    this.#at += bytes;
    this.#wasShared = shared;
    if (shared) this.#shared = true;
    words[(this.address + tapeHead.end) >>> 2] = this.#at;
    return at + record.args / 4;
  }

  /** Sees to it that workers have the code of the steps: of the shared ones, or of `all`. */
  handTo(pool: ThreadPool, all: boolean): void {
    for (let i = 0; i < this.#steps; i++) {
      if (!all && this.#kernels[i]!.threads.bytes === 0) continue;
      pool.prepare(this.#adapters[i]!);
      pool.prepare(this.#kernels[i]!);
    }
  }

  /** The last step reads a block. */
  reads(b: WasmBuffer): void {
    b.used = this.serial;
  }

  /** The last step writes a block. */
  writes(b: WasmBuffer): void {
    b.used = this.serial;
    b.written = this.serial;
    this.#written[this.#writes] = b;
    this.#writers[this.#writes] = this.#steps - 1;
    this.#writes += 1;
  }

  /** Scratch for the next step; earlier steps are done with it by then. */
  scratch(bytes: number): number {
    if (bytes > this.#scratchBytes) {
      if (this.#scratchBytes > 0) this.#outgrown.push(this.#scratch);
      this.#scratchBytes = 0;
      if (this.#steps === 0) this.#freeOutgrown();
      this.#scratch = this.#memory.reserveOwn(bytes + LINE);
      this.#scratchBytes = bytes;
    }
    return Math.ceil(this.#scratch / LINE) * LINE;
  }

  /** The step that ran last, and by name the kernel of it. */
  get step(): number {
    return this.#memory.words[(this.address + tapeHead.step) >>> 2]!;
  }
  name(step: number): string {
    return this.#names[step] ?? 'a copy';
  }

  /** Marks what the steps from one on should have written as lost with a kernel that stopped. */
  lose(step: number, kernel: string): void {
    for (let i = 0; i < this.#writes; i++)
      if (this.#writers[i]! >= step) this.#written[i]!.lost = kernel;
  }

  /** Makes room for the next calls. */
  clear(): void {
    for (let i = 0; i < this.#writes; i++) this.#written[i] = undefined;
    this.#writes = 0;
    this.#steps = 0;
    this.#memory.words[(this.address + tapeHead.step) >>> 2] = 0;
    this.#shared = false;
    this.#wasShared = false;
    this.#at = this.address + tapeHead.bytes;
    this.#top = this.#end;
    this.#freeOutgrown();
    if (this.#scratchBytes > KEPT) {
      this.#memory.freeOwn(this.#scratch);
      this.#scratchBytes = 0;
    }
  }

  #freeOutgrown(): void {
    for (const address of this.#outgrown) this.#memory.freeOwn(address);
    this.#outgrown.length = 0;
  }
}
