// The loader hooks behind register.ts.
import { fileURLToPath } from 'node:url';
import { carried, sharedModules } from './carried.ts';
import { compileModule, failureOf, kernelFile } from './compile-module.ts';
import { asComment } from './source-map.ts';
import { extraVariants } from './targets.ts';

/** Of the URLs of what kernel files share. */
const scheme = 'quern:';

interface Resolved {
  readonly url: string;
  readonly format?: string;
  readonly shortCircuit?: boolean;
}
interface LoadedSource {
  readonly format: string;
  readonly source: string | Uint8Array;
  readonly shortCircuit?: boolean;
}

export async function resolve<C>(
  specifier: string,
  context: C,
  next: (specifier: string, context: C) => Promise<Resolved>,
): Promise<Resolved> {
  if (Object.hasOwn(sharedModules, specifier))
    return { url: `${scheme}${specifier}`, format: 'module', shortCircuit: true };
  return next(specifier, context);
}

export async function load<C>(
  url: string,
  context: C,
  next: (url: string, context: C) => Promise<LoadedSource>,
): Promise<LoadedSource> {
  const shared = url.startsWith(scheme) && sharedModules[url.slice(scheme.length)];
  if (shared) return { format: 'module', source: await carried(shared), shortCircuit: true };
  if (!url.startsWith('file:') || !kernelFile.test(url.replace(/[?#].*$/, '')))
    return next(url, context);
  try {
    const { code, map } = await compileModule(fileURLToPath(url), { variants: extraVariants });
    return { format: 'module', source: code + asComment(map), shortCircuit: true };
  } catch (error) {
    const { message, frame } = failureOf(error);
    throw new Error(frame ?? message);
  }
}
