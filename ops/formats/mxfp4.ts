// MXFP4 of the OCP Microscaling Formats specification v1.0, in ggml's struct (block_mxfp4,
// quantize_row_mxfp4_ref in ggml-quants.c).
import { abs, amax, bitcast, clamp, concat, exponent, f32, format, i32 } from 'quern';
import { reshape, slice, u8 } from 'quern';
import type { Tensor } from 'quern';
import { nearest, twice } from './e2m1.ts';
import { packHalves, unpackHalves } from './nibbles.ts';

/**
 * 2^(e - 128), half of what E8M0 means by code e: the other half of `doubled`. Codes 0 and 1 are
 * subnormal.
 */
function halfScale(e: Tensor<u8, []>): Tensor<f32, []> {
  return bitcast(e < 2 ? 0x200000 << e : (e - 1) << 23, f32);
}

/**
 * floor(log2f(a)) as C computes it for a > 0: correctly rounded, log2f gives a whole number n
 * already for values a few steps below 2^n, the more the larger |n|.
 */
function floorLog2(a: Tensor<f32, []>): Tensor<i32, []> {
  const e = exponent(a);
  const stepsBelow = 0x800000 - (bitcast(a, i32) & 0x7fffff);
  const roundsUp = exponent(stepsBelow * Math.LOG2E) < exponent(f32(e < 0 ? -1 - e : e));
  return roundsUp ? e + 1 : e;
}

/**
 * E2M1 codes (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives), one power-of-two scale per 32
 * values: 4.25 bits per weight.
 *
 * - `e`: the E8M0 code of the scale 2^(e - 127). 255, NaN in the OCP specification, decodes as
 *   2^128 would, as in ggml. Blocks below 2^-125, where the reference's conversion is undefined,
 *   take code 0.
 * - `q`: the E2M1 code, its top bit the sign. Zero is always code 0.
 *
 * Struct: 17 bytes, `e` then 16 bytes of nibbles.
 */
export const mxfp4 = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const peak = amax(abs(x));
    const e = u8(peak > 0 ? clamp(floorLog2(peak) + 125, 0, 255) : 0);
    return { e, q: nearest(x, halfScale(e), 32) };
  },
  decode: ({ e, q }) => twice(q) * halfScale(e),
  layout: {
    pack: ({ e, q }) => concat([reshape(e, [1]), packHalves(q)]),
    unpack: (bytes: Tensor<u8, [17]>) => ({
      e: reshape(slice(bytes, 0, 1), []),
      q: unpackHalves(slice(bytes, 1, 17)),
    }),
  },
});
