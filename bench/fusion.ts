// What fusion is worth: matmul on encoded weights, against decoding them to f32 first and multiplying those, and
// against weights that were f32 all along; one runtime, one run.

import { fileURLToPath } from 'node:url';
import { array, type EncodedTensor, formatFromRef, load } from '../index.ts';
import type * as Kernels from './kernels.ts';
import { alternate, noise, table } from './support.ts';

export const benchFormats = [
  'q8_0',
  'q4_0',
  'q4_1',
  'q4_K',
  'q6_K',
  'iq4_nl',
  'mxfp4',
  'nf4',
  'tq2_0',
  'bitnet',
] as const;

export async function fusion(size: number, formats: readonly string[]): Promise<string> {
  const k = await load<typeof Kernels>(fileURLToPath(new URL('kernels.ts', import.meta.url)));
  const device = await (await import('../index.ts')).device('wasm');
  const { DeviceTensor } = await import('../index.ts');
  const weights = DeviceTensor.from(device, array(noise(size * size), [size, size]));
  const rows: string[][] = [
    [
      'format',
      'encode GB/s',
      'M',
      'fused ms',
      'GB/s read',
      'GFLOP/s',
      'vs decode, then f32',
      'vs f32 weights',
    ],
  ];
  for (const name of formats) {
    const format = await formatFromRef({ file: 'quern/formats', name });
    const encoded = (await format.encode(weights)) as EncodedTensor;
    const [encodeMs] = await alternate(
      [{ name, run: async () => (await format.encode(weights)).dispose() }],
      3,
      1,
    );
    for (const m of [1, 64]) {
      const x = DeviceTensor.from(device, array(noise(m * size, 2), [m, size]));
      const times = await alternate(
        [
          { name: 'fused', run: async () => (await k.linear(x, encoded)).dispose() },
          {
            name: 'decode first',
            run: async () => {
              const w = await format.decode(encoded);
              (await k.dense(x, w)).dispose();
              w.dispose();
            },
          },
          { name: 'f32', run: async () => (await k.dense(x, weights)).dispose() },
        ],
        m === 1 ? 9 : 5,
      );
      const [fused, apart, dense] = times as [number, number, number];
      rows.push([
        m === 1 ? name : '',
        m === 1 ? ((size * size * 4) / encodeMs! / 1e6).toFixed(2) : '',
        `${m}`,
        fused.toFixed(2),
        (encoded.bytes / fused / 1e6).toFixed(2),
        ((2 * m * size * size) / fused / 1e6).toFixed(1),
        `${(apart / fused).toFixed(2)}x`,
        `${(dense / fused).toFixed(2)}x`,
      ]);
      x.dispose();
    }
    encoded.dispose();
  }
  return table(rows);
}
