// Q4_K of ggml (block_q4_K; quantize_row_q4_K_ref and quantize_row_q4_K_impl in ggml-quants.c).
import { bitcast, concat, f16, format, slice, u4, u6, u8 } from 'quern';
import type { f32, Tensor } from 'quern';
import { packNibbles, packSixBits, unpackNibbles, unpackSixBits } from './kbits.ts';
import { decodeAffine, encodeAffine } from './superblock.ts';

/**
 * 4-bit codes in super-blocks of 256 with 8 groups of 32; each group has a 6-bit scale and a 6-bit
 * minimum, in units of two f16 numbers of the super-block: 4.5 bits per weight. w = d * scale * q -
 * dmin * min.
 *
 * - `d`, `dmin`: the units of the scales and of the minima.
 * - `scales`, `mins`: one a group; the minimum is subtracted, so groups of positive values have 0.
 * - `q`: the codes.
 *
 * Struct: 144 bytes, `d`, `dmin`, 12 bytes of scales and minima, 128 bytes of codes (byte 32 c + j
 * holds elements 64 c + j and 64 c + j + 32). Weights of the fit are rms(group) + |x|, or with
 * importance weights these times sqrt(2 * mean square + x * x); codes are found again with the
 * rounded scales.
 */
export const q4_K = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const { d, dmin, scales, mins, q } = encodeAffine(x, weights, {
      size: 32,
      units: 63,
      search: { levels: 15, first: -1, delta: 0.1, steps: 20 },
      addsRms: true,
      share: 2,
    });
    return { d: f16(d), dmin: f16(dmin), scales: u6(scales), mins: u6(mins), q: u4(q) };
  },
  decode: (fields) => decodeAffine(fields, 32),
  layout: {
    pack: ({ d, dmin, scales, mins, q }) =>
      concat([bitcast(d, u8), bitcast(dmin, u8), packSixBits(scales, mins), packNibbles(q)]),
    unpack: (bytes: Tensor<u8, [144]>) => {
      const { scales, mins } = unpackSixBits(slice(bytes, 4, 16));
      return {
        d: bitcast(slice(bytes, 0, 2), f16),
        dmin: bitcast(slice(bytes, 2, 4), f16),
        scales: u6(scales),
        mins: u6(mins),
        q: u4(unpackNibbles(slice(bytes, 16, 144))),
      };
    },
  },
});
