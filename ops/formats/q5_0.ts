// Q5_0 of ggml (block_q5_0; quantize_row_q5_0_ref and quantize_row_q5_0_impl in ggml-quants.c).
import { abs, argmax, at, bitcast, concat, f16, format, reshape, slice, u5, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
import { fitSigned, rowEmphasis } from './fits.ts';
import { packFive, unpackFive } from './nibbles.ts';

/**
 * 5-bit codes on a signed grid of 32 levels, -16 to 15, one f16 scale per 32 values: 5.5 bits per
 * weight.
 *
 * - `d`: the scale; the value of largest magnitude sits exactly on level -16, so `d` may be
 *   negative.
 * - `q`: the level plus 16.
 *
 * Struct: 22 bytes, `d`, 4 bytes of top bits (bit j of the whole belongs to element j), 16 bytes of
 * nibbles. The codes are found with the unrounded scale. With importance weights scale and codes
 * are a weighted least-squares fit, and the peak need not be exact.
 */
export const q5_0 = format({
  block: 32,
  weigh: rowEmphasis,
  encode(x: Tensor<f32, [32]>, _: object, weights?: Tensor<f32, [32]>) {
    if (weights !== undefined) {
      const fit = fitSigned(reshape(x, [32, 1]), reshape(weights, [32, 1]), 16);
      return { d: f16(at(fit.scale, 0)), q: u5(reshape(fit.codes, [32]) + 16) };
    }
    const peak = at(x, argmax(abs(x)));
    // A block of zeros has d = 0 / -16 = -0 whatever the signs of its zeros.
    const d = (peak === 0 ? 0 : peak) / -16;
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), q: u5(x * inverse + 16.5) };
  },
  decode: ({ d, q }) => (q - 16) * d,
  layout: {
    pack: ({ d, q }) => concat([bitcast(d, u8), packFive(q)]),
    unpack: (bytes: Tensor<u8, [22]>) => ({
      d: bitcast(slice(bytes, 0, 2), f16),
      q: unpackFive(slice(bytes, 2, 22)),
    }),
  },
});
