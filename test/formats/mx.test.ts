// MX formats byte for byte both ways, with each rounding and rule of the scale.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, type PlaneCase, planeTests } from './planes.ts';
import { mx } from './reference/floats.ts';

const test = suite('microscaling');

const mxCase = (format: string, element: string, bits: number): PlaneCase => ({
  format,
  reference: mx({ element }),
  shape: [8, 512],
  rows: 256,
  bits,
  extreme: true,
});

planeTests(test, [
  mxCase('mxfp8_e4m3', 'e4m3', 8.25),
  mxCase('mxfp8_e5m2', 'e5m2', 8.25),
  mxCase('mxfp6_e2m3', 'e2m3', 6.25),
  mxCase('mxfp6_e3m2', 'e3m2', 6.25),
  mxCase('mxint8', 'int8', 8.25),
  {
    ...mxCase('', 'e2m1', 4.25),
    format: { name: 'microscaling', options: { element: 'e2m1' } },
  },
  ...(
    [
      ['e4m3', 'away', 'ceil'],
      ['e5m2', 'zero', 'rceil'],
      ['e2m3', 'away', 'even'],
      ['e3m2', 'zero', 'ceil'],
      ['e2m1', 'away', 'rceil'],
      ['e2m1', 'zero', 'even'],
      ['int8', 'away', 'even'],
      ['int8', 'zero', 'rceil'],
      ['e4m3', 'even', 'rceil'],
    ] as const
  ).map(
    ([element, rounding, scale]): PlaneCase => ({
      format: { name: 'microscaling', options: { element, rounding, scale } },
      reference: mx({ element, rounding, scale }),
      shape: [8, 512],
      rows: 64,
      bits: { e2m1: 4.25, e2m3: 6.25, e3m2: 6.25 }[element as string] ?? 8.25,
      extreme: true,
      onlyWasm: true,
    }),
  ),
]);

test('MX: a block with Inf or NaN is NaN as a whole, and its neighbours are not', async () => {
  const x = new Float32Array(96).fill(1.5);
  x[3] = Infinity;
  x[70] = NaN;
  for (const format of ['mxfp8_e4m3', 'mxfp8_e5m2', 'mxfp6_e2m3', 'mxint8']) {
    const y = await (await on('wasm')).roundTrip(format, x, [1, 96]);
    y.forEach((v, i) => {
      assert.is(Number.isNaN(v), i < 32 || i >= 64, `${format}: element ${i} is ${v}`);
    });
    const { scales } = await (await on('wasm')).encodePlanes(format, x, [1, 96]);
    assert.equal([scales![0], scales![2]], [255, 255]);
  }
});

test.run();
