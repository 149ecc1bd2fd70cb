// Fusion goes by meaning: whatever a format or a function is called, its decode ends up inside of the kernel that
// uses it, and only what would be recomputed at a price gets storage.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FormatRef } from '../../compiler/artifact.ts';
import { describe, type HostArray, interpret } from '../../compiler/index.ts';
import { unit } from '../conformance/arrays.ts';
import { agree } from '../conformance/compare.ts';
import { wasmRunner } from '../conformance/wasm-runner.ts';
import {
  type Compiled,
  compiled,
  compiledText,
  largestBuffer,
  shipped,
  temporaries,
} from './harness.ts';

const test = suite('fusion by meaning');
const folder = mkdtempSync(join(tmpdir(), 'quern-fusion-'));
test.after(() => rmSync(folder, { recursive: true }));

/** A format that nobody shipped: blocks of 24, a field a row, 5-bit codes through a table and odd arithmetic. */
const formatText = `
import { abs, amax, at, clamp, f16, format, gather, i5, max, round, tensor, u3 } from 'quern';
import type { Tensor, f32 } from 'quern';
const bend = tensor([0.5, 0.625, 0.75, 0.875, 1, 1.25, 1.5, 2]);
export const odd = format({
  block: 24,
  row: (r: Tensor<f32>) => ({ scale: f16(max(amax(abs(r)), 1e-3) / 15) }),
  encode(x: Tensor<f32, [24]>, { scale }) {
    const top = amax(abs(x)) / (scale * 15);
    const step = u3(clamp(round(top * 8) - 1, 0, 7));
    return { step, q: i5(clamp(round(x / (scale * gather(bend, step))), -16, 15)) };
  },
  decode: ({ scale, step, q }) => q * scale * gather(bend, step),
});
`;
const kernelText = (rows: string): string => `
import { abs, decode, matmul, transpose } from 'quern';
import type { Dim, Encoded, Format, Tensor, f32 } from 'quern';
export function linear<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [${rows}, K]>, w: Encoded<F, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}
export function swapped<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [K, ${rows}]>, w: Encoded<F, [N, K]>) {
  return matmul(decode(w), x);
}
export function bounds<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [${rows}, K]>, w: Encoded<F, [N, K]>) {
  return matmul(abs(x), transpose(abs(decode(w))));
}
export function swappedBounds<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [K, ${rows}]>, w: Encoded<F, [N, K]>) {
  return matmul(abs(decode(w)), abs(x));
}
`;
const write = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const odd: FormatRef = { file: write('odd.ts', formatText), name: 'odd' };
const files = Object.fromEntries(
  ['M', '1', '64'].map((m) => [m, write(`linear-${m}.ts`, kernelText(m))]),
);

/** One kernel, and no buffer that could hold the decoded matrix. */
async function isFused(c: Compiled, what: string): Promise<void> {
  assert.is(c.manifest.kernels.length, 1, `${what}: kernels`);
  for (const M of [1, 64]) {
    const dims = { M, N: 4608, K: 4608 };
    const largest = largestBuffer(c, dims);
    const stored = what.startsWith('dense_f32') ? 4 * dims.N * dims.K : 0;
    assert.ok(
      largest < 4 * dims.N * dims.K || largest === stored,
      `${what}, M = ${M}: a buffer of ${largest} bytes`,
    );
    const temps = temporaries(c, dims).reduce((n, b) => n + b, 0);
    assert.ok(temps <= 64 * dims.K, `${what}, M = ${M}: ${temps} bytes of temporaries`);
  }
}

const made = new Map<string, Promise<readonly HostArray[]>>();

/** Weights in a format, by its compiled encoder: searches take the interpreter seconds. */
function encoded(format: FormatRef, n: number, k: number): Promise<readonly HostArray[]> {
  const key = JSON.stringify([format, n, k]);
  let fields = made.get(key);
  if (!fields) {
    const request = {
      file: format.file,
      name: `${format.name}.encode`,
      ...(format.args ? { formatArgs: format.args } : {}),
    };
    fields = compiled(request).then((c) => wasmRunner.run(c.artifact, [unit([n, k], 5)]));
    made.set(key, fields);
  }
  return fields;
}

/** Runs a kernel of the files above against the interpreter, within the roundings of K terms. */
async function isRight(
  c: Compiled,
  file: string,
  name: string,
  format: FormatRef,
  x: HostArray,
  k: number,
): Promise<void> {
  const inputs = [x, ...(await encoded(format, 18, k))];
  const run = async (n: string) =>
    (await interpret({ file, name: n, formats: [format] }, inputs)).results[0]!;
  const [got] = await wasmRunner.run(c.artifact, inputs);
  const scales = await run(name === 'linear' ? 'bounds' : 'swappedBounds');
  agree(`${name} of ${format.name}`, got!, await run(name), { scale: '', terms: k + 8 }, scales);
}

for (const m of ['1', '64', 'M'])
  test(`linear of a new format is one kernel without the decoded matrix, M = ${m}`, async () => {
    const c = await compiled({ file: files[m]!, name: 'linear', formats: [odd] });
    await isFused(c, 'linear');
    for (const rows of m === 'M' ? [1, 2, 3, 7, 64] : [Number(m)])
      await isRight(c, files[m]!, 'linear', odd, unit([rows, 72], rows), 72);
  });

test('the decoded operand may stand on the left', async () => {
  for (const m of ['1', '64', 'M']) {
    const c = await compiled({ file: files[m]!, name: 'swapped', formats: [odd] });
    await isFused(c, `swapped, M = ${m}`);
    for (const rows of m === 'M' ? [1, 3, 8] : [Number(m)])
      await isRight(c, files[m]!, 'swapped', odd, unit([72, rows], rows), 72);
  }
});

test('names of formats, functions and fields change nothing', async () => {
  const rename = (text: string): string =>
    text
      .replaceAll('odd', 'q4_0')
      .replaceAll('bend', 'grid')
      .replaceAll('linear', 'softmax')
      .replaceAll('scale', 'zebra');
  const format = { file: write('renamed.ts', rename(formatText)), name: 'q4_0' };
  const file = write('renamed-kernel.ts', rename(kernelText('M')));
  const a = await compiled({ file: files.M!, name: 'linear', formats: [odd] });
  const b = await compiled({ file, name: 'softmax', formats: [format] });
  assert.equal(
    b.manifest.kernels.map((k) => k.schedule),
    a.manifest.kernels.map((k) => k.schedule),
  );
  assert.is(b.stage('schedule'), rename(a.stage('schedule')));
});

const formats: FormatRef[] = [
  ...describe('quern/formats')
    .exports.filter((e) => e.kind === 'format')
    .map((e) => shipped(e.name)),
  ...([2, 3, 4, 5, 6, 7] as const).map((bits) => shipped('uniform', { bits, group: 64 })),
  shipped('uniform', { bits: 4, group: 16, symmetric: true }),
  shipped('uniform', { bits: 8, symmetric: true }),
  shipped('normalFloat4', { block: 32 }),
];
for (const format of formats)
  test(`linear of ${format.name}${format.args ? JSON.stringify(format.args) : ''} is one kernel, for one row and for many`, async () => {
    for (const m of ['1', 'M']) {
      const c = await compiled({ file: files[m]!, name: 'linear', formats: [format] });
      await isFused(c, `${format.name}, M = ${m}`);
      for (const rows of m === 'M' ? [2, 5] : [1])
        await isRight(c, files[m]!, 'linear', format, unit([rows, 256], rows), 256);
    }
  });

const q4 = shipped('q4_0');

test('a depth of a single block, known beforehand, needs no loop', async () => {
  const text = kernelText('M')
    .replaceAll('K extends Dim', 'X extends Dim')
    .replaceAll(', K]', ', 32]')
    .replaceAll('[K,', '[32,')
    .replaceAll(', X extends Dim', '');
  const file = write('one-block.ts', text);
  for (const format of [
    q4,
    shipped('uniform', { bits: 5, group: 32 }),
    shipped('nvfp4_modelopt'),
  ]) {
    const c = await compiled({ file, name: 'linear', formats: [format] });
    for (const rows of [1, 3, 5])
      await isRight(c, file, 'linear', format, unit([rows, 32], rows), 32);
  }
});
const llama = (
  name: string,
  statics: readonly (number | undefined)[] = [],
  refs: readonly FormatRef[] = [],
) => compiled({ file: 'quern/llama', name, statics, formats: refs });
const size = { M: 64, N: 4096, K: 4096, D: 4096, T: 64, S: 512, R: 4, E: 256, V: 1000, C: 256 };

test('rmsnorm and softmax are one kernel each, without a temporary', async () => {
  const norm = await llama('rmsnorm', [undefined, undefined, 1e-5]);
  const softmax =
    await compiledText(`export function kernel<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
    const e = exp(x - amax(x, 1, { keepdims: true }));
    return e / sum(e, 1, { keepdims: true });
  }`);
  for (const c of [norm, softmax]) {
    assert.is(c.manifest.kernels.length, 1);
    assert.equal(temporaries(c, size), []);
  }
});

test('epilogues and both halves of a gated layer go into one kernel', async () => {
  for (const c of [
    await llama('swiglu', [], [q4, shipped('q8_0')]),
    await llama('swigluPlain'),
    await llama('linearAdd', [], [q4]),
  ]) {
    assert.is(c.manifest.kernels.length, 1);
    for (const bytes of temporaries(c, size)) assert.ok(bytes <= 32 * size.K, `${bytes} bytes`);
  }
});

test('attention stores no scores: one pass over the keys, and a view of its result', async () => {
  const c = await llama('attention', [undefined, undefined, undefined, undefined, 64]);
  assert.equal(
    c.manifest.kernels.map((k) => k.schedule),
    ['online', 'rows'],
  );
  // What the rows of one head have to remember, and the result in the order of the heads.
  const own = 4 * size.R * size.T * 64;
  for (const bytes of temporaries(c, size))
    assert.ok(bytes <= own || bytes === 4 * size.R * size.T * size.E, `${bytes} bytes`);
});

test('rows of an embedding are decoded alone', async () => {
  const c = await llama('embed', [], [q4]);
  assert.is(c.manifest.kernels.length, 1);
  assert.equal(temporaries(c, size), []);
});

test('a reduction over the outer axis that is broadcast back is stored', async () => {
  const c = await compiledText(
    'export function kernel<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) { return x / sum(x, 0); }',
  );
  assert.is(c.manifest.kernels.length, 2);
  // And the sums of a strip of columns.
  assert.equal(temporaries(c, size), [4 * size.N, 4 * 4096]);
  assert.match(
    c.stage('fuse'),
    /sum is stored \(its axes are not the outer axes of its consumer\)/,
  );
});

test('a dear value with two consumers is stored, a cheap one is not', async () => {
  const kernel = (y: string): Promise<Compiled> =>
    compiledText(
      `export function kernel<M extends Dim>(x: Tensor<f32, [M]>) { const y = ${y}; return { a: y + 1, b: y * 2 }; }`,
    );
  const dear = await kernel('tanh(tanh(tanh(x)))');
  assert.is(dear.manifest.kernels.length, 3);
  assert.equal(temporaries(dear, size), [4 * size.M]);
  assert.match(dear.stage('fuse'), /2 consumers, and dear to recompute/);
  const cheap = await kernel('abs(x) + 1');
  assert.is(cheap.manifest.kernels.length, 2);
  assert.equal(temporaries(cheap, size), []);
});

test('a decode with two consumers is still no matrix in memory', async () => {
  const c = await compiled({
    file: write(
      'both.ts',
      `${kernelText('M')}
export function both<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>, y: Tensor<f32, [M, K]>, w: Encoded<F, [N, K]>) {
  const d = transpose(decode(w));
  return { x: matmul(x, d), y: matmul(y, d) };
}`,
    ),
    name: 'both',
    formats: [q4],
  });
  assert.is(c.manifest.kernels.length, 2);
  assert.ok(largestBuffer(c, size) < 4 * size.N * size.K);
});

const normalised = (first: string, more: string, weights: string) => `
import { decode, encode, matmul, mean, sqrt, transpose } from 'quern';
import { q8_0 } from 'quern/formats';
import type { Dim, Encoded, Format, Tensor, f32 } from 'quern';
export function kernel<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>, g: Tensor<f32, [K]>, a: ${weights}, b: ${weights}) {
  const h = (x / sqrt(mean(x * x, 1, { keepdims: true }) + 1e-5)) * g;
  return { a: matmul(${first}), b: matmul(${more}) };
}`;

test('a normalised input is computed once for all contractions, the weights where they are read', async () => {
  const text = normalised(
    'h, transpose(decode(a))',
    'h, transpose(decode(b))',
    'Encoded<F, [N, K]>',
  );
  const file = write('normalised.ts', text);
  const c = await compiled({ file, name: 'kernel', formats: [q4] });
  assert.is(c.manifest.kernels.length, 3, 'the norm, and two products');
  assert.ok(largestBuffer(c, size) < 4 * size.N * size.K);
  assert.match(c.stage('fuse'), /each tile of a contraction reads again: \d+ a reading/);
  const weights = await encoded(q4, 18, 96);
  for (const rows of [1, 2, 5]) {
    const inputs = [unit([rows, 96], rows), unit([96], 7), ...weights, ...weights];
    const got = await wasmRunner.run(c.artifact, inputs);
    const want = await interpret({ file, name: 'kernel', formats: [q4] }, inputs);
    // Roundings of each sum are held against a bound on its terms: |h| is below 2, |w| at most 1.
    for (const [i, y] of got.entries()) {
      const scale = { ...y, data: new Float32Array(y.data.length).fill(2 * 96) };
      agree(`product ${i} of ${rows} rows`, y, want.results[i]!, { scale: '', terms: 120 }, scale);
    }
  }
});

test('a normalised input is computed once before plain weights too', async () => {
  const text = normalised('h, transpose(a)', 'h, transpose(b)', 'Tensor<f32, [N, K]>');
  const file = write('normalised-plain.ts', text.replace('F extends Format, ', ''));
  const c = await compiled({ file, name: 'kernel' });
  assert.is(c.manifest.kernels.length, 3);
});

test('encodings of one input that are written twice are one', async () => {
  const x8 = 'decode(encode(q8_0, h))';
  const text = normalised(
    `${x8}, transpose(decode(a))`,
    `${x8}, transpose(decode(b))`,
    'Encoded<F, [N, K]>',
  );
  const file = write('encoded-twice.ts', text);
  const c = await compiled({ file, name: 'kernel', formats: [q4] });
  assert.equal(
    c.manifest.kernels.map((k) => k.schedule),
    ['rows', 'map', 'gemm', 'gemm'],
    'the norm in one kernel, its encoding, and two products',
  );
});

test('from the encoding of the input to that of the output there are two kernels', async () => {
  const file = write(
    'chain.ts',
    `import { decode, encode, exp, matmul, transpose } from 'quern';
import type { Dim, Encoded, Format, Tensor, f32 } from 'quern';
import { q8_0 } from 'quern/formats';
export function kernel<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>, w: Encoded<F, [N, K]>, b: Tensor<f32, [N]>) {
  const y = matmul(decode(encode(q8_0, x)), transpose(decode(w))) + b;
  return encode(q8_0, y / (1 + exp(-y)));
}
`,
  );
  const c = await compiled({ file, name: 'kernel', formats: [q4] });
  assert.equal(
    c.manifest.kernels.map((k) => k.schedule),
    ['map', 'gemm + map'],
    'bias, activation and the encoding of the result belong to the product',
  );
  assert.ok(largestBuffer(c, size) < 4 * size.N * size.K);
  const weights = await encoded(q4, 32, 96);
  for (const rows of [1, 5]) {
    const inputs = [unit([rows, 96], rows), ...weights, unit([32], 3)];
    const [d, q] = await wasmRunner.run(c.artifact, inputs);
    const want = await interpret({ file, name: 'kernel', formats: [q4] }, inputs);
    const scale = want.results[0]!;
    agree(`scales of ${rows} rows`, d!, scale, { scale: '', terms: 120 }, scale);
    // A sum that is rounded otherwise may move a code by one.
    for (const [i, code] of [...q!.data].entries())
      assert.ok(Math.abs(code - want.results[1]!.data[i]!) <= 1, `code ${i}`);
  }
});

/** Elements of the temporaries of a kernel of [T, H, D], where T is 5, H 7 and D 3. */
async function kept(body: string, params = ''): Promise<number[]> {
  const c = await compiledText(
    `export function kernel<T extends Dim, H extends Dim, D extends Dim>(x: Tensor<f32, [T, H, D]>${params}) {
      return ${body};
    }`,
  );
  return temporaries(c, { T: 5, H: 7, D: 3 }).map((bytes) => bytes / 4);
}

test('what is dear and the same along an outer axis is computed once', async () => {
  const wide = ', w: Tensor<f32, [T, 1, D]>';
  assert.equal(await kept('x * cos(w)', wide), [15]);
  assert.equal(await kept('x * cos(w) + x * sin(w)', wide), [15, 15]);
  assert.equal(await kept('x * log(w)', ', w: Tensor<f32, [D]>'), [3]);
  assert.equal(await kept('x + tanh(w)', ', w: Tensor<f32, [H, D]>'), [21]);
  assert.equal(await kept('sum(x * exp(w), 2)', ', w: Tensor<f32, [D]>'), [3]);
  // The last value in front of the repetition, and each where there are two of them.
  assert.equal(await kept('x * (cos(w) + log(w))', wide), [15]);
  assert.equal(await kept('x * sin(w * exp(v))', `${wide}, v: Tensor<f32, [D]>`), [3, 15]);
});

test('what codes stand for is decoded again rather than stored', async () => {
  const file = write(
    'broadcast.ts',
    `import { decode } from 'quern';
import type { Dim, Encoded, Format, Tensor, f32 } from 'quern';
export function kernel<F extends Format, B extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [B, N, K]>, w: Encoded<F, [N, K]>) {
  return x * decode(w);
}`,
  );
  for (const format of ['q4_K', 'nf4']) {
    const request = { file, name: 'kernel', formats: [shipped(format)] };
    assert.equal(temporaries(await compiled(request), { B: 9, N: 4, K: 256 }), []);
  }
});

test('what is cheap, or computed once anyway, has no storage', async () => {
  assert.equal(await kept('x * (w + 1)', ', w: Tensor<f32, [D]>'), []);
  assert.equal(await kept('x * cos(w)', ', w: Tensor<f32, [T, 1, 1]>'), []);
  assert.equal(await kept('x * cos(w)', ', w: Tensor<f32, [T, H, 1]>'), []);
  assert.equal(await kept('x * cos(w)', ', w: Tensor<f32, []>'), []);
  assert.equal(await kept('x * cos(w)', ', w: Tensor<f32, [T, H, D]>'), []);
});

test.run();
