// Q5_K of ggml (block_q5_K; quantize_row_q5_K_ref and quantize_row_q5_K_impl in ggml-quants.c).
import { bitcast, concat, f16, format, slice, u5, u6, u8 } from 'quern';
import type { f32, Tensor } from 'quern';
import {
  packNibbles,
  packPlane,
  packSixBits,
  unpackNibbles,
  unpackPlane,
  unpackSixBits,
} from './kbits.ts';
import { decodeAffine, encodeAffine } from './superblock.ts';

/**
 * 5-bit codes in super-blocks of 256 with 8 groups of 32; each group has a 6-bit scale and a 6-bit
 * minimum, in units of two f16 numbers of the super-block: 5.5 bits per weight. w = d * scale * q -
 * dmin * min.
 *
 * - `d`, `dmin`: the units of the scales and of the minima.
 * - `scales`, `mins`: one a group; the minimum is subtracted, so groups of positive values have 0.
 * - `q`: the codes.
 *
 * Struct: 176 bytes, `d`, `dmin`, 12 bytes of scales and minima, 32 bytes of top bits (bit c of
 * byte j belongs to element 32 c + j), 128 bytes of the lower four bits. Encoding is that of q4_K
 * with another grid of densities.
 */
export const q5_K = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const { d, dmin, scales, mins, q } = encodeAffine(x, weights, {
      size: 32,
      units: 63,
      search: { levels: 31, first: -0.5, delta: 0.1, steps: 15 },
      addsRms: true,
      share: 2,
    });
    return { d: f16(d), dmin: f16(dmin), scales: u6(scales), mins: u6(mins), q: u5(q) };
  },
  decode: (fields) => decodeAffine(fields, 32),
  layout: {
    pack: ({ d, dmin, scales, mins, q }) =>
      concat([
        bitcast(d, u8),
        bitcast(dmin, u8),
        packSixBits(scales, mins),
        packPlane(q >> 4),
        packNibbles(q),
      ]),
    unpack: (bytes: Tensor<u8, [176]>) => {
      const { scales, mins } = unpackSixBits(slice(bytes, 4, 16));
      const top = unpackPlane(slice(bytes, 16, 48));
      return {
        d: bitcast(slice(bytes, 0, 2), f16),
        dmin: bitcast(slice(bytes, 2, 4), f16),
        scales: u6(scales),
        mins: u6(mins),
        q: u5(unpackNibbles(slice(bytes, 48, 176)) | (top << 4)),
      };
    },
  },
});
