// The editor experience: stock TypeScript over the files of cases/, with 'quern' mapped to the declarations.
// Accepted code must be clean; each mistake in rejected.ts sits under a @ts-expect-error, and an unused
// directive is itself a diagnostic.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type TS from 'typescript';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const ts = createRequire(import.meta.url)('typescript') as typeof TS;
const cases = fileURLToPath(new URL('./cases/', import.meta.url)).replaceAll('\\', '/');
const language = fileURLToPath(new URL('../../compiler/language/index.ts', import.meta.url));
const options: TS.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  lib: ['lib.es2023.d.ts'],
  types: [],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  strict: true,
  verbatimModuleSyntax: true,
  allowImportingTsExtensions: true,
  noEmit: true,
  skipLibCheck: true,
  paths: { quern: [language.replaceAll('\\', '/')] },
};

// Parsed files are kept: the standard library costs more than everything else together.
const parsed = new Map<string, TS.SourceFile | undefined>();

/** What tsc says of the given files, which need not exist on disk. */
function check(files: ReadonlyMap<string, string>): string[] {
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists, getSourceFile } = host;
  host.readFile = (name) => files.get(name) ?? readFile(name);
  host.fileExists = (name) => files.has(name) || fileExists(name);
  host.getSourceFile = (name, target) => {
    const text = files.get(name);
    if (text !== undefined) return ts.createSourceFile(name, text, target);
    if (!parsed.has(name)) parsed.set(name, getSourceFile(name, target));
    return parsed.get(name);
  };
  const program = ts.createProgram([...files.keys()], options, host);
  return ts.getPreEmitDiagnostics(program).map((d) => {
    const line = d.file?.getLineAndCharacterOfPosition(d.start ?? 0).line ?? -1;
    const name = d.file?.fileName.split('/').at(-1);
    return `${name}:${line + 1} TS${d.code} ${ts.flattenDiagnosticMessageText(d.messageText, '\n')}`;
  });
}
const one = (text: string): string[] => check(new Map([[`${cases}inline.ts`, text]]));

const test = suite('types');

test('tsc accepts the accepted and flags the rejected, exactly', () => {
  const files = new Map<string, string>();
  for (const name of readdirSync(cases))
    files.set(cases + name, readFileSync(cases + name, 'utf8'));
  assert.ok(files.size >= 3);
  assert.is(check(files).join('\n'), '');
});

test('a directive over correct code is reported, so rejected.ts cannot rot', () => {
  const found = one(
    "import { abs } from 'quern';\n// @ts-expect-error\nexport const y = abs(-1);\n",
  );
  assert.is(found.join('\n'), "inline.ts:2 TS2578 Unused '@ts-expect-error' directive.");
});

test('a mismatch of dims names both', () => {
  const [found] = one(`
    import { matmul } from 'quern';
    import type { Tensor, f32 } from 'quern';
    export const f = (a: Tensor<f32, [2, 4]>, b: Tensor<f32, [8, 2]>) => matmul(a, b);`);
  assert.match(found, /TS2769/);
  assert.match(found, /Type '8' is not assignable to type '4'/);
});

test('a mismatch of dtypes names both', () => {
  const [found] = one(`
    import type { Tensor, f16, f32 } from 'quern';
    export const f = (a: Tensor<f32, [4]>): Tensor<f16, [4]> => a;`);
  assert.match(found, /Type '"f32"' is not assignable to type '"f16"'/);
});

test.run();
