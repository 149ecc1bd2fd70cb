// What the host offers beyond the language: Node's own modules, fetched at run time so that the same files load
// in a browser and pass through bundlers, and the few WebAssembly types that the ES library leaves out.

export interface NodeModules {
  'node:fs': typeof import('node:fs');
  'node:path': typeof import('node:path');
  'node:os': typeof import('node:os');
  'node:url': typeof import('node:url');
  'node:crypto': typeof import('node:crypto');
  'node:module': typeof import('node:module');
  'node:child_process': typeof import('node:child_process');
  'node:worker_threads': typeof import('node:worker_threads');
  'node:async_hooks': typeof import('node:async_hooks');
}

/** A module of Node, or undefined in a browser. */
export function nodeModule<K extends keyof NodeModules>(id: K): NodeModules[K] | undefined {
  const host = globalThis as {
    process?: { getBuiltinModule?: (id: string) => object | undefined };
  };
  return host.process?.getBuiltinModule?.(id) as NodeModules[K] | undefined;
}

export interface WasmMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  grow(pages: number): number;
}
export interface WasmTable {
  readonly length: number;
  grow(entries: number): number;
  set(at: number, f: unknown): void;
}
export interface WasmModule {
  readonly wasmModule?: never;
}
export interface WasmInstance {
  readonly exports: { readonly [name: string]: unknown };
}
export interface WasmImports {
  readonly env: { readonly memory: WasmMemory; readonly table?: WasmTable };
}
export interface WasmApi {
  readonly Memory: new (descriptor: {
    initial: number;
    maximum: number;
    shared?: boolean;
  }) => WasmMemory;
  readonly Table: new (descriptor: { element: 'anyfunc'; initial: number }) => WasmTable;
  /** Synchronous forms: for modules of a few bytes. */
  readonly Module: new (
    bytes: Uint8Array,
  ) => WasmModule;
  readonly Instance: new (module: WasmModule, imports?: WasmImports) => WasmInstance;
  compile(bytes: Uint8Array): Promise<WasmModule>;
  instantiate(module: WasmModule, imports: WasmImports): Promise<WasmInstance>;
  validate(bytes: Uint8Array): boolean;
}

/** The WebAssembly object of the host, or undefined. */
export const wasmApi = (): WasmApi | undefined =>
  (globalThis as { WebAssembly?: WasmApi }).WebAssembly;
