// What a file exports and which types it declares, read from its syntax before anything is evaluated.
import type ts from 'typescript';
import { namesOf } from './assigned.ts';
import { typescript } from './typescript.ts';

export const isReexport = (st: ts.Statement): st is ts.ExportDeclaration =>
  typescript().isExportDeclaration(st) && st.moduleSpecifier !== undefined;

/** Exported name -> name in the file. */
export function exportsOf(statements: readonly ts.Statement[]): Map<string, string> {
  const api = typescript();
  const out = new Map<string, string>();
  for (const st of statements) {
    const isExported =
      api.canHaveModifiers(st) &&
      api.getModifiers(st)?.some((m) => m.kind === api.SyntaxKind.ExportKeyword);
    if (isExported && api.isFunctionDeclaration(st) && st.name) out.set(st.name.text, st.name.text);
    if (isExported && api.isVariableStatement(st))
      for (const d of st.declarationList.declarations)
        for (const n of namesOf(d.name)) out.set(n, n);
    if (!api.isExportDeclaration(st) || st.moduleSpecifier || st.isTypeOnly) continue;
    if (st.exportClause && api.isNamedExports(st.exportClause))
      for (const e of st.exportClause.elements)
        if (!e.isTypeOnly) out.set(e.name.text, (e.propertyName ?? e.name).text);
  }
  return out;
}

export function typesOf(statements: readonly ts.Statement[]): Set<string> {
  const api = typescript();
  const out = new Set<string>();
  for (const st of statements)
    if (api.isInterfaceDeclaration(st) || api.isTypeAliasDeclaration(st)) out.add(st.name.text);
  return out;
}
