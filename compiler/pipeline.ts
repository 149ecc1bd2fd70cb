// The whole compiler on one screen: the passes over tensor IR in order, then lowering to loop IR and the
// backend. The names are those of `quern explain`, of the timing table and of the folders of tests.
import type { Backend, EmitOptions, Emitted } from '../backends/backend.ts';
import type { Span } from './diagnostics/diagnostic.ts';
import type { Func } from './ir/ir.ts';
import { printFunc } from './ir/printer.ts';
import type { Limits } from './limits.ts';
import type { Program } from './loops/loops.ts';
import { canonicalize } from './passes/canonicalize.ts';
import { cse } from './passes/cse.ts';
import { dce } from './passes/dce.ts';
import type { Pass } from './passes/engine.ts';
import { fuse } from './passes/fuse.ts';
import { lower, type Residence } from './schedule/lower.ts';

/** Tensor IR to tensor IR, in order. */
export const pipeline: readonly Pass[] = [canonicalize, cse, dce, fuse];

/** Passes by name, for tests of single passes. */
export const passTable: Readonly<Record<string, Pass>> = Object.fromEntries(
  pipeline.map((p) => [p.name, p]),
);

export interface Stage {
  readonly name: string;
  readonly text: string;
}

/** What each step did, kept only when asked for. */
export class Trace {
  readonly stages: Stage[] = [];
  readonly wanted: boolean;
  constructor(wanted: boolean) {
    this.wanted = wanted;
  }
  add(name: string, text: () => string): void {
    if (this.wanted) this.stages.push({ name, text: text() });
  }
}

/** Runs the passes; notes of a pass precede its IR in the trace. */
export function optimize(func: Func, trace: Trace, limits?: Limits): Func {
  trace.add('frontend', () => printFunc(func));
  let current = func;
  for (const pass of pipeline) {
    const notes: string[] = [];
    current = pass.run(current, {
      note: (text: string, _span?: Span) => notes.push(`# ${text}`),
      ...(limits ? { limits } : {}),
    });
    const after = current;
    trace.add(pass.name, () => [...notes, printFunc(after)].join('\n'));
  }
  return current;
}

export async function generate(
  func: Func,
  backend: Backend,
  limits: Limits,
  trace: Trace,
  options: EmitOptions = {},
  resident: Residence = 'none',
  gives: readonly number[] = [],
): Promise<Omit<Emitted, 'text'> & { readonly program: Program }> {
  const notes: string[] = [];
  const program = lower(func, limits, (text) => notes.push(`# ${text}`), resident, gives);
  if (trace.wanted) {
    const { printProgram } = await import('./loops/printer.ts');
    trace.add('schedule', () => [...notes, printProgram(program)].join('\n'));
  }
  const emitted = await backend.emit(program, limits, options);
  trace.add(backend.name, emitted.text);
  return { program, ...emitted };
}
