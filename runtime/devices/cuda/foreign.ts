// koffi, the package that calls C libraries: an optional peer, fetched when a CUDA device is opened and never before.
import { raise, reasonOf } from '../../errors.ts';
import { nodeModule } from '../../platform.ts';

/** What is used of koffi. */
export interface Foreign {
  load(path: string): Library;
  view(address: bigint, bytes: number): ArrayBuffer;
}
export interface Library {
  func(definition: string): ForeignFunction;
  func(name: string, result: string, parameters: string[]): ForeignFunction;
}
// biome-ignore lint/suspicious/noExplicitAny: C decides what it takes; the tables of signatures say what that is.
export type ForeignFunction = ((...args: any[]) => any) & {
  // biome-ignore lint/suspicious/noExplicitAny: the same call on another thread, with a callback at the end.
  readonly async: (...args: any[]) => void;
};

/** The package, or an error that says how to get it. */
export function foreign(): Foreign {
  const modules = nodeModule('node:module');
  if (!modules) return raise('Q5106', { kind: 'cuda', detail: 'it needs Node' });
  try {
    return modules.createRequire(import.meta.url)('koffi') as Foreign;
  } catch (e) {
    const detail = `it calls the driver through the package koffi, which is not installed (npm install koffi@3.3.4): ${reasonOf(e)}`;
    return raise('Q5106', { kind: 'cuda', detail }, e);
  }
}
