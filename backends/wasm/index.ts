// The WebAssembly backend: SIMD128 code for every engine of today. Operations that wasm lacks are expanded first;
// binaryen builds, validates and encodes, and its optimizer stays off because it undoes the order of hot loops.
import { expand } from '../../compiler/loops/expand.ts';
import type { Program } from '../../compiler/loops/loops.ts';
import type { Backend, EmitOptions, Emitted, Limits } from '../backend.ts';
import { loadBinaryen, type Module } from './binaryen.ts';
import { Pool } from './constants.ts';
import { wasmNative } from './instructions.ts';
import { encodeModule, recordModule } from './module.ts';
import { recordThreaded } from './threads.ts';

export const wasmLimits: Limits = {
  target: 'wasm',
  vectorBits: 128,
  vectorRegisters: 16,
  scratchBytes: 32 * 1024,
  maxBuffers: 1000,
};

async function emit(program: Program, limits: Limits, options: EmitOptions = {}): Promise<Emitted> {
  const b = await loadBinaryen();
  const ready = expand(program, wasmNative);
  const simd = { relaxed: limits.relaxed ?? false, unsignedDot: limits.unsignedDot ?? false };
  // Both variants take the same arguments, so both are recorded before either is built.
  const pool = new Pool(options.isClosed ?? false);
  const plain = recordModule(b, ready, simd, pool);
  const shared = options.threads ? recordThreaded(b, ready, simd, pool) : undefined;
  const code = encoded(plain.build());
  return {
    code,
    program: pool.isEmpty ? program : pool.addedTo(program),
    text: textOf,
    ...(shared ? { threads: { code: encoded(shared.build()), sync: shared.sync } } : {}),
  };

  function encoded(m: Module): Uint8Array {
    try {
      return encodeModule(m);
    } finally {
      m.dispose();
    }
  }

  /** Built again: a module kept for its text would never be freed. */
  function textOf(): string {
    const again = recordModule(b, ready, simd, pool).build();
    try {
      return again.emitText();
    } finally {
      again.dispose();
    }
  }
}

export const wasmBackend: Backend = { name: 'wasm', limits: wasmLimits, emit };
