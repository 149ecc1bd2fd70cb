// The pool of worker threads: started at the first call that is worth it, asleep between calls, gone with the
// process. Where this thread may sleep it takes part as worker 0; the main thread of a page may not, so there the
// workers do everything and tell when they are done.
import type { ThreadsInfo } from '../../compiler/artifact.ts';
import { type WasmMemory, nodeModule } from '../platform.ts';
import { type Load, type Start, control, workerSource } from './worker.ts';

/** A kernel that the pool can run. */
export interface PoolKernel {
  readonly id: number;
  readonly module: object;
  readonly threads: ThreadsInfo;
  /** Of a kernel that calls others: see Load. */
  readonly inner?: Load['inner'];
  /** Of this thread's own instance, where it takes part. */
  readonly run: (...args: number[]) => void;
}

/** A worker of Node or of a page. */
export interface PoolWorker {
  post(x: object): void;
  end(): void;
}

/** What a worker tells: that a call is done, or why it runs no more. */
export interface WorkerEvents {
  done(): void;
  failed(why: string): void;
}
export type OpenWorker = (on: WorkerEvents) => PoolWorker;

/** How long a worker may take to answer. It is asleep and ready, so this is a matter of the machine's load. */
const ANSWER_MS = 10_000;
const WORDS = 16384;
/** Most arguments of a kernel. */
export const maxArgs = (WORDS - control.args) / 2;
/** Looks at the count of the workers that are done, before going to sleep: 10 to 40 µs. */
const SPINS = 4_000;

let nextKernel = 1;
export const newKernelId = (): number => nextKernel++;

export class ThreadPool {
  /** Threads that run a call, this one included if it takes part. */
  readonly size: number;
  readonly #memory: WasmMemory;
  readonly #answerMs: number;
  readonly #words = new Int32Array(new SharedArrayBuffer(WORDS * 4));
  readonly #workers: PoolWorker[] = [];
  readonly #known = new Set<number>();
  /** Why the pool can run nothing any more. */
  #lost: string | undefined;
  #closed = false;
  /** The call under way in a page, and the calls that wait for it. */
  #running: { readonly done: () => void; readonly fail: (e: unknown) => void } | undefined;
  #tail: Promise<void> = Promise.resolve();
  #view: Int32Array<ArrayBuffer | SharedArrayBuffer> = new Int32Array(0);

  constructor(
    size: number,
    memory: WasmMemory,
    blocking: boolean,
    answerMs = ANSWER_MS,
    open: OpenWorker = openWorker,
  ) {
    this.size = size;
    this.#answerMs = answerMs;
    this.#memory = memory;
    const on: WorkerEvents = {
      done: () => this.#running?.done(),
      failed: (why) => this.#lose(why),
    };
    for (let i = blocking ? 1 : 0; i < size; i++) this.#workers.push(open(on));
    this.#post((i): Start => {
      const index = blocking ? i + 1 : i;
      return { words: this.#words, memory, index, layout: control, tell: !blocking };
    });
  }

  /** Whether every worker has started. */
  get ready(): boolean {
    return Atomics.load(this.#words, control.ready) === this.#workers.length;
  }
  /** Why no more calls can be made; the error is raised once, by whoever sees it. */
  get lost(): string | undefined {
    return this.#lost;
  }

  /** Resolves when every worker has started. */
  async started(): Promise<void> {
    while (!this.ready && !this.#lost && !this.#closed)
      await new Promise((done) => setTimeout(done, 1));
  }

  /** A message to every worker. It counts as posted before it is, so that nobody waits for the next one. */
  #post(message: (i: number) => object): void {
    Atomics.add(this.#words, control.posted, 1);
    this.#workers.forEach((w, i) => w.post(message(i)));
  }

  /** Hands out a kernel, best ahead of its first call. */
  prepare(k: PoolKernel): void {
    if (this.#known.has(k.id)) return;
    this.#known.add(k.id);
    const { failed, round } = k.threads;
    this.#post((): Load => ({ kernel: k.id, module: k.module, failed, round, inner: k.inner }));
    // Workers asleep get up to read it; one that just goes to sleep finds it at its next call.
    Atomics.notify(this.#words, control.call);
  }

  #wake(): void {
    Atomics.add(this.#words, control.call, 1);
    Atomics.notify(this.#words, control.call);
  }

  /** Makes the call visible to the workers. `slices` are what each further worker adds to an argument. */
  #announce(k: PoolKernel, sync: number, args: readonly number[], slices: readonly number[]): void {
    const w = this.#words;
    this.#all().fill(0, sync >>> 2, (sync + k.threads.bytes) >>> 2);
    w[control.workers] = this.size;
    w[control.sync] = sync;
    w[control.count] = args.length;
    for (let i = 0; i < args.length; i++) {
      w[control.args + 2 * i] = args[i]!;
      w[control.args + 2 * i + 1] = slices[i]!;
    }
    w[control.joined] = 0;
    w[control.done] = 0;
    w[control.failed] = 0;
    this.prepare(k);
    w[control.kernel] = k.id;
    this.#wake();
  }

  /** Runs a kernel on all threads, and returns when all are done. */
  run(k: PoolKernel, sync: number, args: readonly number[], slices: readonly number[]): void {
    this.#announce(k, sync, args, slices);
    let own: unknown;
    let threw = false;
    try {
      k.run(0, this.size, sync, ...args);
    } catch (e) {
      own = e;
      threw = true;
      this.#release(k, sync);
    }
    this.#join(k, sync);
    if (threw) throw own;
    this.#rethrow();
  }

  /** Waits for the workers: first by looking, then asleep. */
  #join(k: PoolKernel, sync: number): void {
    const w = this.#words;
    const all = this.#workers.length;
    for (let i = 0; i < SPINS; i++) if (Atomics.load(w, control.done) === all) return;
    const until = Date.now() + this.#answerMs;
    for (let wanted = all; ; ) {
      const done = Atomics.load(w, control.done);
      if (done >= wanted) break;
      Atomics.wait(w, control.done, done, 100);
      if (wanted < all || Date.now() < until || Atomics.load(w, control.joined) >= all) continue;
      // A worker never took the call up. The others finish; it will find that the pool has stopped.
      this.#lose(`no answer within ${this.#answerMs} ms`);
      this.#release(k, sync);
      wanted = Atomics.load(w, control.joined);
    }
    if (this.#lost) this.raiseLost();
  }

  /** Lets go whoever waits at a barrier: the call has failed. */
  #release(k: PoolKernel, sync: number): void {
    const all = this.#all();
    const { failed, round } = k.threads;
    releaseAt(all, sync + failed, sync + round);
    const [innerFailed, innerRound] = (k.inner ?? []).map((o) => all[(sync + o) >>> 2]!);
    if (innerFailed && innerRound) releaseAt(all, innerFailed, innerRound);
  }

  /** The memory of the kernels as words, made anew when it has grown. */
  #all(): Int32Array<ArrayBuffer | SharedArrayBuffer> {
    const { buffer } = this.#memory;
    if (this.#view.buffer !== buffer) this.#view = new Int32Array(buffer);
    return this.#view;
  }

  /** The error of a worker, as an error of this thread. */
  #rethrow(): void {
    const w = this.#words;
    if (w[control.failed] === 0) return;
    const length = w[control.message]!;
    const from = control.message + 1;
    throw new WorkerFault(String.fromCharCode(...w.subarray(from, from + length)));
  }

  /** Runs a kernel on the workers; calls are made one after the other. */
  runAsync(
    k: PoolKernel,
    sync: number,
    args: readonly number[],
    slices: readonly number[],
  ): Promise<void> {
    const call = this.#tail.then(async () => {
      if (this.#lost) this.raiseLost();
      let timer: ReturnType<typeof setTimeout> | undefined;
      try {
        await new Promise<void>((done, fail) => {
          this.#running = { done, fail };
          this.#announce(k, sync, args, slices);
          const unanswered = (): void => {
            if (Atomics.load(this.#words, control.joined) < this.#workers.length)
              this.#lose(`no answer within ${this.#answerMs} ms`);
          };
          timer = setTimeout(unanswered, this.#answerMs);
        });
      } finally {
        clearTimeout(timer);
        this.#running = undefined;
      }
      this.#rethrow();
    });
    this.#tail = call.catch(() => undefined);
    return call;
  }

  /** Raises why the pool is lost. Whoever calls this drops the pool. */
  raiseLost(): never {
    throw new PoolLost(this.#lost ?? 'the pool is closed');
  }

  #lose(detail: string): void {
    if (this.#closed || this.#lost) return;
    this.#lost = detail;
    this.#stop();
    this.#running?.fail(new PoolLost(detail));
    this.#running = undefined;
  }

  #stop(): void {
    Atomics.store(this.#words, control.stop, 1);
    this.#wake();
    for (const w of this.#workers) w.end();
  }

  /** Ends the workers. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop();
  }
}

/** Lets those go who wait for a round: the call has failed. */
function releaseAt(all: Int32Array, failed: number, round: number): void {
  Atomics.store(all, failed >>> 2, 1);
  Atomics.add(all, round >>> 2, 1);
  Atomics.notify(all, round >>> 2);
}

/** What a worker threw: a trap of the kernel. */
export class WorkerFault extends Error {}
/** The pool can run nothing any more; the message says why. */
export class PoolLost extends Error {}

/** A worker of this host, from the text of its script. */
export function openWorker(on: WorkerEvents): PoolWorker {
  const threads = nodeModule('node:worker_threads');
  if (threads) {
    // A worker needs none of what this process was started with, such as loaders.
    const w = new threads.Worker(workerSource(), { eval: true, execArgv: [], name: 'quern' });
    w.on('error', (e) => on.failed(e.message));
    w.on('exit', (code) => on.failed(`it ended with code ${code}`));
    w.on('message', () => on.done());
    // After the listeners, which hold the process: an idle pool does not.
    w.unref();
    return { post: (x) => w.postMessage(x), end: () => void w.terminate() };
  }
  const page = globalThis as unknown as PageScope;
  const url = page.URL.createObjectURL(
    new page.Blob([workerSource()], { type: 'text/javascript' }),
  );
  return pageWorker(new page.Worker(url), on);
}

/** A worker of a page, heard. */
export function pageWorker(w: PageWorker, on: WorkerEvents): PoolWorker {
  w.onerror = (e) => on.failed(e.message ?? 'its script failed');
  w.onmessage = () => on.done();
  return { post: (x) => w.postMessage(x), end: () => w.terminate() };
}

export interface PageWorker {
  onerror?: (e: { readonly message?: string }) => void;
  onmessage?: (e: unknown) => void;
  postMessage(x: object): void;
  terminate(): void;
}

interface PageScope {
  readonly URL: { createObjectURL(b: object): string };
  readonly Blob: new (parts: string[], options: { type: string }) => object;
  readonly Worker: new (url: string) => PageWorker;
}
