// Kernels whose loop IR is kept as text, so that a change of a schedule shows as a diff. `npm run update-checks`
// writes the files. Notes of the scheduler are left out.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { FormatRef } from '../../compiler/artifact.ts';
import { compiled, hostOf } from './harness.ts';

export interface Golden {
  readonly name: string;
  readonly path: string;
  /** The loop IR that the schedule makes today. */
  readonly text: () => Promise<string>;
}

const folder = new URL('./golden/', import.meta.url);
const golden = (name: string, text: () => Promise<string>): Golden => ({
  name,
  text: async () => (await text()).replaceAll(/^#.*\n/gm, ''),
  path: fileURLToPath(new URL(`${name}.txt`, folder)),
});
const llama = async (
  name: string,
  statics: readonly (number | undefined)[] = [],
): Promise<string> => (await compiled({ file: 'quern/llama', name, statics })).stage('schedule');
const kernel = async (text: string, formats: readonly FormatRef[] = []): Promise<string> =>
  (await compiled({ file: '/golden/kernel.ts', name: 'kernel', formats }, hostOf(text))).stage(
    'schedule',
  );

export const goldens: readonly Golden[] = [
  golden('add-with-tail', () => llama('add')),
  golden('rmsnorm', () => llama('rmsnorm', [undefined, undefined, 1e-5])),
  golden('one-row-linear-plain', () =>
    kernel(`export function kernel<N extends Dim>(x: Tensor<f32, [1, 512]>, w: Tensor<f32, [N, 512]>) {
      return matmul(x, transpose(w));
    }`),
  ),
  golden('one-row-linear-q4_0', () =>
    kernel(`const q4 = format({
      block: 32,
      encode: (x: Tensor<f32, [32]>) => ({ d: f16(amax(abs(x))), q: u4(x) }),
      decode: ({ d, q }) => (q - 8) * d,
    });
    export function kernel(x: Tensor<f32, [1, 1024]>, w: Encoded<typeof q4, [64, 1024]>) {
      return matmul(x, transpose(decode(w)));
    }`),
  ),
  golden('one-row-linear-encoded', () =>
    kernel(`export const q8 = format({
      block: 32,
      encode: (x: Tensor<f32, [32]>) => ({ d: f16(amax(abs(x)) / 127), q: i8(x) }),
      decode: ({ d, q }) => q * d,
    });
    export function kernel(x: Tensor<f32, [1, 64]>, w: Tensor<f32, [1024, 64]>, b: Tensor<f32, [1024]>) {
      return encode(q8, matmul(x, transpose(w)) + b);
    }`),
  ),
  golden('argmax', () =>
    kernel('export function kernel(x: Tensor<f32, [4096]>) { return argmax(x); }'),
  ),
  golden('softmax', () =>
    kernel(`export function kernel<M extends Dim>(x: Tensor<f32, [M, 1024]>) {
      const e = exp(x - amax(x, 1, { keepdims: true }));
      return e / sum(e, 1, { keepdims: true });
    }`),
  ),
  golden('column-sum', () =>
    kernel('export function kernel(x: Tensor<f32, [64, 512]>) { return sum(x, 0); }'),
  ),
  golden('cast-to-nibbles', () =>
    kernel(
      'export function kernel<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) { return u4(x * 2); }',
    ),
  ),
  golden('columns-u4', () =>
    kernel(
      `export function kernel(x: Tensor<i8, [1, 4]>, w: Tensor<u4, [4, 16]>, z: Tensor<u4, [4, 1]>) {
      return matmul(f32(x), f32(w - z));
    }`,
    ),
  ),
  golden('loop-with-carried-row', () =>
    kernel(`export function kernel<N extends Dim>(x: Tensor<f32, [N, 8]>, n: Tensor<i32, []>) {
      let row = at(x, 0);
      for (const i of range(n)) row = row * 2 + i;
      return row;
    }`),
  ),
];

export const kept = (g: Golden): string | undefined => {
  try {
    return readFileSync(g.path, 'utf8');
  } catch {
    return undefined;
  }
};
