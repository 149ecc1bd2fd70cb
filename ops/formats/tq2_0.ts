// TQ2_0 of ggml (block_tq2_0, quantize_row_tq2_0_ref in ggml-quants.c): ternary weights of BitNet
// b1.58 and TriLMs.
import { abs, amax, bitcast, concat, f16, format, roundHalfAway, slice, u2, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
import { packPairs, unpackPairs } from './kbits.ts';

/**
 * Ternary codes, one f16 scale per 256 values: 2.0625 bits per weight.
 *
 * - `d`: the scale, the largest magnitude.
 * - `q`: the level plus 1: 0, 1, 2 for -d, 0, d. Encoding rounds half away from zero; decoding
 *   takes 3 as 2 d.
 *
 * Struct: 66 bytes, 64 bytes of codes (byte 32 h + j holds elements 128 h + j + {0, 32, 64, 96}),
 * then `d`.
 */
export const tq2_0 = format({
  block: 256,
  encode(x: Tensor<f32, [256]>) {
    const d = amax(abs(x));
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), q: u2(roundHalfAway(x * inverse) + 1) };
  },
  decode: ({ d, q }) => (q - 1) * d,
  layout: {
    pack: ({ d, q }) => concat([packPairs(q), bitcast(d, u8)]),
    unpack: (bytes: Tensor<u8, [66]>) => ({
      q: u2(unpackPairs(slice(bytes, 0, 64))),
      d: bitcast(slice(bytes, 64, 66), f16),
    }),
  },
});
