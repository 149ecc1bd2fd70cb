// Q8_K of ggml (block_q8_K, quantize_row_q8_K_ref in ggml-quants.c): what its kernels for
// super-blocks encode activations to.
import {
  abs,
  argmax,
  at,
  bitcast,
  concat,
  f32,
  format,
  group,
  i16,
  i8,
  min,
  reshape,
  round,
  slice,
  sum,
  u8,
} from 'quern';
import type { Tensor } from 'quern';

/**
 * Signed 8-bit codes, one f32 scale per 256 values and the sums of 16 codes each: 9.125 bits per
 * weight.
 *
 * - `d`: the scale; the value of largest magnitude is code -127, so `d` may be negative.
 * - `q`: x / d rounded half to even, -127 to 127. Decoding takes -128 too.
 * - `sums`: of groups of 16 codes. Decoding does not need them; dots with weights that have minima
 *   do.
 *
 * Struct: 292 bytes, `d`, 256 codes, 16 sums.
 */
export const q8_K = format({
  block: 256,
  encode(x: Tensor<f32, [256]>) {
    const peak = at(x, argmax(abs(x)));
    const inverse = peak === 0 ? 0 : -127 / peak;
    const q = i8(min(round(x * inverse), 127));
    return { d: f32(peak === 0 ? 0 : 1 / inverse), q, sums: i16(sum(group(q, 16), 1)) };
  },
  decode: ({ d, q }) => q * d,
  layout: {
    pack: ({ d, q, sums }) =>
      concat([bitcast(d, u8), bitcast(q, u8), reshape(bitcast(sums, u8), [32])]),
    unpack: (bytes: Tensor<u8, [292]>) => ({
      d: bitcast(slice(bytes, 0, 4), f32),
      q: bitcast(slice(bytes, 4, 260), i8),
      sums: bitcast(reshape(slice(bytes, 260, 292), [16, 2]), i16),
    }),
  },
});
