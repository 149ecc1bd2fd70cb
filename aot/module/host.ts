// What the host offers beyond the ES library, typed as far as it is used here.

import type { WasmApi, WasmInstance, WasmMemory, WasmModule } from '../../runtime/platform.ts';
import { raise } from './errors.ts';

export type { WasmInstance, WasmMemory, WasmModule };
export interface Imports {
  readonly env: { readonly memory: WasmMemory };
}
export interface HttpResponse {
  readonly ok: boolean;
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  arrayBuffer(): Promise<ArrayBuffer>;
}
export interface Wasm extends Omit<WasmApi, 'Memory' | 'Module'> {
  readonly Memory: new (descriptor: { initial: number }) => WasmMemory;
  readonly Module: {
    new (bytes: Uint8Array): WasmModule;
    customSections(module: WasmModule, name: string): ArrayBuffer[];
  };
  readonly RuntimeError: new () => Error;
  instantiateStreaming?(
    response: HttpResponse,
    imports: Imports,
  ): Promise<{ module: WasmModule; instance: WasmInstance }>;
}
interface Host {
  readonly WebAssembly?: Wasm;
  readonly fetch?: (url: string) => Promise<HttpResponse>;
  readonly process?: { getBuiltinModule?: (id: string) => unknown };
}
interface FilePromises {
  readonly promises: { readFile(path: { readonly href: string }): Promise<Uint8Array> };
}

const host = globalThis as unknown as Host;

/** The WebAssembly object, or an error that says what is missing. */
export function wasm(): Wasm & WasmApi {
  if (!host.WebAssembly) return raise('Q5106', 'this host has no WebAssembly');
  return host.WebAssembly as Wasm & WasmApi;
}

export const fetchUrl = (url: string): Promise<HttpResponse> => {
  if (!host.fetch) return raise('Q5106', `this host has no fetch to read ${url} with`);
  return host.fetch(url);
};

/** Reads a file where the host has Node's modules; undefined elsewhere. Fetched so that bundlers see no import. */
export function readFile(url: { readonly href: string }): Promise<Uint8Array> | undefined {
  const fs = host.process?.getBuiltinModule?.('node:fs') as FilePromises | undefined;
  return fs?.promises.readFile(url);
}

/** Bundlers turn small files into data: URLs, which a strict connect-src would not let us fetch. */
export const dataBytes = ({ href }: { readonly href: string }): Uint8Array | undefined =>
  href.startsWith('data:')
    ? Uint8Array.from(atob(href.slice(href.indexOf(',') + 1)), (c) => c.charCodeAt(0))
    : undefined;
