// Every format of the checkpoints under a matmul on WASM: one row and several, rows of weights that fill no tile, against
// the product with the decoded matrix in double precision.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load, scope } from '../../index.ts';
import { nameOf } from './planes.ts';
import type { FormatCall } from './harness.ts';
import { weights } from './samples.ts';

const test = suite('products');
const url = (path: string): URL => new URL(`../../ops/${path}`, import.meta.url);
const options = { device: 'wasm', cache: false } as const;
const formats = load(url('formats/index.ts'), options);
const kernels = load(url('llama.ts'), options);
const of = (name: string, options: Record<string, string | number | boolean>): FormatCall => ({
  name,
  options,
});

const cases: readonly (readonly [FormatCall, number])[] = [
  ...['gptq_int4', 'awq_int4', 'marlin_int4', 'ct_int4', 'ct_int8', 'ct_sparse24', 'int8_rows'],
  ...['mxfp8_e4m3', 'mxfp8_e5m2', 'mxfp6_e2m3', 'mxfp6_e3m2', 'mxint8', 'fp8_tensor', 'fp8_row'],
  ...['nvfp4_modelopt', 'nvfp4_ct', 'fp4', 'nf4', 'nf4_nested', 'hqq_int4', 'bitnet'],
  of('gptq', { bits: 3, actOrder: true }),
  of('dynamicFloat8', { block: 128 }),
  of('packQuantized', { bits: 8, symmetric: false, group: 64 }),
  of('microscaling', { element: 'e2m1' }),
  of('hqq', { bits: 1 }),
].map((f) => [f, 37] as const);

for (const [format, n] of [
  ...cases,
  ['fp8_tile', 133] as const,
  [of('hqq', { bits: 3, axis: 0, group: 32 }), 96] as const,
])
  test(`${nameOf(format)}: one row and five rows by ${n} rows of weights`, async () => {
    const k = 384;
    const w = weights(3, n * k);
    const linear = (await kernels).linear as unknown as (
      x: object,
      w: object,
    ) => Promise<{ data(): Promise<Float32Array> }>;
    await scope(async () => {
      const library = await formats;
      const handle =
        typeof format === 'string'
          ? library.format(format)
          : library.format(format.name, [format.options]);
      const encoded = await handle.encode({ data: w, shape: [n, k] });
      const decoded = (await (await handle.decode(encoded)).data()) as Float32Array;
      for (const m of [1, 5]) {
        const x = weights(m, m * k);
        const y = await (await linear({ data: x, shape: [m, k] }, encoded)).data();
        assert.is(y.length, m * n);
        for (let at = 0; at < y.length; at++) {
          const [r, c] = [Math.floor(at / n), at % n];
          let sum = 0;
          let size = 0;
          for (let i = 0; i < k; i++) {
            const term = x[r * k + i]! * decoded[c * k + i]!;
            sum += term;
            size += Math.abs(term);
          }
          assert.ok(
            Math.abs(y[at]! - sum) <= 1e-5 * size + 1e-12,
            `y[${r}, ${c}] is ${y[at]}, expected ${sum}`,
          );
        }
      }
    });
  });

test.run();
