// Formats without a byte layout of their own: the uniform grids, bitnet and the plain floats.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sameFloats } from './checks.ts';
import { type DeviceKind, type Harness, harness } from './harness.ts';
import { fromHalf, toHalf } from './reference/half.ts';
import { bitnetCodes, bitnetQuantize, uniformRoundTrip } from './reference/others.ts';
import { adversarial, join, weights } from './samples.ts';

const test = suite('grids');
const devices: Partial<Record<DeviceKind, Promise<Harness>>> = {};
const on = (kind: DeviceKind): Promise<Harness> => (devices[kind] ??= harness(kind));

for (const kind of ['reference', 'wasm'] as const)
  for (const symmetric of [false, true])
    for (const bits of [2, 3, 4, 5, 6, 7, 8])
      test(`uniform of ${bits} bits${symmetric ? ', symmetric,' : ''} on ${kind}`, async () => {
        const group = bits % 2 ? 64 : 128;
        const many = kind === 'wasm';
        const edge = adversarial(1, 256, { repeats: many ? 2 : 1 }).filter(
          (v) => Math.abs(v) < 1e4,
        );
        const x = join(edge, weights(bits, many ? 1 << 14 : 512));
        const whole = x.subarray(0, x.length - (x.length % 256));
        const options = { bits, group, symmetric };
        const h = await on(kind);
        const shape = [whole.length / 256, 256];
        const found = await h.roundTrip({ name: 'uniform', options }, whole, shape);
        // The sign of a zero is not part of the grid.
        const unsign = (y: Float32Array): Float32Array => y.map((v) => v + 0);
        sameFloats(unsign(found), unsign(uniformRoundTrip(whole, options)), `${bits} bits`);
      });

test('uniform takes 128 values a group and no symmetry unless told otherwise', async () => {
  const h = await on('wasm');
  const format = { name: 'uniform', options: { bits: 4 } };
  assert.is(await h.bitsPerWeight(format, [4, 1024]), 4 + (16 + 4) / 128);
});

test('uniform of 4 symmetric bits takes 4 + 16 / group bits', async () => {
  const h = await on('wasm');
  const format = { name: 'uniform', options: { bits: 4, group: 64, symmetric: true } };
  assert.is(await h.bitsPerWeight(format, [4, 512]), 4.25);
});

for (const kind of ['reference', 'wasm'] as const)
  test(`bitnet on ${kind}: absmean scale and ternary codes`, async () => {
    const h = await on(kind);
    const x = weights(21, kind === 'wasm' ? 1 << 16 : 1024);
    const shape = [x.length / 256, 256];
    const [scale] = await h.encodeField('bitnet', 'scale', x, shape);
    const expected = bitnetQuantize(x);
    assert.ok(
      Math.abs(scale! - expected.scale) <= 1e-6 * expected.scale,
      `scale ${scale}, expected ${expected.scale}`,
    );
    const codes = bitnetCodes(x, scale!);
    assert.equal(await h.encodeField('bitnet', 'q', x, shape), Array.from(codes));
    const y = await h.roundTrip('bitnet', x, shape);
    assert.equal(
      y.map((v) => v + 0),
      Float32Array.from(codes, (q) => q * scale! + 0),
    );
  });

test('bitnet: a tensor of zeros stays zero', async () => {
  const y = await (await on('wasm')).roundTrip('bitnet', new Float32Array(512), [2, 256]);
  assert.ok(y.every((v) => v === 0));
});

test('bitnet takes 2 bits a weight and 32 a tensor', async () => {
  assert.is(await (await on('wasm')).bitsPerWeight('bitnet', [8, 256]), 2 + 32 / 2048);
});

for (const kind of ['reference', 'wasm'] as const)
  test(`the plain floats round as their dtypes on ${kind}`, async () => {
    const h = await on(kind);
    const x = join(adversarial(1, 32, { extreme: true, repeats: 1 }), weights(3, 301));
    const shape = [1, x.length];
    sameFloats(await h.roundTrip('dense_f32', x, shape), x, 'f32');
    sameFloats(
      await h.roundTrip('dense_f16', x, shape),
      x.map((v) => fromHalf(toHalf(v))),
      'f16',
    );
    const words = new Uint32Array(x.buffer, x.byteOffset, x.length);
    const rounded = words.map((w) => ((w + 0x7fff + ((w >>> 16) & 1)) & 0xffff0000) >>> 0);
    sameFloats(await h.roundTrip('dense_bf16', x, shape), new Float32Array(rounded.buffer), 'bf16');
  });

test.run();
