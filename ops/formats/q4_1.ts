// Q4_1 of ggml (block_q4_1, quantize_row_q4_1_ref in ggml-quants.c).
import { amax, argmin, at, bitcast, concat, f16, format, slice, u4, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
import { packHalves, unpackHalves } from './nibbles.ts';

/**
 * 4-bit codes between the smallest and the largest value of a block, with f16 scale and f16 minimum per 32
 * values: 5 bits per weight.
 *
 * - `d`: the step between two levels.
 * - `m`: the value of level 0, the block's minimum.
 * - `q`: the level, 0 to 15.
 *
 * Struct: 20 bytes, `d`, `m`, then 16 bytes of nibbles. The codes are found with the unrounded step and minimum.
 */
export const q4_1 = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
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
