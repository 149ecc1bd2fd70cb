// Joins the modules of module/ and what they import into the runtime.js of a package, without comments and without what
// nothing reaches, and into threads.js what only threads need. They are the very files that Quern itself runs, so their
// top-level names must not collide; this is checked here, as is every form of import that the joining could not follow.
// Runs in a checkout and when Quern is built: the published package has the texts (carried.ts).
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { minify_sync } from 'terser';
import type TS from 'typescript';
import { type CarriedName, sharedId } from './carried.ts';
import { typescript } from './typescript.ts';

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

const stripped = new Map<string, TS.SourceFile>();
function strip(path: string): TS.SourceFile {
  const known = stripped.get(path);
  if (known) return known;
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
  const made = ts.createSourceFile(
    path,
    outputText,
    ts.ScriptTarget.ES2022,
    true,
    ts.ScriptKind.JS,
  );
  stripped.set(path, made);
  return made;
}

function identifiers(node: TS.Node): Set<string> {
  const ts = typescript();
  const out = new Set<string>();
  const visit = (n: TS.Node): void => {
    const member =
      (ts.isPropertyAccessExpression(n.parent) || ts.isPropertyAssignment(n.parent)) &&
      n.parent.name === n;
    if (ts.isIdentifier(n) && !member) out.add(n.text);
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
function collect(
  path: string,
  seen: Set<string>,
  out: Declared[],
  instead: ReadonlyMap<string, string>,
): string[] {
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
      const file = fileURLToPath(target);
      collect(instead.get(file) ?? file, seen, out, instead);
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

const moduleFile = (name: string): string =>
  fileURLToPath(new URL(`module/${name}${extension}`, import.meta.url));

interface Joined {
  readonly kept: readonly Declared[];
  readonly exported: readonly string[];
  /** What it takes from the text that it stands beside. */
  readonly taken: readonly string[];
}

/** What an entry reaches, besides what another text has already. `also` are names to keep besides. */
function join(
  entry: string,
  {
    instead = new Map(),
    beside = [],
    also = [],
  }: {
    readonly instead?: ReadonlyMap<string, string>;
    readonly beside?: readonly Declared[];
    readonly also?: readonly string[];
  } = {},
): Joined {
  const all: Declared[] = [];
  const exported = collect(moduleFile(entry), new Set(), all, instead);
  const owner = new Map<string, Declared>();
  for (const d of all)
    for (const name of d.names) {
      const other = owner.get(name);
      if (other) fault(`${d.from} and ${other.from} both declare ${name}`);
      owner.set(name, d);
    }
  const there = new Set(beside.flatMap((d) => d.names));
  const kept = new Set<Declared>();
  const taken = new Set<string>();
  const keep = (name: string): void => {
    const d = owner.get(name);
    if (!d || kept.has(d)) return;
    if (there.has(name)) {
      taken.add(name);
      return;
    }
    kept.add(d);
    d.uses.forEach(keep);
  };
  exported.forEach(keep);
  also.forEach(keep);
  return { kept: all.filter((d) => kept.has(d)), exported, taken: [...taken].sort() };
}

/** A text, and one that stands beside it. What shares a module with the first is in the first: it may be its state. */
function pair(first: string, second: string, instead?: ReadonlyMap<string, string>) {
  const alone = join(first);
  const files = new Set(alone.kept.map((d) => d.from));
  const needed = join(second, instead ? { instead } : {}).kept.filter((d) => files.has(d.from));
  const base = join(first, { also: needed.flatMap((d) => d.names) });
  return { base, more: join(second, { ...(instead ? { instead } : {}), beside: base.kept }) };
}

/** Names that people see when they print a value stay. */
const shown = ['Tensor', 'Encoded', 'QuernError'];

function textOf(
  role: string,
  { kept, exported, taken }: Joined,
  more: readonly string[],
  from = '',
) {
  const names = [...new Set([...exported, ...more])].sort();
  const lines = [
    ...(taken.length ? [`import { ${taken.join(', ')} } from '${from}';`] : []),
    ...kept.map((d) => d.text),
    `export { ${names.join(', ')} };`,
  ];
  const { code } = minify_sync(lines.join('\n'), {
    module: true,
    ecma: 2020,
    compress: { passes: 2, unsafe_arrows: true },
    mangle: { reserved: shown },
    // Hosts print the line where an error was thrown.
    format: { max_line_len: 200 },
  });
  return `// Part of a package made by quern build: ${role}.\n${code}\n`;
}

const once = <T>(make: () => T): (() => T) => {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
};
/** The scripts of a package for WebAssembly. */
const scripts = once(() => pair('index', 'thread-entry'));
/** Threads where no file lies beside the code. */
const inlineThreads = once(
  () =>
    pair(
      'index',
      'thread-entry',
      new Map([[moduleFile('worker-url'), moduleFile('no-worker-url')]]),
    ).more,
);
/** Modules of which another host has its own, `gpu-memory.ts` for `memory.ts`. */
const on = (host: string, modules: readonly string[]): Joined =>
  join(`${host}-entry`, {
    instead: new Map(modules.map((m) => [moduleFile(m), moduleFile(`${host}-${m}`)])),
  });

const what = 'memory, tensors, calls and loading';
const makers: { readonly [N in CarriedName]: () => string } = {
  runtime: () => textOf(what, scripts().base, scripts().more.taken),
  threads: () => textOf('workers', scripts().more, [], './runtime.js'),
  'inline-threads': () => textOf('workers', inlineThreads(), [], sharedId('runtime')),
  webgpu: () => textOf(`${what} on a GPU`, on('gpu', ['memory', 'load']), []),
  gpujs: () => textOf(`${what} for gpu.js`, on('gpujs', ['memory', 'load']), []),
};

export const makeText = (name: CarriedName): string => makers[name]();
