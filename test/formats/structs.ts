// The tests of ggml's block structs that every device must pass: every decoded bit against the
// oracles, packing, and the bytes of the encoders that have an oracle.
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { relativeError, sameBlocks, sameFloats } from './checks.ts';
import { type DeviceKind, harness } from './harness.ts';
import { all, formulas, searches } from './reference/ggml.ts';
import { fromHalf } from './reference/half.ts';
import {
  type BlockDecoder,
  type BlockReference,
  dequantize,
  quantize,
} from './reference/reference.ts';
import { adversarial, join, randomBytes, weights } from './samples.ts';

/** How much of it each device gets: the interpreter is slow. */
const sizes: Readonly<Record<DeviceKind, { structs: number; values: number }>> = {
  wasm: { structs: 1 << 16, values: 256 * 256 },
  reference: { structs: 64, values: 256 * 8 },
};

/**
 * Random structs whose f16 numbers sweep all bit patterns. Structs of 256 values come an eighth as
 * many, with every eighth pattern.
 */
function sweep(r: BlockDecoder, count: number): Uint8Array {
  const structs = Math.max(8, Math.floor((count * 32) / r.values / (r.values > 32 ? 2 : 1)));
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
  if (r === formulas.mxfp4) for (let s = 0; s < structs; s++) bytes[s * r.bytes] = s & 255;
  return bytes;
}

/** Eight blocks a row. */
const shapeOf = (r: BlockDecoder, values: number): number[] => [
  values / (8 * r.values),
  8 * r.values,
];

/** NaN scales become Inf: copying a float may change the bits of a NaN. */
function withoutNaN(r: BlockDecoder, bytes: Uint8Array): Uint8Array {
  const out = bytes.slice();
  for (let at = 0; at < out.length; at += r.bytes) {
    r.removeNaN?.(out.subarray(at, at + r.bytes));
    for (const offset of r.halves)
      if (Number.isNaN(fromHalf(out[at + offset]! | (out[at + offset + 1]! << 8)))) {
        out[at + offset] = 0;
        out[at + offset + 1]! &= 0xfc;
      }
  }
  return out;
}

/** Types whose blocks have `values` values, or all, on a device. */
export function testStructs(
  test: Test,
  kind: DeviceKind,
  fits: (values: number) => boolean = () => true,
): void {
  const of = <R extends BlockDecoder>(types: Readonly<Record<string, R>>): [string, R][] =>
    Object.entries(types).filter(([, r]) => fits(r.values));
  const device = harness(kind);
  const { structs, values } = sizes[kind];
  const numbers = (r: BlockReference, extreme: boolean): Float32Array => {
    const edge = adversarial(1, r.values, { extreme, repeats: kind === 'wasm' ? 8 : 1 });
    const padded = join(edge, weights(2, values));
    return padded.subarray(0, padded.length - (padded.length % (8 * r.values)));
  };

  for (const [name, r] of of(all)) {
    test(`${name} on ${kind}: decodes every struct to the oracle's bits`, async () => {
      const bytes = sweep(r, structs);
      const shape = shapeOf(r, (bytes.length / r.bytes) * r.values);
      const found = await (await device).decodeStruct(name, bytes, shape);
      sameFloats(found, dequantize(r, bytes), name);
    });
    test(`${name} on ${kind}: packing what was unpacked gives the same bytes`, async () => {
      const bytes = withoutNaN(r, sweep(r, structs / 16));
      const shape = shapeOf(r, (bytes.length / r.bytes) * r.values);
      sameBlocks(await (await device).repackStruct(name, bytes, shape), bytes, r.bytes, name);
    });
  }

  for (const [name, r] of of({ ...formulas, ...(kind === 'wasm' ? searches : {}) }))
    test(`${name} on ${kind}: encodes to the oracle's bytes`, async () => {
      const x = numbers(r, name in formulas);
      const found = await (await device).encodeStruct(name, x, shapeOf(r, x.length));
      sameBlocks(found, quantize(r, x), r.bytes, name);
    });

  // The interpreter rounds sums once, so that of two candidates that are equal in f32 it may choose
  // the other.
  for (const [name, r] of kind === 'wasm' ? [] : of(searches))
    test(`${name} on ${kind}: encodes weights about as well as the oracle`, async () => {
      const x = weights(2, values);
      const found = await (await device).encodeStruct(name, x, shapeOf(r, x.length));
      const error = relativeError(x, dequantize(r, found));
      const allowed = relativeError(x, dequantize(r, quantize(r, x))) * 1.0001;
      assert.ok(error <= allowed, `${name}: relative error ${error}, allowed ${allowed}`);
    });
}
