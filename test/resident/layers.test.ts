// Whole layers on resident weights: also where the rows of a matrix are cut into blocks elsewhere, and where several
// kernels read the same activations.
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { array, load } from '../../index.ts';
import { compile } from '../../compiler/index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { compiledText, shipped } from '../schedule/harness.ts';

const test = suite('layers on resident weights');
const q4 = shipped('q4_0');
const schedules = async (
  name: string,
  formats: number,
  statics: readonly (number | string | undefined)[],
): Promise<readonly string[]> => {
  const { artifact } = await compile({
    file: 'quern/llama',
    name,
    formats: Array.from({ length: formats }, () => q4),
    statics,
    target: 'wasm',
    resident: 'compact',
  });
  return artifact.manifest.kernels.map((k) => k.schedule);
};
const none = (n: number): undefined[] => new Array<undefined>(n).fill(undefined);

test('every product of a layer is one of integers on resident weights', async () => {
  const out = await schedules('layerOut', 4, [...none(7), 1e-5, 'q8']);
  assert.is(out.filter((s) => s.startsWith('resident')).length, 4);
  assert.not.ok(out.some((s) => s.startsWith('gemm')));
  const into = await schedules('layerIn', 3, [...none(6), 1e-5, 16, 2, 1e4, 'q8']);
  assert.is(into.filter((s) => s.startsWith('resident')).length, 3);
});

test('activations that two kernels read are multiplied as integers in both', async () => {
  const text = (
    await compiledText(
      `const q8 = format({
        block: 32,
        encode: (x: Tensor<f32, [32]>) => ({ d: f16(amax(abs(x)) / 127), q: i8(round(x)) }),
        decode: ({ d, q }) => q * d,
      });
      export function kernel<M extends Dim, N extends Dim, K extends Dim>(
        x: Tensor<f32, [M, K]>, a: Encoded<typeof q8, [N, K]>, b: Encoded<typeof q8, [N, K]>) {
        const y = decode(encode(q8, x));
        return { a: matmul(y, transpose(decode(a))), b: matmul(y, transpose(decode(b))) };
      }`,
    )
  ).stage('schedule');
  assert.is(text.match(/one term, integer dot products/g)?.length, 2);
});

const shared = fileURLToPath(new URL('./shared.kernel.ts', import.meta.url));

/** What is made of activations before they are multiplied: how many buffers of each name. */
async function preparations(name: string, formats: readonly string[], relaxed: boolean) {
  const { artifact } = await compile({
    file: shared,
    name,
    formats: formats.map((f) => shipped(f)),
    target: 'wasm',
    resident: 'compact',
    limits: { relaxed },
  });
  const count = (start: string): number =>
    artifact.manifest.buffers.filter((b) => b.role === 'temp' && b.name.startsWith(start)).length;
  assert.ok(artifact.manifest.kernels.some((k) => k.schedule.startsWith('resident')));
  return { q: count('q'), starts: count('starts'), factors: count('factors') };
}

for (const relaxed of [false, true])
  test(`contractions share prepared activations${relaxed ? ', with relaxed SIMD' : ''}`, async () => {
    const one = await preparations('apart', ['q4_0'], relaxed);
    for (const [name, formats] of [
      ['gate', ['q4_0', 'q4_0']],
      ['three', ['q4_0', 'q4_0']],
    ] as const) {
      const made = await preparations(name, formats, relaxed);
      // Two inputs in the one function, one in the others.
      for (const part of ['q', 'starts', 'factors'] as const)
        assert.is(2 * made[part], one[part], `${name}: ${part}`);
    }
    assert.ok(one.starts > 0);
  });

test('shared or not, products are those of the interpreter, on any number of threads', async () => {
  const noise = (size: number, seed: number): Float32Array =>
    Float32Array.from({ length: size }, (_, i) => Math.sin(i * 12.9898 + seed * 78.233) * 2);
  type Made = Readonly<Record<string, { data(): Promise<ArrayLike<number>> }>>;
  const run = async (device: WasmDevice | 'reference', m: number, g: string) => {
    const kernels = (await load(shared, { device, cache: false })) as unknown as Readonly<
      Record<string, (...args: readonly unknown[]) => Promise<unknown>>
    >;
    const library = await load('quern/formats', { device, cache: false });
    const [n, k] = [21, 96];
    const weights = (name: string, seed: number) =>
      library.format(name).encode(array(noise(n * k, seed), [n, k]));
    const [x, y] = [1, 2].map((seed) => array(noise(m * k, seed), [m, k]));
    const [a, b, c] = [await weights('q4_0', 3), await weights('q4_0', 4), await weights(g, 5)];
    const three = (await kernels.three!(x, a, b, c)) as Made;
    const list = [
      await kernels.gate!(x, a, c),
      ...Object.values(three),
      await kernels.apart!(x, y, a),
    ] as { data(): Promise<ArrayLike<number>> }[];
    return Promise.all(list.map(async (t) => Array.from(await t.data())));
  };
  for (const g of ['q4_0', 'q4_1', 'q8_0'])
    for (const m of [1, 2, 5]) {
      const want = await run('reference', m, g);
      const found: number[][][] = [];
      for (const threads of [1, 3]) {
        const device = new WasmDevice({ threads });
        await device.start();
        found.push(await run(device, m, g));
        device.close();
      }
      assert.equal(found[1], found[0], `${g}, ${m} rows: threads differ`);
      want.forEach((list, i) => {
        list.forEach((w, j) => {
          const off = Math.abs(found[0]![i]![j]! - w);
          assert.ok(off <= 1e-4 * Math.max(1, Math.abs(w)), `${g}, ${m} rows: ${i} ${j}: ${off}`);
        });
      });
    }
});

test.run();
