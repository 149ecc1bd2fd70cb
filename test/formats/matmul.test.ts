// Products with weights in every format of the library, for one row and for tails of the tiles, against sums in f64 of
// what decode gives.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { describe } from '../../compiler/index.ts';
import { type FormatHandle, type Loaded, load, scope } from '../../index.ts';
import { weights } from './samples.ts';

const test = suite('matmul in every format');
const library = new URL('../../ops/formats/index.ts', import.meta.url);
const kernels = new URL('../../ops/llama.ts', import.meta.url);
const [N, K] = [7, 1024];
const rows = [1, 3, 6];

interface Linear {
  linear(
    x: { data: Float32Array; shape: number[] },
    w: unknown,
  ): Promise<{ data(): Promise<Float32Array> }>;
}
let loaded: Promise<[Loaded, Linear]> | undefined;
function open(): Promise<[Loaded, Linear]> {
  const options = { device: 'wasm', cache: false } as const;
  loaded ??= Promise.all([load(library, options), load(kernels, options)]) as unknown as Promise<
    [Loaded, Linear]
  >;
  return loaded;
}

for (const e of describe(library.pathname).exports) {
  if (e.kind !== 'format') continue;
  test(`${e.name}: one row, and rows and columns that fill no tile`, async () => {
    const [formats, { linear }] = await open();
    const format: FormatHandle = formats.format(e.name);
    await scope(async () => {
      const w = await format.encode({ data: weights(4, N * K), shape: [N, K] });
      const values = (await (await format.decode(w)).data()) as Float32Array;
      for (const M of rows) {
        const x = weights(M, M * K);
        const y = await (await linear({ data: x, shape: [M, K] }, w)).data();
        for (let m = 0; m < M; m++)
          for (let n = 0; n < N; n++) {
            let sum = 0;
            let size = 0;
            for (let k = 0; k < K; k++) {
              const p = x[m * K + k]! * values[n * K + k]!;
              sum += p;
              size += Math.abs(p);
            }
            const off = Math.abs(y[m * N + n]! - sum);
            assert.ok(off <= 4e-6 * size, `M = ${M}, [${m}, ${n}]: ${y[m * N + n]} is not ${sum}`);
          }
      }
    });
  });
}

test.run();
