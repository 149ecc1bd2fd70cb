// A kernel file and what it imports, evaluated: the values of its exports.
import type ts from 'typescript';
import { CompileError, type Diagnostic, diagnostic, fail } from '../diagnostics/diagnostic.ts';
import { nearest } from '../diagnostics/near.ts';
import { globals, languageNames, languageValue } from './builtins/index.ts';
import { Context } from './context.ts';
import { Env } from './env.ts';
import type { SourceFiles } from './modules.ts';
import { Stager } from './stager.ts';
import { hoist, runBlock } from './statements.ts';
import { typescript } from './typescript.ts';
import { type Val, is } from './values.ts';

interface Module {
  readonly source: ts.SourceFile;
  readonly env: Env;
  /** Exported name -> name in the file. */
  readonly exports: Map<string, string>;
  /** Exports that come from another module. */
  readonly from: Map<string, { readonly module: Module; readonly name: string }>;
}

export class ProgramFiles {
  readonly stager: Stager;
  readonly #files: SourceFiles;
  readonly #modules = new Map<string, Module>();

  constructor(files: SourceFiles) {
    this.#files = files;
    this.stager = new Stager(new Context(), '');
  }

  get ctx(): Context {
    return this.stager.ctx;
  }

  load(path: string): Module {
    const known = this.#modules.get(path);
    if (known) return known;
    const source = this.#files.parse(path, this.ctx.span);
    const env = new Env();
    const module: Module = { source, env, exports: new Map(), from: new Map() };
    this.#modules.set(path, module);
    for (const [name, v] of globals(this.stager)) env.declare(name, v, false, 0);
    const outer = this.stager.file;
    this.stager.file = path;
    try {
      for (const st of source.statements) this.#guard(st, path, () => this.#import(st, module, path));
      const own = new Env(env);
      const body = source.statements.filter((st) => !this.#isImport(st));
      hoist(this.stager, body, own);
      runBlock(this.stager, body.map((st) => this.#unexported(st)).filter((st) => st !== undefined), own);
      for (const b of own.own()) env.declare(b.name, b.value, false, 0).poisoned = b.poisoned ?? false;
      for (const st of body) this.#exportsOf(st, module);
      for (const [name, local] of module.exports) {
        const v = env.find(local)?.value;
        if (is(v, 'format') && !v.ref) v.ref = { file: path, name };
      }
    } finally {
      this.stager.file = outer;
    }
    return module;
  }

  /** The value of an export, and its declaration if it is a function. */
  export(path: string, name: string): Val {
    return this.#lookup(this.load(path), name, path);
  }

  exportNames(path: string): string[] {
    const m = this.load(path);
    return [...m.exports.keys(), ...m.from.keys()];
  }

  #lookup(m: Module, name: string, path: string): Val {
    const other = m.from.get(name);
    if (other) return this.#lookup(other.module, other.name, path);
    const local = m.exports.get(name);
    if (local === undefined)
      throw new CompileError([diagnostic('Q1004', { file: path, start: 0, end: 0 }, { name, known: [...m.exports.keys(), ...m.from.keys()].join(', ') || 'none' })]);
    this.throwCollected();
    return m.env.get(local);
  }

  /** Everything that went wrong so far, as one error. */
  throwCollected(): void {
    if (this.ctx.diagnostics.length > 0) throw new CompileError(sorted(this.ctx.diagnostics));
  }

  #guard(node: ts.Node, path: string, body: () => void): void {
    try {
      this.ctx.at(node, path, body);
    } catch (e) {
      this.ctx.record(e);
    }
  }

  #isImport(st: ts.Statement): boolean {
    const api = typescript();
    return api.isImportDeclaration(st) || (api.isExportDeclaration(st) && st.moduleSpecifier !== undefined);
  }

  #import(st: ts.Statement, module: Module, path: string): void {
    const api = typescript();
    if (api.isExportDeclaration(st) && st.moduleSpecifier && api.isStringLiteral(st.moduleSpecifier)) {
      if (st.isTypeOnly) return;
      const target = this.#files.resolve(st.moduleSpecifier.text, path);
      if (!target) return;
      const other = this.load(target);
      if (!st.exportClause) for (const n of this.exportNames(target)) module.from.set(n, { module: other, name: n });
      else if (api.isNamedExports(st.exportClause))
        for (const e of st.exportClause.elements.filter((x) => !x.isTypeOnly)) module.from.set(e.name.text, { module: other, name: (e.propertyName ?? e.name).text });
      return;
    }
    if (!api.isImportDeclaration(st) || !api.isStringLiteral(st.moduleSpecifier)) return;
    const clause = st.importClause;
    if (!clause || clause.phaseModifier === api.SyntaxKind.TypeKeyword) return;
    if (clause.name) fail('Q1002', { what: 'A default import', instead: 'Use named imports.' });
    const bindings = clause.namedBindings;
    if (!bindings) return;
    const specifier = st.moduleSpecifier.text;
    const target = this.#files.resolve(specifier, path);
    const value = (name: string, at: ts.Node): Val => {
      if (!target) {
        const v = languageValue(this.stager, name);
        if (v !== undefined) return v;
        const near = nearest(name, languageNames());
        return this.ctx.at(at, path, () => fail('Q1003', { name, ...(near ? { near } : {}) }));
      }
      return this.ctx.at(at, path, () => {
        const m = this.load(target);
        const other = m.from.get(name);
        const local = other ? undefined : m.exports.get(name);
        if (!other && local === undefined) return fail('Q1004', { name, known: this.exportNames(target).join(', ') || 'none' });
        return other ? this.#lookup(other.module, other.name, target) : m.env.get(local!);
      });
    };
    if (api.isNamespaceImport(bindings)) {
      const names = target ? this.exportNames(target) : languageNames();
      const members = new Map(names.map((n): [string, Val] => [n, value(n, bindings)]));
      module.env.declare(bindings.name.text, { tag: 'namespace', name: specifier, members }, false, 0);
      return;
    }
    for (const e of bindings.elements) {
      if (e.isTypeOnly) continue;
      try {
        module.env.declare(e.name.text, value((e.propertyName ?? e.name).text, e), false, 0);
      } catch (error) {
        this.ctx.record(error);
        module.env.declare(e.name.text, undefined, false, 0).poisoned = true;
      }
    }
  }

  /** Statements that have a value to stage; types and re-exports have none. */
  #unexported(st: ts.Statement): ts.Statement | undefined {
    const api = typescript();
    if (api.isExportDeclaration(st) || api.isInterfaceDeclaration(st) || api.isTypeAliasDeclaration(st)) return undefined;
    return st;
  }

  #exportsOf(st: ts.Statement, module: Module): void {
    const api = typescript();
    const exported = api.canHaveModifiers(st) && api.getModifiers(st)?.some((m) => m.kind === api.SyntaxKind.ExportKeyword);
    if (exported && api.isFunctionDeclaration(st) && st.name) module.exports.set(st.name.text, st.name.text);
    if (exported && api.isVariableStatement(st))
      for (const d of st.declarationList.declarations)
        if (api.isIdentifier(d.name)) module.exports.set(d.name.text, d.name.text);
    if (api.isExportDeclaration(st) && !st.moduleSpecifier && st.exportClause && api.isNamedExports(st.exportClause))
      for (const e of st.exportClause.elements.filter((x) => !x.isTypeOnly && !st.isTypeOnly)) module.exports.set(e.name.text, (e.propertyName ?? e.name).text);
  }
}

const sorted = (list: readonly Diagnostic[]): Diagnostic[] =>
  [...list].sort((a, b) => (a.span.file === b.span.file ? a.span.start - b.span.start : a.span.file < b.span.file ? -1 : 1));
