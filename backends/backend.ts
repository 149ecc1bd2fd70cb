// The contract of a backend: loop IR and limits in, code out. A backend knows no ops, no formats and no files.
import type { LaunchInfo } from '../compiler/artifact.ts';
import type { Span } from '../compiler/diagnostics/diagnostic.ts';
import type { Limits } from '../compiler/limits.ts';
import type { Program } from '../compiler/loops/loops.ts';

export type { Limits };

export interface Emitted {
  readonly code: Uint8Array;
  /** The program with the buffers that its code takes, where those are more than it came with. */
  readonly program?: Program;
  /** The variant for several threads, where it was asked for and the program has work to share. */
  readonly threads?: { readonly code: Uint8Array; readonly sync: SyncArea };
  /** The code as text, for `quern explain`. */
  readonly text: () => string;
  /** How the kernels are launched, where they are launched one by one. */
  readonly launches?: readonly LaunchInfo[];
}

/** The memory through which threads of one call meet: see ThreadsInfo of the manifest. */
export interface SyncArea {
  readonly bytes: number;
  readonly failed: number;
  readonly round: number;
}

export interface EmitOptions {
  /** Emit a variant for several threads too, where the target has such. */
  readonly threads?: boolean;
  /** The code takes no buffers but those of the program. */
  readonly isClosed?: boolean;
  /** The line that a span begins on, for comments: `kernels.ts:12: return matmul(x, w);`. */
  readonly line?: (span: Span) => string | undefined;
}

export interface Backend {
  readonly name: string;
  readonly limits: Limits;
  /** Limits by name, such as an architecture. */
  readonly presets?: { readonly [name: string]: Limits };
  /** Throws CompileError with Q4xxx where the target cannot express something. */
  emit(program: Program, limits: Limits, options?: EmitOptions): Promise<Emitted>;
}
