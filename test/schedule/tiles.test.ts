// Tiles of contractions: sums, groups of rows and chunks of depth that end anywhere, whichever side is decoded.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { array, type DeviceTensor, type Loaded, load } from '../../index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { compiledText } from './harness.ts';

const test = suite('tiles of contractions');
const folder = mkdtempSync(join(tmpdir(), 'quern-tiles-'));
const file = join(folder, 'kernels.ts');
writeFileSync(
  file,
  `import { abs, amax, decode, exp, f16, format, i8, matmul, round, transpose } from 'quern';
import type { Dim, Encoded, Tensor, f32 } from 'quern';
const eighths = format({
  block: 8,
  encode: (x: Tensor<f32, [8]>) => ({ d: f16(amax(abs(x)) * 0 + 0.125), q: i8(round(x * 8)) }),
  decode: ({ d, q }) => q * d,
});
export function dense<M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Tensor<f32, [N, K]>) {
  return matmul(x, transpose(w));
}
export function encoded<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>, w: Encoded<typeof eighths, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}
export function turned<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [K, M]>, w: Encoded<typeof eighths, [N, K]>) {
  return matmul(decode(w), x);
}
export function gated<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>, w: Tensor<f32, [N, K]>, v: Tensor<f32, [N, K]>, b: Tensor<f32, [N]>) {
  const gate = matmul(x, transpose(w));
  return f16(gate / (1 + exp(-gate)) * matmul(x, transpose(v)) + b);
}
export function oneRow<N extends Dim, K extends Dim>(x: Tensor<f32, [1, K]>, w: Tensor<f32, [N, K]>) {
  return matmul(x, transpose(w));
}
export function oneRowEncoded<N extends Dim, K extends Dim>(
  x: Tensor<f32, [1, K]>, w: Encoded<typeof eighths, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}
export function threeRows<N extends Dim, K extends Dim>(x: Tensor<f32, [3, K]>, w: Tensor<f32, [N, K]>) {
  return matmul(x, transpose(w));
}
export function timesVector<N extends Dim, K extends Dim>(x: Tensor<f32, [K, 1]>, w: Tensor<f32, [N, K]>) {
  return matmul(w, x);
}
export { eighths };
`,
);
const device = new WasmDevice({ threads: 1 });
let kernels: Loaded;
test.before(async () => {
  await device.start();
  kernels = await load(file, { device, cache: false });
});
test.after(() => {
  device.close();
  rmSync(folder, { recursive: true });
});

/** Eighths from -1 to 1: their products and sums are exact in f32, in any order. */
function eighths(length: number, seed: number): Float32Array<ArrayBuffer> {
  let x = seed;
  return Float32Array.from({ length }, () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return ((x >>> 16) % 17) / 8 - 1;
  });
}
const transposed = (x: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> =>
  Float32Array.from(
    { length: x.length },
    (_, i) => x[(i % rows) * columns + Math.floor(i / rows)]!,
  );

function product(x: Float32Array, w: Float32Array, m: number, n: number, k: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i += 1)
    for (let j = 0; j < n; j += 1) {
      let sum = 0;
      for (let d = 0; d < k; d += 1) sum += x[i * k + d]! * w[j * k + d]!;
      out[i * n + j] = sum;
    }
  return out;
}

const call = async (name: string, ...args: unknown[]): Promise<Float32Array> => {
  const run = kernels[name] as unknown as (...a: unknown[]) => Promise<DeviceTensor>;
  const y = await run(...args);
  const data = (await y.data()) as Float32Array;
  y.dispose();
  return data;
};
const same = (found: ArrayLike<number>, meant: ArrayLike<number>, what: string): void => {
  assert.is(found.length, meant.length, what);
  for (let i = 0; i < meant.length; i += 1)
    if (found[i] !== meant[i]) assert.is(found[i], meant[i], `${what}, element ${i}`);
};

/** Around the sizes of register tiles, of groups of rows and of chunks. */
const rows = fc.constantFrom(4, 5, 6, 7, 9, 11, 12, 13, 16, 191, 192, 193, 200);
const columns = fc.constantFrom(3, 4, 5, 63, 64, 65, 66, 127, 129);
const depths = fc.constantFrom(4, 5, 7, 31, 64, 511, 512, 513, 520, 1023, 1029);
const small = (m: number, n: number, k: number): boolean => m * n * k < 4e6;

test('sums are right wherever rows, columns and depth end', async () => {
  await fc.assert(
    fc.asyncProperty(rows, columns, depths, fc.nat(1e6), async (m, n, k, seed) => {
      fc.pre(small(m, n, k));
      const [x, w] = [eighths(m * k, seed), eighths(n * k, seed + 1)];
      const y = await call('dense', array(x, [m, k]), array(w, [n, k]));
      same(y, product(x, w, m, n, k), `${m} x ${n} x ${k}`);
    }),
    { numRuns: 40 },
  );
});

test('with fewer than four rows, streams of the other operand end anywhere', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(1, 2, 3),
      fc.integer({ min: 1, max: 19 }),
      fc.constantFrom(1, 3, 4, 7, 8, 11, 15, 16, 20, 23, 32, 37, 520),
      fc.nat(1e6),
      async (m, n, k, seed) => {
        const [x, w] = [eighths(m * k, seed), eighths(n * k, seed + 1)];
        const y = await call('dense', array(x, [m, k]), array(w, [n, k]));
        same(y, product(x, w, m, n, k), `${m} x ${n} x ${k}`);
        const v = eighths(n * k, seed + 2);
        const [shape, none] = [[n, k], new Float32Array(n)];
        const found = await call(
          'gated',
          array(x, [m, k]),
          array(w, shape),
          array(v, shape),
          array(none, [n]),
        );
        const [gate, up] = [product(x, w, m, n, k), product(x, v, m, n, k)];
        found.forEach((value, i) => {
          const meant = (gate[i]! / (1 + Math.exp(-gate[i]!))) * up[i]!;
          assert.ok(
            Math.abs(value - meant) <= 1e-3 * Math.abs(meant) + 1e-6,
            `gated ${m} x ${n} x ${k}`,
          );
        });
      },
    ),
    { numRuns: 60 },
  );
});

test('plain rows are read four at a time when there are few of the other operand', async () => {
  const text = (
    await compiledText(
      'export function kernel<M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Tensor<f32, [N, K]>) { return matmul(x, transpose(w)); }',
    )
  ).stage('schedule');
  assert.match(text, /4 far-apart rows at once, for 1 of the other operand/);
  assert.match(text, /4 far-apart rows at once, for 2 of the other operand/);
});

test('encoded rows are decoded on either side of the product', async () => {
  const format = kernels.format('eighths');
  await fc.assert(
    fc.asyncProperty(
      rows,
      columns,
      fc.constantFrom(8, 64, 504, 512, 520, 1032),
      async (m, n, k) => {
        fc.pre(small(m, n, k));
        const [x, w] = [eighths(m * k, n), eighths(n * k, m)];
        const encoded = await format.encode(array(w, [n, k]));
        const meant = product(x, w, m, n, k);
        const [a, b] = [array(x, [m, k]), array(transposed(x, m, k), [k, m])];
        same(await call('encoded', a, encoded), meant, `${m} x ${n} x ${k}`);
        const back = transposed(Float32Array.from(meant), m, n);
        same(await call('turned', b, encoded), back, `${n} x ${m} x ${k}`);
        encoded.dispose();
      },
    ),
    { numRuns: 20 },
  );
});

test('two contractions share a block and their epilogue, rounded as it says', async () => {
  for (const [m, n, k] of [
    [6, 64, 16],
    [13, 67, 520],
    [197, 5, 9],
  ] as const) {
    const [x, w, v, b] = [m * k, n * k, n * k, n].map((size, i) => eighths(size, i + 5)) as [
      Float32Array<ArrayBuffer>,
      Float32Array<ArrayBuffer>,
      Float32Array<ArrayBuffer>,
      Float32Array<ArrayBuffer>,
    ];
    const [g, u] = [product(x, w, m, n, k), product(x, v, m, n, k)];
    const y = await call(
      'gated',
      array(x, [m, k]),
      array(w, [n, k]),
      array(v, [n, k]),
      array(b, [n]),
    );
    y.forEach((found, i) => {
      const meant = (g[i]! / (1 + Math.exp(-g[i]!))) * u[i]! + b[i % n]!;
      assert.ok(Math.abs(found - meant) <= 1e-3 * Math.abs(meant) + 1e-6, `${found} for ${meant}`);
    });
  }
});

test('what lies beyond the depth of a row never meets a sum', async () => {
  const [m, n, k] = [6, 4, 5];
  const x = eighths(m * k, 3);
  const w = eighths(n * k, 4);
  // The first element of row 1 follows the last of row 0.
  x[k] = Number.NaN;
  const y = await call('dense', array(x, [m, k]), array(w, [n, k]));
  y.forEach((v, i) => {
    assert.is(Number.isNaN(v), Math.floor(i / n) === 1, `element ${i}`);
  });
});

test('scratch stays small however long the rows are', async () => {
  const c = await compiledText(
    `export function kernel<M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Tensor<f32, [N, K]>) {
      return matmul(x, transpose(w));
    }`,
  );
  const bytes = c.manifest.buffers.filter((b) => b.role === 'temp');
  assert.is(bytes.length, 3);
  for (const b of bytes) assert.ok(b.bytes.every((v) => typeof v === 'number' && v <= 131072));
});

test('a row or three whose number is written in the kernel go by streams of weights too', async () => {
  for (const [n, k] of [
    [1, 5],
    [3, 40],
    [4, 16],
    [9, 8],
    [37, 83],
    [64, 256],
  ] as const) {
    const [x, w] = [eighths(3 * k, 1), eighths(n * k, 2)];
    const matrix = array(w, [n, k]);
    const one = product(x, w, 1, n, k);
    const row = x.subarray(0, k);
    const what = `${n} x ${k}`;
    same(await call('oneRow', array(row, [1, k]), matrix), one, what);
    same(await call('timesVector', array(row, [k, 1]), matrix), one, what);
    same(await call('threeRows', array(x, [3, k]), matrix), product(x, w, 3, n, k), what);
    if (k % 8) continue;
    const encoded = await kernels.format('eighths').encode(matrix);
    same(await call('oneRowEncoded', array(row, [1, k]), encoded), one, what);
  }
  for (const text of [
    '(x: Tensor<f32, [1, K]>, w: Tensor<f32, [N, K]>) { return matmul(x, transpose(w)); }',
    '(x: Tensor<f32, [K, 1]>, w: Tensor<f32, [N, K]>) { return matmul(w, x); }',
  ]) {
    const { manifest } = await compiledText(
      `export function kernel<N extends Dim, K extends Dim>${text}`,
    );
    assert.equal(
      manifest.kernels.map((k) => k.schedule),
      ['gemm'],
    );
  }
});

test.run();
