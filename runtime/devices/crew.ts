// The threads that run the tapes of a WebAssembly device: the pool, started when it is first wanted and replaced when it has
// lost a worker; which tapes are worth it; and what a kernel that stops is reported as.
import { raise, reasonOf } from '../errors.ts';
import { nodeModule, type WasmMemory } from '../platform.ts';
import { type PoolKernel, PoolLost, ThreadPool, WorkerFault } from './pool.ts';
import { parallelism } from './shared-memory.ts';
import type { Tape } from './tape.ts';

/**
 * Work (see ThreadsInfo) from which threads pay: about 40 µs on one. Waking a worker takes some 10 µs, and more
 * on a machine that has gone to sleep. Steps of a chain wake nobody, but sharing smaller ones was slower: workers meet
 * before and after, and one that the machine has given to somebody else is late.
 */
const WORTH = 300_000;
/** Most threads unless told: memory feeds no more. */
const CAP = 8;
const MOST_THREADS = 64;
const noSlices: readonly number[] = [0];

export interface CrewOptions {
  readonly threads: number;
  readonly memory: WasmMemory;
  /** What runs a tape. */
  readonly sequencer: PoolKernel;
  /** Whether this thread waits for the others, and works with them. */
  readonly waits: boolean;
  readonly worth?: number | undefined;
  readonly answerMs?: number | undefined;
}

export class Crew {
  readonly #options: CrewOptions;
  readonly #worth: number;
  #pool: ThreadPool | undefined;
  readonly #place: number[] = [0];

  constructor(options: CrewOptions) {
    this.#options = options;
    this.#worth = options.worth ?? WORTH;
  }

  /** How many share a call of so much work; the first one that wants others sets them off. */
  sharing(work: number): number {
    if (work < this.#worth) return 1;
    return this.#ready()?.size ?? 1;
  }

  /** The pool once all its workers have started. */
  #ready(): ThreadPool | undefined {
    const { threads, memory, waits, answerMs } = this.#options;
    this.#pool ??= new ThreadPool(threads, memory, waits, answerMs);
    const pool = this.#pool;
    if (pool.lost !== undefined) {
      this.#pool = undefined;
      raise('Q5107', { detail: pool.lost });
    }
    return pool.ready ? pool : undefined;
  }

  /** Hands out a kernel ahead of its first call, if there are workers. */
  prepare(k: PoolKernel): void {
    this.#pool?.prepare(k);
  }

  async start(): Promise<void> {
    this.#ready();
    await this.#pool?.started();
    this.#ready();
  }

  close(): void {
    this.#pool?.close();
    this.#pool = undefined;
  }

  /** The workers, for a tape that it is worth waking them for. */
  #for(tape: Tape): ThreadPool | undefined {
    const pool = this.#pool;
    if (!tape.shared || pool?.lost !== undefined) return undefined;
    return pool?.ready ? pool : undefined;
  }

  /** Runs a tape, on this thread or from it. */
  play(tape: Tape): void {
    const { sequencer, waits } = this.#options;
    const pool = waits ? this.#for(tape) : undefined;
    try {
      if (!pool) return sequencer.run(0, 1, tape.sync, tape.address);
      tape.handTo(pool, false);
      this.#place[0] = tape.address;
      pool.run(sequencer, tape.sync, this.#place, noSlices);
    } catch (e) {
      throw this.#asFault(tape, e);
    }
  }

  /** Runs a tape on the workers alone, or here if they are not worth it. */
  async playLater(tape: Tape): Promise<void> {
    const pool = this.#for(tape);
    if (!pool) return this.play(tape);
    try {
      tape.handTo(pool, true);
      await pool.runAsync(this.#options.sequencer, tape.sync, [tape.address], noSlices);
    } catch (e) {
      throw this.#asFault(tape, e);
    }
  }

  /** Traps are reported with the kernel that met them, a worker that is gone as what it was, once. */
  #asFault(tape: Tape, e: unknown): unknown {
    if (this.#pool?.lost !== undefined) this.#pool = undefined;
    const lost = e instanceof PoolLost;
    if (!lost && !isTrap(e)) return e;
    try {
      if (lost) raise('Q5107', { detail: e.message }, e);
      return raise('Q5015', { kernel: tape.name(tape.step), detail: reasonOf(e) }, e);
    } catch (fault) {
      return fault;
    }
  }
}

/** The number asked for, in code or in the environment; else one a core. */
export function wantedThreads(asked: number | undefined): number {
  const env = nodeModule('node:os') ? process.env.QUERN_THREADS : undefined;
  const n = asked ?? (env ? Number(env) : Math.min(parallelism(), CAP));
  if (Number.isInteger(n) && n >= 1 && n <= MOST_THREADS) return n;
  const what = asked === undefined ? 'QUERN_THREADS' : 'threads';
  return raise('Q5105', { what, found: String(asked ?? env), expected: `1 to ${MOST_THREADS}` });
}

const isTrap = (e: unknown): boolean => {
  const api = (globalThis as { WebAssembly?: { RuntimeError?: new () => Error } }).WebAssembly;
  return (
    e instanceof WorkerFault || (api?.RuntimeError !== undefined && e instanceof api.RuntimeError)
  );
};
