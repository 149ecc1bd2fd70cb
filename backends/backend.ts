// The contract of a backend: loop IR and limits in, code out. A backend knows no ops, no formats and no files.
import type { Limits } from '../compiler/limits.ts';
import type { Program } from '../compiler/loops/loops.ts';

export type { Limits };

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
