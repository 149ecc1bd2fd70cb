// Contractions on tensor cores: taken where the elements are bytes or are held by f16 as they are, up to a scale a block, and
// nowhere else. Run on the CPU, where each lane sums its own points, they agree with the interpreter.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile, type HostArray, interpret } from '../../compiler/index.ts';
import { compilePoly } from '../../runtime/poly.ts';
import { array, integers, unit } from '../conformance/arrays.ts';
import { skip } from '../support/skip.ts';
import { hasCompiler, type Job, runOnHost } from './host.ts';

const file = '/products/kernel.ts';
const source = `import { abs, amax, bf16, clamp, decode, f16, format, matmul, max, round, transpose, u8 } from 'quern';
/** Bytes without a sign: 200 is no i8, and f16 holds it. */
export const positive8 = format({
  block: 32,
  encode(x) {
    const d = f16(amax(abs(x)) / 255);
    return { d, q: u8(clamp(round(d === 0 ? 0 : abs(x) / d), 0, 255)) };
  },
  decode: ({ d, q }) => q * d,
});
export function encoded<F extends Format, G extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Encoded<G, [M, K]>, w: Encoded<F, [N, K]>) {
  return max(matmul(decode(x), transpose(decode(w))), 0);
}
export function halves<F extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(f16(x), transpose(decode(w)));
}
export function half<F extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f16, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}
export function brains<F extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(bf16(x), transpose(decode(w)));
}
/** Depth in whole slices. */
export function dense<M extends Dim, N extends Dim>(x: Tensor<bf16, [M, 96]>, w: Tensor<bf16, [N, 96]>) {
  return matmul(x, transpose(w));
}
/** Depth of which nothing is known. */
export function any<M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f16, [M, K]>, w: Tensor<f16, [N, K]>) {
  return matmul(x, transpose(w));
}
export function plain<F extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}
`;
const host = {
  readFile: (path: string): string => (path === file ? source : readFileSync(path, 'utf8')),
};
const formatOf = (name: string) => ({
  file: name === 'positive8' ? file : 'quern/formats',
  name,
});
const request = (name: string, formats: readonly string[]) => ({
  file,
  name,
  formats: formats.map(formatOf),
});
/** As the default, of which a device is busy with one tile: none are divided along k. */
const soonBusy = {
  limits: { gpu: { warp: 32, threads: 256, tileBytes: 48 * 1024, products: true, busyGroups: 1 } },
};
const textOf = async (
  name: string,
  formats: readonly string[],
  more: { readonly preset?: string } | typeof soonBusy = {},
) => {
  const { artifact } = await compile({ ...request(name, formats), ...more, target: 'cuda' }, host);
  return { artifact, text: new TextDecoder().decode(artifact.code) };
};

/** Numbers that bf16 holds. */
const brains = (shape: readonly number[], seed: number): HostArray => {
  const next = integers(seed);
  return array('bf16', shape, () => ((next() % 511) - 255) / 64);
};

/** Numbers that f16 holds, all of whose products f32 sums exactly. */
const sixteenths = (shape: readonly number[], seed: number): HostArray => {
  const next = integers(seed);
  return array('f16', shape, () => ((next() % 129) - 64) / 16);
};

const test = suite('CUDA: products of matrices');

test('they are taken where that changes the order of sums alone', async () => {
  const kinds = async (name: string, formats: readonly string[], preset?: string) =>
    [
      ...new Set(
        (await textOf(name, formats, preset === undefined ? {} : { preset })).text.match(
          /product_\w+(?=\(\w+, )/g,
        ),
      ),
    ].join();
  assert.is(await kinds('encoded', ['q4_0', 'q8_0']), 'product_i8');
  assert.is(await kinds('encoded', ['positive8', 'q8_0']), 'product_f16');
  assert.is(await kinds('halves', ['q4_0']), 'product_f16');
  assert.is(await kinds('halves', ['iq4_nl']), 'product_f16');
  assert.is(await kinds('brains', ['q4_0']), 'product_bf16');
  assert.is(await kinds('dense', []), 'product_bf16');
  // Nothing tells what divides k: past its end there are zeros.
  assert.is(await kinds('halves', ['dense_f16']), 'product_f16');
  // f32 is the sum of three bf16; a minimum is multiplied with the sum of the activations.
  assert.is(await kinds('plain', ['q4_0']), 'product_bf16');
  assert.is(await kinds('halves', ['q4_1']), 'product_f16');
  // Scales of blocks of 16 have slices of 16.
  assert.is(await kinds('halves', ['q6_K']), 'product_f16');
  // bf16 has a wider range than f16; f32 times f16 would take six products.
  assert.is(await kinds('halves', ['dense_bf16']), '');
  assert.is(await kinds('plain', ['dense_f16']), '');
  assert.is(await kinds('encoded', ['q4_0', 'q8_0'], 'sm_75'), '');
});

test('what is encoded is copied as it is, in stages, on its way to the products', async () => {
  const copies = async (name: string, formats: readonly string[]) => {
    const { text } = await textOf(name, formats);
    const lines = text.split('\n').filter((l) => /^ +copy_async<\d+>\(/.test(l));
    const of = (part: string): boolean => lines.some((l) => l.includes(`>(${part}`));
    return { weights: of('panel_'), activations: of('stream_') };
  };
  assert.equal(await copies('half', ['q4_0']), { weights: true, activations: true });
  assert.equal(await copies('half', ['nf4']), { weights: true, activations: true });
  assert.equal(await copies('encoded', ['mxfp4', 'q8_0']), { weights: true, activations: true });
  // They are taken apart or rounded on their way.
  assert.equal(await copies('plain', ['q8_0']), { weights: true, activations: false });
  assert.equal(await copies('halves', ['q8_0']), { weights: true, activations: false });
  // Where rows are no whole copies they come through registers, which is decided at launch.
  assert.equal(await copies('any', []), { weights: true, activations: true });
  const { artifact } = await textOf('any', []);
  const last = (k: number): boolean => {
    const value = (code: Parameters<typeof compilePoly>[0]): number =>
      compilePoly(
        code,
        artifact.manifest.dims,
      )(artifact.manifest.dims.map((d) => (d === 'K' ? k : 4096)));
    const [only, ...more] = artifact.manifest.launches!.filter((l) =>
      l.when.every((w) => value(w) > 0),
    );
    assert.equal(more, []);
    const text = new TextDecoder().decode(artifact.code);
    const body = text.slice(text.indexOf(` ${only!.name}(`));
    return body.slice(0, body.indexOf('\n}')).includes('copy_async');
  };
  assert.equal([last(4096), last(4100), last(72)], [true, false, true]);
});

if (!hasCompiler('g++')) skip('CUDA products on the host', 'no g++ at hand');
else
  test('they agree with the interpreter at the edges of tiles', async () => {
    const jobs: Job[] = [];
    const wants: { readonly want: HostArray; readonly tolerance: number }[] = [];
    const weights = async (name: string, shape: readonly number[], seed: number) => {
      const { file: from } = formatOf(name);
      const call = { file: from, name: `${name}.encode` };
      return (await interpret(call, [unit(shape, seed)], host)).results;
    };
    // f16 holds the levels of nf4 to within 2^-12 of the block's largest weight.
    const rounded = 4e-3;
    for (const [name, formats, rows, K = 96, tolerance = 2e-5] of [
      ['encoded', ['q4_0', 'q8_0'], [1, 16, 65]],
      ['encoded', ['positive8', 'q8_0'], [17]],
      ['plain', ['q4_0'], [2, 9, 70]],
      ['plain', ['mxfp4'], [4]],
      ['halves', ['q4_0'], [1, 3]],
      ['halves', ['mxfp4'], [1, 64]],
      ['halves', ['iq4_nl'], [70]],
      ['halves', ['q4_1'], [18]],
      ['halves', ['q6_K'], [2], 256],
      ['halves', ['nf4'], [5], 128, rounded],
      ['brains', ['q4_0'], [17, 70]],
      ['dense', [], [33]],
      ['any', [], [1, 66], 77],
      ['any', [], [3, 17], 72],
    ] as readonly (readonly [string, readonly string[], readonly number[], number?, number?])[]) {
      const { artifact: divided } = await textOf(name, formats);
      const { artifact: whole } = await textOf(name, formats, soonBusy);
      for (const [i, m] of rows.entries()) {
        const dense = name === 'dense' ? brains : sixteenths;
        const inputs =
          formats.length === 0
            ? [dense([m, K], 3), dense([70, K], 5)]
            : [
                ...(name === 'encoded' ? await weights(formats[1]!, [m, K], 3) : [unit([m, K], m)]),
                ...(await weights(formats[0]!, [70, K], 5)),
              ];
        const want = (await interpret(request(name, formats), inputs, host)).results[0]!;
        for (const artifact of i === 0 ? [divided, whole] : [i % 2 ? divided : whole]) {
          jobs.push({ name: `${name} ${formats.join()}, ${m} rows`, artifact, inputs });
          wants.push({ want, tolerance });
        }
      }
    }
    const results = await runOnHost(jobs, 7);
    jobs.forEach(({ name }, j) => {
      const { want, tolerance } = wants[j]!;
      const got = results[j]![0]!;
      assert.equal([...got.shape], [...want.shape], name);
      for (let i = 0; i < want.data.length; i += 1) {
        const [x, y] = [want.data[i]!, got.data[i]!];
        if (Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(x))) continue;
        assert.unreachable(`${name}: [${i}] is ${y}, the interpreter has ${x}`);
      }
    });
  });
if (!hasCompiler('nvcc')) skip('CUDA products and nvcc', 'no nvcc at hand');
else
  test('they compile clean and keep everything in registers', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'quern-products-'));
    try {
      for (const [name, formats] of [
        ['encoded', ['q4_0', 'q8_0']],
        ['halves', ['q4_0']],
        ['brains', ['q4_0']],
      ] as const) {
        writeFileSync(join(dir, 'x.cu'), (await textOf(name, formats)).text);
        const flags = ['-std=c++17', '-cubin', '-arch=sm_80', '-Werror', 'all-warnings'];
        const { status, stderr } = spawnSync(
          'nvcc',
          [...flags, '-Xptxas', '-v', '-o', join(dir, 'x.cubin'), join(dir, 'x.cu')],
          { encoding: 'utf8' },
        );
        assert.is(status, 0, stderr);
        const spills = [...stderr.matchAll(/(\d+) bytes spill stores/g)].map((m) => m[1]);
        // Of each size whole, divided along k, and what adds that up; of one row only whole.
        assert.ok(spills.length >= 13, `${spills.length} kernels`);
        assert.ok(
          spills.every((n) => n === '0'),
          stderr,
        );
      }
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
test.run();
