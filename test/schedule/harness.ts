// Compiles kernels for tests of fusion and schedules: what became of them, as counts and sizes.
import { type CompileRequest, type SourceHost, compile } from '../../compiler/index.ts';
import type { FormatRef, Json, Manifest } from '../../compiler/artifact.ts';
import * as language from '../../compiler/language/index.ts';
import { evaluatePoly } from '../../runtime/poly.ts';

export interface Compiled {
  readonly manifest: Manifest;
  readonly artifact: Awaited<ReturnType<typeof compile>>['artifact'];
  /** Text of a stage, `fuse` and `schedule` among them. */
  readonly stage: (name: string) => string;
}

export async function compiled(
  request: Omit<CompileRequest, 'target' | 'trace'>,
  host?: SourceHost,
): Promise<Compiled> {
  const { artifact, stages } = await compile({ ...request, target: 'wasm', trace: true }, host);
  return {
    manifest: artifact.manifest,
    artifact,
    stage: (name) => stages.find((s) => s.name === name)!.text,
  };
}

export const hostOf = (text: string): SourceHost => ({
  readFile: () => `import { ${Object.keys(language).join(', ')} } from 'quern';\n${text}`,
});

/** A kernel given as text. */
export const compiledText = (text: string, name = 'kernel'): Promise<Compiled> =>
  compiled({ file: '/fusion/kernel.ts', name }, hostOf(text));

export const shipped = (name: string, ...args: Json[]): FormatRef => ({
  file: 'quern/formats',
  name,
  ...(args.length ? { args } : {}),
});

/** Bytes of the buffers that hold neither parameters nor results nor tables, by name. */
export function temporaries(
  { manifest }: Compiled,
  dims: Readonly<Record<string, number>>,
): number[] {
  return manifest.buffers.filter((b) => b.role === 'temp').map((b) => evaluatePoly(b.bytes, dims));
}

export const largestBuffer = (
  { manifest }: Compiled,
  dims: Readonly<Record<string, number>>,
): number => Math.max(...manifest.buffers.map((b) => evaluatePoly(b.bytes, dims)));
