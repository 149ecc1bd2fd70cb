// Problems of a build that are not in the kernel file: one row a code, Q70, as in the runtime's table. Q7001 was that of targets
// that were not built yet.
import type { Explanation } from '../runtime/errors.ts';

export const buildCodes = {
  Q7002: (f: { target: string; known: string }): Explanation => ({
    message: `There is no target ${f.target}`,
    expected: f.known,
    hint: 'Check the spelling; targets are separated by commas.',
  }),
  Q7003: (f: { name: string; known: string }): Explanation => ({
    message: `No kernel or format ${f.name}`,
    expected: f.known,
    hint: 'Only exported kernels and formats can be built.',
  }),
  Q7004: (f: { name: string; why: string }): Explanation => ({
    message: `${JSON.stringify(f.name)} cannot be the name of an export: ${f.why}`,
    hint: 'Choose another one with --export NAME=KERNEL.',
  }),
  Q7005: (f: { file: string; left: string }): Explanation => ({
    message: `Nothing of ${f.file} can be built as it is`,
    found: f.left,
    hint: "Say what to build: --export linear='linear<q4_0>' or --export norm='rmsnorm(1e-5)'.",
  }),
  Q7006: (f: { dir: string }): Explanation => ({
    message: `${f.dir} exists and is no package made by quern build, so it is not overwritten`,
    hint: 'Choose another folder with -o, or remove this one yourself.',
  }),
  Q7007: (f: { kernel: string; dim: string }): Explanation => ({
    message: `${f.kernel}: the size of ${f.dim} does not follow from the shapes of the arguments`,
    hint: `Give some parameter an axis that is ${f.dim} alone.`,
  }),
  Q7008: (f: { kernel: string; found: string; expected: string }): Explanation => ({
    message: `${f.kernel} needs what --export did not say`,
    found: f.found,
    expected: f.expected,
    hint: "Formats go in <>, constants in (): --export y='linear<q4_0>', --export y='rmsnorm(1e-5)'.",
  }),
} as const;

export type BuildCode = keyof typeof buildCodes;
type Facts<C extends BuildCode> = Parameters<(typeof buildCodes)[C]>[0];

export class BuildError extends Error {
  override readonly name = 'BuildError';
  readonly code: BuildCode;
  readonly explanation: Explanation;

  constructor(code: BuildCode, explanation: Explanation) {
    super(`${code}: ${explanation.message}`);
    this.code = code;
    this.explanation = explanation;
  }
}

export function refuse<C extends BuildCode>(code: C, facts: Facts<C>): never {
  const explain = buildCodes[code] as (f: Facts<C>) => Explanation;
  throw new BuildError(code, explain(facts));
}
