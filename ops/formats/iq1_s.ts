// IQ1_S of ggml (block_iq1_s, quantize_iq1_s in ggml-quants.c).
import {
  abs,
  amax,
  at,
  bitcast,
  clamp,
  concat,
  f16,
  f32,
  format,
  group,
  i32,
  iota,
  map,
  max,
  range,
  reshape,
  round,
  slice,
  sum,
  tensor,
  u1,
  u16,
  u3,
  u8,
} from 'quern';
import type { Tensor } from 'quern';
import { emphasis, inOrder } from './fits.ts';
import { DELTA, codesOf, codesOfSplit, moments, nearestTernary, sortedSums } from './iq1.ts';

/** Groups whose largest magnitude is below this count as zero. */
const SMALLEST = 1e-12;
const highShifts = [0, 3, 6, 9];

/**
 * The best split of x [32] in order of size into -1, 0 and 1 and the shift, by least squares: 561
 * splits times two shifts, one after the other.
 */
function bestSplit(x: Tensor<'f32', [32]>, weight: Tensor<'f32', [32]>) {
  const { order, sumX, sumW } = sortedSums(x, weight, iota(32) >= 0);
  let scale = f32(0);
  let best = f32(-3.4028234663852886e38);
  let first = i32(-1);
  let second = i32(-1);
  let sign = f32(0);
  for (const i of range(33))
    for (const j of range(i, 33)) {
      const [x0, x1, x2] = [at(sumX, i), at(sumX, j) - at(sumX, i), at(sumX, 32) - at(sumX, j)];
      const [w0, w1, w2] = [at(sumW, i), at(sumW, j) - at(sumW, i), at(sumW, 32) - at(sumW, j)];
      for (const s of [1, -1]) {
        const [low, middle, high] = [-1 + s * DELTA, s * DELTA, 1 + s * DELTA];
        const dot = x0 * low + x1 * middle + x2 * high;
        const norm = w0 * low * low + w1 * middle * middle + w2 * high * high;
        const better = norm > 0 && dot * dot > best * norm;
        scale = better ? dot / norm : scale;
        best = better ? scale * dot : best;
        first = better ? i : first;
        second = better ? j : second;
        sign = better ? s : sign;
      }
    }
  return { order, scale, first, second, sign };
}

/** Points, scale and shift of one group of 32 values. */
function fitGroup(x: Tensor<'f32', [32]>, weight: Tensor<'f32', [32]>) {
  const split = bestSplit(x, weight);
  const turned = split.scale < 0;
  const codes = codesOfSplit(split.order, split.first, split.second, turned);
  const sign = turned ? -split.sign : split.sign;
  const scale = abs(split.scale);
  let index = iota(4) * 0;
  let exact = i32(1);
  for (const k of range(4)) {
    const [c, v, w] = [codes, x, weight].map((t) => at(reshape(t, [4, 8]), k));
    const found = nearestTernary(c!, v!, w!, scale, sign * DELTA);
    index = iota(4) === k ? found.index : index;
    exact = found.onGrid ? exact : 0;
  }
  const { dot, norm } = moments(x, weight, reshape(codesOf(index, [4]), [32]) - 1 + sign * DELTA);
  const refitted = exact === 0 && dot > 0 && norm > 0 ? dot / norm : scale;
  const active = amax(abs(x)) >= SMALLEST && split.first >= 0;
  return {
    scale: active ? refitted : 0,
    index: active ? index : 0,
    below: active && sign < 0 ? 1 : 0,
  };
}

/**
 * Points of a grid of 2048 in {-1, 0, 1}^8 for every 8 values, a 3-bit scale and a shift by an
 * eighth up or down per 32 values, in units of one f16 number per 256: 1.5625 bits per weight. w =
 * d * (2 * scale + 1) * (code ± 1/8).
 *
 * - `d`: the unit of the scales, times 1.125.
 * - `scales`, `below`: one per 32 values; 1 where the shift goes down.
 * - `low`, `high`: the lower 8 and the top 3 bits of the index of a point.
 *
 * Struct: 50 bytes, `d`, `low`, 8 u16 with four times 3 bits of `high`, the scale and `below`.
 * Encoding weighs by importance * sqrt(2 * mean square + x * x); without importance weights, which
 * ggml asks for, all count the same.
 */
export const iq1_s = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const weight = emphasis(x, weights === undefined ? 1 : weights, (2 * inOrder(x * x)) / 256);
    const fits = map(8, (g) => fitGroup(at(group(x, 32), g), at(group(weight, 32), g)));
    const unit = max(amax(fits.scale), 0) / 15;
    const codes = clamp(round(0.5 * ((1 / unit) * fits.scale - 1)), 0, 7);
    const index = reshape(fits.index, [32]);
    return {
      d: f16(unit * 1.125),
      scales: u3(unit > 0 ? codes : 0),
      below: u1(fits.below),
      low: u8(index),
      high: u3(index >> 8),
    };
  },
  decode: ({ d, scales, below, low, high }) => {
    const codes = reshape(codesOf(low | (high << 8), [32]), [8, 32]) - 1;
    const shift = reshape(below === 1 ? -DELTA : DELTA, [8, 1]);
    return reshape(reshape(d * (2 * scales + 1), [8, 1]) * (codes + shift), [256]);
  },
  layout: {
    pack: ({ d, scales, below, low, high }) => {
      const tops = sum(reshape(high, [8, 4]) << tensor(highShifts, i32), 1);
      const words = u16(tops | (scales << 12) | (below << 15));
      return concat([bitcast(d, u8), low, reshape(bitcast(words, u8), [16])]);
    },
    unpack: (bytes: Tensor<u8, [50]>) => {
      const words = bitcast(reshape(slice(bytes, 34, 50), [8, 2]), u16);
      const high = (reshape(words, [8, 1]) >> tensor(highShifts, i32)) & 7;
      return {
        d: bitcast(slice(bytes, 0, 2), f16),
        scales: u3((words >> 12) & 7),
        below: u1(words >> 15),
        low: slice(bytes, 2, 34),
        high: u3(reshape(high, [32])),
      };
    },
  },
});
