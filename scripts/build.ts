// npm run build: the sources to JavaScript and declarations in dist/, which is all that is published besides
// the launcher. The library's kernels go along as sources too, since the compiler reads them, not their output.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeText } from '../aot/bundle.ts';
import { carriedNames } from '../aot/carried.ts';

const repo = fileURLToPath(new URL('..', import.meta.url));
const dist = join(repo, 'dist');
const started = performance.now();

rmSync(dist, { recursive: true, force: true });
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript')), 'tsc.js');
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
  cwd: repo,
  stdio: 'inherit',
});
if (status !== 0) {
  rmSync(dist, { recursive: true, force: true });
  console.error('build: tsc failed, so dist/ was removed');
  process.exit(1);
}

// Everything that is no TypeScript (pages, tables) keeps its place; of ops/ the kernels themselves too.
for (const folder of ['compiler', 'backends', 'runtime', 'ops', 'cli']) {
  if (!existsSync(join(repo, folder))) continue;
  cpSync(join(repo, folder), join(dist, folder), {
    recursive: true,
    filter: (path) => folder === 'ops' || !/\.[cm]?[jt]s$/.test(path),
  });
}
// The charts of reports: the script of a development dependency, put into the page when one is written.
const charts = dirname(createRequire(import.meta.url).resolve('uplot'));
for (const name of ['uPlot.iife.min.js', 'uPlot.min.css'])
  copyFileSync(join(charts, name), join(dist, 'cli', 'report', name));
copyFileSync(join(charts, '..', 'LICENSE'), join(dist, 'cli', 'report', 'uPlot.LICENSE'));
copyFileSync(join(repo, 'LICENSE'), join(dist, 'LICENSE'));
// What packages of `quern build` carry is made here, so that whoever installs Quern needs no minifier.
mkdirSync(join(dist, 'aot/carried'));
for (const name of carriedNames)
  writeFileSync(join(dist, 'aot/carried', `${name}.js`), makeText(name));
for (const source of ['bundle.js', 'module'])
  rmSync(join(dist, 'aot', source), { recursive: true });

// dist/ is a package scope of its own, so `quern` inside of it must lead to itself.
const { name, version, description, license, type, engines } = JSON.parse(
  readFileSync(join(repo, 'package.json'), 'utf8'),
) as { readonly [key: string]: unknown };
const library = {
  formats: 'formats/index',
  arrays: 'arrays',
  linalg: 'linalg/index',
  nn: 'nn',
  random: 'random',
  sparse: 'sparse/index',
  statistics: 'statistics',
  systems: 'systems/index',
  transforms: 'transforms',
};
const exports = {
  '.': { types: './types/index.d.ts', default: './index.js' },
  ...Object.fromEntries(
    Object.entries(library).map(([name, file]) => [
      `./${name}`,
      { types: `./types/ops/${file}.d.ts`, default: `./ops/${file}.js` },
    ]),
  ),
};
const inner = { name, version, description, license, type, engines, exports };
writeFileSync(join(dist, 'package.json'), `${JSON.stringify(inner, null, 2)}\n`);

console.log(`built dist/ in ${((performance.now() - started) / 1000).toFixed(1)} s`);
