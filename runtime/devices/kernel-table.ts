// Kernels by number: modules made runnable, their functions in a table of this thread, from which a tape calls them, and the
// few modules of the runtime itself that run tapes.
import type { ThreadsInfo } from '../../compiler/artifact.ts';
import type { WasmApi, WasmImports, WasmMemory, WasmModule, WasmTable } from '../platform.ts';
import { newKernelId, type PoolKernel } from './pool.ts';
import { adapterCode, copyCode, playSync, sequencerCode } from './sequencer.ts';
import { onSharedMemory } from './shared-memory.ts';

const nothing: ThreadsInfo = { work: [0], bytes: 0, failed: 0, round: 0 };

export class KernelTable {
  readonly sequencer: PoolKernel;
  /** Moves memory: addresses to and from, bytes. */
  readonly copy: PoolKernel;
  readonly #api: WasmApi;
  readonly #imports: WasmImports;
  readonly #table: WasmTable;
  readonly #shared: boolean;
  readonly #adapters: PoolKernel[] = [];

  constructor(api: WasmApi, memory: WasmMemory, shared: boolean) {
    this.#api = api;
    this.#shared = shared;
    this.#table = new api.Table({ element: 'anyfunc', initial: 0 });
    this.#imports = { env: { memory, table: this.#table } };
    const { bytes, failed, round, innerFailed, innerRound } = playSync;
    this.sequencer = {
      ...this.#own(sequencerCode(shared)),
      threads: { work: [0], bytes, failed, round },
      inner: [innerFailed, innerRound],
    };
    this.copy = this.#own(copyCode(shared));
  }

  /** What loads so many arguments from a tape, alone or with a slice each. */
  adapter(args: number, sliced: boolean): PoolKernel {
    const key = 2 * args + (sliced ? 1 : 0);
    this.#adapters[key] ??= this.#own(adapterCode(args, sliced, this.#shared));
    return this.#adapters[key];
  }

  /** The module of a kernel. */
  async load(code: Uint8Array, threads?: ThreadsInfo): Promise<PoolKernel> {
    const module = await this.#api.compile(this.#shared && !threads ? onSharedMemory(code) : code);
    const { exports } = await this.#api.instantiate(module, this.#imports);
    return this.#enter(module, exports.run, threads);
  }

  #own(code: Uint8Array): PoolKernel {
    const module = new this.#api.Module(code);
    return this.#enter(module, new this.#api.Instance(module, this.#imports).exports.run);
  }

  #enter(module: WasmModule, run: unknown, threads = nothing): PoolKernel {
    const id = newKernelId();
    if (this.#table.length <= id) this.#table.grow(id + 64 - this.#table.length);
    this.#table.set(id, run);
    return { id, module, threads, run: run as PoolKernel['run'] };
  }
}
