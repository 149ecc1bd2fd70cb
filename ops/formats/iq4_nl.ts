// IQ4_NL of ggml (block_iq4_nl, quantize_iq4_nl without importance weights in ggml-quants.c).
import {
  abs,
  argmax,
  at,
  bitcast,
  concat,
  f16,
  f32,
  format,
  gather,
  i8,
  range,
  reshape,
  slice,
  sum,
  tensor,
  u4,
  u8,
} from 'quern';
import type { Tensor } from 'quern';
import { packHalves, unpackHalves } from './nibbles.ts';

/** The codebook kvalues_iq4nl: denser around zero, where weights are. */
const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/** Sums of neighbouring levels. 2 v on such a sum takes the upper level. */
const boundaries = [-231, -187, -148, -114, -84, -57, -32, -9, 14, 38, 63, 91, 122, 158, 202];

/** Code of the level nearest to each v. */
function nearest(v: Tensor<f32, [32]>): Tensor<u4, [32]> {
  return u4(sum(reshape(v + v, [32, 1]) >= tensor(boundaries), 1));
}

/** Blocks whose largest magnitude is below this count as zero. */
const EPSILON = 1e-15;

/**
 * 4-bit codes into a fixed codebook of 16 integers, one f16 scale per 32 values: 4.5 bits per weight.
 *
 * - `d`: the scale, of either sign.
 * - `q`: the code of the level.
 *
 * Struct: 18 bytes, `d` then 16 bytes of nibbles. Encoding tries 16 scales that put the largest magnitude near
 * either end of the codebook. For each the codes are fixed and the scale refitted by least squares with weights
 * x * x; the best scale is kept and the codes are found again with it, before it is rounded.
 */
export const iq4_nl = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const peak = at(x, argmax(abs(x)));
    const active = abs(peak) >= EPSILON;
    const weight = x * x;
    let d = f32(0);
    let best = f32(0);
    for (const step of range(16)) {
      // First the top level on the peak's side, then the bottom level and its neighbourhood.
      const inverse = step === 0 ? 1 / (peak / 127) : (step - 135) / peak;
      const value = gather(tensor(levels, i8), nearest(x * inverse));
      const dot = sum(weight * value * x);
      const norm = sum(weight * value * value);
      const better = norm > 0 && dot * dot > best * norm;
      const fitted = better ? dot / norm : d;
      best = better ? fitted * dot : best;
      d = fitted;
    }
    d = active ? d : 0;
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), q: nearest(x * inverse) };
  },
  decode: ({ d, q }) => gather(tensor(levels, i8), q) * d,
  layout: {
    pack: ({ d, q }) => concat([bitcast(d, u8), packHalves(q)]),
    unpack: (bytes: Tensor<u8, [18]>) => ({
      d: bitcast(slice(bytes, 0, 2), f16),
      q: unpackHalves(slice(bytes, 2, 18)),
    }),
  },
});
