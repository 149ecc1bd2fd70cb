// What runs over a contraction's result piece by piece, in the same kernel: encoders of any kind, elementwise functions in
// other layouts, rows that a piece has whole. Numbers are integers, so that sums are exact in any order and results are
// those of the interpreter, bit for bit.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { planThreads, type Segment } from '../../backends/wasm/threads-plan.ts';
import type { FormatRef } from '../../compiler/artifact.ts';
import { compile, type HostArray, interpret } from '../../compiler/index.ts';
import { agree } from '../conformance/compare.ts';
import { wasmRunner } from '../conformance/wasm-runner.ts';
import { residentKernel } from '../resident/evaluated.ts';
import { type Compiled, compiled, shipped, temporaries } from './harness.ts';

const test = suite('what follows a contraction');
const folder = mkdtempSync(join(tmpdir(), 'quern-followers-'));
test.after(() => rmSync(folder, { recursive: true }));
const write = (name: string, text: string): string => {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
};

const own = `
/** Blocks of 24, with a scale of four bits each: the scales of two blocks share a byte. */
export const odd = format({
  block: 24,
  encode(x: Tensor<f32, [24]>) {
    const step = u4(clamp(ceil(log2(max(amax(abs(x)), 1)) / 2), 1, 15));
    return { step, q: i5(clamp(round(x / exp2(step * 2 - 4)), -16, 15)) };
  },
  decode: ({ step, q }) => q * exp2(step * 2 - 4),
});
/** A scale a row, which is made of the whole row first. */
export const byRow = format({
  block: 32,
  row: (r: Tensor<f32>) => ({ scale: f16(max(amax(abs(r)), 1e-3) / 15) }),
  encode: (x: Tensor<f32, [32]>, { scale }) => ({ q: i5(clamp(round(x / scale), -16, 15)) }),
  decode: ({ scale, q }) => q * scale,
});`;
const head = `
import { abs, amax, ceil, clamp, decode, encode, exp2, f16, format, group, i5, log2, matmul, max, mean, reshape, round, slice,
  sort, sqrt, sum, transpose, u2, u4 } from 'quern';
import { iq4_nl, mxfp4, nf4, q4_0, q4_K, q6_K, q8_0, uniform } from 'quern/formats';
import type { Dim, Encoded, Format, Tensor, f32 } from 'quern';
${own}
`;
const plain = 'x';
const rounded = 'decode(encode(q8_0, x))';
/** The product of activations and weights, with a bias and what holds it above -20. */
const kernelText = (body: string, x = plain, n = 'N', m = 'M'): string => `${head}
export function kernel<F extends Format${m === 'M' ? ', M extends Dim' : ''}${n === 'N' ? ', N extends Dim' : ''}, K extends Dim>(
  x: Tensor<f32, [${m}, K]>, w: Encoded<F, [${n}, K]>, b: Tensor<f32, [${n}]>) {
  const y = max(matmul(${x}, transpose(decode(w))) + b, -20);
  ${body}
}
`;

const q4 = shipped('q4_0');
/** Inputs of whole numbers; what is rounded to 8 bits has 127 in each block, and so a scale of 1. */
function inputs(m: number, n: number, k: number, seed: number): HostArray[] {
  let s = seed;
  const next = (below: number): number => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return (s >>> 8) % below;
  };
  const fill = (count: number, of: (i: number) => number): Float32Array =>
    Float32Array.from({ length: count }, (_, i) => of(i));
  const x = fill(m * k, (i) => (i % 32 === 5 ? 127 : next(15) - 7));
  const d = fill(n * (k / 32), () => [0.5, 1, 2][next(3)]!);
  const q = Int32Array.from({ length: n * k }, () => next(16));
  const b = fill(n, () => next(41) - 20);
  return [
    { dtype: 'f32', shape: [m, k], data: x },
    { dtype: 'f16', shape: [n, k / 32], data: d },
    { dtype: 'u4', shape: [n, k / 32, 32], data: q },
    { dtype: 'f32', shape: [n], data: b },
  ];
}

interface Chain {
  readonly file: string;
  readonly made: Compiled;
  readonly resident: ReturnType<typeof residentKernel>[];
}
const bytes = { relaxed: true, unsignedDot: false };
const words = { relaxed: false, unsignedDot: false };
async function chain(
  name: string,
  text: string,
  formats: readonly FormatRef[] = [q4],
  simd: readonly (typeof bytes)[] = [bytes],
): Promise<Chain> {
  const file = write(name, text);
  const request = { file, name: 'kernel', formats };
  // With activations in f32 weights keep their layout.
  const variants = text.includes(rounded) ? simd : [];
  return {
    file,
    made: await compiled(request),
    resident: variants.map((limits) => residentKernel(request, limits)),
  };
}
const schedules = ({ made }: Chain): string[] => made.manifest.kernels.map((k) => k.schedule);

type Size = readonly [m: number, n: number, k: number];
const interpreted = async (c: Chain, given: readonly HostArray[]): Promise<readonly HostArray[]> =>
  (await interpret({ file: c.file, name: 'kernel', formats: [q4] }, given)).results;

/** Compiled code, and the layouts of resident weights in the evaluator that checks bounds. */
async function check(c: Chain, [m, n, k]: Size, expected = interpreted): Promise<void> {
  const given = inputs(m, n, k, m + n);
  const want = await expected(c, given);
  const got = await wasmRunner.run(c.made.artifact, given);
  const size = `${m} x ${n} x ${k}`;
  for (const [i, w] of want.entries()) agree(`result ${i} of ${size}`, got[i]!, w, 'exact');
  for (const r of c.resident)
    for (const [i, x] of r.results(given).entries())
      agree(`result ${i} of ${size}, resident`, x, want[i]!, 'exact');
}
/** What `quern explain` says of kernels that follow others, or do not. */
const explained = ({ made }: Chain): string[] =>
  made
    .stage('schedule')
    .split('\n')
    .filter((line) => line.startsWith('#') && line.includes(' follow'));

/** Output formats and their blocks: plain ones, super-blocks, searches, a factory's, and one of the test's own. */
const formats: readonly (readonly [FormatRef, number])[] = [
  ...['q4_0', 'q8_0', 'mxfp4', 'iq4_nl'].map((n) => [shipped(n), 32] as const),
  [shipped('nf4'), 64],
  [shipped('uniform', { bits: 3, group: 64 }), 64],
  [shipped('q4_K'), 256],
  [shipped('q6_K'), 256],
  [{ file: write('odd.ts', head), name: 'odd' }, 24],
];
for (const [format, block] of formats)
  for (const x of [plain, rounded]) {
    // Which activations they are matters little to what follows.
    if (x === plain && !['q8_0', 'q4_K', 'odd'].includes(format.name)) continue;
    const args = format.args?.map((a) => JSON.stringify(a)).join(', ');
    const name = args ? `${format.name}(${args})` : format.name;
    const given = x === plain ? 'f32 activations' : 'activations in 8 bits';
    test(`an encoding in ${name} is made in the kernel of the product, of ${given}`, async () => {
      const c = await chain(
        `${format.name}-${x.length}.ts`,
        kernelText(`return encode(${name}, y);`, x),
      );
      assert.equal(schedules(c), [...(x === plain ? [] : ['map']), 'gemm + map']);
      if (x === rounded)
        for (const { program } of c.resident)
          assert.equal(
            program.kernels.map((p) => p.schedule),
            ['map', 'resident + map'],
          );
      // Sums in a search are in another order than the interpreter's: what the encoder makes of the product by itself.
      const file = write(`product-${x.length}.ts`, kernelText('return y;', x));
      const { name: encoder, ...rest } = format;
      const alone = await compiled({
        file: format.name === 'odd' ? c.file : rest.file,
        name: `${encoder}.encode`,
        ...(rest.args ? { formatArgs: rest.args } : {}),
      });
      const encoded: typeof interpreted = async (_c, all) => {
        const product = await interpret({ file, name: 'kernel', formats: [q4] }, all);
        return wasmRunner.run(alone.artifact, product.results);
      };
      const sizes = fc.tuple(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: Math.max(2, Math.ceil(160 / block)) }),
        fc.integer({ min: 1, max: 2 }),
      );
      const holds = fc.asyncProperty(sizes, ([m, n, k]) =>
        check(c, [m, n * block, k * 32], encoded),
      );
      await fc.assert(holds, { numRuns: 2, seed: block });
    });
  }

const eight = 'return encode(q8_0, y);';
test('many rows go in chunks, and empty results are empty', async () => {
  for (const x of [plain, rounded]) {
    const c = await chain(`rows-${x.length}.ts`, kernelText(eight, x), [q4], [bytes, words]);
    for (const size of [
      [200, 32, 32],
      [391, 64, 32],
      [0, 64, 32],
      [3, 0, 32],
    ] as const)
      await check(c, size);
  }
});

test('of a result with sizes that are known only what it needs is there', async () => {
  for (const [m, n] of [
    ['1', '256'],
    ['2', '96'],
    ['5', '160'],
    ['200', '64'],
  ] as const)
    for (const x of [plain, rounded]) {
      const c = await chain(`known-${m}-${n}-${x.length}.ts`, kernelText(eight, x, n, m));
      assert.is(schedules(c).at(-1), 'gemm + map');
      await check(c, [Number(m), Number(n), 64]);
    }
});

test('the whole result is no longer in memory, unless it is asked for as well', async () => {
  const size = { M: 1000, N: 8192, K: 64 };
  const c = await chain('memory.ts', kernelText(eight));
  assert.ok(Math.max(...temporaries(c.made, size)) < size.M * size.N);
  const both = await chain('both.ts', kernelText('return { y, e: encode(q8_0, y) };'));
  assert.equal(schedules(both), ['gemm + map']);
  assert.ok(Math.max(...temporaries(both.made, size)) < size.M * size.N);
  assert.match(both.made.stage('schedule'), /follows in pieces of 256 columns, out of the result/);
  for (const s of [
    [1, 160, 32],
    [7, 64, 64],
    [2, 416, 32],
  ] as const) {
    await check(c, s);
    await check(both, s);
  }
});

test('several kernels follow one product, in pieces that suit them all', async () => {
  const c = await chain(
    'several.ts',
    kernelText('return { a: encode(q8_0, y), b: encode(nf4, y), c: transpose(y) * 2 };'),
  );
  assert.equal(schedules(c), ['gemm + map + map + rows']);
  for (const s of [
    [1, 128, 32],
    [5, 192, 64],
    [197, 64, 32],
  ] as const)
    await check(c, s);
});

test('rows that a piece has whole are normalised in it, longer ones in a kernel of their own', async () => {
  const row =
    'return y / (sum(abs(y), 1, { keepdims: true }) + 1) - amax(y, 1, { keepdims: true });';
  for (const [n, x] of [
    ['64', plain],
    ['96', rounded],
    ['17', plain],
    ['17', rounded],
  ] as const) {
    const c = await chain(`row-${n}-${x.length}.ts`, kernelText(row, x, n));
    assert.is(schedules(c).at(-1), 'gemm + rows');
    for (const m of [1, 53]) await check(c, [m, Number(n), 32]);
  }
  // All of a small result: a single number.
  const total = await chain('total.ts', kernelText('return sum(abs(y));', plain, '24', '3'));
  assert.equal(schedules(total), ['gemm + rows']);
  await check(total, [3, 24, 64]);
  const long = await chain('row-long.ts', kernelText(row, plain, '4096'));
  assert.equal(schedules(long), ['gemm', 'rows']);
  assert.equal(explained(long), [
    '# matmul_0: sub_1 does not follow piece by piece: it needs whole rows of 4096, and a piece has 256 elements of one',
  ]);
});

test('elementwise functions follow in other layouts', async () => {
  for (const [i, body] of [
    'return transpose(y) * 2;',
    'return u4(clamp(transpose(abs(y)), 0, 15));',
  ].entries()) {
    const c = await chain(`layout-${i}.ts`, kernelText(body));
    assert.equal(schedules(c), ['gemm + rows']);
    for (const s of [
      [1, 300, 32],
      [5, 19, 64],
      [70, 40, 32],
    ] as const)
      await check(c, s);
  }
});

const bare = (params: string, body: string): string => `${head}
export function kernel<B extends Dim, M extends Dim, N extends Dim, K extends Dim>(${params}) {
  ${body}
}`;
const whole = (shape: readonly number[], seed: number): HostArray => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
    Math.trunc(Math.sin(seed + i * 1.7) * 20),
  );
  return { dtype: 'f32', shape, data };
};
const agrees = async (c: Chain, given: readonly HostArray[]): Promise<void> => {
  const want = (await interpret({ file: c.file, name: 'kernel' }, given)).results;
  const got = await wasmRunner.run(c.made.artifact, given);
  for (const [i, w] of want.entries()) agree(`result ${i}`, got[i]!, w, 'exact');
};

test('pieces that are no whole vectors are made to their ends, whichever side is panelled', async () => {
  const size = fc.integer({ min: 1, max: 40 });
  const bodies = [
    'return transpose(y) + 0;',
    'return [transpose(y) * 2, y + 1];',
    'return u4(clamp(transpose(abs(y)), 0, 15));',
    'return u2(clamp(abs(y) + sum(y, 1, { keepdims: true }) * 0, 0, 3));',
  ];
  await fc.assert(
    fc.asyncProperty(size, size, fc.constantFrom(...bodies), async (m, n, body) => {
      const params = `x: Tensor<f32, [${m}, 32]>, w: Tensor<f32, [${n}, 32]>`;
      const text = bare(params, `const y = matmul(x, transpose(w));\n${body}`);
      await agrees(await chain(`small-${m}-${n}-${bodies.indexOf(body)}.ts`, text, []), [
        whole([m, 32], n),
        whole([n, 32], m),
      ]);
    }),
    { numRuns: 16, examples: [[7, 16, bodies[0]!]] },
  );
});

test('what follows goes through the matrices of a batch, and along columns', async () => {
  const params = 'x: Tensor<f32, [B, M, K]>, w: Tensor<f32, [B, K, N]>';
  const batch = await chain('batch.ts', bare(params, 'return encode(q8_0, matmul(x, w));'), []);
  assert.equal(schedules(batch), ['gemm + map']);
  for (const [m, n] of [
    [1, 32],
    [7, 96],
  ] as const)
    await agrees(batch, [whole([3, m, 8], 1), whole([3, 8, n], 2)]);
  const sides = 'x: Tensor<f32, [K, M]>, w: Tensor<f32, [N, K]>';
  const text = bare(sides, 'return encode(q8_0, transpose(matmul(abs(w), x)));');
  const columns = await chain('columns.ts', text, []);
  assert.equal(schedules(columns), ['gemm + map']);
  for (const [m, n] of [
    [1, 32],
    [9, 320],
  ] as const)
    await agrees(columns, [whole([8, m], 3), whole([n, 8], 4)]);
});

test('what cannot follow says why', async () => {
  const reasonsOf = async (name: string, body: string): Promise<string[]> => {
    const c = await chain(`${name}.ts`, kernelText(body));
    await check(c, [3, 64, 32]);
    assert.ok(schedules(c).every((how) => !how.includes('+')));
    return explained(c).map((line) => line.replace('# ', ''));
  };
  const apart = 'does not follow piece by piece';
  assert.equal(await reasonsOf('contraction', 'return matmul(transpose(y), y);'), [
    `matmul_0: matmul_1 ${apart}: it is a contraction, with pieces of its own`,
  ]);
  assert.equal(await reasonsOf('sorted', 'return sort(y);'), [
    `matmul_0: sort_1 ${apart}: its statements run in order`,
  ]);
  assert.equal(await reasonsOf('in-between', 'return encode(byRow, y);'), [
    `matmul_0: q_2 ${apart}: it reads what is made in between`,
    `matmul_0: map_1 ${apart}: it needs whole rows of N, and a piece has 256 elements of one`,
  ]);
  assert.equal(await reasonsOf('down', 'return sum(y, 0);'), [
    `matmul_0: sum_1 ${apart}: it needs whole columns of M, and a piece has at most 192 elements of one`,
  ]);
});

test('what follows is said with its pieces', async () => {
  const c = await chain('said.ts', kernelText('return { a: encode(q8_0, y), b: sum(y, 0) };'));
  assert.equal(explained(c), [
    '# matmul_0: d_1 follows in pieces of 256 columns, out of the result',
    '# matmul_0: sum_2 does not follow piece by piece: it needs whole columns of M, and a piece has at most 192 elements of one',
  ]);
  await check(c, [5, 288, 64]);
});

test('on a GPU every kernel is launched by itself', async () => {
  const file = write('gpu.ts', kernelText(eight, rounded));
  for (const target of ['wgsl', 'cuda'] as const) {
    const { artifact, stages } = await compile({
      file,
      name: 'kernel',
      formats: [q4],
      target,
      trace: true,
    });
    assert.is(artifact.manifest.kernels.length, 3);
    assert.match(
      stages.find((s) => s.name === 'schedule')!.text,
      /does not follow piece by piece: kernels of a GPU are launched one after the other/,
    );
  }
});

test('workers meet once before a product that is encoded, and never within', async () => {
  const c = await chain('meet.ts', kernelText(eight, rounded), [q4], [bytes, words]);
  const flat = (list: readonly Segment[]): readonly Segment[] =>
    list.flatMap((s) => (s.kind === 'branch' ? [...flat(s.then), ...flat(s.else)] : [s]));
  for (const { program } of c.resident) {
    const [encoding, product] = planThreads(program)!.kernels.map(flat);
    assert.equal(
      [...encoding!, ...product!].filter((s) => s.kind === 'barrier' || s.kind === 'first'),
      [],
    );
    const splits = product!.filter((s) => s.kind === 'split');
    assert.ok(splits.length > 1, 'what is prepared of the activations, and the product');
    assert.is(splits.at(-1)!.loop.var.name, 'piece');
  }
});

test.run();
