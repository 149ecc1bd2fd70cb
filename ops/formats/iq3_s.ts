// IQ3_S of ggml (block_iq3_s, quantize_iq3_s in ggml-quants.c).
import {
  amax,
  amin,
  at,
  bitcast,
  concat,
  f16,
  format,
  group,
  i32,
  iota,
  map,
  reshape,
  slice,
  sum,
  tensor,
  u1,
  u4,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';
import { emphasis, inOrder } from './fits.ts';
import { octal512 } from './grids.ts';
import { coordinates, fitPoints, scaleCodes, signsOf, splitSigns } from './lattice.ts';

const lattice = { grid: octal512, width: 4, bits: 3, levels: 8, shells: 3 };
const search = { lattice, count: 8, reach: 9, delta: 0.2, startsOnGrid: false };

/**
 * Points of a grid of 512 in {1, 3, ... 15}^4 for every 4 values, their signs, and a 4-bit scale
 * per 32 values in units of one f16 number per 256: 3.4375 bits per weight. w = d * (2 * scale + 1)
 * * magnitude * sign.
 *
 * - `d`: the unit of the scales, times 1.033.
 * - `scales`: one per 32 values.
 * - `low`, `high`: the lower 8 bits and the top bit of the index of a point.
 * - `signs`: a byte for every 8 values, 1 for minus.
 *
 * Struct: 110 bytes, `d`, `low`, 8 bytes of `high`, `signs`, 4 bytes of scales. Encoding weighs by
 * x * x, or importance * sqrt(2 * mean square + x * x); all points of a group are looked for again
 * at the best scale, unless they all were exact.
 */
export const iq3_s = format({
  block: 256,
  encode(x: Tensor<f32, [256]>, _: object, weights?: Tensor<f32, [256]>) {
    const weight = weights === undefined ? x * x : emphasis(x, weights, (2 * inOrder(x * x)) / 256);
    const split = splitSigns(group(x, 8), group(weight, 8), false);
    const [values, ws] = [reshape(split.magnitudes, [8, 32]), group(weight, 32)];
    const fits = map(8, (g) => {
      const [v, w] = [at(values, g), at(ws, g)];
      const top = amax(v);
      const all = (onGrid: Tensor): Tensor => onGrid * 0 + (1 - amin(onGrid));
      const fit = fitPoints(search, v, w, top, top / 15, all);
      const active = top > 0;
      return {
        scale: active ? fit.scale : 0,
        index: active ? fit.index : 0,
        signs: active ? at(reshape(split.bytes, [8, 4]), g) : 0,
      };
    });
    const { unit, codes } = scaleCodes(fits.scale);
    const index = reshape(fits.index, [64]);
    return {
      d: f16(unit * 1.033),
      scales: u4(codes),
      low: u8(index),
      high: u1(index >> 8),
      signs: u8(reshape(fits.signs, [32])),
    };
  },
  decode: ({ d, scales, low, high, signs }) => {
    const magnitudes = 2 * coordinates(lattice, low | (high << 8), [64]) + 1;
    const values = reshape(reshape(magnitudes, [32, 8]) * signsOf(signs, 32), [8, 32]);
    return reshape(reshape(d * (1 + 2 * scales), [8, 1]) * values, [256]);
  },
  layout: {
    pack: ({ d, scales, low, high, signs }) => {
      const tops = sum(reshape(high, [8, 8]) << iota(8), 1);
      const pairs = sum(reshape(scales, [4, 2]) << tensor([0, 4], i32), 1);
      return concat([bitcast(d, u8), low, u8(tops), signs, u8(pairs)]);
    },
    unpack: (bytes: Tensor<u8, [110]>) => {
      const high = (reshape(slice(bytes, 66, 74), [8, 1]) >> iota(8)) & 1;
      const scales = (reshape(slice(bytes, 106, 110), [4, 1]) >> tensor([0, 4], i32)) & 15;
      return {
        d: bitcast(slice(bytes, 0, 2), f16),
        scales: u4(reshape(scales, [8])),
        low: slice(bytes, 2, 66),
        high: u1(reshape(high, [64])),
        signs: slice(bytes, 74, 106),
      };
    },
  },
});
