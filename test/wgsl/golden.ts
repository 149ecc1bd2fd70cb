// Emitted WGSL that is kept as files, so that changes of it are read.
import { emittedGoldens, type EmittedKernel } from '../support/emitted.ts';

const source = (imports: string, body: string): string =>
  `import { ${imports} } from 'quern';\n${body}\n`;
const kernels: Readonly<Record<string, EmittedKernel>> = {
  'linear-row-q4_0': {
    text: source(
      'decode, matmul, transpose',
      `export function linear<F extends Format, N extends Dim, K extends Dim>(x: Tensor<f32, [1, K]>, w: Encoded<F, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}`,
    ),
    formats: ['q4_0'],
  },
  'rows-subgroups': {
    text: source(
      'amax, sum',
      `export function linear<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return x * amax(x, 1, { keepdims: true }) - sum(x, 1, { keepdims: true });
}`,
    ),
    features: ['packed', 'subgroups'],
  },
  'decode-q8_0-f16': {
    text: source(
      'decode',
      `export function linear<F extends Format, N extends Dim, K extends Dim>(w: Encoded<F, [N, K]>) {
  return decode(w);
}`,
    ),
    formats: ['q8_0'],
    features: ['packed', 'f16'],
  },
  'cast-f16-i8': {
    text: source(
      'i8',
      `export function linear<N extends Dim>(x: Tensor<f16, [N]>) {
  return i8(x * 2);
}`,
    ),
    formats: [],
  },
};

const folder = new URL('./golden/', import.meta.url);
export const wgslGoldens = emittedGoldens('wgsl', 'linear', folder, '.wgsl', kernels);
