// Q8_1 of ggml (block_q8_1, quantize_row_q8_1_ref in ggml-quants.c): what its kernels encode
// activations to.
import { abs, amax, bitcast, concat, f16, format, i8, roundHalfAway, slice, sum, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';

/**
 * Signed 8-bit codes, one f16 scale and one f16 sum per 32 values: 9 bits per weight.
 *
 * - `d`: the scale, largest magnitude / 127.
 * - `s`: d times the sum of the codes, from the unrounded d. Decoding does not need it; dots with
 *   weights that have a minimum do.
 * - `q`: x / d rounded half away from zero, -127 to 127. Decoding takes -128 too.
 *
 * Struct: 36 bytes, `d`, `s`, then 32 codes. The codes are found with the unrounded scale.
 */
export const q8_1 = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = amax(abs(x)) / 127;
    const inverse = d === 0 ? 0 : 1 / d;
    const q = i8(roundHalfAway(x * inverse));
    return { d: f16(d), s: f16(sum(q) * d), q };
  },
  decode: ({ d, q }) => q * d,
  layout: {
    pack: ({ d, s, q }) => concat([bitcast(d, u8), bitcast(s, u8), bitcast(q, u8)]),
    unpack: (bytes: Tensor<u8, [36]>) => ({
      d: bitcast(slice(bytes, 0, 2), f16),
      s: bitcast(slice(bytes, 2, 4), f16),
      q: bitcast(slice(bytes, 4, 36), i8),
    }),
  },
});
