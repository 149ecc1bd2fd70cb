// factors(w) of every format of the library and of formats made up here: scale * integers + offset is what decode gives.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CompileError } from '../../compiler/diagnostics/diagnostic.ts';
import { describe } from '../../compiler/index.ts';
import { type DeviceTensor, type FormatHandle, load, scope } from '../../index.ts';
import { weights } from './samples.ts';

const test = suite('factors');
const file = new URL('./factors.kernel.ts', import.meta.url);
const library = new URL('../../ops/formats/index.ts', import.meta.url);
const options = { device: 'wasm', cache: false } as const;
const kernels = await load(file, options);

/** Elements in a row with one scale, and the largest integer; undefined where Q3011 refuses. */
async function apart(
  name: string,
  format: FormatHandle,
  [n, k]: readonly [number, number],
): Promise<{ readonly run: number; readonly largest: number } | undefined> {
  let found: { readonly run: number; readonly largest: number } | undefined;
  await scope(async () => {
    const w = await format.encode({ data: weights(7, n * k).map((x) => 64 * x), shape: [n, k] });
    const result = (await kernels.apart(w)) as Readonly<Record<string, DeviceTensor>>;
    const read = async (part: string) => result[part]!.data();
    const integers = [...(await read('integers'))] as number[];
    const [scale, offset, decoded] = await Promise.all(['scale', 'offset', 'decoded'].map(read));
    decoded!.forEach((v, i) => {
      const product = scale![i]! * integers[i]!;
      const near = 2 ** -22 * (Math.abs(product) + Math.abs(offset![i]!));
      const made = product + offset![i]!;
      assert.ok(Math.abs(made - v) <= near, `${name}[${i}]: ${made} in place of ${v}`);
    });
    const largest = integers.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    found = { run: result.integers!.shape.at(-1)!, largest };
  }).catch((error: unknown) => {
    if (!(error instanceof CompileError) || error.diagnostics.some((d) => d.code !== 'Q3011'))
      throw error;
  });
  return found;
}

/** Floats, and tables that no power of two makes integers of a byte. */
const refused =
  `dense_bf16 dense_f16 dense_f32 dynamic8 fp4 fp8_row fp8_tensor fp8_tile iq1_m mxfp6_e2m3 mxfp6_e3m2
  mxfp8_e4m3 mxfp8_e5m2 nf4 nf4_nested nvfp4_ct nvfp4_modelopt ct_sparse24`.split(/\s+/);

test('of every format of the library', async () => {
  const formats = await load(library, options);
  const without: string[] = [];
  for (const { name, kind } of describe(library.pathname).exports) {
    if (kind !== 'format') continue;
    const parts = await apart(name, formats.format(name), [16, 1024]);
    if (!parts) without.push(name);
    // Nothing that belongs to the scale is left in the integers.
    else assert.ok(parts.largest > 0 && parts.largest <= 128, `${name}: up to ${parts.largest}`);
  }
  assert.equal(without.sort(), refused.sort());
});

test('of made-up formats: levels, float zero points, tiles, tables, and what is no product', async () => {
  const runs = {
    floatZero: 8,
    levels: 4,
    tiles: 4,
    quarters: 4,
    mixed: undefined,
    striped: undefined,
  };
  for (const [name, run] of Object.entries(runs))
    assert.is((await apart(name, kernels.format(name), [4, 48]))?.run, run, name);
});

test.run();
