// Q8_0 of ggml (block_q8_0, quantize_row_q8_0_ref in ggml-quants.c).
import {
  abs,
  amax,
  bitcast,
  clamp,
  concat,
  f16,
  format,
  i8,
  roundHalfAway,
  slice,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';

/**
 * Signed 8-bit codes, one f16 scale per 32 values: 8.5 bits per weight.
 *
 * - `d`: the scale, largest magnitude / 127.
 * - `q`: x / d rounded half away from zero, -127 to 127. Decoding takes -128 too.
 *
 * Struct: 34 bytes, `d` then 32 codes. The codes are found with the unrounded scale.
 */
export const q8_0 = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = amax(abs(x)) / 127;
    const inverse = d === 0 ? 0 : 1 / d;
    // What the bounds say holds anyway: no kernel on these codes need mind -128.
    return { d: f16(d), q: i8(clamp(roundHalfAway(x * inverse), -127, 127)) };
  },
  decode: ({ d, q }) => q * d,
  layout: {
    pack: ({ d, q }) => concat([bitcast(d, u8), bitcast(q, u8)]),
    unpack: (bytes: Tensor<u8, [34]>) => ({
      d: bitcast(slice(bytes, 0, 2), f16),
      q: bitcast(slice(bytes, 2, 34), i8),
    }),
  },
});
