// The WebAssembly device: one memory of up to 4 GiB that all kernels share, so that a tensor is an address and
// a call copies nothing. Every call is a step of a tape (tape.ts): a lone one runs at once, those of a chain together. What
// steps that have not run yet use is marked, so that reads and writes of the host stay in order.
import type { Artifact } from '../../compiler/artifact.ts';
import { hasRecorded, isRecording, type Recorder } from '../chain.ts';
import { raise } from '../errors.ts';
import { wasmApi } from '../platform.ts';
import { Crew, wantedThreads } from './crew.ts';
import type { CompileTarget, Declined, Device, DeviceBuffer, Executable } from './device.ts';
import { Executables } from './executables.ts';
import { KernelTable } from './kernel-table.ts';
import { LinearMemory } from './linear-memory.ts';
import type { PoolKernel } from './pool.ts';
import { computesRelaxed, dotsUnsigned } from './relaxed.ts';
import { mayWait, plainMemory, sharedMemory } from './shared-memory.ts';
import { Tape, type WasmBuffer } from './tape.ts';
import { usable, WasmKernel } from './wasm-kernel.ts';

/** Most bytes of a sync area; a program with a larger one runs on one thread. */
const MAX_SYNC = 16 * 1024;
/** Bytes of the tape of lone calls, which holds one step of as many arguments as a function may have, and of a chain. */
const LONE = 32 * 1024;
const CHAIN = 256 * 1024;
/** Bytes that are freed while a chain is recorded, and wait for its end, before it is run. */
const HELD = 32 * 2 ** 20;

export interface WasmDeviceOptions {
  readonly reason?: string;
  readonly declined?: readonly Declined[];
  /** Most bytes of memory; 4 GiB less a page by default. */
  readonly limit?: number;
  /** Most threads that kernels run on; by default QUERN_THREADS, or the cores there are, at most 8. */
  readonly threads?: number;
  /** Least work of a call that is shared out; see ThreadsInfo of the manifest. */
  readonly worth?: number;
  /** Whether kernels may use relaxed SIMD; by default where the host computes it right. */
  readonly relaxed?: boolean;
  /** Whether they may count on its dot product to take unsigned bytes; by default where the host does. */
  readonly unsignedDot?: boolean;
  /** Whether calls may block this thread; by default where the host allows it. */
  readonly blocking?: boolean;
  /** Milliseconds in which a worker must answer; 10 s by default. */
  readonly answerMs?: number;
}

export class WasmDevice implements Device, Recorder {
  readonly kind = 'wasm';
  readonly name: string;
  readonly reason: string;
  /** Threads that kernels run on, this one included where it may wait. */
  readonly threads: number;
  readonly target: CompileTarget;
  readonly declined: readonly Declined[];
  readonly #memory: LinearMemory;
  readonly #table: KernelTable;
  readonly #shared: boolean;
  /** Whether calls end before they return: this thread may wait for others, or there are none. */
  readonly #sync: boolean;
  readonly #crew: Crew;
  readonly #executables = new Executables((artifact) => this.#instantiate(artifact));
  /** The tape of calls that run at once, on this thread or with it, and the one that is recorded. */
  readonly #lone: Tape;
  #chain: Tape | undefined;
  /** Tapes that nobody uses. */
  readonly #spare: Tape[] = [];
  #serial = 0;
  /** The last tape that has run. */
  #done = 0;
  /** Blocks that were freed while tapes used them: addresses, bytes, and the last tapes that do. */
  readonly #held: number[] = [];
  #heldBytes = 0;
  /** Tapes on their way through the workers of a page, and the first error of one that nobody waited for. */
  #running: Promise<void> = Promise.resolve();
  #fault: unknown;
  /** A tape that stopped there, and until which one those behind it are lost with it. */
  #broken: { readonly until: number; readonly kernel: string; readonly fault: unknown } | undefined;

  constructor(options: WasmDeviceOptions = {}) {
    const api = wasmApi();
    if (!api) raise('Q5106', { kind: 'wasm', detail: 'this host has no WebAssembly' });
    this.reason = options.reason ?? 'asked for by name';
    this.declined = options.declined ?? [];
    const wanted = wantedThreads(options.threads);
    const shared = wanted > 1 ? sharedMemory(api, 1) : undefined;
    this.#shared = typeof shared === 'object';
    const raw = typeof shared === 'object' ? shared : plainMemory(api, 1);
    this.#memory = new LinearMemory(raw, options.limit);
    this.#table = new KernelTable(api, raw, this.#shared);
    this.#lone = new Tape(this.#memory, LONE);
    this.threads = this.#shared ? wanted : 1;
    const relaxed = options.relaxed ?? computesRelaxed(api);
    const unsignedDot = options.unsignedDot ?? dotsUnsigned(api);
    this.target = {
      name: 'wasm',
      resident: true,
      reuses: true,
      ...(relaxed ? { limits: { relaxed, ...(unsignedDot ? { unsignedDot } : {}) } } : {}),
      ...(this.threads > 1 ? { threads: true } : {}),
    };
    this.#sync = !this.#shared || (options.blocking ?? mayWait());
    this.#crew = new Crew({
      threads: this.threads,
      memory: raw,
      sequencer: this.#table.sequencer,
      waits: this.#sync,
      worth: options.worth,
      answerMs: options.answerMs,
    });
    const why = typeof shared === 'string' ? ` (${shared})` : '';
    this.name = `WebAssembly, ${this.threads === 1 ? 'one thread' : `${wanted} threads`}${why}`;
  }

  get used(): number {
    return this.#memory.used;
  }

  /** Live blocks, for leak tests. */
  get blocks(): number {
    return this.#memory.blocks;
  }

  /** For kernels, which write the arguments of a call. */
  get words(): Int32Array {
    return this.#memory.words;
  }
  adapter(args: number, sliced: boolean): PoolKernel {
    return this.#table.adapter(args, sliced);
  }
  block(bytes: number): WasmBuffer {
    const address = this.#memory.reserve(bytes);
    return { bytes, address, live: true, used: 0, written: 0, lost: undefined };
  }

  allocate(bytes: number): DeviceBuffer {
    try {
      return this.block(bytes);
    } catch (e) {
      if (!this.#makeRoom()) throw e;
      return this.block(bytes);
    }
  }

  /** Runs a chain where memory is short, for what was freed since it began; false if that is nothing. */
  #makeRoom(): boolean {
    if (this.#held.length === 0 || !this.#sync) return false;
    this.#flush();
    return true;
  }

  free(buffer: DeviceBuffer): void {
    const b = buffer as WasmBuffer;
    if (!b.live) return;
    b.live = false;
    if (b.used <= this.#done) {
      this.#memory.free(b.address);
      return;
    }
    this.#held.push(b.address, b.bytes, b.used);
    this.#heldBytes += b.bytes;
  }

  /** Frees what only tapes held that have run by now. */
  #letGo(): void {
    const held = this.#held;
    let kept = 0;
    for (let i = 0; i < held.length; i += 3) {
      if (held[i + 2]! <= this.#done) {
        this.#memory.free(held[i]!);
        this.#heldBytes -= held[i + 1]!;
      } else {
        for (let j = 0; j < 3; j++) held[kept + j] = held[i + j]!;
        kept += 3;
      }
    }
    held.length = kept;
  }

  /** Whether steps that have not run yet use a block. */
  #isUsed(b: WasmBuffer): boolean {
    return b.used > this.#done;
  }

  write(buffer: DeviceBuffer, offset: number, bytes: Uint8Array): void {
    const b = buffer as WasmBuffer;
    if (!this.#isUsed(b)) {
      this.#memory.bytes.set(bytes, b.address + offset);
      if (offset === 0 && bytes.length >= b.bytes) b.lost = undefined;
      return;
    }
    // Behind the steps before it: the bytes wait in a block of their own.
    const staged = this.allocate(bytes.length) as WasmBuffer;
    this.#memory.bytes.set(bytes, staged.address);
    this.copy(staged, 0, b, offset, bytes.length);
    this.free(staged);
  }

  async read(buffer: DeviceBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    await this.ready(buffer);
    return this.view(buffer, offset, bytes).slice();
  }

  ready(buffer: DeviceBuffer): Promise<void> | undefined {
    const b = buffer as WasmBuffer;
    if (b.written > this.#done && !this.#sync) return this.#submit();
    if (b.written > this.#done) this.#flush();
    usable(b);
    return undefined;
  }

  view(buffer: DeviceBuffer, offset: number, bytes: number): Uint8Array {
    const b = buffer as WasmBuffer;
    if (b.written > this.#done) {
      if (!this.#sync) raise('Q5019', { bytes: b.bytes });
      this.#flush();
    }
    usable(b);
    const from = b.address + offset;
    return this.#memory.bytes.subarray(from, from + bytes);
  }

  isBusy(buffer: DeviceBuffer): boolean {
    const b = buffer as WasmBuffer;
    return this.#isUsed(b) || b.lost !== undefined;
  }

  copy(
    from: DeviceBuffer,
    fromOffset: number,
    to: DeviceBuffer,
    toOffset: number,
    bytes: number,
  ): void {
    const [source, target] = [from as WasmBuffer, to as WasmBuffer];
    usable(source);
    const start = source.address + fromOffset;
    const into = target.address + toOffset;
    if (source.written <= this.#done && !this.#isUsed(target)) {
      this.#memory.bytes.copyWithin(into, start, start + bytes);
      return;
    }
    const tape = this.#room(3, 0);
    const code = this.#table.copy;
    const at = tape.add('a copy', code, code, 3, false);
    const { words } = this.#memory;
    words[at] = into;
    words[at + 1] = start;
    words[at + 2] = bytes;
    tape.reads(source);
    tape.writes(target);
    if (!isRecording()) this.#soon();
  }

  load(artifact: Artifact): Promise<Executable> {
    return this.#executables.of(artifact);
  }

  async #instantiate(artifact: Artifact): Promise<Executable> {
    const { manifest, code, variants } = artifact;
    const plain = await this.#table.load(code);
    const { threads } = manifest;
    const shares = this.#shared && variants?.threads && threads && threads.bytes <= MAX_SYNC;
    const threaded = shares ? await this.#table.load(variants.threads, threads) : undefined;
    // Ahead of the first call.
    if (threaded) this.#crew.prepare(threaded);
    const fixed = manifest.buffers.map((b) =>
      b.role === 'const' ? this.#constant(artifact, b.name) : 0,
    );
    const kernel = new WasmKernel(manifest, fixed, plain, threaded);
    return {
      keepsNothing: true,
      run: (params, dims) => this.#call(kernel, params, dims, isRecording()),
      runNow: (params, dims) => this.#call(kernel, params, dims, false),
    };
  }

  #call(
    kernel: WasmKernel,
    params: readonly DeviceBuffer[],
    dims: readonly number[],
    recorded: boolean,
  ): readonly DeviceBuffer[] | Promise<readonly DeviceBuffer[]> {
    let free = true;
    for (let i = 0; i < params.length; i++) {
      const b = params[i] as WasmBuffer;
      usable(b);
      if (b.used > this.#done) free = false;
    }
    const workers = kernel.threaded ? this.#crew.sharing(kernel.work(dims)) : 1;
    if (recorded || (!this.#sync && (workers > 1 || !free))) {
      const made = this.#record(kernel, false, params, dims, workers);
      return recorded ? made : this.#after(this.#submit(), made, params);
    }
    if (!free) this.#flush();
    const made = this.#record(kernel, true, params, dims, workers);
    try {
      this.#crew.play(this.#lone);
    } catch (e) {
      for (const b of made) if (!params.includes(b)) this.free(b);
      throw e;
    } finally {
      this.#lone.clear();
    }
    return made;
  }

  /** Adds a call to the tape of lone ones or to that of the chain. */
  #record(
    kernel: WasmKernel,
    lone: boolean,
    params: readonly DeviceBuffer[],
    dims: readonly number[],
    workers: number,
  ): readonly DeviceBuffer[] {
    const tape = lone ? this.#lone : this.#room(kernel.args, kernel.sync);
    if (lone) tape.serial = this.#done;
    try {
      return kernel.record(this, tape, params, dims, workers);
    } catch (e) {
      if (!this.#makeRoom()) throw e;
      return this.#record(kernel, lone, params, dims, workers);
    }
  }

  /** The results of a call once it has run. */
  async #after(
    running: Promise<void>,
    made: readonly DeviceBuffer[],
    params: readonly DeviceBuffer[],
  ): Promise<readonly DeviceBuffer[]> {
    const own = made.filter((b) => !params.includes(b));
    try {
      await running;
      return made;
    } catch (e) {
      for (const b of own) this.free(b);
      throw e;
    }
  }

  /** The tape that is recorded, with room for a step. */
  #room(args: number, syncBytes: number): Tape {
    if (this.#chain && (this.#heldBytes > HELD || !this.#chain.fits(args, syncBytes))) this.#soon();
    if (!this.#chain) {
      this.#chain = this.#spare.pop() ?? new Tape(this.#memory, CHAIN);
      this.#serial += 1;
      this.#chain.serial = this.#serial;
      hasRecorded(this);
    }
    return this.#chain;
  }

  /** Runs what was recorded, on this thread or from it. */
  #flush(): void {
    const tape = this.#chain;
    if (!tape) return;
    this.#chain = undefined;
    try {
      this.#crew.play(tape);
    } catch (e) {
      tape.lose(tape.step, tape.name(tape.step));
      throw e;
    } finally {
      this.#over(tape);
    }
  }

  /** Hands what was recorded to the workers; resolves when it has run, and everything before it. */
  #submit(): Promise<void> {
    const tape = this.#chain;
    if (!tape) return this.#running;
    this.#chain = undefined;
    const running = this.#running.then(() => this.#playLater(tape));
    this.#running = running.catch(() => undefined);
    return running;
  }

  async #playLater(tape: Tape): Promise<void> {
    const broken = this.#broken;
    try {
      if (broken && tape.serial <= broken.until) {
        tape.lose(0, broken.kernel);
        throw broken.fault;
      }
      await this.#crew.playLater(tape).catch((fault: unknown) => {
        const kernel = tape.name(tape.step);
        tape.lose(tape.step, kernel);
        // What has been recorded by now may need what was lost.
        this.#broken = { until: this.#serial, kernel, fault };
        throw fault;
      });
    } finally {
      this.#over(tape);
    }
  }

  /** Runs what was recorded, now or as soon as the workers are free; an error is told at the end of the chain. */
  #soon(): void {
    if (this.#sync) this.#flush();
    else
      this.#submit().catch((e: unknown) => {
        this.#fault ??= e;
      });
  }

  #over(tape: Tape): void {
    this.#done = tape.serial;
    tape.clear();
    this.#spare.push(tape);
    this.#letGo();
  }

  finish(): void | Promise<void> {
    if (this.#sync) return this.#flush();
    return this.#submit().then(() => {
      const fault = this.#fault;
      this.#fault = undefined;
      if (fault !== undefined) throw fault;
    });
  }

  /** Starts the threads, and resolves when they are ready: calls before that run on one. */
  async start(): Promise<void> {
    if (this.threads > 1) await this.#crew.start();
  }

  /** Ends the threads. Kernels still run, and start new ones. */
  close(): void {
    this.#crew.close();
  }

  /** Uploads a const buffer, once an instance; it lives as long as the device. */
  #constant(artifact: Artifact, name: string): number {
    const bytes = artifact.constants[name];
    if (!bytes) raise('Q5106', { kind: 'wasm', detail: `the artifact lacks the constant ${name}` });
    const address = this.#memory.reserve(bytes.length);
    this.#memory.bytes.set(bytes, address);
    return address;
  }
}
