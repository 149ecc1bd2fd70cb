// Q3_K of ggml (block_q3_K; quantize_row_q3_K_ref and quantize_row_q3_K_impl in ggml-quants.c).
import {
  abs,
  argmax,
  at,
  bitcast,
  clamp,
  concat,
  f16,
  format,
  group,
  i3,
  i32,
  i6,
  reshape,
  round,
  slice,
  sum,
  tensor,
  transpose,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';
import { packPairs, packPlane, unpackPairs, unpackPlane } from './kbits.ts';
import { emphasis, fitBySweeps, fitSigned, inOrder } from './fits.ts';

/** Bit position, in bytes 8 to 11, of the two high bits of scale 4 row + column. */
const highShifts = [[0], [2], [4], [6]];

/** The unit of the group scales and the scales in it, the largest magnitude at -32. */
function byLargest(scale: Tensor) {
  const top = at(scale, argmax(abs(scale)));
  const inverse = -32 / top;
  const scales = clamp(round(inverse * scale), -32, 31);
  return { d: f16(top === 0 ? 0 : 1 / inverse), scales: top === 0 ? -32 : scales };
}

/** The same by a fit that weighs each group by the weights of its values. */
function byFit(scale: Tensor, weight: Tensor) {
  const fit = fitSigned(reshape(scale, [16, 1]), reshape(sum(weight, 0), [16, 1]), 32);
  return { d: f16(at(fit.scale, 0)), scales: reshape(fit.codes, [16]) };
}

/**
 * Signed 3-bit codes in super-blocks of 256 with 16 groups of 16; each group has a signed 6-bit
 * scale in units of one f16 number of the super-block: 3.4375 bits per weight. w = d * scale * q.
 *
 * - `d`: the unit of the scales, of either sign.
 * - `scales`: one a group, -32 to 31.
 * - `q`: the level, -4 to 3.
 *
 * Struct: 110 bytes, 32 bytes of top bits (bit c of byte j belongs to element 32 c + j) and 64
 * bytes of the lower two bits (byte 32 h + j holds elements 128 h + j + {0, 32, 64, 96}) of the
 * levels plus 4, 12 bytes of the scales plus 32, `d`. Groups are fitted with weights x * x, or
 * importance * sqrt(2 * mean square + x * x); codes are found again with the rounded scales, unless
 * these are 0.
 */
export const q3_K = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const columns = transpose(group(x, 16));
    let fit: { scale: Tensor; codes: Tensor };
    let outer: { d: Tensor; scales: Tensor };
    if (weights === undefined) {
      fit = fitBySweeps(columns, 4);
      outer = byLargest(fit.scale);
    } else {
      const meanSquare = (2 * inOrder(x * x)) / 256;
      const weight = emphasis(columns, transpose(group(weights, 16)), meanSquare);
      fit = fitSigned(columns, weight, 4);
      outer = byFit(fit.scale, weight);
    }
    const { d, scales } = outer;
    const unit = d * scales;
    const q = unit === 0 ? fit.codes : clamp(round(columns / unit), -4, 3);
    return { q: i3(reshape(transpose(q), [256])), scales: i6(scales), d: f16(d) };
  },
  decode: ({ q, scales, d }) => reshape(reshape(d * scales, [16, 1]) * group(q, 16), [256]),
  layout: {
    pack: ({ q, scales, d }) => {
      const u = scales + 32;
      const low = (slice(u, 0, 8) & 15) | ((slice(u, 8, 16) & 15) << 4);
      const high = sum(reshape(u >> 4, [4, 4]) << tensor(highShifts, i32), 0);
      const code = q + 4;
      return concat([packPlane(code >> 2), packPairs(code), u8(low), u8(high), bitcast(d, u8)]);
    },
    unpack: (bytes: Tensor<u8, [110]>) => {
      const nibbles = slice(bytes, 96, 104);
      const low = concat([nibbles & 15, nibbles >> 4]);
      const high = (reshape(slice(bytes, 104, 108), [1, 4]) >> tensor(highShifts, i32)) & 3;
      const code = unpackPairs(slice(bytes, 32, 96)) | (unpackPlane(slice(bytes, 0, 32)) << 2);
      return {
        q: i3(code - 4),
        scales: i6((low | (reshape(high, [16]) << 4)) - 32),
        d: bitcast(slice(bytes, 108, 110), f16),
      };
    },
  },
});
