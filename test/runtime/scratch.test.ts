// Where temporaries lie: never two that are live together in the same bytes, and in less memory than all of them take.
import fc from 'fast-check';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../compiler/index.ts';
import { place, type Scratch } from '../../runtime/devices/scratch.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { load } from '../../runtime/load.ts';
import { compilePoly } from '../../runtime/poly.ts';
import type { DeviceTensor } from '../../runtime/tensor.ts';

const test = suite('scratch');

const temporary = fc.record({
  bytes: fc.nat(5000),
  private: fc.boolean(),
  live: fc.option(
    fc.tuple(fc.nat(9), fc.nat(9)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
    { nil: undefined },
  ),
});
const meet = (a: Scratch, b: Scratch): boolean =>
  !a.live || !b.live || (a.live[0] <= b.live[1] && b.live[0] <= a.live[1]);

test('what is live together lies apart, for every worker', () => {
  fc.assert(
    fc.property(
      fc.array(temporary, { maxLength: 12 }),
      fc.integer({ min: 1, max: 4 }),
      (list, workers) => {
        const scratch = list.map((t, buffer) => ({ buffer, private: t.private, live: t.live }));
        const sizes = list.map((t) => t.bytes);
        const made = place(scratch, sizes, workers);
        // Every copy of a temporary: its worker (those of one worker may overlap in time only), and its bytes.
        const copies = scratch.flatMap((of, i) =>
          Array.from({ length: of.private ? workers : 1 }, (_, worker) => {
            const start = made.offsets[i]! + worker * made.slices[i]!;
            return { of, i, worker, start, end: start + sizes[i]! };
          }),
        );
        for (const a of copies) {
          assert.ok(a.start >= 0 && a.start % 64 === 0 && a.end <= made.bytes);
          for (const b of copies) {
            if (a === b || a.end <= b.start || b.end <= a.start) continue;
            if (sizes[a.i] === 0 || sizes[b.i] === 0) continue;
            assert.is(a.of.private, b.of.private);
            assert.is(a.worker, b.worker);
            assert.not(meet(a.of, b.of));
          }
        }
      },
    ),
  );
});

const text = `import { matmul, max } from 'quern';
import type { Dim, Tensor, f32 } from 'quern';
/** Eight products in a row: each needs the one before it alone. */
export function deep<N extends Dim, K extends Dim>(x: Tensor<f32, [N, K]>, w: Tensor<f32, [K, K]>) {
  let y = x;
  for (const i of [0, 1, 2, 3, 4, 5, 6, 7]) y = max(matmul(y, w), 0) + i;
  return y;
}`;
const file = fileURLToPath(new URL('deep.kernel.ts', import.meta.url));
const host = { readFile: () => text };

test('a program with many temporaries takes the memory of two', async () => {
  const { artifact } = await compile({ file, name: 'deep', target: 'wasm' }, host);
  const { buffers, dims } = artifact.manifest;
  const values = dims.map((d) => (d === 'N' ? 300 : 200));
  const bytes = buffers.map((b) => compilePoly(b.bytes, dims)(values));
  const temps = buffers.flatMap((b, buffer) =>
    b.role === 'temp' ? [{ buffer, private: b.private ?? false, live: b.live }] : [],
  );
  const one = 4 * 300 * 200;
  const large = temps.filter((t) => bytes[t.buffer]! === one);
  assert.ok(large.length >= 7 && large.every((t) => t.live), JSON.stringify(temps));
  assert.ok(temps.reduce((sum, t) => sum + bytes[t.buffer]!, 0) > 7 * one);
  assert.ok(place(temps, bytes, 1).bytes < 2.5 * one + 2 ** 18);
});

test('so it runs where all of its temporaries would not fit, to the same numbers', async () => {
  const [n, k] = [300, 200];
  const wave = (count: number, step: number): Float32Array =>
    Float32Array.from({ length: count }, (_, i) => ((i * step) % 17) / 170);
  const x = { data: wave(n * k, 3), shape: [n, k] };
  const w = { data: wave(k * k, 5), shape: [k, k] };
  const run = async (limit: number): Promise<DeviceTensor> => {
    const device = new WasmDevice({ threads: 1, limit });
    const { deep } = await load(file, { device, host });
    return (await deep!(x, w)) as DeviceTensor;
  };
  // Arguments, the result, two temporaries and the tape; the seven would take 1.7 MB alone.
  const small = await (await run(1.7e6)).data();
  assert.equal(small, await (await run(2 ** 26)).data());
});

test.run();
