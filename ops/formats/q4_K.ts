// Q4_K of ggml (block_q4_K, quantize_row_q4_K_ref and make_qkx2_quants in ggml-quants.c).
import {
  abs,
  amax,
  amin,
  bitcast,
  clamp,
  concat,
  f16,
  format,
  group,
  i32,
  max,
  min,
  range,
  reshape,
  round,
  slice,
  sqrt,
  sum,
  tensor,
  transpose,
  u4,
  u6,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';

/** Levels per unit; a group whose values are all equal has none. */
function density(levels: number, reach: Tensor<f32>): Tensor<f32> {
  return reach > 0 ? levels / reach : 0;
}

/**
 * For each column of x [32, 8] the scale and the minimum (at most 0) of x ≈ scale * q + low with q in 0 .. 15, by
 * weighted least squares: 21 densities of levels around 15 / (max - min) fix q, the fit gives scale and minimum, and
 * the best by weighted squared error is kept. The next density starts from the minimum found so far.
 * Groups are columns, so that sums run over the elements in order, as in the reference: candidates often differ by
 * less than f32 rounding.
 */
function fitGroups(x: Tensor<f32, [32, 8]>, weight: Tensor<f32, [32, 8]>) {
  const top = amax(x, 0);
  const sumW = sum(weight, 0);
  const sumX = sum(weight * x, 0);
  let low = min(amin(x, 0), 0);
  const first = density(15, top - low);
  let scale = first > 0 ? 1 / first : 0;
  const start = scale * clamp(round(first * (x - low)), 0, 15) + low - x;
  let best = sum(weight * (start * start), 0);
  for (const step of range(21)) {
    const q = clamp(round(density(-1 + step * 0.1 + 15, top - low) * (x - low)), 0, 15);
    const sumQ = sum(weight * q, 0);
    const sumQQ = sum(weight * q * q, 0);
    const sumQX = sum(weight * q * x, 0);
    const det = sumW * sumQQ - sumQ * sumQ;
    const freeLow = (sumQQ * sumX - sumQ * sumQX) / det;
    const clipped = freeLow > 0;
    const newLow = clipped ? 0 : freeLow;
    const newScale = clipped ? sumQX / sumQQ : (sumW * sumQX - sumX * sumQ) / det;
    const off = newScale * q + newLow - x;
    const error = sum(weight * (off * off), 0);
    const better = det > 0 && error < best;
    best = better ? error : best;
    scale = better ? newScale : scale;
    low = better ? newLow : low;
  }
  return { scale, minimum: -low };
}

/** Twelve bytes of eight 6-bit scales and eight 6-bit minima. */
function packScales(scales: Tensor<u6, [8]>, mins: Tensor<u6, [8]>): Tensor<u8> {
  const [s, t] = [slice(scales, 0, 4), slice(scales, 4, 8)];
  const [m, n] = [slice(mins, 0, 4), slice(mins, 4, 8)];
  return u8(concat([s | ((t >> 4) << 6), m | ((n >> 4) << 6), (t & 15) | ((n & 15) << 4)]));
}

/** Bits 4 and 5 of the later four scales (or minima) are the top bits of the earlier four. */
function unpackScales(bytes: Tensor<u8, [12]>) {
  const [a, b, c] = [slice(bytes, 0, 4), slice(bytes, 4, 8), slice(bytes, 8, 12)];
  return {
    scales: u6(concat([a & 63, (c & 15) | ((a >> 6) << 4)])),
    mins: u6(concat([b & 63, (c >> 4) | ((b >> 6) << 4)])),
  };
}

/** Bit position of the two codes of a byte; they lie 32 elements apart. */
const shifts = [[0], [4]];

/**
 * 4-bit codes in super-blocks of 256 with 8 groups of 32; each group has a 6-bit scale and a 6-bit minimum, in units
 * of two f16 numbers of the super-block: 4.5 bits per weight. w = d * scale * q - dmin * min.
 *
 * - `d`, `dmin`: the units of the scales and of the minima.
 * - `scales`, `mins`: one a group; the minimum is subtracted, so groups of positive values have 0.
 * - `q`: the codes.
 *
 * Struct: 144 bytes, `d`, `dmin`, 12 bytes of scales and minima, 128 bytes of codes (byte 32 c + j holds elements
 * 64 c + j and 64 c + j + 32). Weights of the fit are rms(group) + |x|; codes are found again with the rounded scales.
 */
export const q4_K = format({
  block: 256,
  encode(x: Tensor<f32, [256]>) {
    const groups = group(x, 32);
    const columns = transpose(groups);
    const rms = sqrt(sum(columns * columns, 0) / 32);
    const { scale, minimum } = fitGroups(columns, rms + abs(columns));
    const topScale = max(amax(scale), 0);
    const topMin = max(amax(minimum), 0);
    const scales = u6(round(scale * (topScale > 0 ? 63 / topScale : 0)));
    const mins = u6(round(minimum * (topMin > 0 ? 63 / topMin : 0)));
    const d = f16(topScale / 63);
    const dmin = f16(topMin / 63);
    const unit = reshape(d * scales, [8, 1]);
    const shifted = groups + reshape(dmin * mins, [8, 1]);
    const q = unit === 0 ? 0 : round(shifted / unit);
    return { d, dmin, scales, mins, q: u4(reshape(q, [256])) };
  },
  decode: ({ d, dmin, scales, mins, q }) =>
    reshape(reshape(d * scales, [8, 1]) * group(q, 32) - reshape(dmin * mins, [8, 1]), [256]),
  layout: {
    pack: ({ d, dmin, scales, mins, q }) =>
      concat([
        bitcast(d, u8),
        bitcast(dmin, u8),
        packScales(scales, mins),
        u8(reshape(sum(reshape(q, [4, 2, 32]) << tensor(shifts, i32), 1), [128])),
      ]),
    unpack: (bytes: Tensor<u8, [144]>) => ({
      d: bitcast(slice(bytes, 0, 2), f16),
      dmin: bitcast(slice(bytes, 2, 4), f16),
      ...unpackScales(slice(bytes, 4, 16)),
      q: u4(
        reshape((reshape(slice(bytes, 16, 144), [4, 1, 32]) >> tensor(shifts, i32)) & 15, [256]),
      ),
    }),
  },
});
