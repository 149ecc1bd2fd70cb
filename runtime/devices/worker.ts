// What a worker of the pool does: sleep until a call is made, run its share, report, sleep again. The function
// is handed to workers as text, so that it runs in Node and in a page, from sources and from a bundle: it refers
// to nothing outside of itself, and finds the numbers below in its first message.
import type { WasmMemory } from '../platform.ts';

/** Words of the control block that all threads share. Words written by different threads lie in different lines. */
export const control = {
  /** Number of the call; changes last, and wakes the workers. */
  call: 0,
  /** Messages posted to each worker so far. */
  posted: 1,
  kernel: 2,
  workers: 3,
  sync: 4,
  /** Arguments, and where they are: pairs of a value and what each further worker adds to it. */
  count: 5,
  stop: 6,
  /** Workers that have started; that have taken up the call; that are done with it. */
  ready: 16,
  joined: 32,
  done: 48,
  /** 1 + the worker that failed, and what it said: length and character codes. */
  failed: 64,
  message: 65,
  messageLength: 400,
  args: 512,
  /** Looks at `call` before going to sleep: some microseconds, for calls in a row. */
  spins: 2000,
} as const;
export type Control = typeof control;

/** The first message to a worker. */
export interface Start {
  readonly words: Int32Array;
  readonly memory: WasmMemory;
  readonly index: number;
  readonly layout: Control;
  /** Whether whoever is last tells the page, which may not wait. */
  readonly tell: boolean;
}
/** Every later one. The kernel goes into the worker's table of functions, at its number. */
export interface Load {
  readonly kernel: number;
  readonly module: object;
  readonly failed: number;
  readonly round: number;
  /** Of a kernel that calls others: where it keeps the addresses of `failed` and `round` of the one under way. */
  readonly inner: readonly [failed: number, round: number] | undefined;
}

export function workerMain(): void {
  interface Host {
    postMessage(x: unknown): void;
    on?(event: 'message', f: (x: unknown) => void): void;
    onmessage?: (e: { readonly data: unknown }) => void;
    close(): void;
  }
  interface Made extends Load {
    readonly run: (...args: number[]) => void;
    /** The arguments of a call, in an array of its own that every call fills. */
    readonly args: number[];
  }
  interface Table {
    readonly length: number;
    grow(entries: number): void;
    set(at: number, f: unknown): void;
  }
  const scope = globalThis as unknown as Host & {
    readonly process?: { getBuiltinModule?(id: string): { readonly parentPort: Host } };
    readonly WebAssembly: {
      readonly Instance: new (
        m: object,
        imports: object,
      ) => { readonly exports: { readonly run: (...args: number[]) => void } };
      readonly Table: new (descriptor: object) => Table;
    };
  };
  const node = scope.process?.getBuiltinModule?.('node:worker_threads');
  const port: Host = node ? node.parentPort : scope;
  const kernels = new Map<number, Made>();
  const table = new scope.WebAssembly.Table({ element: 'anyfunc', initial: 0 });
  let start: Start | undefined;
  let seen = 0;
  let received = 0;

  /** A share of a call. What goes wrong is written down for whoever waits, and the others are let go. */
  const share = ({ words, memory, index, layout: at }: Start, made: Made): void => {
    try {
      const { args } = made;
      args[0] = index;
      args[1] = words[at.workers]!;
      args[2] = words[at.sync]!;
      for (let i = 0; i < words[at.count]!; i++)
        args[3 + i] = words[at.args + 2 * i]! + index * words[at.args + 2 * i + 1]!;
      made.run(...args);
    } catch (e) {
      const text = String(e instanceof Error ? e.message : e).slice(0, at.messageLength);
      if (Atomics.compareExchange(words, at.failed, 0, index + 1) === 0) {
        for (let i = 0; i < text.length; i++) words[at.message + 1 + i] = text.charCodeAt(i);
        Atomics.store(words, at.message, text.length);
      }
      const all = new Int32Array(memory.buffer);
      const sync = words[at.sync]!;
      const release = (failed: number, round: number): void => {
        Atomics.store(all, failed >>> 2, 1);
        Atomics.add(all, round >>> 2, 1);
        Atomics.notify(all, round >>> 2);
      };
      release(sync + made.failed, sync + made.round);
      const [failed, round] = (made.inner ?? []).map((o) => all[(sync + o) >>> 2]!);
      if (failed && round) release(failed, round);
    }
  };

  /** Serves calls until there is a message to read, for which the event loop must run. */
  const serve = (s: Start): void => {
    const { words, layout: at } = s;
    for (;;) {
      for (let i = 0; Atomics.load(words, at.call) === seen; ) {
        if (received !== Atomics.load(words, at.posted)) return;
        if (++i > at.spins) Atomics.wait(words, at.call, seen);
      }
      if (Atomics.load(words, at.stop)) return port.close();
      if (received !== Atomics.load(words, at.posted)) return;
      seen = Atomics.load(words, at.call);
      const kernel = words[at.kernel]!;
      const workers = words[at.workers]!;
      Atomics.add(words, at.joined, 1);
      // Whoever comes after the call was given up must not touch its memory.
      if (!Atomics.load(words, at.stop)) share(s, kernels.get(kernel)!);
      // In a page every worker is one of the pool; elsewhere the caller is the first.
      const wanted = s.tell ? workers : workers - 1;
      if (Atomics.add(words, at.done, 1) + 1 < wanted) continue;
      Atomics.notify(words, at.done);
      if (s.tell) port.postMessage(seen);
    }
  };

  const receive = (data: unknown): void => {
    received += 1;
    if (!start) {
      start = data as Start;
      Atomics.add(start.words, start.layout.ready, 1);
      Atomics.notify(start.words, start.layout.ready);
    } else {
      const load = data as Load;
      const { memory } = start;
      const { run } = new scope.WebAssembly.Instance(load.module, { env: { memory, table } })
        .exports;
      kernels.set(load.kernel, { ...load, run, args: [] });
      if (table.length <= load.kernel) table.grow(load.kernel + 64 - table.length);
      table.set(load.kernel, run);
    }
    serve(start);
  };
  if (port.on) port.on('message', receive);
  else port.onmessage = (e) => receive(e.data);
}

/** The text of a worker's script. */
export const workerSource = (): string => `(${workerMain.toString()})()`;
