// Q2_K of ggml (block_q2_K; quantize_row_q2_K_ref and quantize_row_q2_K_impl in ggml-quants.c).
import { bitcast, concat, f16, format, slice, u2, u4, u8 } from 'quern';
import type { f32, Tensor } from 'quern';
import { packPairs, unpackPairs } from './kbits.ts';
import { decodeAffine, encodeAffine } from './superblock.ts';

/**
 * 2-bit codes in super-blocks of 256 with 16 groups of 16; each group has a 4-bit scale and a 4-bit
 * minimum, in units of two f16 numbers of the super-block: 2.625 bits per weight. w = d * scale * q
 * - dmin * min.
 *
 * - `d`, `dmin`: the units of the scales and of the minima.
 * - `scales`, `mins`: one a group; the minimum is subtracted, so groups of positive values have 0.
 * - `q`: the codes.
 *
 * Struct: 84 bytes, 16 bytes with a scale in the low and a minimum in the high nibble, 64 bytes of
 * codes (byte 32 h + j holds elements 128 h + j + {0, 32, 64, 96}), `d`, `dmin`. The fit minimises
 * errors weighted by |x|, or with importance weights squares weighted by these times sqrt(mean
 * square + x * x); codes are found again with the rounded scales.
 */
export const q2_K = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const { d, dmin, scales, mins, q } = encodeAffine(x, weights, {
      size: 16,
      units: 15,
      search: { levels: 3, first: -0.5, delta: 0.1, steps: 15, absolute: true },
      addsRms: false,
      share: 1,
    });
    return { d: f16(d), dmin: f16(dmin), scales: u4(scales), mins: u4(mins), q: u2(q) };
  },
  decode: (fields) => decodeAffine(fields, 16),
  layout: {
    pack: ({ d, dmin, scales, mins, q }) =>
      concat([u8(scales | (mins << 4)), packPairs(q), bitcast(d, u8), bitcast(dmin, u8)]),
    unpack: (bytes: Tensor<u8, [84]>) => ({
      d: bitcast(slice(bytes, 80, 82), f16),
      dmin: bitcast(slice(bytes, 82, 84), f16),
      scales: u4(slice(bytes, 0, 16) & 15),
      mins: u4(slice(bytes, 0, 16) >> 4),
      q: u2(unpackPairs(slice(bytes, 16, 80))),
    }),
  },
});
