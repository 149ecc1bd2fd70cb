// Softmax-weighted contractions run in one pass over their axis, whatever the scores and the values are made of, and
// agree with the interpreter. Near misses keep their stored scores.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FormatRef } from '../../compiler/artifact.ts';
import { type HostArray, interpret } from '../../compiler/index.ts';
import { scalar, unit } from '../conformance/arrays.ts';
import { wasmRunner } from '../conformance/wasm-runner.ts';
import { type Compiled, compiled, shipped } from './harness.ts';

const test = suite('online softmax');
const folder = mkdtempSync(join(tmpdir(), 'quern-online-'));
test.after(() => rmSync(folder, { recursive: true }));

const imports = `import { abs, amax, amin, decode, dim, exp, f16, format, iota, matmul, reshape, round, shape, sqrt, sum,
  transpose, u2, u4 } from 'quern';
import { uniform } from 'quern/formats';
import type { Dim, Encoded, Format, Scalar, Tensor, f32 } from 'quern';
export const grid4 = uniform({ bits: 4, group: 32 });
export const grid3 = uniform({ bits: 3, group: 32 });
/** KIVI-like: a minimum and a step for each group of 16 values. */
export const kv2 = format({
  block: 16,
  encode(x: Tensor<f32>) {
    const low = amin(x);
    const d = (amax(x) - low) / 3;
    return { d: f16(d), low: f16(low), q: u2(round((x - low) * (d === 0 ? 0 : 1 / d))) };
  },
  decode: ({ d, low, q }) => q * d + low,
});
`;
let files = 0;
const write = (text: string): string => {
  const path = join(folder, `k${files++}.ts`);
  writeFileSync(path, imports + text);
  return path;
};

/** Largest difference allowed: results are averages of values in [-1, 1]. */
const close = 2e-6;
function agree(what: string, got: HostArray, want: HostArray): void {
  assert.equal([...got.shape], [...want.shape]);
  want.data.forEach((w, i) => {
    const g = got.data[i]!;
    const fine = Number.isNaN(w) ? Number.isNaN(g) : Math.abs(g - w) <= close;
    assert.ok(fine, `${what}: element ${i} is ${g}, the interpreter has ${w}`);
  });
}

const attention = write(`
function attend(q: Tensor<f32>, k: Tensor<f32>, v: Tensor<f32>, start: Scalar, headDim: number) {
  const [rows, groups, width] = shape(q);
  const slots = dim(k, 0);
  const heads = width / headDim;
  const queries = transpose(reshape(q, [rows, groups, heads, headDim]), [2, 1, 0, 3]);
  const keys = transpose(reshape(k, [slots, heads, 1, headDim]), [1, 2, 3, 0]);
  const values = transpose(reshape(v, [slots, heads, 1, headDim]), [1, 2, 0, 3]);
  const visible = iota(slots) <= reshape(iota(rows) + start, [rows, 1]);
  const masked = visible ? matmul(queries, keys) * (1 / sqrt(headDim)) : -1 / 0;
  const weights = exp(masked - amax(masked, -1, { keepdims: true }));
  return matmul(weights, values) / sum(weights, -1, { keepdims: true });
}
export function plain<T extends Dim, R extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [T, R, E]>, k: Tensor<f32, [S, E]>, v: Tensor<f32, [S, E]>, start: Scalar) {
  return attend(q, k, v, start, 32);
}
export function coded<F extends Format, G extends Format, T extends Dim, R extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [T, R, E]>, k: Encoded<F, [S, E]>, v: Encoded<G, [S, E]>, start: Scalar) {
  return attend(q, decode(k), decode(v), start, 32);
}
export function oneRow<S extends Dim>(
  q: Tensor<f32, [1, 1, 64]>, k: Tensor<f32, [S, 64]>, v: Tensor<f32, [S, 64]>, start: Scalar) {
  return attend(q, k, v, start, 32);
}`);
const isOnline = (c: Compiled, kernels = 1): void => {
  assert.is(c.manifest.kernels.length, kernels);
  assert.is(c.manifest.kernels[0]!.schedule, 'online');
};
async function encoded(format: FormatRef, x: HostArray): Promise<readonly HostArray[]> {
  const name = `${format.name}.encode`;
  return (await interpret({ file: format.file, name }, [x])).results;
}

/** Queries, queries to a key, keys. */
const sizes = [
  [1, 1, 1],
  [1, 1, 31],
  [1, 1, 33],
  [1, 4, 64],
  [1, 3, 70],
  [5, 1, 100],
  [7, 2, 37],
] as const;

test('attention over plain keys, every number of rows and keys', async () => {
  const c = await compiled({ file: attention, name: 'plain' });
  isOnline(c);
  for (const [t, r, s] of sizes)
    for (const start of [0, s - t, 2]) {
      const inputs = [
        unit([t, r, 96], 1),
        unit([s, 96], 2),
        unit([s, 96], 3),
        scalar('f32', start),
      ];
      const want = await interpret({ file: attention, name: 'plain' }, inputs);
      const got = await wasmRunner.run(c.artifact, inputs);
      agree(`${t} rows, ${r} a key, ${s} keys from ${start}`, got[0]!, want.results[0]!);
    }
});

test('one row of a known size has one way only', async () => {
  const c = await compiled({ file: attention, name: 'oneRow' });
  isOnline(c);
  assert.not.match(c.stage('schedule'), /panel/);
  const inputs = [unit([1, 1, 64], 1), unit([45, 64], 2), unit([45, 64], 3), scalar('f32', 44)];
  const want = await interpret({ file: attention, name: 'oneRow' }, inputs);
  agree('one row', (await wasmRunner.run(c.artifact, inputs))[0]!, want.results[0]!);
});

test('keys and values in formats of their own are decoded where they are used', async () => {
  const own = { file: attention, name: 'kv2' };
  for (const [k, v] of [
    [own, own],
    [shipped('q4_0'), shipped('nf4')],
    [shipped('q8_0'), own],
  ] as const) {
    const formats = [k, v];
    const c = await compiled({ file: attention, name: 'coded', formats });
    isOnline(c);
    for (const [t, r, s] of sizes) {
      const width = 64;
      const keys = await encoded(k, unit([s, width], 2));
      const values = await encoded(v, unit([s, width], 3));
      const inputs = [unit([t, r, width], 1), ...keys, ...values, scalar('f32', s - t)];
      const want = await interpret({ file: attention, name: 'coded', formats }, inputs);
      const got = await wasmRunner.run(c.artifact, inputs);
      agree(`${k.name}, ${v.name}: ${t}, ${r}, ${s}`, got[0]!, want.results[0]!);
    }
  }
});

const byChannel = write(`
/** Keys channel by channel, [E, S]; values token by token, [S, E], or channel by channel too. */
function attend(q: Tensor<f32>, k: Tensor<f32>, v: Tensor<f32>, bias: Tensor<f32>, start: Scalar, headDim: number) {
  const [rows, groups, width] = shape(q);
  const slots = dim(k, 1);
  const heads = width / headDim;
  const queries = reshape(transpose(reshape(q, [rows, groups, heads, headDim]), [2, 1, 0, 3]), [heads, groups * rows, headDim]);
  const scores = matmul(queries, reshape(k, [heads, headDim, slots])) * (1 / sqrt(headDim)) + bias;
  const visible = iota(slots) <= reshape(iota(groups * rows) % rows, [groups * rows, 1]) + start;
  const z = visible ? scores : -1 / 0;
  const e = exp(z - amax(z, -1, { keepdims: true }));
  return matmul(e, v) / sum(e, -1, { keepdims: true });
}
const perToken = (v: Tensor<f32>, headDim: number) =>
  transpose(reshape(v, [dim(v, 0), dim(v, 1) / headDim, headDim]), [1, 0, 2]);
const perChannel = (v: Tensor<f32>, headDim: number) =>
  transpose(reshape(v, [dim(v, 0) / headDim, headDim, dim(v, 1)]), [0, 2, 1]);
export function plain<T extends Dim, R extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [T, R, E]>, k: Tensor<f32, [E, S]>, v: Tensor<f32, [S, E]>, bias: Tensor<f32, [S]>, start: Scalar) {
  return attend(q, k, perToken(v, 20), bias, start, 20);
}
export function turned<T extends Dim, R extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [T, R, E]>, k: Tensor<f32, [E, S]>, v: Tensor<f32, [E, S]>, bias: Tensor<f32, [S]>, start: Scalar) {
  return attend(q, k, perChannel(v, 20), bias, start, 20);
}
export function coded<F extends Format, G extends Format, T extends Dim, R extends Dim, S extends Dim, E extends Dim>(
  q: Tensor<f32, [T, R, E]>, k: Encoded<F, [E, S]>, v: Encoded<G, [S, E]>, bias: Tensor<f32, [S]>, start: Scalar) {
  return attend(q, decode(k), perToken(decode(v), 32), bias, start, 32);
}
export function alone<S extends Dim>(q: Tensor<f32, [1, 1, 48]>, k: Tensor<f32, [48, S]>, v: Tensor<f32, [S, 48]>,
  bias: Tensor<f32, [S]>, start: Scalar) {
  return attend(q, k, perToken(v, 24), bias, start, 24);
}
export function tokens<S extends Dim>(q: Tensor<f32, [1, 1, 48]>, k: Tensor<f32, [S, 48]>, v: Tensor<f32, [S, 48]>,
  bias: Tensor<f32, [S]>, start: Scalar) {
  return attend(q, transpose(k), perToken(v, 24), bias, start, 24);
}`);
const lanesAreKeys = /lanes are keys/;

/** Runs a kernel of \`byChannel\` on the interpreter and on wasm. */
async function alike(
  c: Compiled,
  name: string,
  inputs: readonly HostArray[],
  what: string,
  formats?: readonly FormatRef[],
): Promise<void> {
  const request = { file: byChannel, name, ...(formats ? { formats } : {}) };
  const want = await interpret(request, inputs);
  agree(what, (await wasmRunner.run(c.artifact, inputs))[0]!, want.results[0]!);
}

test('keys that lie channel by channel: lanes are keys, for any number of rows, keys and blocks', async () => {
  for (const name of ['plain', 'turned']) {
    const c = await compiled({ file: byChannel, name });
    isOnline(c);
    assert.match(c.stage('schedule'), lanesAreKeys);
    const check = async (t: number, r: number, s: number, start: number): Promise<void> => {
      const values = name === 'plain' ? [s, 40] : [40, s];
      const inputs = [
        unit([t, r, 40], 1 + s),
        unit([40, s], 2 + t),
        unit(values, 3 + r),
        unit([s], 4),
        scalar('f32', start),
      ];
      await alike(
        c,
        name,
        inputs,
        `${name}: ${t} queries, ${r} heads a key, ${s} keys from ${start}`,
      );
    };
    for (const [t, r, s] of [
      [1, 1, 0],
      [1, 1, 1],
      [1, 4, 1023],
      [1, 5, 1025],
      [2, 9, 1040],
      [1, 1, 2051],
    ] as const)
      await check(t, r, s, s - t);
    const few = fc.tuple(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 7 }),
      fc.nat(40),
      fc.nat(40),
    );
    await fc.assert(
      fc.asyncProperty(few, ([t, r, s, start]) => check(t, r, s, start)),
      { numRuns: 20 },
    );
  }
});

test('encoded keys whose groups run along the tokens are decoded with lanes along them', async () => {
  const own = { file: attention, name: 'kv2' };
  for (const [k, v] of [
    [own, own],
    [
      { file: attention, name: 'grid4' },
      { file: attention, name: 'grid3' },
    ],
    [shipped('nf4'), shipped('q8_0')],
  ] as const) {
    const formats = [k, v];
    const c = await compiled({ file: byChannel, name: 'coded', formats });
    isOnline(c);
    assert.match(c.stage('schedule'), lanesAreKeys);
    for (const [t, r, s] of [
      [1, 1, 64],
      [1, 4, 192],
      [3, 2, 1088],
    ] as const) {
      const keys = await encoded(k, unit([64, s], 2));
      const values = await encoded(v, unit([s, 64], 3));
      const inputs = [unit([t, r, 64], 1), ...keys, ...values, unit([s], 4), scalar('f32', s - t)];
      await alike(c, 'coded', inputs, `${k.name}, ${v.name}: ${t}, ${r}, ${s}`, formats);
    }
  }
});

test('masked blocks, NaN and Inf among the scores of keys in lanes', async () => {
  const c = await compiled({ file: byChannel, name: 'plain' });
  const s = 1100;
  const at = (f: (i: number) => number): HostArray => {
    const b = unit([s], 4);
    for (let i = 0; i < s; i += 1) b.data[i] = f(i);
    return b;
  };
  const biases = {
    'the first block is -Inf': at((i) => (i < 1050 ? -Infinity : 0)),
    'everything is -Inf': at(() => -Infinity),
    'a NaN late': at((i) => (i === 1090 ? NaN : 0)),
    'an Inf early': at((i) => (i === 3 ? Infinity : 0)),
    'growing by leaps': at((i) => i / 5),
    falling: at((i) => -i / 5),
  };
  for (const [what, bias] of Object.entries(biases))
    for (const start of [s, -1])
      await alike(
        c,
        'plain',
        [unit([1, 3, 40], 1), unit([40, s], 2), unit([s, 40], 3), bias, scalar('f32', start)],
        what,
      );
});

test('one row of a known size; keys that lie token by token keep their way', async () => {
  for (const [name, isByKeys] of [
    ['alone', true],
    ['tokens', false],
  ] as const) {
    const c = await compiled({ file: byChannel, name });
    isOnline(c);
    const text = c.stage('schedule');
    assert.is(lanesAreKeys.test(text), isByKeys);
    if (!isByKeys) assert.match(text, /a sum along the channels of its key/);
    for (const s of [5, 77]) {
      const k = unit(isByKeys ? [48, s] : [s, 48], 2);
      const inputs = [unit([1, 1, 48], 1), k, unit([s, 48], 3), unit([s], 4), scalar('f32', s)];
      await alike(c, name, inputs, `${name}, ${s} keys`);
    }
  }
});

test('weights divided before they are used, other epilogues, scores that are given', async () => {
  for (const body of [
    'const e = exp(z - amax(z, -1, { keepdims: true })); return matmul(e / sum(e, -1, { keepdims: true }), v);',
    `const e = exp(z - amax(z, -1, { keepdims: true }));
     return abs(matmul(e, v) * 2 / sum(e, -1, { keepdims: true })) - b;`,
    `const y = matmul(z, z2) * 3; const e = exp(y - amax(y, -1, { keepdims: true }));
     return matmul(e, v) / sum(e, -1, { keepdims: true }) + b;`,
  ]) {
    const file = write(`export function kernel<M extends Dim, S extends Dim, D extends Dim>(
      z: Tensor<f32, [M, S]>, z2: Tensor<f32, [S, S]>, v: Tensor<f32, [S, D]>, b: Tensor<f32, [D]>) { ${body} }`);
    const c = await compiled({ file, name: 'kernel' });
    isOnline(c);
    for (const [m, s, d] of [
      [1, 9, 5],
      [3, 65, 8],
      [6, 40, 19],
    ] as const) {
      const inputs = [unit([m, s], 4), unit([s, s], 5), unit([s, d], 6), unit([d], 7)];
      const want = await interpret({ file, name: 'kernel' }, inputs);
      agree(body, (await wasmRunner.run(c.artifact, inputs))[0]!, want.results[0]!);
    }
  }
});

test('Inf and NaN among the scores do what they do in the definition', async () => {
  const file = write(`export function kernel<M extends Dim, S extends Dim, D extends Dim>(
    z: Tensor<f32, [M, S]>, v: Tensor<f32, [S, D]>) {
    const e = exp(z - amax(z, -1, { keepdims: true }));
    return matmul(e, v) / sum(e, -1, { keepdims: true });
  }`);
  const c = await compiled({ file, name: 'kernel' });
  isOnline(c);
  const s = 70;
  const z = unit([6, s], 8);
  // Rows: a block of -Inf first, -Inf throughout, a NaN late, an Inf, growing by leaps, falling.
  const row = (r: number, f: (i: number, x: number) => number): void => {
    for (let i = 0; i < s; i += 1) z.data[r * s + i] = f(i, z.data[r * s + i]!);
  };
  row(0, (i, x) => (i < 40 ? -Infinity : x));
  row(1, () => -Infinity);
  row(2, (i, x) => (i === 66 ? NaN : x));
  row(3, (i, x) => (i === 3 ? Infinity : x));
  row(4, (i, x) => x + i * 3);
  row(5, (i, x) => x - i * 3);
  const inputs = [z, unit([s, 8], 9)];
  const want = await interpret({ file, name: 'kernel' }, inputs);
  agree('special scores', (await wasmRunner.run(c.artifact, inputs))[0]!, want.results[0]!);
});

for (const [why, body] of [
  ['scores that are a result too', 'return [matmul(e, v) / sum(e, 1, { keepdims: true }), e];'],
  ['values made from the weights', 'return matmul(e, transpose(e) * amax(v));'],
  [
    'a shift by the smallest',
    'const f = exp(z - amin(z, 1, { keepdims: true })); return matmul(f, v);',
  ],
  ['sums along the other axis', 'return matmul(e, v) / sum(e);'],
] as const)
  test(`no single pass over ${why}`, async () => {
    const file = write(`export function kernel<M extends Dim, S extends Dim>(
      z: Tensor<f32, [M, S]>, v: Tensor<f32, [S, M]>) {
      const e = exp(z - amax(z, 1, { keepdims: true })); ${body} }`);
    const c = await compiled({ file, name: 'kernel' });
    assert.not.ok(c.manifest.kernels.some((k) => k.schedule === 'online'));
    const inputs = [unit([5, 33], 4), unit([33, 5], 6)];
    const want = await interpret({ file, name: 'kernel' }, inputs);
    const got = await wasmRunner.run(c.artifact, inputs);
    want.results.forEach((w, i) =>
      w.data.forEach((x, n) => {
        const g = got[i]!.data[n]!;
        assert.ok(Math.abs(g - x) <= 1e-5 * Math.max(1, Math.abs(x)), `${why}: ${g}, ${x}`);
      }),
    );
  });

test.run();
