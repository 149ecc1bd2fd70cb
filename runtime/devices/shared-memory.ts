// Memory that threads can share: whether the host gives any, and how plain modules come to work on it.
import { type WasmApi, type WasmMemory, nodeModule } from '../platform.ts';

/** Wasm32 has 65536 pages; a shared memory must say how far it may grow. */
const MAX_PAGES = 65536;

interface PageScope {
  readonly SharedArrayBuffer?: typeof SharedArrayBuffer;
  readonly Worker?: unknown;
  readonly crossOriginIsolated?: boolean;
  readonly navigator?: { readonly hardwareConcurrency?: number };
}

export const plainMemory = (api: WasmApi, pages: number): WasmMemory =>
  new api.Memory({ initial: pages, maximum: MAX_PAGES });

/** A memory for several threads, or why there is none. */
export function sharedMemory(api: WasmApi, pages: number): WasmMemory | string {
  const host = globalThis as PageScope;
  if (!host.SharedArrayBuffer) return 'this host has no SharedArrayBuffer';
  if (host.crossOriginIsolated === false) return 'the page is not cross-origin isolated';
  if (!nodeModule('node:worker_threads') && !host.Worker) return 'this host has no workers';
  try {
    const memory = new api.Memory({ initial: pages, maximum: MAX_PAGES, shared: true });
    if (memory.buffer instanceof host.SharedArrayBuffer) return memory;
    return 'this host shares no WebAssembly memory';
  } catch (e) {
    return `the host refused a shared memory: ${e instanceof Error ? e.message : String(e)}`;
  }
}

/** Cores that this process may use. */
export function parallelism(): number {
  const host = globalThis as PageScope;
  return nodeModule('node:os')?.availableParallelism() ?? host.navigator?.hardwareConcurrency ?? 1;
}

/** Whether this thread may sleep: the main thread of a page may not. */
export function mayWait(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1);
    return true;
  } catch {
    return false;
  }
}

/** Reads the fields of a module. */
class Reader {
  at: number;
  readonly #code: Uint8Array;
  constructor(code: Uint8Array, at: number) {
    this.#code = code;
    this.at = at;
  }
  byte(): number {
    return this.#code[this.at++]!;
  }
  /** LEB128, as all counts and sizes. */
  number(): number {
    let n = 0;
    for (let shift = 0; ; shift += 7) {
      const b = this.byte();
      n |= (b & 127) << shift;
      if (b < 128) return n >>> 0;
    }
  }
  skip(bytes: number): void {
    this.at += bytes;
  }
  skipName(): void {
    const length = this.number();
    this.skip(length);
  }
  /** Of an import that is no memory: a function's type, a table's type and limits, a global's type. */
  skipImport(kind: number): void {
    if (kind === 0) this.number();
    else if (kind === 3) this.skip(2);
    else {
      this.skip(1);
      const limited = this.byte() & 1;
      this.number();
      if (limited) this.number();
    }
  }
}

/**
 * A module whose imported memory is marked as shared. All other code stays as it is: what is right on a memory of
 * its own is right on a shared one that nobody else writes.
 */
export function onSharedMemory(code: Uint8Array): Uint8Array {
  const r = new Reader(code, 8);
  while (r.at < code.length) {
    const id = r.byte();
    const sizeAt = r.at;
    const size = r.number();
    const start = r.at;
    const end = start + size;
    if (id === 2)
      for (let left = r.number(); left > 0; left--) {
        r.skipName();
        r.skipName();
        const kind = r.byte();
        if (kind !== 2) {
          r.skipImport(kind);
          continue;
        }
        const limitsAt = r.at;
        const flags = r.byte();
        if (flags & 2) return code;
        const limits = [3, ...leb(r.number()), ...leb(MAX_PAGES)];
        if (flags & 1) r.number();
        const before = code.subarray(start, limitsAt);
        const after = code.subarray(r.at, end);
        const length = leb(before.length + limits.length + after.length);
        return join([code.subarray(0, sizeAt), length, before, limits, after, code.subarray(end)]);
      }
    r.at = end;
  }
  return code;
}

function join(parts: readonly ArrayLike<number>[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

/** Unsigned LEB128, as all counts and sizes. */
export function leb(n: number): number[] {
  const out: number[] = [];
  for (let left = n; ; left >>>= 7) {
    if (left < 128) return [...out, left];
    out.push((left & 127) | 128);
  }
}
