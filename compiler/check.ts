// Everything that a kernel file offers, for those who ask what is wrong with it: `quern check`, which compiles it
// all, and editors, which stage it after each change.
import { CompileError, type Diagnostic } from './diagnostics/diagnostic.ts';
import type { StageRequest } from './frontend/entry.ts';
import { nodeHost, type SourceHost } from './frontend/modules.ts';
import { describe, signature } from './index.ts';

/** Stands in for a kernel's format parameters: any format must do. */
const sample = { file: 'quern/formats', name: 'q8_0' };

export interface Everything {
  readonly requests: readonly StageRequest[];
  /** What is checked where it is called: kernels with constants that have no default. */
  readonly needConstants: readonly string[];
  /** And functions that leave dtypes or dims to other kernels. */
  readonly helpers: readonly string[];
}

/** A request for each kernel of a file and each function of its formats. Throws CompileError as `describe` does. */
export function everythingOf(file: string, host: SourceHost = nodeHost): Everything {
  const requests: StageRequest[] = [];
  const needConstants: string[] = [];
  const helpers: string[] = [];
  for (const e of describe(file, host).exports) {
    if (e.kind === 'format') {
      const parts = [
        'encode',
        ...(e.takesWeights ? ['encodeWeighted'] : []),
        'decode',
        ...(e.hasLayout ? ['pack', 'unpack'] : []),
      ];
      requests.push(...parts.map((part) => ({ file, name: `${e.name}.${part}` })));
    } else if (e.kind === 'kernel') {
      if (e.params.some((p) => p.open)) helpers.push(e.name);
      else if (e.params.some((p) => p.kind === 'static' && !p.optional)) needConstants.push(e.name);
      else requests.push({ file, name: e.name, formats: e.formatParams.map(() => sample) });
    }
  }
  return { requests, needConstants, helpers };
}

/** What several compilations found. The same fault shows in every kernel that meets it: it is kept once. */
export class Findings {
  readonly #found = new Map<string, Diagnostic>();

  /** Takes what a compilation threw; other errors are passed on. */
  add(e: unknown): void {
    if (!(e instanceof CompileError)) throw e;
    for (const d of e.diagnostics)
      this.#found.set(`${d.code}:${d.span.file}:${d.span.start}:${d.message}`, d);
  }

  get all(): readonly Diagnostic[] {
    return [...this.#found.values()];
  }
}

/** What is wrong with a kernel file, as far as that shows without generating code. */
export function problemsOf(file: string, host: SourceHost = nodeHost): readonly Diagnostic[] {
  const findings = new Findings();
  try {
    for (const request of everythingOf(file, host).requests)
      try {
        signature(request, host);
      } catch (e) {
        findings.add(e);
      }
  } catch (e) {
    findings.add(e);
  }
  return findings.all;
}
