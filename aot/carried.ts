// The JavaScript that is the same in every package: what runs kernels. Quern as it is published has these texts as files, made
// when it was built; in a checkout they are made from the sources of module/ when they are first wanted.
import { existsSync, readFileSync } from 'node:fs';

export const carriedNames = ['runtime', 'threads', 'inline-threads', 'webgpu', 'gpujs'] as const;
export type CarriedName = (typeof carriedNames)[number];

const texts = new Map<CarriedName, Promise<string>>();

/** The text of a file that packages carry. */
export function carried(name: CarriedName): Promise<string> {
  let text = texts.get(name);
  if (!text) {
    text = find(name);
    texts.set(name, text);
  }
  return text;
}

async function find(name: CarriedName): Promise<string> {
  const built = new URL(`./carried/${name}.js`, import.meta.url);
  if (existsSync(built)) return readFileSync(built, 'utf8');
  return (await import('./bundle.ts')).makeText(name);
}

/** The text of worker.js. */
export const workerSource = `// Part of a package made by quern build: what a worker of a page runs.
import { workerMain } from './threads.js';

workerMain();
`;

/** Those that kernels import from. */
export type RuntimeName = Exclude<CarriedName, 'threads' | 'inline-threads'>;

/** Names that no package has and no bundler takes for a URL: webpack refuses `virtual:`. */
export const sharedId = (name: CarriedName): string => `~quern/${name}`;
/** What compiled kernel files import, by the names that plugins and loaders resolve. */
export const sharedModules: { readonly [id: string]: CarriedName | undefined } = Object.fromEntries(
  carriedNames.map((name) => [sharedId(name), name]),
);
