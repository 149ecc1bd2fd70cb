// Packs Quern as npm would and installs the tarball into an empty project, without a registry.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { temporary } from '../aot/package.ts';
import { repo } from '../house/imports.ts';

/** The repository's node_modules. */
export const modules = dirname(
  dirname(dirname(createRequire(import.meta.url).resolve('typescript'))),
);

/** Runs a command that must succeed. */
export function sh(cwd: string, command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  assert.is(status, 0, `${command} ${args.join(' ')}: ${error?.message ?? stdout + stderr}`);
  return stdout;
}

export interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

/** Packs a copy, so that no dist/ appears in the checkout while other tests read it. */
export function packed(): { tarball: string; info: Packed } {
  const copy = temporary();
  const sources = ['compiler', 'backends', 'runtime', 'aot', 'ops', 'cli', 'editor', 'scripts'];
  const single = [
    'index.ts',
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'LICENSE',
    'README.md',
  ];
  for (const path of [...sources, ...single])
    cpSync(join(repo, path), join(copy, path), { recursive: true });
  symlinkSync(modules, join(copy, 'node_modules'));
  const text = sh(copy, 'npm', 'pack', '--json', '--offline', '--foreground-scripts=false');
  const [info] = JSON.parse(text.slice(text.indexOf('[\n'))) as [Packed];
  return { tarball: join(copy, info!.filename), info: info! };
}

/** What `npm install quern.tgz` leaves, without a registry. */
export function install(tarball: string): string {
  const project = temporary();
  const home = join(project, 'node_modules/quern');
  mkdirSync(home, { recursive: true });
  sh(home, 'tar', 'xzf', tarball, '--strip-components=1');
  const { dependencies } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as {
    dependencies: { [name: string]: string };
  };
  for (const name of Object.keys(dependencies)) {
    const at = join(project, 'node_modules', name);
    mkdirSync(dirname(at), { recursive: true });
    symlinkSync(join(modules, name), at);
  }
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
  return project;
}
