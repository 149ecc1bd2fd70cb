// Kernels given as WebAssembly text, on a memory of their own: the limits of the machine and the hand-written kernels.
import type { WasmInstance, WasmMemory, WasmModule } from '../../runtime/platform.ts';
import { Missing } from '../contest.ts';

/** What of the JavaScript API is used here; the ES library has no types for it. */
interface Api {
  readonly Memory: new (size: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (
    module: WasmModule,
    imports: { readonly [module: string]: { readonly [name: string]: unknown } },
  ) => WasmInstance;
  validate(bytes: Uint8Array): boolean;
}
const api = (globalThis as unknown as { WebAssembly: Api }).WebAssembly;

export type WasmFunction = (...args: number[]) => number;
const PAGE = 65536;
/** Tensors start on pages of the memory system, as allocators of large blocks give them. */
const ALIGN = 4096;

/** A linear memory handed out from the front; it is gone when nothing refers to it any more. */
export class Arena {
  readonly memory: WasmMemory;
  #top = ALIGN;

  constructor(bytes: number, shared = false) {
    const pages = Math.ceil((bytes + ALIGN) / PAGE) + 1;
    this.memory = new api.Memory({ initial: pages, maximum: PAGE, shared });
  }

  /** An address with so much room behind it. */
  allocate(bytes: number): number {
    const address = this.#top;
    this.#top += Math.ceil(bytes / ALIGN) * ALIGN;
    if (this.#top > this.memory.buffer.byteLength) throw new Error('the arena is too small');
    return address;
  }

  u8(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, length);
  }
  f32(address: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, address, length);
  }

  /** `bytes` at so many places. */
  copies(bytes: Uint8Array, count: number): number[] {
    return Array.from({ length: count }, () => {
      const address = this.allocate(bytes.length);
      this.u8(address, bytes.length).set(bytes);
      return address;
    });
  }
}

/** The module that a text says. */
export async function moduleFrom(text: string): Promise<WasmModule> {
  const { default: binaryen } = await import('binaryen');
  const parsed = binaryen.parseText(text);
  parsed.setFeatures(binaryen.Features.All);
  const bytes = parsed.emitBinary();
  parsed.dispose();
  if (!api.validate(bytes)) throw new Missing('this engine has no relaxed SIMD');
  return new api.Module(bytes);
}

/** The functions that a module exports. It imports its memory under the names given. */
export async function assemble(
  text: string,
  arena: Arena,
  names: readonly [module: string, name: string] = ['env', 'memory'],
): Promise<{ readonly [name: string]: WasmFunction }> {
  return instantiate(await moduleFrom(text), arena, names);
}

export function instantiate(
  made: WasmModule,
  arena: Arena,
  [module, name]: readonly [module: string, name: string] = ['env', 'memory'],
): { readonly [name: string]: WasmFunction } {
  const instance = new api.Instance(made, {
    [module!]: { [name!]: arena.memory },
  });
  return instance.exports as { readonly [name: string]: WasmFunction };
}
