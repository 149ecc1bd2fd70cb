// Q6_K of ggml (block_q6_K, quantize_row_q6_K_ref and make_qx_quants in ggml-quants.c).
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
  iota,
  range,
  reshape,
  round,
  slice,
  sum,
  tensor,
  transpose,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';

/** Groups and super-blocks whose largest magnitude or scale is below this count as zero. */
const EPSILON = 1e-15;

/** The value of largest magnitude of each column [16, 16], with its sign; the first one on ties. */
function peaks(x: Tensor<f32, [16, 16]>): Tensor<f32> {
  const first = argmax(abs(x), 0);
  return sum(reshape(iota(16), [16, 1]) === first ? x : 0, 0);
}

/**
 * For each column of x [16, 16] the scale of x ≈ scale * q with q in -32 .. 31, by least squares with weights x * x: 19
 * scales around peak / -32 fix q, the fit gives the scale, and the best is kept. Groups are columns, so that sums run
 * over the elements in order, as in the reference: candidates often differ by less than f32 rounding.
 */
function fitGroups(x: Tensor<f32, [16, 16]>): Tensor<f32> {
  const peak = peaks(x);
  const weight = x * x;
  let scale = peak * 0;
  let best = peak * 0;
  for (const step of range(20)) {
    // First the plain scale, then -9 .. 9 tenths of a level around it.
    const inverse = -(32 + 0.1 * (step === 0 ? 0 : step - 10)) / peak;
    const q = clamp(round(inverse * x), -32, 31);
    const dot = sum(weight * x * q, 0);
    const norm = sum(weight * q * q, 0);
    const better = norm > 0 && dot * dot > best * norm;
    scale = better ? dot / norm : scale;
    best = better ? scale * dot : best;
  }
  return abs(peak) >= EPSILON ? scale : 0;
}

/** Bit positions: low nibbles lie 64 elements apart, the two high bits 32. */
const nibbleShifts = [[[0]], [[4]]];
const pairShifts = [[0], [2], [4], [6]];

/**
 * Signed 6-bit codes in super-blocks of 256 with 16 groups of 16; each group has an 8-bit scale in units of one f16
 * number of the super-block: 6.5625 bits per weight. w = d * scale * q.
 *
 * - `d`: the unit of the scales, of either sign.
 * - `scales`: one a group, signed.
 * - `q`: the level, -32 to 31; the struct stores it plus 32.
 *
 * Struct: 210 bytes, 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 scales, `d`. In each half of 128
 * elements, nibble byte j holds elements j and j + 64, pair byte j holds elements j + {0, 32, 64, 96}. Codes are found
 * again with the rounded scales.
 */
export const q6_K = format({
  block: 256,
  encode(x: Tensor<f32, [256]>) {
    const groups = group(x, 16);
    const fitted = fitGroups(transpose(groups));
    const topScale = at(fitted, argmax(abs(fitted)));
    const active = abs(topScale) >= EPSILON;
    const inverse = active ? -128 / topScale : 0;
    const d = f16(active ? 1 / inverse : 0);
    const scales = i8(round(fitted * inverse));
    const unit = reshape(d * scales, [16, 1]);
    // Without a scale any code means 0; -32 is stored as 0.
    const q = unit === 0 ? -32 : round(groups / unit);
    return { q: i6(reshape(q, [256])), scales, d };
  },
  decode: ({ q, scales, d }) => reshape(reshape(d * scales, [16, 1]) * group(q, 16), [256]),
  layout: {
    pack: ({ q, scales, d }) => {
      const code = reshape(q + 32, [2, 4, 32]);
      const nibbles = reshape(code & 15, [2, 2, 2, 32]);
      const low = sum(nibbles << tensor(nibbleShifts, i32), 1);
      const high = sum((code >> 4) << tensor(pairShifts, i32), 1);
      return concat([
        u8(reshape(low, [128])),
        u8(reshape(high, [64])),
        bitcast(scales, u8),
        bitcast(d, u8),
      ]);
    },
    unpack: (bytes: Tensor<u8, [210]>) => {
      const low = (reshape(slice(bytes, 0, 128), [2, 1, 2, 32]) >> tensor(nibbleShifts, i32)) & 15;
      const high = (reshape(slice(bytes, 128, 192), [2, 1, 32]) >> tensor(pairShifts, i32)) & 3;
      return {
        q: i6((reshape(low, [256]) | (reshape(high, [256]) << 4)) - 32),
        scales: bitcast(slice(bytes, 192, 208), i8),
        d: bitcast(slice(bytes, 208, 210), f16),
      };
    },
  },
});
