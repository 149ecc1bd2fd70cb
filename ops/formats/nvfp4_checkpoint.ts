// NVFP4 as checkpoints hold it (NVIDIA, Pretraining Large Language Models with NVFP4, arXiv 2509.25149): blocks of 16 E2M1
// elements with E4M3 scales and one f32 scale for the tensor, written by TensorRT Model Optimizer or by compressed-tensors
// (`nvfp4-pack-quantized`).
import {
  abs,
  amax,
  bitcast,
  clamp,
  dim,
  f4e2m1,
  f8e4m3,
  type f32,
  format,
  reshape,
  u4,
  type u8,
} from 'quern';
import type { Tensor } from 'quern';
import { packBits, unpackBits } from './bits.ts';

/** Elements of a block; the largest element; the largest and the smallest scale. */
const BLOCK = 16;
const LARGEST = 6;
const TOP = 448;
const LEAST = 2 ** -9;

/** E2M1 codes of y, ties to even. Zeros and NaN give code 0, whatever their sign. */
const elements = (y: Tensor<f32>) => f4e2m1(y === 0 ? 0 : y);

/** Codes [n, k / 16, 16] to bytes [n, k / 2], the first of two in the low nibble, and back. */
const packRows = (q: Tensor): Tensor<u8> =>
  reshape(packBits(reshape(bitcast(q, u4), [-1]), 4), [dim(q, 0), dim(q, 1) * (BLOCK / 2)]);
const unpackRows = (bytes: Tensor<u8>, n: number, k: number) =>
  reshape(bitcast(u4(unpackBits(reshape(bytes, [-1]), 4)), f4e2m1), [n, k / BLOCK, BLOCK]);

/**
 * NVFP4 of TensorRT Model Optimizer: 4.5 bits per weight and 32 a tensor. w = q * (scale * tensor_scale).
 *
 * - `tensor_scale`: largest magnitude of the tensor / (6 * 448).
 * - `scale`: E4M3, largest magnitude of the block / (6 * tensor_scale) limited to [2^-9, 448]; 1 where that is 0.
 * - `q`: w / (scale * tensor_scale) as E2M1, ties to even, saturating.
 *
 * Layout, of a matrix [N, K]: `weight` u8 [N, K / 2], two elements a byte with the first in the low nibble; `weight_scale`
 * E4M3 [N, K / 16]; `weight_scale_2` f32.
 */
export const nvfp4_modelopt = format({
  block: BLOCK,
  tensor: (w) => ({ tensor_scale: amax(abs(w)) / (LARGEST * TOP) }),
  encode(x: Tensor<f32, [16]>, { tensor_scale }) {
    const exact = amax(abs(x)) / (LARGEST * tensor_scale);
    const scale = f8e4m3(exact > 0 ? clamp(exact, LEAST, TOP) : 1);
    return { scale, q: elements(x / (scale * tensor_scale)) };
  },
  decode: ({ q, scale, tensor_scale }) => q * (scale * tensor_scale),
  layout: {
    of: 'tensor',
    pack: ({ q, scale, tensor_scale }) => ({
      weight: packRows(q),
      weight_scale: scale,
      weight_scale_2: tensor_scale,
    }),
    unpack: ({ weight, weight_scale, weight_scale_2 }, [n, k]) => ({
      tensor_scale: weight_scale_2,
      scale: weight_scale,
      q: unpackRows(weight, n, k),
    }),
  },
});

/** What a scale of 0 becomes: the distance from 1 to the next E4M3 number. */
const EPSILON = 0.125;

/**
 * NVFP4 of compressed-tensors: 4.5 bits per weight and 32 a tensor. w = q * (scale / global_scale).
 *
 * - `global_scale`: 6 * 448 / largest magnitude of the tensor, 1 for zeros.
 * - `scale`: E4M3, global_scale * (largest magnitude of the block / 6), saturating; 0.125 where that is 0.
 * - `q`: w / (scale / global_scale) as E2M1, ties to even, saturating.
 *
 * Layout, of a matrix [N, K]: `weight_packed` u8 [N, K / 2], two elements a byte with the first in the low nibble;
 * `weight_scale` E4M3 [N, K / 16]; `weight_global_scale` f32 [1].
 */
export const nvfp4_ct = format({
  block: BLOCK,
  tensor(w) {
    const peak = amax(abs(w));
    return { global_scale: peak > 0 ? (LARGEST * TOP) / peak : 1 };
  },
  encode(x: Tensor<f32, [16]>, { global_scale }) {
    const rounded = f8e4m3(global_scale * (amax(abs(x)) / LARGEST));
    const scale = f8e4m3(rounded === 0 ? EPSILON : rounded);
    return { scale, q: elements(x / (scale / global_scale)) };
  },
  decode: ({ q, scale, global_scale }) => q * (scale / global_scale),
  layout: {
    of: 'tensor',
    pack: ({ q, scale, global_scale }) => ({
      weight_packed: packRows(q),
      weight_scale: scale,
      weight_global_scale: reshape(global_scale, [1]),
    }),
    unpack: ({ weight_packed, weight_scale, weight_global_scale }, [n, k]) => ({
      global_scale: reshape(weight_global_scale, []),
      scale: weight_scale,
      q: unpackRows(weight_packed, n, k),
    }),
  },
});
