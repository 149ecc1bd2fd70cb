// IQ2_S of ggml (block_iq2_s, quantize_iq2_s in ggml-quants.c).
import {
  amax,
  at,
  bitcast,
  concat,
  f16,
  format,
  group,
  i32,
  map,
  reshape,
  slice,
  sum,
  tensor,
  u2,
  u4,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';
import { emphasis, inOrder } from './fits.ts';
import { grid1024 } from './grids.ts';
import { coordinates, fitPoints, magnitude, scaleCodes, signsOf, splitSigns } from './lattice.ts';

const lattice = { grid: grid1024, width: 8, bits: 2, levels: 3, shells: 1 };
const search = { lattice, count: 2, reach: 9, delta: 0.1, startsOnGrid: true };
const pairShifts = [0, 2, 4, 6];
/** Groups whose largest magnitude is below this count as zero. */
const SMALLEST = 1e-8;

/**
 * Points of a grid of 1024 in {1, 3, 5}^8 for every 8 values and their signs, a 4-bit scale per 16
 * values in units of one f16 number per 256: 2.5625 bits per weight. w = d * (scale + 1/2) / 4 *
 * magnitude * sign, magnitudes being 8, 25 and 43.
 *
 * - `d`: the unit of the scales, times 0.9875.
 * - `scales`: one per 16 values.
 * - `low`, `high`: the lower 8 and the top 2 bits of the index of a point.
 * - `signs`: a byte a point, 1 for minus.
 *
 * Struct: 82 bytes, `d`, `low`, `signs`, 8 bytes of `high`, 8 bytes of scales. Encoding weighs by
 * mean square / 2 + x * x, or importance * sqrt(2 * mean square + x * x).
 */
export const iq2_s = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const meanSquare = (2 * inOrder(x * x)) / 256;
    const weight =
      weights === undefined ? 0.25 * meanSquare + x * x : emphasis(x, weights, meanSquare);
    const split = splitSigns(group(x, 8), group(weight, 8), false);
    const [values, ws] = [reshape(split.magnitudes, [16, 16]), group(weight, 16)];
    const fits = map(16, (g) => {
      const [v, w] = [at(values, g), at(ws, g)];
      const top = amax(v);
      const fit = fitPoints(search, v, w, top, top / 5, (onGrid) => 1 - onGrid);
      const active = top >= SMALLEST;
      return {
        scale: active ? fit.scale : 0,
        index: active ? fit.index : 0,
        signs: active ? at(reshape(split.bytes, [16, 2]), g) : 0,
      };
    });
    const { unit, codes } = scaleCodes(fits.scale);
    const index = reshape(fits.index, [32]);
    return {
      d: f16(unit * 0.9875),
      scales: u4(codes),
      low: u8(index),
      high: u2(index >> 8),
      signs: u8(reshape(fits.signs, [32])),
    };
  },
  decode: ({ d, scales, low, high, signs }) => {
    const values = magnitude(coordinates(lattice, low | (high << 8), [32])) * signsOf(signs, 32);
    return reshape(reshape(d * (0.5 + scales) * 0.25, [16, 1]) * reshape(values, [16, 16]), [256]);
  },
  layout: {
    pack: ({ d, scales, low, high, signs }) => {
      const tops = sum(reshape(high, [8, 4]) << tensor(pairShifts, i32), 1);
      const pairs = sum(reshape(scales, [8, 2]) << tensor([0, 4], i32), 1);
      return concat([bitcast(d, u8), low, signs, u8(tops), u8(pairs)]);
    },
    unpack: (bytes: Tensor<u8, [82]>) => {
      const high = (reshape(slice(bytes, 66, 74), [8, 1]) >> tensor(pairShifts, i32)) & 3;
      const scales = (reshape(slice(bytes, 74, 82), [8, 1]) >> tensor([0, 4], i32)) & 15;
      return {
        d: bitcast(slice(bytes, 0, 2), f16),
        scales: u4(reshape(scales, [16])),
        low: slice(bytes, 2, 34),
        high: u2(reshape(high, [32])),
        signs: slice(bytes, 34, 66),
      };
    },
  },
});
