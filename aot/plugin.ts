// Imports of kernel files in a bundler: `import { linear } from './q4.kernel.ts'` gives the compiled kernel, with the
// code inside of the module, so that no bundler needs to know of .wasm. `quern.vite()`, `.rollup()`, `.rolldown()`,
// `.webpack()`, `.rspack()`, `.esbuild()`. Each bundler is told of errors in the form that its own reports want.
import { dirname } from 'node:path';
import { createUnplugin, type UnpluginInstance, type UnpluginMessage } from 'unplugin';
import { carried, sharedModules } from './carried.ts';
import {
  compileModule,
  type Failure,
  failureOf,
  kernelFile,
  type ModuleOptions,
} from './compile-module.ts';
import { asComment } from './source-map.ts';

export type { ExportOption, ModuleOptions } from './compile-module.ts';
export type { Compiled } from './compiled.ts';

const pathOf = (id: string): string => id.replace(/\?.*$/s, '');

/** Files behind each kernel file, for the transform hook. */
const behind = new Map<string, readonly string[]>();

/** What of webpack and rspack is needed to report an error with its place. */
interface Loading {
  readonly framework?: string;
  readonly loaderContext?: { readonly _module?: { addError?(e: Error): void } };
  readonly compiler?: {
    readonly webpack?: { readonly WebpackError?: new (text: string) => Error };
  };
}
interface Context {
  error(error: UnpluginMessage): void;
  getNativeBuildContext?(): Loading | null;
  /** Of Vite: its server has the mode dev. */
  readonly environment?: { readonly mode?: string };
}

/** webpack and rspack: an error a diagnostic, with its place. False where they cannot be reached. */
function reported(loading: Loading | null | undefined, { problems, frame }: Failure): boolean {
  const module = loading?.loaderContext?._module;
  const WebpackError = loading?.compiler?.webpack?.WebpackError;
  if (!module?.addError || !WebpackError) return false;
  problems.forEach(({ text, place }, i) => {
    // All frames are in one text: the first error has it.
    const made = new WebpackError(i === 0 && frame ? `${text}\n\n${frame}` : text);
    const at = place && { line: place.line, column: place.column };
    const loc = at && { start: at, end: { ...at, column: at.column + place.length } };
    module.addError!(Object.assign(made, { name: 'CompileError', hideStack: true, module, loc }));
  });
  return true;
}

/** Code in place of a kernel file that does not compile: it has any export, so that no other error hides the first. */
const broken = (message: string): string =>
  `module.exports = {};\nthrow new Error(${JSON.stringify(message)});\n`;

/** Tells a bundler; gives what stands in place of the module where it wants something. */
function fail(context: Context, file: string, failure: Failure): { code: string; map: null } {
  const { message, frame, problems } = failure;
  if (reported(context.getNativeBuildContext?.(), failure))
    return { code: broken(message), map: null };
  const place = problems[0]?.place;
  // The overlay of Vite shows a frame by itself; the reports of builds show the message alone.
  const whole = frame === undefined || context.environment?.mode === 'dev';
  const error = {
    name: 'CompileError',
    message: whole ? message : `${message}\n\n${frame}`,
    stack: '',
    id: place?.file ?? file,
    ...(frame === undefined ? {} : { frame }),
    ...(place ? { loc: { file: place.file, line: place.line, column: place.column } } : {}),
  };
  context.error(error);
  return { code: broken(message), map: null };
}

const quern: UnpluginInstance<ModuleOptions | undefined, false> = createUnplugin(
  (options: ModuleOptions | undefined) => ({
    name: 'quern',
    enforce: 'pre',
    resolveId: (id: string) => (Object.hasOwn(sharedModules, id) ? id : null),
    loadInclude: (id: string) => Object.hasOwn(sharedModules, id) || kernelFile.test(pathOf(id)),
    async load(id: string) {
      const shared = sharedModules[id];
      if (shared) return { code: await carried(shared), map: null };
      const file = pathOf(id);
      try {
        const { code, map, files } = await compileModule(file, options);
        behind.set(
          id,
          files.filter((f) => f !== file),
        );
        for (const f of behind.get(id)!) this.addWatchFile(f);
        return { code, map: { ...map, file } };
      } catch (error) {
        return fail(this, file, failureOf(error));
      }
    },
    // Vite forgets what the first load of a module asked to watch; here it listens.
    transformInclude: (id: string) => behind.has(id),
    transform(_code: string, id: string) {
      for (const f of behind.get(id)!) this.addWatchFile(f);
      return null;
    },
    esbuild: {
      // esbuild wants the lines of errors with them.
      setup(build) {
        build.onLoad({ filter: kernelFile, namespace: 'file' }, async ({ path }) => {
          try {
            const { code, map, files } = await compileModule(path, options);
            const contents = code + asComment(map);
            return { contents, loader: 'js', resolveDir: dirname(path), watchFiles: [...files] };
          } catch (error) {
            const { problems } = failureOf(error);
            return {
              errors: problems.map(({ text, notes, place }) => ({
                text,
                location: place ?? { file: path },
                notes: notes.map((n) => ({ text: n })),
              })),
              watchFiles: [path, ...problems.flatMap((p) => (p.place ? [p.place.file] : []))],
            };
          }
        });
      },
    },
  }),
);

export default quern;
