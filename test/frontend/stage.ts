// Compiles kernel sources held in memory and runs them on the interpreter.
import { dirname, resolve } from 'node:path';
import type { FormatRef, Json, Manifest } from '../../compiler/artifact.ts';
import { type Diagnostic, CompileError } from '../../compiler/diagnostics/diagnostic.ts';
import { type HostArray, type SourceHost, interpret, signature } from '../../compiler/index.ts';
import { type DType, dtypes, isFloat } from '../../compiler/ir/dtype.ts';

export const file = '/kernels/kernel.ts';

/** Other files are named as the kernel imports them: './helpers.ts'. */
export type Files = Readonly<Record<string, string>>;

export interface Options {
  readonly name?: string;
  readonly files?: Files;
  readonly formats?: readonly FormatRef[];
  readonly statics?: readonly (Json | undefined)[];
}

export function hostOf(source: string, files: Files = {}): SourceHost {
  const texts = new Map([[file, source]]);
  for (const [name, text] of Object.entries(files)) texts.set(resolve(dirname(file), name), text);
  return {
    readFile(path) {
      const text = texts.get(path);
      if (text === undefined) throw Object.assign(new Error(path), { code: 'ENOENT' });
      return text;
    },
  };
}

const requestOf = ({ name = 'f', formats, statics }: Options) => ({
  file,
  name,
  ...(formats ? { formats } : {}),
  ...(statics ? { statics } : {}),
});

/** A vector unless a shape is given. */
export function t(
  values: readonly number[],
  shape: readonly number[] = [values.length],
  dtype: DType = 'f32',
): HostArray {
  const { kind } = dtypes[dtype];
  const data = isFloat(dtype)
    ? Float32Array.from(values)
    : kind === 'bool'
      ? Uint8Array.from(values)
      : kind === 'uint'
        ? Uint32Array.from(values)
        : Int32Array.from(values);
  return { dtype, shape, data };
}

export const scalar = (value: number, dtype: DType = 'f32'): HostArray => t([value], [], dtype);

export async function run(
  source: string,
  inputs: readonly HostArray[],
  options: Options = {},
): Promise<{ manifest: Manifest; results: readonly HostArray[] }> {
  return interpret(requestOf(options), inputs, hostOf(source, options.files));
}

/** The values of the only result. */
export async function values(
  source: string,
  inputs: readonly HostArray[],
  options: Options = {},
): Promise<number[]> {
  const { results } = await run(source, inputs, options);
  return Array.from(results[0]!.data);
}

/** Statements of a kernel over `x: Tensor<f32, [4]>`, run on [1, 2, 3, 4]. */
export const body = (code: string, options: Options = {}): Promise<number[]> =>
  values(kernel(code), [t([1, 2, 3, 4])], options);

const names =
  'abs, all, amax, amin, any, argmax, argmin, at, bitcast, bool, broadcastTo, clamp, concat, decode, dim, encode, f16, f32, ' +
  'fields, floor, format, full, gather, group, i32, i8, iota, map, matmul, max, mean, min, pad, pow, range, reshape, ' +
  'round, shape, slice, sqrt, stack, sum, tensor, transpose, u32, u4, u8, zeros';

export const kernel = (code: string, before = ''): string =>
  `import { ${names} } from 'quern';\n${before}\nexport function f(x: Tensor<f32, [4]>) {\n${code}\n}\n`;

export const manifest = (source: string, options: Options = {}): Manifest =>
  signature(requestOf(options), hostOf(source, options.files));

/** What is wrong with a kernel; empty if nothing is. */
export function problems(source: string, options: Options = {}): readonly Diagnostic[] {
  try {
    manifest(source, options);
    return [];
  } catch (e) {
    if (e instanceof CompileError) return e.diagnostics;
    throw e;
  }
}

export const codesOf = (source: string, options: Options = {}): string[] =>
  problems(source, options).map((d) => d.code);

/** The source text that a diagnostic points at. */
export const pointed = (source: string, d: Diagnostic): string =>
  source.slice(d.span.start, d.span.end);
