// ggml's block structs against the oracles: bytes of the closed forms, errors of the searched types, and every
// decoded bit.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../support/skip.ts';
import { realWeights, relativeError, sameBlocks, sameFloats } from './checks.ts';
import { type DeviceKind, type Harness, harness } from './harness.ts';
import { fromHalf } from './reference/half.ts';
import { type BlockReference, dequantize, quantize } from './reference/reference.ts';
import * as searched from './reference/searched.ts';
import * as simple from './reference/simple.ts';
import { adversarial, join, randomBytes, weights } from './samples.ts';

const test = suite('ggml structs');

const bitsPerWeight: Readonly<Record<string, number>> = {
  q4_0: 4.5,
  q4_1: 5,
  q8_0: 8.5,
  q4_K: 4.5,
  q6_K: 6.5625,
  iq4_nl: 4.5,
  mxfp4: 4.25,
  tq2_0: 2.0625,
};

/** How much of it each device gets: the interpreter is slow. */
const sizes: Readonly<Record<DeviceKind, { structs: number; values: number }>> = {
  wasm: { structs: 1 << 16, values: 256 * 256 },
  reference: { structs: 64, values: 256 * 8 },
};

/**
 * Random structs whose f16 numbers sweep all bit patterns. Structs of 256 values come an eighth as many, with
 * every eighth pattern.
 */
function sweep(r: BlockReference, count: number): Uint8Array {
  const structs = Math.max(8, Math.floor((count * 32) / r.values));
  const bytes = randomBytes(7, structs * r.bytes);
  const stride = 0x10000 / structs;
  r.halves.forEach((offset, n) => {
    for (let s = 0; s < structs; s++) {
      // The second number of a struct runs through the patterns in another order.
      const pattern = (n === 0 ? Math.floor(s * stride) : Math.imul(s, 40503) & 0xffff) & 0xffff;
      bytes[s * r.bytes + offset] = pattern & 255;
      bytes[s * r.bytes + offset + 1] = pattern >> 8;
    }
  });
  if (r === simple.mxfp4) for (let s = 0; s < structs; s++) bytes[s * r.bytes] = s & 255;
  return bytes;
}

/** Eight blocks a row. */
const shapeOf = (r: BlockReference, values: number): number[] => [
  values / (8 * r.values),
  8 * r.values,
];

/** NaN scales become Inf: copying a float may change the bits of a NaN. */
function withoutNaN(r: BlockReference, bytes: Uint8Array): Uint8Array {
  const out = bytes.slice();
  for (let at = 0; at < out.length; at += r.bytes)
    for (const offset of r.halves)
      if (Number.isNaN(fromHalf(out[at + offset]! | (out[at + offset + 1]! << 8)))) {
        out[at + offset] = 0;
        out[at + offset + 1]! &= 0xfc;
      }
  return out;
}

const devices: Partial<Record<DeviceKind, Promise<Harness>>> = {};
const on = (kind: DeviceKind): Promise<Harness> => (devices[kind] ??= harness(kind));
const all: readonly (readonly [string, BlockReference])[] = [
  ...Object.entries(simple),
  ...Object.entries(searched),
];

for (const kind of ['reference', 'wasm'] as const) {
  const { structs, values } = sizes[kind];
  const numbers = (r: BlockReference, extreme: boolean): Float32Array => {
    const edge = adversarial(1, r.values, { extreme, repeats: kind === 'wasm' ? 8 : 1 });
    const padded = join(edge, weights(2, values));
    return padded.subarray(0, padded.length - (padded.length % (8 * r.values)));
  };

  for (const [name, r] of all) {
    test(`${name} on ${kind}: decodes every struct to the oracle's bits`, async () => {
      const bytes = sweep(r, structs);
      const shape = shapeOf(r, (bytes.length / r.bytes) * r.values);
      const found = await (await on(kind)).decodeStruct(name, bytes, shape);
      sameFloats(found, dequantize(r, bytes), name);
    });
    test(`${name} on ${kind}: packing what was unpacked gives the same bytes`, async () => {
      const bytes = withoutNaN(r, sweep(r, structs / 16));
      const shape = shapeOf(r, (bytes.length / r.bytes) * r.values);
      sameBlocks(await (await on(kind)).repackStruct(name, bytes, shape), bytes, r.bytes, name);
    });
  }

  for (const [name, r] of Object.entries(simple))
    test(`${name} on ${kind}: encodes to the oracle's bytes`, async () => {
      const x = numbers(r, true);
      const found = await (await on(kind)).encodeStruct(name, x, shapeOf(r, x.length));
      sameBlocks(found, quantize(r, x), r.bytes, name);
    });

  for (const [name, r] of Object.entries(searched)) {
    test(`${name} on ${kind}: encodes weights with no more error than the oracle`, async () => {
      const x = weights(2, values);
      const found = await (await on(kind)).encodeStruct(name, x, shapeOf(r, x.length));
      const error = relativeError(x, dequantize(r, found));
      const allowed = relativeError(x, dequantize(r, quantize(r, x))) * 1.0001;
      assert.ok(error <= allowed, `${name}: relative error ${error}, allowed ${allowed}`);
    });
    test(`${name} on ${kind}: encodes every kind of edge block about as well as the oracle`, async () => {
      const x = numbers(r, false);
      const found = await (await on(kind)).encodeStruct(name, x, shapeOf(r, x.length));
      const mine = dequantize(r, found);
      const theirs = dequantize(r, quantize(r, x));
      for (let b = 0; b < x.length; b += r.values) {
        const part = (v: Float32Array): Float32Array => v.subarray(b, b + r.values);
        const power = part(x).reduce((p, v) => p + v * v, 0);
        const allowed = relativeError(part(x), part(theirs)) * 1.1 + 1e-9;
        const error = relativeError(part(x), part(mine));
        // A tenth more in a block: the searches minimise a weighted error, and sums in another order may
        // choose another of two candidates that are equal in f32.
        // Scales beyond f16 are Inf in both; blocks of zeros must come back as zeros.
        const fine = power === 0 ? part(mine).every((v) => v === 0) : error <= allowed;
        const overflow = !Number.isFinite(allowed) && !Number.isFinite(error);
        assert.ok(fine || overflow, `${name}, block ${b / r.values}: ${error}, allowed ${allowed}`);
      }
    });
  }
}

for (const matrix of ['layers.0.attention.wq.weight', 'layers.2.feed_forward.w2.weight']) {
  const real = realWeights(matrix);
  if (!real) {
    skip(`ggml structs of ${matrix}`, 'the model verse-4m is not beside the repository');
    continue;
  }
  const { data, shape } = real;
  for (const [name, r] of Object.entries(simple))
    test(`${name}: encodes ${matrix} to the oracle's bytes`, async () => {
      const found = await (await on('wasm')).encodeStruct(name, data, shape);
      sameBlocks(found, quantize(r, data), r.bytes, name);
    });
  for (const [name, r] of Object.entries(searched))
    test(`${name}: encodes ${matrix} with no more error than the oracle`, async () => {
      const found = await (await on('wasm')).encodeStruct(name, data, shape);
      const error = relativeError(data, dequantize(r, found));
      const allowed = relativeError(data, dequantize(r, quantize(r, data))) * 1.0001;
      assert.ok(error <= allowed, `${name}: relative error ${error}, allowed ${allowed}`);
    });
}

for (const [name, r] of all) {
  test(`${name}: takes the bits per weight of its struct`, async () => {
    const h = await on('wasm');
    assert.is((8 * r.bytes) / r.values, bitsPerWeight[name]);
    assert.is(await h.bitsPerWeight(name, [4, 4 * r.values]), bitsPerWeight[name]);
  });
  test(`${name}: a row that is not whole blocks is an error that names the block`, async () => {
    const h = await on('wasm');
    const length = r.values + 1;
    try {
      await h.encodeStruct(name, new Float32Array(length), [1, length]);
      assert.unreachable('accepted');
    } catch (e) {
      assert.match((e as Error).message, new RegExp(`\\b${r.values}\\b`));
      assert.match((e as Error).message, /multiple|divisible|divides/);
    }
  });
}

test.run();
