// IQ4_NL of ggml (block_iq4_nl, quantize_iq4_nl in ggml-quants.c).
import { at, bitcast, concat, f16, format, reshape, slice, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
import { emphasis, inOrder } from './fits.ts';
import { fitLevels, levelOf, nearestLevel } from './iq4.ts';
import { packHalves, unpackHalves } from './nibbles.ts';

/**
 * 4-bit codes into a fixed codebook of 16 integers, one f16 scale per 32 values: 4.5 bits per
 * weight.
 *
 * - `d`: the scale, of either sign.
 * - `q`: the code of the level.
 *
 * Struct: 18 bytes, `d` then 16 bytes of nibbles. The scale is a least-squares fit with weights x *
 * x, or importance * sqrt(2 * mean square of the block + x * x); the codes are found with it before
 * it is rounded.
 */
export const iq4_nl = format({
  block: 32,
  encode(x: Tensor<f32, [32]>, _: object, weights?: Tensor<f32, [32]>) {
    const weight = weights === undefined ? x * x : emphasis(x, weights, inOrder(x * x) * (2 / 32));
    const d = at(fitLevels(reshape(x, [32, 1]), reshape(weight, [32, 1])), 0);
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), q: nearestLevel(x * inverse) };
  },
  decode: ({ d, q }) => levelOf(q) * d,
  layout: {
    pack: ({ d, q }) => concat([bitcast(d, u8), packHalves(q)]),
    unpack: (bytes: Tensor<u8, [18]>) => ({
      d: bitcast(slice(bytes, 0, 2), f16),
      q: unpackHalves(slice(bytes, 2, 18)),
    }),
  },
});
