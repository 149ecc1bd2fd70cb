// A kernel file as one JavaScript module: what the plugins of bundlers and the loader of Node put in its place.
import { readFileSync } from 'node:fs';
import type { Json } from '../compiler/artifact.ts';
import { CompileError } from '../compiler/diagnostics/diagnostic.ts';
import { positionOf, renderDiagnostics } from '../compiler/diagnostics/render.ts';
import { sharedId } from './carried.ts';
import { flavors } from './flavors.ts';
import { singleModule } from './javascript.ts';
import { type ExportRequest, plan } from './plan.ts';
import { type SourceMap, sourceMap } from './source-map.ts';
import type { ExtraVariant, ScriptTarget } from './targets.ts';

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
  /** What kernels become: 'wasm' unless given, 'wgsl' for WebGPU, or 'gpujs'. */
  readonly target?: ScriptTarget;
  /** For wasm, beside plain code: each adds code to the bundle. Relaxed SIMD by default. */
  readonly variants?: readonly ExtraVariant[];
}

export interface CompiledModule {
  readonly code: string;
  /** To the author's lines. */
  readonly map: SourceMap;
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
  const { variants = ['relaxed'], target = 'wasm' } = options;
  const made = await plan({
    file,
    targets: [target],
    variants,
    ...(wanted ? { exports: wanted.map(requestOf) } : {}),
  });
  const flavor = flavors[target];
  const from = sharedId(flavor.carried);
  const pieces = singleModule(made, flavor, from, sharedId('inline-threads'));
  return {
    code: pieces.map((p) => p.text).join(''),
    map: sourceMap(pieces, file),
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

/** One diagnostic, as bundlers show it. */
export interface Problem {
  /** Its code and sentence. */
  readonly text: string;
  /** What was found, what was expected, and what to do. */
  readonly notes: readonly string[];
  readonly place?: {
    readonly file: string;
    readonly line: number;
    /** From 0, as bundlers count. */
    readonly column: number;
    readonly length: number;
    readonly lineText: string;
  };
}
export interface Failure {
  /** All of it in sentences. */
  readonly message: string;
  /** The author's lines with carets. */
  readonly frame?: string;
  readonly problems: readonly Problem[];
}

/** What a bundler shows of an error. */
export function failureOf(error: unknown): Failure {
  if (!(error instanceof CompileError)) {
    const message = error instanceof Error ? error.message : String(error);
    return { message, problems: [{ text: message, notes: [] }] };
  }
  const read = (path: string): string | undefined => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  };
  const problems = error.diagnostics.map((d): Problem => {
    const { file, start, end } = d.span;
    const notes = (['found', 'expected', 'hint'] as const).flatMap((fact) =>
      d[fact] === undefined ? [] : [`${fact}: ${d[fact]}`],
    );
    const text = `${d.code}: ${d.message}`;
    const source = file ? read(file) : undefined;
    if (source === undefined) return { text, notes };
    const { line, column } = positionOf(source, start);
    const lineText = source.split('\n')[line - 1]!.replace(/\r$/, '');
    const length = Math.max(1, Math.min(end - start, lineText.length - column + 1));
    return { text, notes, place: { file, line, column: column - 1, length, lineText } };
  });
  return {
    message: problems.map((p) => p.text).join('\n'),
    frame: renderDiagnostics(error.diagnostics, read, { color: false }),
    problems,
  };
}
