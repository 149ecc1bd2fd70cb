// The JSDoc of exported kernels and formats, read from the source: what a package's declarations carry over.
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type TS from 'typescript';
import { resolveEntry } from '../compiler/frontend/modules.ts';
import { typescript } from './typescript.ts';

export type ReadText = (path: string) => string;
export const readText: ReadText = (path) => readFileSync(path, 'utf8');

/** Where an export is declared, once re-exports and imports of kernel files are followed. */
export interface Declaration {
  readonly path: string;
  readonly name: string;
  readonly statement?: TS.Statement;
}

export function declarationOf(path: string, name: string, read: ReadText = readText): Declaration {
  const ts = typescript();
  const source = ts.createSourceFile(path, read(path), ts.ScriptTarget.ES2022, true);
  const statement = source.statements.find((st) => declares(st, name));
  if (statement) return { path, name, statement };
  /** The name under which `list` brings `name` in. */
  const renamed = (list: readonly (TS.ExportSpecifier | TS.ImportSpecifier)[]) => {
    const found = list.find((e) => e.name.text === name);
    return found && (found.propertyName ?? found.name).text;
  };
  const follow = (specifier: TS.Expression | undefined, inner: string): Declaration | undefined => {
    if (!specifier) return inner === name ? undefined : declarationOf(path, inner, read);
    const { text } = specifier as TS.StringLiteral;
    const file = text.startsWith('.')
      ? resolve(dirname(path), text.replace(/\.js$/, '.ts'))
      : resolveEntry(text);
    return file === text ? undefined : declarationOf(file, inner, read);
  };
  for (const st of source.statements) {
    const named = namedOf(st);
    if (!named) continue;
    const inner = named.elements ? renamed(named.elements) : name;
    const found = inner && follow(named.from, inner);
    if (found && (named.elements || found.statement)) return found;
  }
  return { path, name };
}

/** Names that a statement imports or exports; all of them when there is no list. */
function namedOf(
  st: TS.Statement,
):
  | { from?: TS.Expression; elements?: readonly (TS.ExportSpecifier | TS.ImportSpecifier)[] }
  | undefined {
  const ts = typescript();
  if (ts.isExportDeclaration(st)) {
    const from = st.moduleSpecifier ? { from: st.moduleSpecifier } : {};
    if (!st.exportClause) return from;
    return ts.isNamedExports(st.exportClause)
      ? { ...from, elements: st.exportClause.elements }
      : undefined;
  }
  const bindings = ts.isImportDeclaration(st) ? st.importClause?.namedBindings : undefined;
  if (!bindings || !ts.isNamedImports(bindings)) return undefined;
  return { from: (st as TS.ImportDeclaration).moduleSpecifier, elements: bindings.elements };
}

function declares(st: TS.Statement, name: string): boolean {
  const ts = typescript();
  if (ts.isFunctionDeclaration(st)) return st.name?.text === name;
  if (!ts.isVariableStatement(st)) return false;
  return st.declarationList.declarations.some(
    (d) => ts.isIdentifier(d.name) && d.name.text === name,
  );
}

/** The text of the last block comment before a statement, without its stars. */
export function commentOf(st: TS.Statement): string | undefined {
  const ts = typescript();
  const source = st.getSourceFile();
  const last = ts
    .getLeadingCommentRanges(source.text, st.getFullStart())
    ?.filter((r) => source.text.startsWith('/**', r.pos))
    .at(-1);
  if (!last) return undefined;
  const inside = source.text.slice(last.pos + 3, last.end - 2);
  const lines = inside.split('\n').map((l) => l.replace(/^\s*\* ?/, '').trimEnd());
  return lines.join('\n').trim() || undefined;
}
