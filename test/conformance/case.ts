// What the conformance suite is made of: kernels as text in the language, the arrays to run them on, and how
// close each result must come to the interpreter. Nothing here knows a backend.
import { readFileSync } from 'node:fs';
import type { Backend } from '../../backends/backend.ts';
import type { Artifact } from '../../compiler/artifact.ts';
import type { CompileRequest, HostArray, SourceHost } from '../../compiler/index.ts';
import * as language from '../../compiler/language/index.ts';

/**
 * Agreement with the interpreter. `exact`: the same value, signs of zeros included, any NaN for a NaN. `ulp`: so
 * many f32 numbers apart. `absolute`: a distance. `scale`: an expression for the sum of the magnitudes of the
 * terms that were added up; the error is at most `terms` roundings of it, whatever the order of the sum.
 */
export type Check =
  | 'exact'
  | { readonly ulp: number }
  | { readonly absolute: number }
  | { readonly scale: string; readonly terms: number };

export interface Case {
  /** A sentence's end: `elementwise: unary functions of f32`. */
  readonly name: string;
  /** Parameters of the kernel, as written. */
  readonly params: string;
  /** Type parameters, as written between the brackets; all plain dims are declared by default. */
  readonly generics?: string;
  /** Declarations before the kernel. */
  readonly prelude?: string;
  /** Statements before the return. */
  readonly body?: string;
  readonly results: {
    readonly [name: string]: string | readonly [expression: string, check: Check];
  };
  /** Each entry is a call. */
  readonly calls: readonly (readonly HostArray[])[];
}

/** What a backend's tests bring: a way to run an artifact on logical arrays. */
export interface Runner {
  readonly name: string;
  readonly target: CompileRequest['target'];
  readonly backend: Backend;
  /** What the device offers beyond the target's defaults. */
  readonly limits?: CompileRequest['limits'];
  /**
   * The target may take subnormal f32 numbers for 0. Then no case has any among its inputs, and where the interpreter has
   * one a 0 will do.
   */
  readonly flushes?: true;
  /** Inputs that the target can hold. */
  readonly adapt?: (x: HostArray) => HostArray;
  /** `inputs`: one a parameter, fields of encoded ones apart. Gives the results in the same way. */
  run(artifact: Artifact, inputs: readonly HostArray[]): Promise<readonly HostArray[]>;
}

const file = '/conformance/kernel.ts';
const imports = `import { ${Object.keys(language).join(', ')} } from 'quern';`;
const dims = ['M', 'N', 'K', 'B', 'C', 'R'];

/** The kernel's text; `bounds` is a second kernel with the scales of the results that have one. */
export function sourceOf(c: Case): string {
  const generics = c.generics ?? dims.map((d) => `${d} extends Dim`).join(', ');
  const entries = Object.entries(c.results);
  const kernel = (name: string, results: readonly string[]): string =>
    `export function ${name}<${generics}>(${c.params}) {\n${c.body ?? ''}\n  return { ${results.join(', ')} };\n}\n`;
  const scales = entries.flatMap(([name, r]) =>
    typeof r !== 'string' && typeof r[1] === 'object' && 'scale' in r[1]
      ? [`${name}: ${r[1].scale}`]
      : [],
  );
  const values = entries.map(([name, r]) => `${name}: ${typeof r === 'string' ? r : r[0]}`);
  return [
    imports,
    c.prelude ?? '',
    kernel('kernel', values),
    scales.length ? kernel('bounds', scales) : '',
  ].join('\n');
}

export const checkOf = (r: Case['results'][string]): Check =>
  typeof r === 'string' ? 'exact' : r[1];

export const requestOf = (name: 'kernel' | 'bounds'): { file: string; name: string } => ({
  file,
  name,
});

export const hostOf = (text: string): SourceHost => ({
  readFile: (path) => {
    // Other files are those of the library.
    return path === file ? text : readFileSync(path, 'utf8');
  },
});
