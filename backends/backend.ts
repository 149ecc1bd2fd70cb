// The contract of a backend: loop IR and limits in, code out. A backend knows no ops, no formats and no files.
import type { Program } from '../compiler/loops/loops.ts';

/** What a target offers. Passed to fusion, scheduling and legalisation; nobody guesses. */
export interface Limits {
  readonly target: string;
  /** Width of a native vector register in bits. */
  readonly vectorBits: number;
  /** Vector registers that a kernel may keep live without spilling. */
  readonly vectorRegisters: number;
  /** Bytes of scratch that stay in the nearest cache (or workgroup memory). */
  readonly scratchBytes: number;
  /** Most storage buffers that a kernel may bind. */
  readonly maxBuffers: number;
}

export interface Emitted {
  readonly code: Uint8Array;
  /** The code as text, for `quern explain`. */
  readonly text: () => string;
}

export interface Backend {
  readonly name: string;
  readonly limits: Limits;
  /** Throws CompileError with Q4xxx where the target cannot express something. */
  emit(program: Program, limits: Limits): Promise<Emitted>;
}
