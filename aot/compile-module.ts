// A kernel file as one JavaScript module: what the plugins of bundlers and the loader of Node put in its place.
import { readFileSync } from 'node:fs';
import type { Json } from '../compiler/artifact.ts';
import { CompileError } from '../compiler/diagnostics/diagnostic.ts';
import { renderDiagnostics } from '../compiler/diagnostics/render.ts';
import { runtimeId, threadsId } from './carried.ts';
import { singleModule } from './javascript.ts';
import { type ExportRequest, plan } from './plan.ts';
import type { ExtraVariant } from './targets.ts';

/** What an import of a kernel file ends in. */
export const kernelFile = /\.kernels?\.[cm]?ts$/;

/** An export that needs more said than its name. A format is a name, or a factory with its arguments. */
export interface ExportOption {
  /** The kernel or format in the file; by default the name of the export. */
  readonly of?: string;
  readonly formats?: readonly (
    | string
    | { readonly name: string; readonly args: readonly Json[] }
  )[];
  readonly constants?: readonly Json[];
}
/** By the end of the path of a kernel file. Without an entry, all that needs nothing said is exported. */
export interface ModuleOptions {
  readonly exports?: {
    readonly [file: string]: { readonly [name: string]: ExportOption };
  };
  /** Beside plain code: each adds code to the bundle. Relaxed SIMD by default. */
  readonly variants?: readonly ExtraVariant[];
}

export interface CompiledModule {
  readonly code: string;
  /** Every file that the result depends on. */
  readonly files: readonly string[];
}

export async function compileModule(
  file: string,
  options: ModuleOptions = {},
): Promise<CompiledModule> {
  const slashed = file.replaceAll('\\', '/');
  const key = Object.keys(options.exports ?? {}).find(
    (k) => slashed === k || slashed.endsWith(`/${k.replace(/^\.?\//, '')}`),
  );
  const wanted = key === undefined ? undefined : Object.entries(options.exports![key]!);
  const { variants = ['relaxed'] } = options;
  const made = await plan({
    file,
    variants,
    ...(wanted ? { exports: wanted.map(requestOf) } : {}),
  });
  return {
    code: singleModule(made, runtimeId, threadsId),
    files: made.dependencies.map((d) => d.path),
  };
}

const requestOf = ([name, o]: [string, ExportOption]): ExportRequest => ({
  name,
  of: o.of ?? name,
  formats: (o.formats ?? []).map((f) => ({
    file: 'quern/formats',
    ...(typeof f === 'string' ? { name: f } : f),
  })),
  ...(o.constants ? { constants: o.constants } : {}),
});

export interface Problem {
  readonly message: string;
  /** The author's lines with carets. */
  readonly frame?: string;
  readonly file?: string;
  readonly line?: number;
  /** From 0, as bundlers count. */
  readonly column?: number;
}

/** What a bundler shows of an error: the first diagnostic's place, all of them in the frame. */
export function problemOf(error: unknown): Problem {
  if (!(error instanceof CompileError))
    return { message: error instanceof Error ? error.message : String(error) };
  const read = (path: string): string | undefined => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  };
  const [first] = error.diagnostics;
  const message = error.diagnostics.map((d) => `${d.code}: ${d.message}`).join('\n');
  const frame = renderDiagnostics(error.diagnostics, read, { color: false });
  const text = first && read(first.span.file);
  if (text === undefined || !first) return { message, frame };
  const before = text.slice(0, first.span.start).split('\n');
  return {
    message,
    frame,
    file: first.span.file,
    line: before.length,
    column: before[before.length - 1]!.length,
  };
}
