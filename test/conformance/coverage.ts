// Which test file runs which conformance cases on which backend. The files take their cases from here and docs/backends.md is
// made of it, so that the page says what runs.
import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Case } from './case.ts';
import { controlCases } from './control.ts';
import { elementwiseCases } from './elementwise.ts';
import { matmulCases, reductionCases } from './reductions.ts';
import { updateCases } from './updates.ts';
import { viewCases } from './views.ts';

export const cases: readonly Case[] = [
  ...elementwiseCases,
  ...reductionCases,
  ...matmulCases,
  ...viewCases,
  ...controlCases,
  ...updateCases,
];

type Files = { readonly [file: string]: readonly Case[] };

/** Slow targets share the cases among files. */
const shared = (count: number, name: (i: number) => string): Files =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) => [name(i), cases.filter((__, k) => k % count === i)]),
  );

/** By backend and file. */
export const coverage = {
  wasm: { 'conformance/wasm.test.ts': cases },
  WGSL: shared(8, (i) => `conformance/wgsl-${i + 1}.test.ts`),
  'CUDA on the host': {
    'cuda/elementwise.test.ts': elementwiseCases,
    'cuda/reductions.test.ts': [...reductionCases, ...matmulCases, ...viewCases, ...controlCases],
    'cuda/updates.test.ts': updateCases,
  },
  gpujs: shared(2, (i) => `conformance/gpujs-${i + 1}.test.ts`),
} as const satisfies { readonly [backend: string]: Files };

export type Column = keyof typeof coverage;
export const columns = Object.keys(coverage) as Column[];

const folder = fileURLToPath(new URL('../', import.meta.url));
export const isThere = (file: string): boolean => existsSync(folder + file);

/** The cases of a test file, by its `import.meta.url`, and which of its backend's files it is. */
export function casesOf(url: string): {
  readonly cases: readonly Case[];
  readonly part: number;
  readonly parts: number;
} {
  const own = relative(folder, fileURLToPath(url));
  for (const column of columns) {
    const files: Files = coverage[column];
    const part = Object.keys(files).indexOf(own);
    if (part >= 0) return { cases: files[own]!, part, parts: Object.keys(files).length };
  }
  throw new Error(`${own} is not in the table of test/conformance/coverage.ts`);
}
