// IQ4_XS of ggml (block_iq4_xs, quantize_iq4_xs in ggml-quants.c).
import { abs, argmax, at, bitcast, clamp, concat, f16, format, group, i32, i6 } from 'quern';
import { iota, reshape, round, slice, sum, tensor, transpose, u16, u4, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
import { emphasis, inOrder } from './fits.ts';
import { fitLevels, levelOf, nearestLevel } from './iq4.ts';

const nibbleShifts = [[0], [4]];

/**
 * 4-bit codes into a fixed codebook of 16 integers, in super-blocks of 256 with 8 groups of 32;
 * each group has a signed 6-bit scale in units of one f16 number of the super-block: 4.25 bits per
 * weight. w = d * scale * level.
 *
 * - `d`: the unit of the scales, of either sign.
 * - `scales`: one a group, -32 to 31.
 * - `q`: the code of the level.
 *
 * Struct: 136 bytes, `d`, 2 bytes of the top two bits and 4 bytes of the lower four bits of the
 * scales plus 32, 128 bytes of nibbles (byte 16 g + j holds elements 32 g + j and 32 g + j + 16).
 * The scales are least-squares fits with weights x * x, or importance * sqrt(2 * mean square + x *
 * x); codes are found again with the rounded scales and the unrounded unit.
 */
export const iq4_xs = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const columns = transpose(group(x, 32));
    const weight =
      weights === undefined
        ? columns * columns
        : emphasis(columns, transpose(group(weights, 32)), inOrder(x * x) * (2 / 256));
    const fitted = fitLevels(columns, weight);
    const d = -at(fitted, argmax(abs(fitted))) / 32;
    const scales = clamp(round(fitted * (d === 0 ? 0 : 1 / d)), -32, 31);
    const unit = d * scales;
    const q = nearestLevel(columns * (unit === 0 ? 0 : 1 / unit));
    return { d: f16(d), scales: i6(scales), q: reshape(transpose(q), [256]) };
  },
  decode: ({ d, scales, q }) => reshape(reshape(d * scales, [8, 1]) * group(levelOf(q), 32), [256]),
  layout: {
    pack: ({ d, scales, q }) => {
      const u = scales + 32;
      const high = sum((u >> 4) << (iota(8) * 2));
      const low = sum(reshape(u & 15, [4, 2]) << tensor([0, 4], i32), 1);
      const codes = sum(reshape(q, [8, 2, 16]) << tensor(nibbleShifts, i32), 1);
      return concat([bitcast(d, u8), bitcast(u16(high), u8), u8(low), u8(reshape(codes, [128]))]);
    },
    unpack: (bytes: Tensor<u8, [136]>) => {
      const high = (bitcast(slice(bytes, 2, 4), u16) >> (iota(8) * 2)) & 3;
      const low = (reshape(slice(bytes, 4, 8), [4, 1]) >> tensor([0, 4], i32)) & 15;
      const codes = reshape(slice(bytes, 8, 136), [8, 1, 16]) >> tensor(nibbleShifts, i32);
      return {
        d: bitcast(slice(bytes, 0, 2), f16),
        scales: i6((reshape(low, [8]) | (high << 4)) - 32),
        q: u4(reshape(codes & 15, [256])),
      };
    },
  },
});
