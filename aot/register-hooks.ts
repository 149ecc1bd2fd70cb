// The loader hooks behind register.ts.
import { fileURLToPath } from 'node:url';
import { runtimeSource } from './bundle.ts';
import { compileModule, kernelFile, problemOf, runtimeId } from './compile-module.ts';

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
  if (specifier === runtimeId) return { url: runtimeId, format: 'module', shortCircuit: true };
  return next(specifier, context);
}

export async function load<C>(
  url: string,
  context: C,
  next: (url: string, context: C) => Promise<LoadedSource>,
): Promise<LoadedSource> {
  if (url === runtimeId) return { format: 'module', source: runtimeSource(), shortCircuit: true };
  if (!url.startsWith('file:') || !kernelFile.test(url.replace(/[?#].*$/, '')))
    return next(url, context);
  try {
    const { code } = await compileModule(fileURLToPath(url));
    return { format: 'module', source: code, shortCircuit: true };
  } catch (error) {
    const { message, frame } = problemOf(error);
    throw new Error(frame ?? message);
  }
}
