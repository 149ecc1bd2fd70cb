// IQ2_XS of ggml (block_iq2_xs, quantize_iq2_xs in ggml-quants.c).
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
  u1,
  u16,
  u4,
  u7,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';
import { EPSILON, emphasis, inOrder } from './fits.ts';
import { grid512 } from './grids.ts';
import {
  coordinates,
  evenSigns,
  fitPoints,
  magnitude,
  scaleCodes,
  signsOf,
  splitSigns,
} from './lattice.ts';

const lattice = { grid: grid512, width: 8, bits: 2, levels: 3, shells: 2 };
const search = { lattice, count: 2, reach: 9, delta: 0.1, startsOnGrid: true };

/**
 * Points of a grid of 512 in {1, 3, 5}^8 for every 8 values and their signs, a 4-bit scale per 16
 * values in units of one f16 number per 256: 2.3125 bits per weight. w = d * (scale + 1/2) / 4 *
 * magnitude * sign, magnitudes being 8, 25 and 43.
 *
 * - `d`: the unit of the scales.
 * - `scales`: one per 16 values.
 * - `low`, `high`: the lower 8 bits and the top bit of the index of a point.
 * - `signs`: the signs of the first 7 values of a point, 1 for minus; the number of minus signs is
 *   even.
 *
 * Struct: 74 bytes, `d`, 32 u16 with the index in the lower 9 bits and the signs above, 8 bytes of
 * scales. Encoding weighs by importance * sqrt(mean square + x * x); without importance weights,
 * which ggml asks for, all count the same.
 */
export const iq2_xs = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const weight = emphasis(x, weights === undefined ? 1 : weights, inOrder(x * x) / 256);
    const split = splitSigns(group(x, 8), group(weight, 8), true);
    const [values, ws] = [reshape(split.magnitudes, [16, 16]), group(weight, 16)];
    const fits = map(16, (g) => {
      const [v, w] = [at(values, g), at(ws, g)];
      const top = amax(v);
      const fit = fitPoints(search, v, w, top, top / 5, (onGrid) => 1 - onGrid);
      const active = top >= EPSILON;
      return {
        scale: active ? fit.scale : 0,
        index: active ? fit.index : 0,
        signs: active ? at(reshape(split.bytes, [16, 2]), g) : 0,
      };
    });
    const { unit, codes } = scaleCodes(fits.scale);
    const index = reshape(fits.index, [32]);
    return {
      d: f16(unit),
      scales: u4(codes),
      low: u8(index),
      high: u1(index >> 8),
      signs: u7(reshape(fits.signs, [32])),
    };
  },
  decode: ({ d, scales, low, high, signs }) => {
    const levels = coordinates(lattice, low | (high << 8), [32]);
    const values = magnitude(levels) * signsOf(evenSigns(signs), 32);
    return reshape(reshape(d * (0.5 + scales) * 0.25, [16, 1]) * reshape(values, [16, 16]), [256]);
  },
  layout: {
    pack: ({ d, scales, low, high, signs }) => {
      const words = u16(low | (high << 8) | (signs << 9));
      const pairs = sum(reshape(scales, [8, 2]) << tensor([0, 4], i32), 1);
      return concat([bitcast(d, u8), reshape(bitcast(words, u8), [64]), u8(pairs)]);
    },
    unpack: (bytes: Tensor<u8, [74]>) => {
      const words = bitcast(reshape(slice(bytes, 2, 66), [32, 2]), u16);
      const scales = (reshape(slice(bytes, 66, 74), [8, 1]) >> tensor([0, 4], i32)) & 15;
      return {
        d: bitcast(slice(bytes, 0, 2), f16),
        scales: u4(reshape(scales, [16])),
        low: u8(words & 255),
        high: u1((words >> 8) & 1),
        signs: u7(words >> 9),
      };
    },
  },
});
