// What goes along rows and down columns, of any size: reductions in vectors of several widths, extremes by integers, searches that
// end early, rows that wait in their result, strips of columns. Held against the interpreter, and the same on several threads.
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { array, load } from '../../index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { compiledText } from './harness.ts';

const test = suite('rows and columns');
const file = fileURLToPath(new URL('./rows.kernel.ts', import.meta.url));
type Kernel = (...args: readonly unknown[]) => Promise<{ data(): Promise<ArrayLike<number>> }>;
type Kernels = Readonly<Record<string, Kernel>>;
const open = async (device: WasmDevice | 'reference'): Promise<Kernels> =>
  (await load(file, { device, cache: false })) as unknown as Kernels;
const reference = await open('reference');
const devices = [new WasmDevice({ threads: 1 }), new WasmDevice({ threads: 3 })];
for (const d of devices) await d.start();
const kernels = await Promise.all(devices.map(open));
test.after(() => {
  for (const d of devices) d.close();
});

const bitsOf = (data: ArrayLike<number>): number[] =>
  Array.from(new Uint32Array(Float32Array.from(data).buffer), (b, i) =>
    Number.isNaN(data[i]!) ? NaN : b,
  );

/** `ulps`: of the largest magnitude in the result; 0 asks for the same bits. */
async function agree(name: string, args: readonly unknown[], ulps: number): Promise<void> {
  const want = await (await reference[name]!(...args)).data();
  const found: ArrayLike<number>[] = [];
  for (const k of kernels) found.push(await (await k[name]!(...args)).data());
  assert.equal(bitsOf(found[1]!), bitsOf(found[0]!), `${name}: threads differ`);
  if (ulps === 0) return assert.equal(bitsOf(found[0]!), bitsOf(want), name);
  const scale = Array.from(want).reduce((m, v) => (Math.abs(v) > m ? Math.abs(v) : m), 1e-30);
  Array.from(want).forEach((w, i) => {
    const g = found[0]![i]!;
    const fine = Number.isFinite(w) ? Math.abs(g - w) <= ulps * 2 ** -23 * scale : Object.is(g, w);
    assert.ok(fine, `${name}: element ${i} is ${g}, the interpreter has ${w}`);
  });
}

const special = [0, -0, 1, -1, Infinity, -Infinity, NaN, 1e-45, -1e-45, 3e38, -3e38];
const anything = (seed: number, size: number, odd: number): Float32Array => {
  let x = seed | 1;
  return Float32Array.from({ length: size }, () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    const share = (x >>> 8) / 2 ** 24;
    return share < odd ? special[(x >>> 3) % special.length]! : share * 4 - 2;
  });
};
const sizes = fc.record({
  rows: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(64, 130)),
  columns: fc.oneof(fc.integer({ min: 1, max: 90 }), fc.constantFrom(256, 515)),
  seed: fc.integer(),
});
const matrix = (
  { rows, columns, seed }: { rows: number; columns: number; seed: number },
  odd = 0,
) => array(anything(seed, rows * columns, odd), [rows, columns]);

test('the largest and smallest of rows and columns have the bits of the interpreter, NaN and zeros too', () =>
  fc.assert(
    fc.asyncProperty(sizes, fc.constantFrom(0, 0.01, 0.4, 1), async (size, odd) => {
      for (const name of ['rowMax', 'rowMin', 'columnMax', 'columnMin', 'rowArgmax', 'rowArgmin'])
        await agree(name, [matrix(size, odd)], 0);
    }),
    { numRuns: 25 },
  ));

for (const [what, zeros] of [
  ['negative zeros', [-0, -0, -0]],
  ['zeros of both signs', [-0, 0, -0]],
  ['nothing but the least', [-Infinity, -Infinity, -Infinity]],
  ['a NaN with a sign behind larger numbers', [5, -NaN, 7]],
] as const)
  test(`the extremes of ${what} are those of the interpreter`, async () => {
    const x = Float32Array.from({ length: 600 }, (_, i) => zeros[i % 3]!);
    // A NaN's sign is lost on its way through JavaScript numbers.
    const bits = new Uint32Array(x.buffer);
    x.forEach((v, i) => {
      if (Number.isNaN(v)) bits[i] = 0xffc00000;
    });
    for (const name of ['rowMax', 'rowMin', 'columnMax', 'columnMin', 'rowArgmax', 'rowArgmin'])
      await agree(name, [array(x, name.startsWith('row') ? [2, 300] : [300, 2])], 0);
  });

test('sums, softmax and norms are within a few units of the interpreter', () =>
  fc.assert(
    fc.asyncProperty(sizes, async (size) => {
      const x = matrix(size);
      const w = array(anything(size.seed + 1, size.columns, 0), [size.columns]);
      await agree('rowSum', [x], 8 + size.columns);
      await agree('columnMean', [x, w], 8 + size.rows);
      for (const name of ['softmax', 'twoStages', 'softmaxDown']) await agree(name, [x], 32);
      await agree('layerNorm', [x, w], 64);
    }),
    { numRuns: 20 },
  ));

test('dear values that rows share are those of the interpreter, on any number of threads', () =>
  fc.assert(
    fc.asyncProperty(sizes, fc.integer({ min: 1, max: 4 }), async (size, batch) => {
      const { rows, columns, seed } = size;
      const x = array(anything(seed, batch * rows * columns, 0), [batch, rows, columns]);
      const phase = array(anything(seed + 1, batch * columns, 0), [batch, columns]);
      const gain = array(anything(seed + 2, rows, 0), [rows]);
      await agree('waved', [x, phase, gain], 32);
      await agree('wavedSums', [x, phase], 32 + columns);
    }),
    { numRuns: 15 },
  ));

test('columns beyond one strip, and batches of matrices', async () => {
  const wide = array(anything(3, 21 * 5003, 0), [21, 5003]);
  const w = array(anything(4, 5003, 0), [5003]);
  await agree('columnMean', [wide, w], 32);
  await agree('columnMax', [array(anything(5, 21 * 5003, 0.1), [21, 5003])], 0);
  await agree('batchSum', [array(anything(6, 3 * 19 * 37, 0), [3, 19, 37])], 32);
});

test('rows that are joined of parts are stored part by part', async () => {
  for (const [rows, heads] of [
    [1, 1],
    [3, 2],
    [17, 5],
  ] as const)
    await agree('turned', [array(anything(rows, rows * heads * 24, 0), [rows, heads * 24])], 64);
  const { stage } = await compiledText(
    `export function kernel<M extends Dim>(x: Tensor<f32, [M, 32]>) {
      const pairs = reshape(x, [dim(x, 0), 2, 16]);
      const [a, b] = [slice(pairs, 0, 8, 2), slice(pairs, 8, 16, 2)];
      return reshape(concat([a + b, a - b], 2), shape(x));
    }`,
  );
  assert.not.ok(/build\(|select\(/.test(stage('schedule')));
});

test('vectors that lie along another axis are turned round, whatever the sizes', async () => {
  await fc.assert(
    fc.asyncProperty(sizes, fc.integer({ min: 1, max: 3 }), async (size, batch) => {
      const x = matrix(size, 0.1);
      for (const name of ['flipped', 'flippedBytes']) await agree(name, [x], 0);
      const { rows, columns, seed } = size;
      const many = anything(seed, batch * rows * columns, 0.1);
      const w = array(anything(seed + 1, columns, 0.1), [columns]);
      await agree('flippedBatch', [array(many, [batch, rows, columns]), w], 0);
    }),
    { numRuns: 15 },
  );
  const turns = async (body: string): Promise<boolean> => {
    const { stage } = await compiledText(
      `export function kernel<M extends Dim>(x: Tensor<f32, [M, 64]>, y: Tensor<f32, [64, M]>) { return ${body}; }`,
    );
    return /turned round in registers[\s\S]*zip\(/.test(stage('schedule'));
  };
  assert.ok(await turns('transpose(x) * 2'));
  // One of the two would have to be gathered in any case.
  assert.not.ok(await turns('transpose(x) + y'));
  assert.not.ok(await turns('y * 2'));
});

test('nothing at all has the value of no elements', async () => {
  for (const shape of [
    [0, 20],
    [20, 0],
  ]) {
    const x = array(new Float32Array(0), shape);
    for (const name of ['rowMax', 'rowSum', 'columnMax', 'rowArgmax', 'softmax', 'flipped'])
      await agree(name, [x], 0);
  }
});

const count = (text: string, what: RegExp): number =>
  text.match(new RegExp(what, 'g'))?.length ?? 0;

test('a softmax computes each power once', async () => {
  const { stage } = await compiledText(
    `export function kernel<M extends Dim>(x: Tensor<f32, [M, 64]>) {
      const e = exp(x - amax(x, 1, { keepdims: true }));
      return e / sum(e, 1, { keepdims: true });
    }`,
  );
  assert.is(count(stage('schedule'), /exp\(/), 1);
});

test('what is wanted of another row does not wait in the result', async () => {
  const { stage } = await compiledText(
    `export function kernel<M extends Dim>(x: Tensor<f32, [M, M]>) {
      const e = exp(x);
      return e * transpose(e) / sum(e, 1, { keepdims: true });
    }`,
  );
  assert.not.ok(/= result\[/.test(stage('schedule')));
});

test('a reduction of rows goes along them, one of columns in strips', async () => {
  const rows = await compiledText(
    'export function kernel<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) { return sum(x, 1); }',
  );
  assert.not.ok(rows.stage('schedule').includes('gather'));
  const columns = await compiledText(
    'export function kernel<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) { return sum(x, 0); }',
  );
  assert.ok(columns.stage('schedule').includes('by "columns"'));
  const few = await compiledText(
    'export function kernel<N extends Dim>(x: Tensor<f32, [4, N]>) { return sum(x, 0); }',
  );
  assert.ok(few.stage('schedule').includes('by "rows"'), 'four rows are added at once');
});

test.run();
