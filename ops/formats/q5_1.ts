// Q5_1 of ggml (block_q5_1; quantize_row_q5_1_ref and quantize_row_q5_1_impl in ggml-quants.c).
import { amax, argmin, at, bitcast, concat, f16, format, reshape, slice, u5, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
import { fitAffine, rowEmphasis } from './fits.ts';
import { packFive, unpackFive } from './nibbles.ts';

/** The search with importance weights. */
const search = { levels: 31, first: -0.9, delta: 0.05, steps: 36 };

/**
 * 5-bit codes between the smallest and the largest value of a block, with f16 scale and f16 minimum
 * per 32 values: 6 bits per weight.
 *
 * - `d`: the step between two levels.
 * - `m`: the value of level 0, the block's minimum.
 * - `q`: the level, 0 to 31.
 *
 * Struct: 24 bytes, `d`, `m`, 4 bytes of top bits (bit j of the whole belongs to element j), 16
 * bytes of nibbles. The codes are found with the unrounded step and minimum. With importance
 * weights all three are a weighted least-squares fit, with a minimum of at most 0.
 */
export const q5_1 = format({
  block: 32,
  weigh: rowEmphasis,
  encode(x: Tensor<f32, [32]>, _: object, weights?: Tensor<f32, [32]>) {
    if (weights !== undefined) {
      const fit = fitAffine(reshape(x, [32, 1]), reshape(weights, [32, 1]), search);
      const [d, m] = [f16(at(fit.scale, 0)), f16(-at(fit.minimum, 0))];
      return { d, m, q: u5(reshape(fit.codes, [32])) };
    }
    // By index, not by amin: of zeros of both signs the first one is kept.
    const m = at(x, argmin(x));
    const d = (amax(x) - m) / 31;
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), m: f16(m), q: u5((x - m) * inverse + 0.5) };
  },
  decode: ({ d, m, q }) => q * d + m,
  layout: {
    pack: ({ d, m, q }) => concat([bitcast(d, u8), bitcast(m, u8), packFive(q)]),
    unpack: (bytes: Tensor<u8, [24]>) => ({
      d: bitcast(slice(bytes, 0, 2), f16),
      m: bitcast(slice(bytes, 2, 4), f16),
      q: unpackFive(slice(bytes, 4, 24)),
    }),
  },
});
