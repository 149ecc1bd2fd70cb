// Kernel files: reading, parsing, resolving imports, and the record of what was read (for the cache).
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type ts from 'typescript';
import { CompileError, diagnostic, fail, noSpan, type Span } from '../diagnostics/diagnostic.ts';
import { maxSourceLength } from './budget.ts';
import { typescript } from './typescript.ts';

/** Where kernel files come from. */
export interface SourceHost {
  /** Text of a file; throws when there is none. */
  readFile(path: string): string;
}
export const nodeHost: SourceHost = { readFile: (path) => readFileSync(path, 'utf8') };

export interface Dependency {
  readonly path: string;
  readonly sha256: string;
}

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const maxSyntaxErrors = 20;

let root: string | undefined;
/** Folder of the package: its ops/ are shipped as source. */
export function packageRoot(): string {
  if (root) return root;
  let at = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(resolve(at, 'ops/formats/index.ts'))) {
    const up = dirname(at);
    if (up === at) throw new Error('the ops folder of quern is missing');
    at = up;
  }
  root = at;
  return at;
}

/** Names that stand for files of the package. */
export const builtinFiles: Readonly<Record<string, string>> = {
  'quern/arrays': 'ops/arrays.ts',
  'quern/formats': 'ops/formats/index.ts',
  'quern/linalg': 'ops/linalg/index.ts',
  'quern/llama': 'ops/llama.ts',
  'quern/nn': 'ops/nn.ts',
  'quern/random': 'ops/random.ts',
  'quern/sparse': 'ops/sparse/index.ts',
  'quern/statistics': 'ops/statistics.ts',
  'quern/systems': 'ops/systems/index.ts',
  'quern/transforms': 'ops/transforms.ts',
};

export function resolveEntry(file: string): string {
  const shipped = Object.hasOwn(builtinFiles, file) ? builtinFiles[file] : undefined;
  return shipped ? resolve(packageRoot(), shipped) : file;
}

function parseText(path: string, text: string): ts.SourceFile {
  const api = typescript();
  try {
    return api.createSourceFile(path, text, api.ScriptTarget.ES2022, true, api.ScriptKind.TS);
  } catch (e) {
    // The parser is recursive: expressions nested in thousands exhaust its stack.
    if (!(e instanceof RangeError)) throw e;
    const hint = 'Simplify the expressions.';
    const place = { file: path, start: 0, end: 0 };
    throw new CompileError([diagnostic('Q1006', place, { limit: 'the nesting depth', hint })]);
  }
}

export class SourceFiles {
  readonly #host: SourceHost;
  readonly #texts = new Map<string, string>();
  readonly #parsed = new Map<string, ts.SourceFile>();

  constructor(host: SourceHost) {
    this.#host = host;
  }

  text(path: string): string | undefined {
    return this.#texts.get(path);
  }

  dependencies(): Dependency[] {
    return [...this.#texts].map(([path, text]) => ({ path, sha256: sha256(text) }));
  }

  /** The parsed file; syntax errors are a CompileError with all of them. */
  parse(path: string, from: Span = noSpan): ts.SourceFile {
    const known = this.#parsed.get(path);
    if (known) return known;
    let text: string;
    try {
      text = this.#host.readFile(path);
    } catch (e) {
      const detail =
        (e as NodeJS.ErrnoException).code === 'ENOENT'
          ? 'there is no such file'
          : (e as Error).message;
      throw new CompileError([diagnostic('Q1005', from, { path, detail })]);
    }
    this.#texts.set(path, text);
    const place = { file: path, start: 0, end: 0 };
    if (text.length > maxSourceLength)
      throw new CompileError([
        diagnostic('Q1006', place, {
          limit: `${maxSourceLength.toLocaleString('en-US')} characters of source`,
          hint: 'Split the file.',
        }),
      ]);
    const source = parseText(path, text);
    const { parseDiagnostics } = source as unknown as {
      parseDiagnostics: readonly ts.Diagnostic[];
    };
    const api = typescript();
    if (parseDiagnostics.length > 0)
      throw new CompileError(
        parseDiagnostics.slice(0, maxSyntaxErrors).map((d) =>
          diagnostic(
            'Q1001',
            { file: path, start: d.start ?? 0, end: (d.start ?? 0) + (d.length ?? 1) },
            {
              detail: api.flattenDiagnosticMessageText(d.messageText, ' '),
            },
          ),
        ),
      );
    this.#parsed.set(path, source);
    return source;
  }

  /** Absolute path of an import, or undefined for the language itself. */
  resolve(specifier: string, from: string): string | undefined {
    if (specifier === 'quern') return undefined;
    if (Object.hasOwn(builtinFiles, specifier)) return resolveEntry(specifier);
    if (specifier.startsWith('./') || specifier.startsWith('../'))
      return resolve(
        dirname(from),
        specifier.endsWith('.js') ? `${specifier.slice(0, -3)}.ts` : specifier,
      );
    return fail('Q1005', { path: specifier, detail: 'packages are not read' });
  }
}
