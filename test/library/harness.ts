// Kernels that use the library, as text: run on the interpreter and as WebAssembly, which must agree to the bit
// unless a rule says otherwise.
import { readFileSync } from 'node:fs';
import type { Artifact } from '../../compiler/artifact.ts';
import { compile, type HostArray, interpret, type SourceHost } from '../../compiler/index.ts';
import * as language from '../../compiler/language/index.ts';
import type { Check } from '../conformance/case.ts';
import { agree } from '../conformance/compare.ts';
import { wasmRunner } from '../conformance/wasm-runner.ts';

const file = '/library/kernel.ts';
export const request = { file, name: 'kernel' };

/** A kernel in memory that imports names of modules of the library; their files are read from the package. */
export function sourceOf(imports: Readonly<Record<string, string>>, kernel: string): string {
  const taken = Object.values(imports).flatMap((names) => names.split(/,\s*/));
  const builtins = Object.keys(language).filter((n) => !taken.includes(n));
  const from = Object.entries(imports).map(([m, names]) => `import { ${names} } from '${m}';`);
  return `import { ${builtins.join(', ')} } from 'quern';\n${from.join('\n')}\n${kernel}\n`;
}
export const hostOf = (text: string): SourceHost => ({
  readFile: (path) => (path === file ? text : readFileSync(path, 'utf8')),
});

/** `body` in a kernel with these parameters over dims M, N and K. */
export const kernelOf = (params: string, body: string): string =>
  `export function kernel<M extends Dim, N extends Dim, K extends Dim>(${params}) {\n${body}\n}`;

/** Results on the interpreter, after WebAssembly has given the same. */
export async function run(
  text: string,
  inputs: readonly HostArray[],
  check: Check = 'exact',
): Promise<readonly HostArray[]> {
  const host = hostOf(text);
  const { artifact } = await compile({ ...request, target: 'wasm' }, host);
  const { results } = await interpret(request, inputs, host);
  const got = await wasmRunner.run(artifact as Artifact, inputs);
  results.forEach((want, i) => {
    agree(`result ${i}`, got[i]!, want, check);
  });
  return results;
}

export const f32s = (values: readonly number[], ...shape: number[]): HostArray => ({
  dtype: 'f32',
  shape: shape.length ? shape : [values.length],
  data: Float32Array.from(values),
});
export const i32s = (values: readonly number[], ...shape: number[]): HostArray => ({
  dtype: 'i32',
  shape: shape.length ? shape : [values.length],
  data: Int32Array.from(values),
});
export const u32 = (value: number): HostArray => ({
  dtype: 'u32',
  shape: [],
  data: Uint32Array.of(value),
});
export const list = (x: HostArray | undefined): number[] => Array.from(x!.data);
