// Reads the import specifiers of the product's files, for the tests that hold the architecture.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import type TS from 'typescript';

const ts = createRequire(import.meta.url)('typescript') as typeof TS;
export const repo = fileURLToPath(new URL('../..', import.meta.url));

/** How a file imports: `type` is erased, `dynamic` is loaded only when it is reached. */
export type ImportKind = 'value' | 'type' | 'dynamic';
export interface Import {
  readonly from: string;
  /** A path in the repository for a relative specifier, else the specifier of the package. */
  readonly to: string;
  readonly kind: ImportKind;
  readonly relative: boolean;
}

/** Paths, relative to the repository, of the files in `folder` that `keep` accepts. */
export function filesIn(folder: string, keep: (path: string) => boolean): string[] {
  if (!existsSync(join(repo, folder))) return [];
  return readdirSync(join(repo, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : filesIn(path, keep);
    return entry.isFile() && keep(path) ? [path] : [];
  });
}

export const readRepo = (path: string): string => readFileSync(join(repo, path), 'utf8');

/** The product: everything but tests, scripts and benchmarks. */
export function productFiles(): string[] {
  const folders = ['compiler', 'backends', 'runtime', 'aot', 'ops', 'cli', 'editor'];
  const files = folders.flatMap((f) => filesIn(f, (p) => p.endsWith('.ts') || p.endsWith('.js')));
  return existsSync(join(repo, 'index.ts')) ? ['index.ts', ...files] : files;
}

/** All imports of one file: declarations, re-exports, `import()` as call and as type, and `require`. */
export function importsOf(from: string, text: string = readRepo(from)): Import[] {
  const found: Import[] = [];
  const add = (specifier: TS.Node | undefined, kind: ImportKind): void => {
    if (!specifier || !ts.isStringLiteralLike(specifier)) return;
    const isRelative = specifier.text.startsWith('.');
    const to = isRelative
      ? posix.normalize(posix.join(posix.dirname(from), specifier.text))
      : specifier.text;
    found.push({ from, to, kind, relative: isRelative });
  };
  const visit = (node: TS.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const erased = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
      add(node.moduleSpecifier, erased ? 'type' : 'value');
    } else if (ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier, node.isTypeOnly ? 'type' : 'value');
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, 'type');
    } else if (ts.isCallExpression(node)) {
      const callee = node.expression;
      if (callee.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], 'dynamic');
      else if (/^(.*[rR]equire|createRequire\(.*\))$/.test(callee.getText())) {
        add(node.arguments[0], 'dynamic');
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(from, text, ts.ScriptTarget.Latest, true));
  return found;
}
