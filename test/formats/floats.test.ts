// Small-float formats byte for byte both ways: FP8 by tensor, row and tile, NVFP4 as checkpoints have it, and 2:4 sparsity.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, planeTests } from './planes.ts';
import { float8, nvfp4, sparse24 } from './reference/floats.ts';

const test = suite('small floats');

planeTests(test, [
  {
    format: 'fp8_tensor',
    reference: float8({ per: 'tensor' }),
    shape: [4, 512],
    rows: 255,
    bits: 8 + 32 / 4096 ** 2,
  },
  {
    format: 'fp8_row',
    reference: float8({ per: 'row' }),
    shape: [4, 512],
    rows: 255,
    bits: 8 + 32 / 4096,
    extreme: true,
  },
  {
    format: 'fp8_tile',
    reference: float8({ per: 'tile' }),
    shape: [130, 256],
    rows: 513,
    bits: 8 + 32 / 128 ** 2,
  },
  {
    format: { name: 'float8', options: { per: 'row', element: 'e5m2', scale: 'bf16' } },
    reference: float8({ per: 'row', element: 'e5m2', scale: 'bf16' }),
    shape: [4, 256],
    rows: 129,
    bits: 8 + 16 / 4096,
    onlyWasm: true,
  },
  {
    format: 'nvfp4_modelopt',
    reference: nvfp4('modelopt'),
    shape: [8, 512],
    rows: 255,
    bits: 4.5 + 32 / 4096 ** 2,
  },
  {
    format: 'nvfp4_ct',
    reference: nvfp4('compressed-tensors'),
    shape: [8, 512],
    rows: 255,
    bits: 4.5 + 32 / 4096 ** 2,
  },
  { format: 'ct_sparse24', reference: sparse24('bf16'), shape: [4, 512], rows: 255, bits: 9 },
  {
    format: { name: 'sparse24', options: { value: 'f32' } },
    reference: sparse24('f32'),
    shape: [4, 256],
    rows: 65,
    bits: 17,
    onlyWasm: true,
  },
]);

test('a matrix of zeros comes back as zeros', async () => {
  const h = await on('wasm');
  for (const format of [
    'mxfp8_e4m3',
    'fp8_tensor',
    'fp8_row',
    'fp8_tile',
    'nvfp4_modelopt',
    'nvfp4_ct',
  ]) {
    const y = await h.roundTrip(format, new Float32Array(1024), [4, 256]);
    assert.ok(
      y.every((v) => v === 0),
      format,
    );
  }
});

test.run();
