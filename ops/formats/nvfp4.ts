// NVFP4 in ggml's struct (block_nvfp4, quantize_row_nvfp4_ref in ggml-quants.c): E2M1 codes with
// E4M3 scales, without a scale of the tensor.
import { abs, amax, bitcast, broadcastTo, f32, format, group, i32, min, reshape } from 'quern';
import { concat, slice, sum, tensor, u4, u8 } from 'quern';
import type { Tensor } from 'quern';
import { nearest, twice } from './e2m1.ts';

const nibbleShifts = [[0], [4]];

/**
 * Half of what E4M3 means by each code without sign: the other half of doubled E2M1. NaN (0x7f)
 * counts as 0.
 */
function halfScale(code: Tensor): Tensor<f32> {
  const e = (code >> 3) & 15;
  const m = code & 7;
  const normal = bitcast(((e + 119) << 23) | (m << 20), f32);
  const value = e === 0 ? m / 1024 : normal;
  return code === 127 ? 0 : value;
}

/**
 * The E4M3 code nearest to each v, of equally near ones the larger; 0x7e (240) at most, as codes
 * from 0x78 to 0x7d are not used.
 */
function scaleCode(v: Tensor): Tensor<u8> {
  const bits = bitcast(f32(v), i32);
  const normal = (bits >> 20) + ((bits >> 19) & 1) - 960;
  const small = min(i32(v * 512 + 0.5), 7);
  const code = v < 0.015625 ? small : normal >= 120 ? 126 : normal;
  return u8(v > 0 ? code : 0);
}

/**
 * E2M1 codes (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives), one E4M3 scale per 16 values, in
 * blocks of 64: 4.5 bits per weight.
 *
 * - `scales`: E4M3 codes of the scales, largest magnitude / 6 rounded half up. Decoding takes all
 *   256 codes: the top bit is ignored, 0x7f (NaN) means 0, unless its top bit is set: then 480, as
 *   in ggml.
 * - `q`: the E2M1 code, its top bit the sign. Zero is always code 0.
 *
 * Struct: 36 bytes, four scales, 32 bytes of nibbles: byte 8 g + j holds elements 16 g + j and 16 g
 * + j + 8. The codes are found with the rounded scale.
 */
export const nvfp4 = format({
  block: 64,
  encode(x: Tensor<f32, [64]>) {
    const scales = scaleCode(amax(abs(group(x, 16)), 1) / 6);
    const half = reshape(broadcastTo(reshape(halfScale(scales), [4, 1]), [4, 16]), [64]);
    return { scales, q: nearest(x, half, 64) };
  },
  decode: ({ scales, q }) =>
    reshape(group(twice(q), 16) * reshape(halfScale(scales), [4, 1]), [64]),
  layout: {
    pack: ({ scales, q }) => {
      const bytes = sum(reshape(q, [4, 2, 8]) << tensor(nibbleShifts, i32), 1);
      return concat([scales, u8(reshape(bytes, [32]))]);
    },
    unpack: (bytes: Tensor<u8, [36]>) => ({
      scales: slice(bytes, 0, 4),
      q: u4(
        reshape((reshape(slice(bytes, 4, 36), [4, 1, 8]) >> tensor(nibbleShifts, i32)) & 15, [64]),
      ),
    }),
  },
});
