// IQ1_M of ggml (block_iq1_m, quantize_iq1_m in ggml-quants.c).
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
const SMALLEST = 1e-7;
const scaleShifts = [0, 3, 6, 9];

/** The weighted sums of one half of a group, for a split at places i and j and a shift. */
function halfMoments(
  sums: { sumX: Tensor; sumW: Tensor },
  i: Tensor,
  j: Tensor,
  shift: number,
): { dot: Tensor; norm: Tensor } {
  const { sumX, sumW } = sums;
  const [low, middle, high] = [-1 + shift, shift, 1 + shift];
  return {
    dot: at(sumX, 16) * high - (at(sumX, i) + at(sumX, j)),
    norm:
      at(sumW, 16) * high * high +
      at(sumW, i) * (low * low - middle * middle) +
      at(sumW, j) * (middle * middle - high * high),
  };
}

/**
 * The best split of x [16] in order of size into -1, 0 and 1 and the shifts of both halves: 153
 * splits times four.
 */
function bestSplit(x: Tensor<'f32', [16]>, weight: Tensor<'f32', [16]>) {
  const front = sortedSums(x, weight, iota(16) < 8);
  const back = sortedSums(x, weight, iota(16) >= 8);
  let scale = f32(0);
  let best = f32(-3.4028234663852886e38);
  let first = i32(-1);
  let second = i32(-1);
  let shifts = i32(0);
  for (const i of range(17))
    for (const j of range(i, 17)) {
      const a = [DELTA, -DELTA].map((shift) => halfMoments(front, i, j, shift));
      const b = [DELTA, -DELTA].map((shift) => halfMoments(back, i, j, shift));
      for (const k of [0, 1, 2, 3]) {
        const [p, q] = [a[k < 2 ? 0 : 1]!, b[k % 2]!];
        const dot = p.dot + q.dot;
        const norm = p.norm + q.norm;
        const better = norm > 0 && dot * dot > best * norm;
        scale = better ? dot / norm : scale;
        best = better ? scale * dot : best;
        first = better ? i : first;
        second = better ? j : second;
        shifts = better ? k : shifts;
      }
    }
  return { order: front.order, scale, first, second, shifts };
}

/** Whether each half of a group is shifted down, from 0 to 3. */
const belowOf = (shifts: Tensor): Tensor => (shifts >> (1 - iota(2))) & 1;

/** Points, scale and shifts of one group of 16 values. */
function fitGroup(x: Tensor<'f32', [16]>, weight: Tensor<'f32', [16]>) {
  const split = bestSplit(x, weight);
  const turned = split.scale < 0;
  const codes = codesOfSplit(split.order, split.first, split.second, turned);
  const below = belowOf(turned ? 3 - split.shifts : split.shifts);
  const shift = below === 1 ? -DELTA : DELTA;
  const scale = abs(split.scale);
  let index = iota(2) * 0;
  let exact = i32(1);
  for (const k of range(2)) {
    const [c, v, w] = [codes, x, weight].map((t) => at(reshape(t, [2, 8]), k));
    const found = nearestTernary(c!, v!, w!, scale, at(shift, k));
    index = iota(2) === k ? found.index : index;
    exact = found.onGrid ? exact : 0;
  }
  const values = codesOf(index, [2]) - 1 + reshape(shift, [2, 1]);
  const { dot, norm } = moments(x, weight, reshape(values, [16]));
  const refitted = exact === 0 && dot > 0 && norm > 0 ? dot / norm : scale;
  const active = amax(abs(x)) >= SMALLEST && split.first >= 0;
  return {
    scale: active ? refitted : 0,
    index: active ? index : 0,
    below: active ? below : 0,
  };
}

/**
 * Points of a grid of 2048 in {-1, 0, 1}^8 and a shift by an eighth up or down for every 8 values,
 * a 3-bit scale per 16 values in units of one f16 number per 256: 1.75 bits per weight. w = d * (2
 * * scale + 1) * (code ± 1/8).
 *
 * - `d`: the unit of the scales, fitted to all of the super-block, times 1.1125.
 * - `scales`: one per 16 values.
 * - `below`: one per 8 values; 1 where the shift goes down.
 * - `low`, `high`: the lower 8 and the top 3 bits of the index of a point.
 *
 * Struct: 56 bytes, `low`, 16 bytes with a pair of `high` and `below`, 4 u16 with four scales each
 * and, in the top four bits, a quarter of `d`. Encoding weighs by importance * sqrt(2 * mean square
 * + x * x); without importance weights, which ggml asks for, all count the same.
 */
export const iq1_m = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const weight = emphasis(x, weights === undefined ? 1 : weights, (2 * inOrder(x * x)) / 256);
    const fits = map(16, (g) => fitGroup(at(group(x, 16), g), at(group(weight, 16), g)));
    const plain = max(amax(fits.scale), 0) / 15;
    const active = plain > 0;
    const codes = clamp(round(0.5 * ((1 / plain) * fits.scale - 1)), 0, 7);
    const index = reshape(fits.index, [32]);
    const below = reshape(fits.below, [32]);
    const shift = reshape(below === 1 ? -DELTA : DELTA, [32, 1]);
    const values = reshape(codesOf(index, [32]) - 1 + shift, [16, 16]);
    const { dot, norm } = moments(
      x,
      weight,
      reshape(values * reshape(2 * codes + 1, [16, 1]), [256]),
    );
    const unit = norm > 0 ? dot / norm : plain;
    return {
      d: f16(active ? unit * 1.1125 : 0),
      scales: u3(active ? codes : 0),
      below: u1(below),
      low: u8(index),
      high: u3(index >> 8),
    };
  },
  decode: ({ d, scales, below, low, high }) => {
    const codes = codesOf(low | (high << 8), [32]) - 1;
    const shift = reshape(below === 1 ? -DELTA : DELTA, [32, 1]);
    const values = reshape(codes + shift, [16, 16]);
    return reshape(reshape(d * (2 * scales + 1), [16, 1]) * values, [256]);
  },
  layout: {
    pack: ({ d, scales, below, low, high }) => {
      const nibbles = reshape(high | (below << 3), [16, 2]) << tensor([0, 4], i32);
      const quarters = (reshape(bitcast(d, u16), [1]) >> (iota(4) * 4)) & 15;
      const threes = sum(reshape(scales, [4, 4]) << tensor(scaleShifts, i32), 1);
      const words = u16(threes | (quarters << 12));
      return concat([low, u8(sum(nibbles, 1)), reshape(bitcast(words, u8), [8])]);
    },
    unpack: (bytes: Tensor<u8, [56]>) => {
      const nibbles = (reshape(slice(bytes, 32, 48), [16, 1]) >> tensor([0, 4], i32)) & 15;
      const words = bitcast(reshape(slice(bytes, 48, 56), [4, 2]), u16);
      const half = sum((words >> 12) << (iota(4) * 4));
      const scales = (reshape(words, [4, 1]) >> tensor(scaleShifts, i32)) & 7;
      const pairs = reshape(nibbles, [32]);
      return {
        d: bitcast(u16(half), f16),
        scales: u3(reshape(scales, [16])),
        below: u1(pairs >> 3),
        low: slice(bytes, 0, 32),
        high: u3(pairs & 7),
      };
    },
  },
});
