// Q4_0 of ggml (block_q4_0, quantize_row_q4_0_ref in ggml-quants.c).
import { abs, argmax, at, bitcast, concat, f16, format, slice, u4, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
import { packHalves, unpackHalves } from './nibbles.ts';

/**
 * 4-bit codes on a signed grid of 16 levels, -8 to 7, one f16 scale per 32 values: 4.5 bits per weight.
 *
 * - `d`: the scale; the value of largest magnitude sits exactly on level -8, so `d` may be negative.
 * - `q`: the level plus 8.
 *
 * Struct: 18 bytes, `d` then 16 bytes of nibbles. The codes are found with the unrounded scale.
 */
export const q4_0 = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const peak = at(x, argmax(abs(x)));
    // A block of zeros has d = 0 / -8 = -0 whatever the signs of its zeros.
    const d = (peak === 0 ? 0 : peak) / -8;
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), q: u4(x * inverse + 8.5) };
  },
  decode: ({ d, q }) => (q - 8) * d,
  layout: {
    pack: ({ d, q }) => concat([bitcast(d, u8), packHalves(q)]),
    unpack: (bytes: Tensor<u8, [18]>) => ({
      d: bitcast(slice(bytes, 0, 2), f16),
      q: unpackHalves(slice(bytes, 2, 18)),
    }),
  },
});
