// Q4_1 of ggml (block_q4_1; quantize_row_q4_1_ref and quantize_row_q4_1_impl in ggml-quants.c).
import { amax, argmin, at, bitcast, concat, f16, format, reshape, slice, u4, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
import { fitAffine, rowEmphasis } from './fits.ts';
import { packHalves, unpackHalves } from './nibbles.ts';

/** The search with importance weights. */
const search = { levels: 15, first: -0.9, delta: 0.05, steps: 36 };

/**
 * 4-bit codes between the smallest and the largest value of a block, with f16 scale and f16 minimum
 * per 32 values: 5 bits per weight.
 *
 * - `d`: the step between two levels.
 * - `m`: the value of level 0, the block's minimum.
 * - `q`: the level, 0 to 15.
 *
 * Struct: 20 bytes, `d`, `m`, then 16 bytes of nibbles. The codes are found with the unrounded step
 * and minimum. With importance weights all three are a weighted least-squares fit, with a minimum
 * of at most 0.
 */
export const q4_1 = format({
  block: 32,
  weigh: rowEmphasis,
  encode(x: Tensor<f32, [32]>, _: object, weights?: Tensor<f32, [32]>) {
    if (weights !== undefined) {
      const fit = fitAffine(reshape(x, [32, 1]), reshape(weights, [32, 1]), search);
      const [d, m] = [f16(at(fit.scale, 0)), f16(-at(fit.minimum, 0))];
      return { d, m, q: u4(reshape(fit.codes, [32])) };
    }
    // By index, not by amin: of zeros of both signs the first one is kept.
    const m = at(x, argmin(x));
    const d = (amax(x) - m) / 15;
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), m: f16(m), q: u4((x - m) * inverse + 0.5) };
  },
  decode: ({ d, m, q }) => q * d + m,
  layout: {
    pack: ({ d, m, q }) => concat([bitcast(d, u8), bitcast(m, u8), packHalves(q)]),
    unpack: (bytes: Tensor<u8, [20]>) => ({
      d: bitcast(slice(bytes, 0, 2), f16),
      m: bitcast(slice(bytes, 2, 4), f16),
      q: unpackHalves(slice(bytes, 4, 20)),
    }),
  },
});
