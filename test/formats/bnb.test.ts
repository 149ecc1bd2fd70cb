// bitsandbytes beyond plain NF4: FP4, the dynamic 8-bit codebook, nested scales and int8 rows, byte for byte both ways.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load, scope } from '../../index.ts';
import { sameBlocks } from './checks.ts';
import { matrix, on, planeTests } from './planes.ts';
import { dynamic8, dynamicCode, dynamicMap, fourBit, int8Rows, nested } from './reference/bnb.ts';
import { bitsFloat, floatBits } from './reference/half.ts';
import { floats, type PlaneReference } from './reference/planes.ts';
import { weights } from './samples.ts';

const test = suite('bitsandbytes');

/** Without encode, which needs the mean of the scales as the format found it. */
const readOnly = ({ random, decode }: PlaneReference): PlaneReference => ({ random, decode });

planeTests(test, [
  {
    format: 'fp4',
    reference: fourBit('fp4', 64),
    shape: [8, 512],
    rows: 511,
    bits: 4.5,
    extreme: true,
  },
  {
    format: { name: 'floatingPoint4', options: { block: 128 } },
    reference: fourBit('fp4', 128),
    shape: [4, 256],
    rows: 65,
    bits: 4.25,
    onlyWasm: true,
  },
  {
    format: 'dynamic8',
    reference: dynamic8(256),
    shape: [4, 512],
    rows: 255,
    bits: 8.125 + 8192 / 4096 ** 2,
    extreme: true,
  },
  {
    format: 'nf4_nested',
    reference: readOnly(nested('nf4', 64)),
    shape: [33, 512],
    rows: 511,
    bits: 4 + 8 / 64 + 32 / (64 * 256) + (32 + 8192) / 4096 ** 2,
  },
  {
    format: { name: 'nested', options: { type: 'fp4', block: 128 } },
    reference: readOnly(nested('fp4', 128)),
    shape: [4, 256],
    rows: 129,
    bits: 4 + 8 / 128 + 32 / (128 * 256) + (32 + 8192) / 4096 ** 2,
    onlyWasm: true,
  },
  { format: 'int8_rows', reference: int8Rows, shape: [4, 512], rows: 511, bits: 8 + 32 / 4096 },
]);

for (const [kind, n] of [
  ['reference', 40],
  ['wasm', 511],
] as const)
  test(`nf4_nested on ${kind}: encodes to the oracle's planes, given the mean scale`, async () => {
    const x = matrix(n, 512, false);
    const found = await (await on(kind)).encodePlanes('nf4_nested', x, [n, 512]);
    const offset = floats(found.nested_offset!)[0]!;
    const peaks = Array.from({ length: (n * 512) / 64 }, (_, b) =>
      x.subarray(64 * b, 64 * b + 64).reduce((m, v) => Math.max(m, Math.abs(v)), 0),
    );
    const mean = peaks.reduce((s, v) => s + v, 0) / peaks.length;
    assert.ok(Math.abs(offset - mean) <= 1e-5 * mean, `offset ${offset}, mean ${mean}`);
    for (const [plane, b] of Object.entries(nested('nf4', 64, offset).encode!(x, n, 512)))
      sameBlocks(found[plane]!, b, 64, plane);
  });

test('the dynamic codebook: numbers of the published table, to the last bit but one', () => {
  // From tables that create_dynamic_map() of bitsandbytes printed.
  const published: readonly (readonly [number, number])[] = [
    [0, -0.992968738079071],
    [1, -0.9789062738418579],
    [63, -0.10703125596046448],
    [64, -0.09859374910593033],
    [126, -5.499999815583578e-7],
    [127, 0],
    [128, 5.499999815583578e-7],
    [129, 3.2499999633728294e-6],
    [131, 2.1249999917927198e-5],
    [138, 0.000493750034365803],
    [159, 0.011406250298023224],
    [190, 0.09859374910593033],
    [191, 0.10703125596046448],
    [222, 0.54296875],
    [254, 0.992968738079071],
    [255, 1],
  ];
  for (const [code, value] of published)
    assert.ok(
      Math.abs(floatBits(dynamicMap[code]!) - floatBits(value)) <= 1,
      `code ${code}: ${dynamicMap[code]}, published ${value}`,
    );
});

for (const kind of ['reference', 'wasm'] as const)
  test(`dynamic8 on ${kind}: numbers on and beside every midpoint`, async () => {
    const points = [...dynamicMap].flatMap((v, i) => {
      const middle = Math.fround(Math.fround(v + (dynamicMap[i + 1] ?? 1)) * 0.5);
      const bits = floatBits(Math.abs(middle));
      const sign = Math.sign(middle) || 1;
      return [middle, sign * bitsFloat(bits + 1), sign * bitsFloat(Math.max(bits - 1, 0))];
    });
    const x = Float32Array.from({ length: 1024 }, (_, i) =>
      i % 256 ? (points[i - (i >> 8) - 1] ?? 0) : 1,
    );
    const { weight } = await (await on(kind)).encodePlanes('dynamic8', x, [1, 1024]);
    assert.equal(
      Array.from(weight!),
      Array.from(x, (v) => dynamicCode(dynamicMap, v)),
    );
  });

test('LLM.int8(): outlier columns stay exact, the rest is the product of 8-bit rows', async () => {
  const formats = await load(new URL('../../ops/formats/index.ts', import.meta.url), {
    device: 'wasm',
    cache: false,
  });
  const kernels = await load(new URL('../../ops/int8.ts', import.meta.url), {
    device: 'wasm',
    cache: false,
  });
  const [m, n, k] = [3, 5, 64];
  const w = weights(1, n * k);
  const x = weights(2, m * k).map((v) => v * 20);
  for (const column of [7, 40]) for (let r = 0; r < m; r++) x[r * k + column]! += r === 1 ? 30 : 0;
  await scope(async () => {
    const rows = formats.format('int8_rows');
    const encoded = await rows.encode({ data: w, shape: [n, k] });
    const decoded = (await (await rows.decode(encoded)).data()) as Float32Array;
    const small = x.map((v, i) => (i % k === 7 || i % k === 40 ? 0 : v));
    const activations = await rows.decode(await rows.encode({ data: small, shape: [m, k] }));
    const rounded = (await activations.data()) as Float32Array;
    const llmInt8 = kernels.llmInt8 as unknown as (
      x: object,
      w: object,
    ) => Promise<{ data(): Promise<Float32Array> }>;
    const y = await (await llmInt8({ data: x, shape: [m, k] }, encoded)).data();
    for (let r = 0; r < m; r++)
      for (let c = 0; c < n; c++) {
        let sum = 0;
        for (let i = 0; i < k; i++)
          sum += (i === 7 || i === 40 ? x[r * k + i]! : rounded[r * k + i]!) * decoded[c * k + i]!;
        assert.ok(
          Math.abs(sum - y[r * n + c]!) < 1e-4,
          `${r}, ${c}: ${y[r * n + c]}, expected ${sum}`,
        );
      }
  });
});

test.run();
