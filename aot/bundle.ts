// Joins the modules of module/ and what they import into the one runtime.js of a package, without comments and
// without what nothing reaches. They are the very files that Quern itself runs, so their top-level names must
// not collide; this is checked here, as is every form of import that the joining could not follow.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type TS from 'typescript';

let api: typeof TS | undefined;
/** `require` is much quicker than `import` for this package. */
export function typescript(): typeof TS {
  api ??= createRequire(import.meta.url)('typescript') as typeof TS;
  return api;
}

interface Declared {
  readonly names: readonly string[];
  readonly text: string;
  /** Every identifier inside. */
  readonly uses: ReadonlySet<string>;
  readonly from: string;
}

/** A checkout holds TypeScript, the published package what tsc made of it. */
const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';

const fault = (detail: string): never => {
  throw new Error(`aot/bundle: ${detail}`);
};

function strip(path: string): TS.SourceFile {
  const ts = typescript();
  const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), {
    fileName: path,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      removeComments: true,
      allowJs: true,
    },
  });
  return ts.createSourceFile(path, outputText, ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
}

function identifiers(node: TS.Node): Set<string> {
  const ts = typescript();
  const out = new Set<string>();
  const visit = (n: TS.Node): void => {
    if (ts.isIdentifier(n)) out.add(n.text);
    ts.forEachChild(n, visit);
  };
  visit(node);
  return out;
}

function namesOf(st: TS.Statement, path: string): string[] {
  const ts = typescript();
  if ((ts.isFunctionDeclaration(st) || ts.isClassDeclaration(st)) && st.name) return [st.name.text];
  if (ts.isVariableStatement(st))
    return st.declarationList.declarations.map((d) =>
      ts.isIdentifier(d.name) ? d.name.text : fault(`${path} takes a declaration apart`),
    );
  return fault(`${path} has a statement that declares nothing: ${st.getText().slice(0, 60)}`);
}

/** The declarations of a module after those of what it imports. */
function collect(path: string, seen: Set<string>, out: Declared[]): string[] {
  const ts = typescript();
  if (seen.has(path)) return [];
  seen.add(path);
  const source = strip(path);
  const exported: string[] = [];
  for (const st of source.statements) {
    const specifier =
      (ts.isImportDeclaration(st) || ts.isExportDeclaration(st)) && st.moduleSpecifier
        ? (st.moduleSpecifier as TS.StringLiteral).text
        : undefined;
    if (specifier !== undefined) {
      if (!specifier.startsWith('.')) fault(`${path} imports the package ${specifier}`);
      if (/\bas\b/.test(st.getText().split(' from ')[0]!)) fault(`${path} renames an import`);
      const target = new URL(specifier.replace(/\.[jt]s$/, extension), `file://${path}`);
      collect(fileURLToPath(target), seen, out);
    }
    if (ts.isExportDeclaration(st) && st.exportClause && ts.isNamedExports(st.exportClause))
      exported.push(...st.exportClause.elements.map((e) => e.name.text));
    if (ts.isImportDeclaration(st) || ts.isExportDeclaration(st)) continue;
    const text = indented(st.getText().replace(/^export /, ''));
    out.push({ names: namesOf(st, path), text, uses: identifiers(st), from: path });
  }
  return exported;
}

/** One tab a level: what tsc indents by four spaces weighs more than the code's own names. */
const indented = (text: string): string =>
  text.replace(/^( {4})+/gm, (spaces) => '\t'.repeat(spaces.length / 4));

let made: string | undefined;

/** The text of runtime.js. */
export function runtimeSource(): string {
  made ??= join(fileURLToPath(new URL(`module/index${extension}`, import.meta.url)));
  return made;
}

function join(entry: string): string {
  const all: Declared[] = [];
  const exported = collect(entry, new Set(), all);
  const owner = new Map<string, Declared>();
  for (const d of all)
    for (const name of d.names) {
      const other = owner.get(name);
      if (other) fault(`${d.from} and ${other.from} both declare ${name}`);
      owner.set(name, d);
    }
  const kept = new Set<Declared>();
  const keep = (name: string): void => {
    const d = owner.get(name);
    if (!d || kept.has(d)) return;
    kept.add(d);
    d.uses.forEach(keep);
  };
  exported.forEach(keep);
  const body = all.filter((d) => kept.has(d)).map((d) => d.text);
  const head = '// Part of a package made by quern build: memory, tensors, calls and loading.';
  return `${[head, ...body, `export { ${exported.sort().join(', ')} };`].join('\n')}\n`;
}
