// What an editor's TypeScript server loads as the plugin `quern/editor`: in a checkout the sources, as a package
// what was built. Servers load plugins as CommonJS, at once; the compiler follows, and files are checked again then.
'use strict';
const { existsSync } = require('node:fs');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');

const hooks = join(__dirname, '../scripts/typescript.js');
const isCheckout = existsSync(hooks);
const plugin = join(__dirname, isCheckout ? 'plugin.ts' : '../dist/editor/plugin.js');

async function load() {
  if (isCheckout) await import(pathToFileURL(hooks).href);
  return import(pathToFileURL(plugin).href);
}

module.exports = ({ typescript }) => ({
  create(info) {
    const { languageService, project } = info;
    const log = (text) => project.projectService.logger.info(`quern: ${text}`);
    let diagnose = () => [];
    load().then(
      (made) => {
        diagnose = (file) => made.diagnosticsOf(typescript, info, file);
        project.refreshDiagnostics();
      },
      (e) => log(`the compiler does not load: ${e?.stack ?? e}`),
    );
    return {
      ...languageService,
      getSemanticDiagnostics(file) {
        const own = languageService.getSemanticDiagnostics(file);
        try {
          return [...own, ...diagnose(file)];
        } catch (e) {
          log(e?.stack ?? String(e));
          return own;
        }
      },
    };
  },
});
