// Kernels of the library with inputs: contractions over every format, its encoders and decoders, and the layers of a
// model. What the tests of the CUDA text run on.
import type { HostArray } from '../../compiler/index.ts';
import { type CompileRequest, interpret } from '../../compiler/index.ts';
import { array, integers, unit } from '../conformance/arrays.ts';

export interface LibraryCall {
  readonly name: string;
  readonly request: Omit<CompileRequest, 'target'>;
  readonly inputs: readonly HostArray[];
  /** Largest distance from the interpreter; 0 is bit by bit. */
  readonly tolerance: number;
}

const formats = 'quern/formats';
const layers = new URL('../../ops/llama.ts', import.meta.url).pathname;
export const formatNames = [
  'dense_f16',
  'dense_bf16',
  'q8_0',
  'q4_0',
  'q4_1',
  'q4_K',
  'q6_K',
  'nf4',
  'mxfp4',
  'iq4_nl',
  'tq2_0',
  'bitnet',
] as const;

/** A weight as its fields, made by the interpreter. */
async function encoded(
  name: string,
  shape: readonly number[],
  seed: number,
): Promise<readonly HostArray[]> {
  const request = { file: formats, name: `${name}.encode` };
  return (await interpret(request, [unit(shape, seed)])).results;
}

export async function formatCalls(name: string): Promise<LibraryCall[]> {
  const ref = { file: formats, name };
  const k = 512;
  const w = await encoded(name, [10, k], 3);
  const linear = [1, 2, 7].map(
    (m): LibraryCall => ({
      name: `linear of ${m} rows in ${name}`,
      tolerance: 2e-4,
      request: { file: layers, name: 'linear', formats: [ref] },
      inputs: [unit([m, k], m), ...w],
    }),
  );
  const u = await encoded(name, [10, k], 4);
  const r = await encoded(name, [10, k], 5);
  const call = (f: string, inputs: readonly HostArray[], formats: number): LibraryCall => ({
    name: `${f} in ${name}`,
    tolerance: 3e-4,
    request: { file: layers, name: f, formats: Array.from({ length: formats }, () => ref) },
    inputs,
  });
  return [
    ...linear,
    call('linearAdd', [unit([2, k], 8), ...r, unit([2, 10], 7)], 1),
    call('embed', [...w, array('i32', [3], (i) => 9 - 4 * i)], 1),
    ...(name === 'q4_0' ? [call('swiglu', [unit([2, k], 6), ...w, ...u], 2)] : []),
    {
      name: `${name}.encode`,
      request: { file: formats, name: `${name}.encode` },
      inputs: [unit([3, k], 5)],
      tolerance: 0,
    },
    {
      name: `${name}.decode`,
      request: { file: formats, name: `${name}.decode` },
      inputs: w,
      tolerance: 0,
    },
  ];
}

export function layerCalls(): LibraryCall[] {
  const call = (
    name: string,
    statics: CompileRequest['statics'],
    inputs: readonly HostArray[],
    tolerance = 2e-5,
  ): LibraryCall => ({
    name,
    request: { file: layers, name, ...(statics ? { statics } : {}) },
    inputs,
    tolerance,
  });
  const start = array('f32', [], () => 3);
  const next = integers(9);
  return [
    call('rmsnorm', [undefined, undefined, 1e-5], [unit([5, 200], 1), unit([200], 2)]),
    call('ropeKeys', [undefined, undefined, 8, 1e4], [unit([4, 32], 1), start]),
    call('ropeQueries', [undefined, undefined, 8, 2, 1e4], [unit([4, 64], 1), start]),
    call(
      'attention',
      [undefined, undefined, undefined, undefined, 8],
      [unit([3, 2, 32], 1), unit([70, 32], 2), unit([70, 32], 3), start],
    ),
    call('linearPlain', undefined, [unit([3, 130], 1), unit([9, 130], 2)]),
    call('gated', undefined, [unit([3, 40], 1), unit([3, 40], 2)]),
    call('crossEntropy', undefined, [unit([4, 90], 1), array('i32', [4], () => next() % 90)]),
    call('greedy', undefined, [unit([3, 300], 1)], 0),
    call('lastRow', undefined, [unit([3, 30], 1)], 0),
  ];
}
