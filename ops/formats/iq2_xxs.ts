// IQ2_XXS of ggml (block_iq2_xxs, quantize_iq2_xxs in ggml-quants.c).
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
import { EPSILON, emphasis, fitPositive, inOrder } from './fits.ts';
import { grid256 } from './grids.ts';
import {
  coordinates,
  evenSigns,
  fitPoints,
  magnitude,
  scaleCodes,
  signsOf,
  splitSigns,
} from './lattice.ts';

const lattice = { grid: grid256, width: 8, bits: 2, levels: 3, shells: 2 };
const search = { lattice, count: 4, reach: 6, delta: 0.1, startsOnGrid: true };
/** Bit position of the signs of each of four points. */
const signShifts = [0, 7, 14, 21];

/**
 * Points of a grid of 256 in {1, 3, 5}^8 for every 8 values and their signs, a 4-bit scale per 32
 * values in units of one f16 number per 256: 2.0625 bits per weight. w = d * (scale + 1/2) / 4 *
 * magnitude * sign, magnitudes being 8, 25 and 43.
 *
 * - `d`: the unit of the scales.
 * - `scales`: one per 32 values.
 * - `index`: one point per 8 values.
 * - `signs`: the signs of the first 7 values of a point, 1 for minus; the number of minus signs is
 *   even.
 *
 * Struct: 66 bytes, `d`, then for every 32 values four indices and a u32 with four times 7 signs
 * and the scale on top. Encoding weighs by importance * sqrt(mean square + x * x); without
 * importance weights, which ggml asks for, all count the same.
 */
export const iq2_xxs = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const weight = emphasis(x, weights === undefined ? 1 : weights, inOrder(x * x) / 256);
    const split = splitSigns(group(x, 8), group(weight, 8), true);
    const [values, ws] = [reshape(split.magnitudes, [8, 32]), group(weight, 32)];
    const fits = map(8, (g) => {
      const [v, w] = [at(values, g), at(ws, g)];
      const plain = fitPositive(reshape(v, [32, 1]), reshape(w, [32, 1]), 4);
      const reach = at(plain.scale, 0) * 3;
      const fit = fitPoints(search, v, w, reach, at(plain.scale, 0), (onGrid) => onGrid * 0 + 1);
      const active = amax(v) >= EPSILON && reach > 0;
      return {
        scale: active ? fit.scale : 0,
        index: active ? fit.index : 0,
        signs: active ? at(reshape(split.bytes, [8, 4]), g) : 0,
      };
    });
    const { unit, codes } = scaleCodes(fits.scale);
    return {
      d: f16(unit),
      scales: u4(codes),
      index: u8(reshape(fits.index, [32])),
      signs: u7(reshape(fits.signs, [32])),
    };
  },
  decode: ({ d, scales, index, signs }) => {
    const values = magnitude(coordinates(lattice, index, [32])) * signsOf(evenSigns(signs), 32);
    return reshape(reshape(d * (0.5 + scales) * 0.25, [8, 1]) * reshape(values, [8, 32]), [256]);
  },
  layout: {
    pack: ({ d, scales, index, signs }) => {
      const shifted = reshape(u32(signs), [8, 4]) << tensor(signShifts, i32);
      const words = u32(sum(shifted, 1)) | (u32(scales) << 28);
      const parts = concat([reshape(index, [8, 4]), bitcast(words, u8)], 1);
      return concat([bitcast(d, u8), reshape(parts, [64])]);
    },
    unpack: (bytes: Tensor<u8, [66]>) => {
      const parts = reshape(slice(bytes, 2, 66), [8, 8]);
      const words = bitcast(slice(parts, 4, 8, 1), u32);
      return {
        d: bitcast(slice(bytes, 0, 2), f16),
        scales: u4(words >> 28),
        index: reshape(slice(parts, 0, 4, 1), [32]),
        signs: u7(reshape((reshape(words, [8, 1]) >> tensor(signShifts, i32)) & 127, [32])),
      };
    },
  },
});
