// Imports of kernel files in a bundler: `import { linear } from './q4.kernel.ts'` gives the compiled kernel, with the
// code inside of the module, so that no bundler needs to know of .wasm. `quern.vite()`, `.rollup()`, `.rolldown()`,
// `.webpack()`, `.rspack()`, `.esbuild()`.
import { createUnplugin, type UnpluginInstance } from 'unplugin';
import { carried, sharedModules } from './carried.ts';
import { compileModule, kernelFile, type ModuleOptions, problemOf } from './compile-module.ts';

export type { ExportOption, ModuleOptions } from './compile-module.ts';
export type { Compiled } from './compiled.ts';

const pathOf = (id: string): string => id.replace(/\?.*$/s, '');

/** Files behind each kernel file, for the transform hook. */
const behind = new Map<string, readonly string[]>();

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
        const { code, files } = await compileModule(file, options);
        behind.set(
          id,
          files.filter((f) => f !== file),
        );
        for (const f of behind.get(id)!) this.addWatchFile(f);
        return { code, map: null };
      } catch (error) {
        const { message, frame, line, column, file: where } = problemOf(error);
        this.error({
          name: 'CompileError',
          message: frame === undefined ? message : `${message}\n\n${frame}`,
          id: where ?? file,
          ...(line === undefined ? {} : { loc: { file: where!, line, column: column! } }),
        });
        // Rollup and Vite have thrown; esbuild and webpack want a result beside the error.
        return { code: '', map: null };
      }
    },
    // Vite forgets what the first load of a module asked to watch; here it listens.
    transformInclude: (id: string) => behind.has(id),
    transform(_code: string, id: string) {
      for (const f of behind.get(id)!) this.addWatchFile(f);
      return null;
    },
  }),
);

export default quern;
