// IQ3_XXS of ggml (block_iq3_xxs, quantize_iq3_xxs in ggml-quants.c).
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
  u32,
  u4,
  u7,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';
import { emphasis, inOrder } from './fits.ts';
import { octal256 } from './grids.ts';
import { coordinates, evenSigns, fitPoints, scaleCodes, signsOf, splitSigns } from './lattice.ts';

const lattice = { grid: octal256, width: 4, bits: 3, levels: 8, shells: 2 };
const search = { lattice, count: 8, reach: 15, delta: 0.2, startsOnGrid: true };
const signShifts = [0, 7, 14, 21];
/** Groups whose largest magnitude is below this count as zero. */
const SMALLEST = 1e-8;

/** What levels decode to: 4, 12, ... 52 and 62, near four times 1, 3, ... 15. */
function magnitude(level: Tensor): Tensor {
  return 4 + 8 * level + (((level + 1) >> 3) << 1);
}

/**
 * Points of a grid of 256 in {1, 3, ... 15}^4 for every 4 values, their signs, and a 4-bit scale
 * per 32 values in units of one f16 number per 256: 3.0625 bits per weight. w = d * (scale + 1/2) /
 * 2 * magnitude * sign, magnitudes being 4, 12, ... 52, 62.
 *
 * - `d`: the unit of the scales, times 1.0125.
 * - `scales`: one per 32 values.
 * - `index`: one point per 4 values.
 * - `signs`: the signs of the first 7 of 8 values, 1 for minus; the number of minus signs is even.
 *
 * Struct: 98 bytes, `d`, `index`, then for every 32 values a u32 with four times 7 signs and the
 * scale on top. Encoding weighs by x * x, or importance * sqrt(2 * mean square + x * x).
 */
export const iq3_xxs = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const weight = weights === undefined ? x * x : emphasis(x, weights, (2 * inOrder(x * x)) / 256);
    const split = splitSigns(group(x, 8), group(weight, 8), true);
    const [values, ws] = [reshape(split.magnitudes, [8, 32]), group(weight, 32)];
    const fits = map(8, (g) => {
      const [v, w] = [at(values, g), at(ws, g)];
      const top = amax(v);
      const fit = fitPoints(search, v, w, top, top / 15, (onGrid) => 1 - onGrid);
      const active = top >= SMALLEST;
      return {
        scale: active ? fit.scale : 0,
        index: active ? fit.index : 0,
        signs: active ? at(reshape(split.bytes, [8, 4]), g) : 0,
      };
    });
    const { unit, codes } = scaleCodes(fits.scale);
    return {
      d: f16(unit * 1.0125),
      scales: u4(codes),
      index: u8(reshape(fits.index, [64])),
      signs: u7(reshape(fits.signs, [32])),
    };
  },
  decode: ({ d, scales, index, signs }) => {
    const magnitudes = reshape(magnitude(coordinates(lattice, index, [64])), [32, 8]);
    const values = reshape(magnitudes * signsOf(evenSigns(signs), 32), [8, 32]);
    return reshape(reshape(d * (0.5 + scales) * 0.5, [8, 1]) * values, [256]);
  },
  layout: {
    pack: ({ d, scales, index, signs }) => {
      const shifted = reshape(u32(signs), [8, 4]) << tensor(signShifts, i32);
      const words = u32(sum(shifted, 1)) | (u32(scales) << 28);
      return concat([bitcast(d, u8), index, reshape(bitcast(words, u8), [32])]);
    },
    unpack: (bytes: Tensor<u8, [98]>) => {
      const words = bitcast(reshape(slice(bytes, 66, 98), [8, 4]), u32);
      return {
        d: bitcast(slice(bytes, 0, 2), f16),
        scales: u4(words >> 28),
        index: slice(bytes, 2, 66),
        signs: u7(reshape((reshape(words, [8, 1]) >> tensor(signShifts, i32)) & 127, [32])),
      };
    },
  },
});
