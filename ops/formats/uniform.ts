// Uniform integer grids of 2 to 8 bits with one scale a group, as GPTQ (Frantar et al. 2022, arXiv 2210.17323) and AWQ
// (Lin et al. 2023, arXiv 2306.00978) round to nearest.
import {
  abs,
  amax,
  amin,
  clamp,
  f16,
  f32,
  format,
  i2,
  i3,
  i4,
  i5,
  i6,
  i7,
  i8,
  max,
  min,
  round,
  u2,
  u3,
  u4,
  u5,
  u6,
  u7,
  u8,
} from 'quern';
import type { Tensor } from 'quern';

export interface UniformOptions {
  /** Bits of a code. */
  readonly bits: 2 | 3 | 4 | 5 | 6 | 7 | 8;
  /** Values that share a scale; 128 by default. */
  readonly group?: number;
  /** Signed codes around zero, without a zero point. */
  readonly symmetric?: boolean;
}

const signed = [i2, i3, i4, i5, i6, i7, i8];
const unsigned = [u2, u3, u4, u5, u6, u7, u8];

/**
 * Asymmetric (the default): w = (q - zero) * scale, bits + (16 + bits) / group bits per weight. The zero point is an
 * integer of the codes' width, as GPTQ and AWQ checkpoints store it; the range is widened to contain 0, so that 0 is
 * exact and the zero point fits.
 *
 * Symmetric: w = q * scale, bits + 16 / group bits per weight; scale = largest magnitude / (2^(bits - 1) - 1).
 *
 * - `scale`: f16. Codes are found with the rounded scale. In a group whose scale rounds to 0 all codes mean 0.
 * - `zero`: the code of 0.
 * - `q`: round half to even of w / scale, plus `zero`, limited to the grid.
 */
export function uniform({ bits, group = 128, symmetric = false }: UniformOptions) {
  return symmetric ? symmetricGrid(bits, group) : asymmetricGrid(bits, group);
}

function asymmetricGrid(bits: number, block: number) {
  const code = unsigned[bits - 2]!;
  const top = 2 ** bits - 1;
  return format({
    block,
    encode(x: Tensor<f32>) {
      const low = min(amin(x), 0);
      const scale = f16((max(amax(x), 0) - low) / top);
      const step = scale === 0 ? 1 : f32(scale);
      const zero = clamp(round(-low / step), 0, top);
      return { scale, zero: code(zero), q: code(clamp(round(x / step) + zero, 0, top)) };
    },
    decode: ({ scale, zero, q }) => (q - zero) * scale,
  });
}

function symmetricGrid(bits: number, block: number) {
  const code = signed[bits - 2]!;
  const top = 2 ** (bits - 1) - 1;
  return format({
    block,
    encode(x: Tensor<f32>) {
      const scale = f16(amax(abs(x)) / top);
      const step = scale === 0 ? 1 : f32(scale);
      return { scale, q: code(clamp(round(x / step), -top - 1, top)) };
    },
    decode: ({ scale, q }) => q * scale,
  });
}
