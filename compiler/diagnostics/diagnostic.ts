// What a diagnostic is, and how several are collected and thrown together.
import { type Code, codes, type Facts } from './codes.ts';

/** A place in a source file: character offsets into the file's text. */
export interface Span {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

export const noSpan: Span = { file: '', start: 0, end: 0 };

/** What the table of codes says about one problem. */
export interface Message {
  /** One sentence: what is wrong, in the author's own names. */
  readonly message: string;
  readonly found?: string;
  readonly expected?: string;
  /** What to do about it. */
  readonly hint?: string;
}

export interface Diagnostic extends Message {
  readonly code: Code;
  readonly span: Span;
  /** Other places that matter, such as the call that led here. */
  readonly related?: readonly { readonly span: Span; readonly message: string }[];
}

export function diagnostic<C extends Code>(code: C, span: Span, facts: Facts<C>): Diagnostic {
  const explain = codes[code] as (f: Facts<C>) => Message;
  return { code, span, ...explain(facts) };
}

/** Thrown when a kernel cannot be compiled. Holds every problem that was found in the run. */
export class CompileError extends Error {
  override readonly name = 'CompileError';
  readonly diagnostics: readonly Diagnostic[];
  constructor(diagnostics: readonly Diagnostic[], text?: string, cause?: unknown) {
    super(text ?? diagnostics.map((d) => `${d.code}: ${d.message}`).join('\n'), { cause });
    this.diagnostics = diagnostics;
  }
}

/** Raised by type rules and builtins, which do not know where they stand; whoever knows adds the span. */
export class RuleError<C extends Code = Code> extends Error {
  override readonly name = 'RuleError';
  readonly code: C;
  readonly facts: Facts<C>;
  constructor(code: C, facts: Facts<C>) {
    super(code);
    this.code = code;
    this.facts = facts;
  }
}

export function fail<C extends Code>(code: C, facts: Facts<C>): never {
  throw new RuleError(code, facts);
}
