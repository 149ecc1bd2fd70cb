// Q6_K of ggml (block_q6_K; quantize_row_q6_K_ref and quantize_row_q6_K_impl in ggml-quants.c).
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
  i32,
  i6,
  i8,
  min,
  reshape,
  round,
  slice,
  sum,
  tensor,
  transpose,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';
import { packPairs, unpackPairs } from './kbits.ts';
import { EPSILON, fitSigned } from './fits.ts';

/** Bit position of the low nibbles, which lie 64 elements apart. */
const nibbleShifts = [[[0]], [[4]]];

/**
 * Signed 6-bit codes in super-blocks of 256 with 16 groups of 16; each group has an 8-bit scale in
 * units of one f16 number of the super-block: 6.5625 bits per weight. w = d * scale * q.
 *
 * - `d`: the unit of the scales, of either sign.
 * - `scales`: one a group, signed.
 * - `q`: the level, -32 to 31; the struct stores it plus 32.
 *
 * Struct: 210 bytes, 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 scales, `d`. In each
 * half of 128 elements, nibble byte j holds elements j and j + 64, pair byte j holds elements j +
 * {0, 32, 64, 96}. Groups are fitted with weights x * x, or the importance weights; codes are found
 * again with the rounded scales, unless these are 0.
 */
export const q6_K = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const columns = transpose(group(x, 16));
    const weight = weights === undefined ? columns * columns : transpose(group(weights, 16));
    const fit = fitSigned(columns, weight, 32);
    const topScale = at(fit.scale, argmax(abs(fit.scale)));
    const active = abs(topScale) >= EPSILON;
    const inverse = active ? -128 / topScale : 0;
    const d = f16(active ? 1 / inverse : 0);
    const scales = i8(min(round(fit.scale * inverse), 127));
    const unit = d * scales;
    const levels = unit === 0 ? fit.codes : clamp(round(columns / unit), -32, 31);
    // Without any scale all of the struct is 0, which is level -32.
    const q = active ? levels : -32;
    return { q: i6(reshape(transpose(q), [256])), scales, d };
  },
  decode: ({ q, scales, d }) => reshape(reshape(d * scales, [16, 1]) * group(q, 16), [256]),
  layout: {
    pack: ({ q, scales, d }) => {
      const code = q + 32;
      const low = sum((reshape(code, [2, 2, 2, 32]) & 15) << tensor(nibbleShifts, i32), 1);
      return concat([
        u8(reshape(low, [128])),
        packPairs(code >> 4),
        bitcast(scales, u8),
        bitcast(d, u8),
      ]);
    },
    unpack: (bytes: Tensor<u8, [210]>) => {
      const low = (reshape(slice(bytes, 0, 128), [2, 1, 2, 32]) >> tensor(nibbleShifts, i32)) & 15;
      const high = unpackPairs(slice(bytes, 128, 192));
      return {
        q: i6((reshape(low, [256]) | (high << 4)) - 32),
        scales: bitcast(slice(bytes, 192, 208), i8),
        d: bitcast(slice(bytes, 208, 210), f16),
      };
    },
  },
});
