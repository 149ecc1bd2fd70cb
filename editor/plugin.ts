// Quern's diagnostics in editors: a plugin of TypeScript's language server that stages the kernel files that are
// open, from what is typed rather than from what is saved, and reports the problems at their places.
import type ts from 'typescript';
import { problemsOf } from '../compiler/check.ts';
import type { Diagnostic } from '../compiler/diagnostics/diagnostic.ts';
import { languageNames, languageTypes } from '../compiler/frontend/builtins/index.ts';
import { nodeHost } from '../compiler/frontend/modules.ts';

type Api = typeof ts;

const known = new Set([...languageNames(), ...languageTypes]);

/**
 * Whether a file is written in the language: its name says so, or it exports something and all that it imports
 * are names of the language and other files that may be kernel files. Programs import more than that.
 */
export function isKernelFile(api: Api, source: ts.SourceFile): boolean {
  if (source.isDeclarationFile) return false;
  if (/\.kernel\.ts$/.test(source.fileName)) return true;
  const imports = source.statements.filter(api.isImportDeclaration);
  let ofLanguage = false;
  for (const { moduleSpecifier, importClause } of imports) {
    if (!api.isStringLiteral(moduleSpecifier)) return false;
    const from = moduleSpecifier.text;
    if (from !== 'quern') {
      if (!/^(\.\.?|quern)\//.test(from) || !importClause) return false;
      continue;
    }
    const bindings = importClause?.namedBindings;
    if (!bindings || importClause.name) return false;
    if (api.isNamedImports(bindings))
      for (const e of bindings.elements)
        if (!known.has((e.propertyName ?? e.name).text)) return false;
    ofLanguage = true;
  }
  return ofLanguage;
}

/** The text of one, without its place: what is wrong, and what to do. */
const textOf = (d: Diagnostic): string =>
  [
    d.message,
    ...(d.found ? [`found: ${d.found}`] : []),
    ...(d.expected ? [`expected: ${d.expected}`] : []),
    ...(d.hint ? [`hint: ${d.hint}`] : []),
  ].join('\n');

/** The problems of a file that a server shows, if it is a kernel file; those of its imports are shown there. */
export function diagnosticsOf(
  api: Api,
  info: ts.server.PluginCreateInfo,
  file: string,
): ts.Diagnostic[] {
  const program = info.languageService.getProgram();
  const source = program?.getSourceFile(file);
  if (!program || !source || !isKernelFile(api, source)) return [];
  const host = {
    readFile(path: string): string {
      const snapshot = info.languageServiceHost.getScriptSnapshot(path);
      return snapshot ? snapshot.getText(0, snapshot.getLength()) : nodeHost.readFile(path);
    },
  };
  const lengthOf = (span: { readonly start: number; readonly end: number }): number =>
    Math.max(1, span.end - span.start);
  return problemsOf(file, host).flatMap((d): ts.Diagnostic[] => {
    if (d.span.file !== file) return [];
    const related = (d.related ?? []).flatMap((r): ts.DiagnosticRelatedInformation[] => {
      const at = program.getSourceFile(r.span.file);
      return at
        ? [
            {
              category: api.DiagnosticCategory.Message,
              code: 0,
              file: at,
              start: r.span.start,
              length: lengthOf(r.span),
              messageText: r.message,
            },
          ]
        : [];
    });
    return [
      {
        category: api.DiagnosticCategory.Error,
        source: 'quern',
        code: Number(d.code.slice(1)),
        file: source,
        start: d.span.start,
        length: lengthOf(d.span),
        messageText: textOf(d),
        ...(related.length ? { relatedInformation: related } : {}),
      },
    ];
  });
}
