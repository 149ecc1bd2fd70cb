// Q4_0 of ggml (block_q4_0; quantize_row_q4_0_ref and quantize_row_q4_0_impl in ggml-quants.c).
import { abs, argmax, at, bitcast, concat, f16, format, reshape, slice, u4, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
import { fitSigned, rowEmphasis } from './fits.ts';
import { packHalves, unpackHalves } from './nibbles.ts';

/**
 * 4-bit codes on a signed grid of 16 levels, -8 to 7, one f16 scale per 32 values: 4.5 bits per
 * weight.
 *
 * - `d`: the scale; the value of largest magnitude sits exactly on level -8, so `d` may be
 *   negative.
 * - `q`: the level plus 8.
 *
 * Struct: 18 bytes, `d` then 16 bytes of nibbles. The codes are found with the unrounded scale.
 * With importance weights scale and codes are a weighted least-squares fit, and the peak need not
 * be exact.
 */
export const q4_0 = format({
  block: 32,
  weigh: rowEmphasis,
  encode(x: Tensor<f32, [32]>, _: object, weights?: Tensor<f32, [32]>) {
    if (weights !== undefined) {
      const fit = fitSigned(reshape(x, [32, 1]), reshape(weights, [32, 1]), 8);
      return { d: f16(at(fit.scale, 0)), q: u4(reshape(fit.codes, [32]) + 8) };
    }
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
