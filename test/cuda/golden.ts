// Emitted CUDA C that is kept as files, so that changes of it are read.
import { existsSync, readFileSync } from 'node:fs';
import { compile } from '../../compiler/index.ts';

export interface CudaGolden {
  readonly name: string;
  readonly path: string;
  text(): Promise<string>;
}

const source = (imports: string, body: string): string =>
  `import { ${imports} } from 'quern';\n${body}\n`;
const kernels: Readonly<
  Record<string, { readonly text: string; readonly formats: readonly string[] }>
> = {
  'linear-row-q4_0': {
    text: source(
      'decode, matmul, transpose',
      `export function linear<F extends Format, N extends Dim, K extends Dim>(x: Tensor<f32, [1, K]>, w: Encoded<F, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}`,
    ),
    formats: ['q4_0'],
  },
  softmax: {
    text: source(
      'amax, exp, sum',
      `export function linear<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  const e = exp(x - amax(x, 1, { keepdims: true }));
  return e / sum(e, 1, { keepdims: true });
}`,
    ),
    formats: [],
  },
};

export const cudaGoldens: readonly CudaGolden[] = Object.entries(kernels).map(([name, k]) => ({
  name,
  path: new URL(`./golden/${name}.cu`, import.meta.url).pathname,
  async text() {
    const file = '/golden/kernel.ts';
    const { artifact } = await compile(
      {
        file,
        name: 'linear',
        formats: k.formats.map((f) => ({ file: 'quern/formats', name: f })),
        target: 'cuda',
      },
      { readFile: (path) => (path === file ? k.text : readFileSync(path, 'utf8')) },
    );
    const launches = artifact.manifest.launches!.map((l) => `// launch ${JSON.stringify(l)}`);
    return `${new TextDecoder().decode(artifact.code)}\n${launches.join('\n')}\n`;
  },
}));

export const keptCuda = (g: CudaGolden): string | undefined =>
  existsSync(g.path) ? readFileSync(g.path, 'utf8') : undefined;
