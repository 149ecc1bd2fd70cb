// Integer weights of compressed-tensors checkpoints (the library of llm-compressor and vLLM): its formats
// `pack-quantized` and `int-quantized`, with one scale a group or a row ("channel").
import {
  abs,
  amax,
  amin,
  bf16,
  clamp,
  dim,
  f16,
  f32,
  format,
  i4,
  i8,
  max,
  min,
  reshape,
  round,
  transpose,
} from 'quern';
import type { Tensor, i32 } from 'quern';
import { packWords, unpackWords } from './words.ts';

type Bits = 4 | 8;
type ScaleDType = 'bf16' | 'f16' | 'f32';

export interface PackQuantizedOptions {
  /** Bits of a code; 4 by default. */
  readonly bits?: Bits;
  /** Input columns that share a scale; 128 by default. `'row'`: one symmetric scale a row. */
  readonly group?: number | 'row';
  /** Without zero points; the default. */
  readonly symmetric?: boolean;
  /** The dtype of the scales: that of the model; bf16 by default. */
  readonly scale?: ScaleDType;
}

const codeOf = { 4: i4, 8: i8 };
const floatOf = { bf16, f16, f32 };
/** What a scale of 0 becomes: the distance from 1 to the next number of the dtype. */
const epsilonOf = { bf16: 2 ** -7, f16: 2 ** -10, f32: 2 ** -23 };

/** A scale in its dtype, never 0. */
function stored(exact: Tensor<f32, []>, dtype: ScaleDType) {
  const float = floatOf[dtype];
  const scale = float(exact);
  return float(scale === 0 ? epsilonOf[dtype] : scale);
}

/** The scale that puts the largest magnitude half a level beyond the top one. */
const symmetricScale = (x: Tensor<f32>, bits: Bits, dtype: ScaleDType) =>
  stored(amax(abs(x)) / (2 ** (bits - 1) - 0.5), dtype);

/** Codes -2^(bits - 1) to 2^(bits - 1) - 1: limited first, then rounded half to even. */
function quantize(x: Tensor<f32>, scale: Tensor, zero: Tensor, bits: Bits) {
  const half = 2 ** (bits - 1);
  return codeOf[bits](round(clamp(x / scale + zero, -half, half - 1)));
}

/** Signed codes [rows, n] as words of codes plus 2^(bits - 1). */
const packSigned = (codes: Tensor, bits: Bits): Tensor<i32> =>
  packWords(codes + 2 ** (bits - 1), bits);
const unpackSigned = (words: Tensor, bits: Bits, n: number) =>
  codeOf[bits](unpackWords(words, bits, n) - 2 ** (bits - 1));

/**
 * `pack-quantized`: w = (q - zero) * scale with signed codes. bits + 16 / group bits per weight with bf16 scales, bits
 * / group more with zero points; bits + 16 / K with a scale a row.
 *
 * - `scale`: largest magnitude / (2^(bits - 1) - 0.5); with zero points (max - min) / (2^bits - 1), the range widened to
 *   contain 0. Codes are found with the rounded scale.
 * - `zero`: the code of 0, unless `symmetric`. `q`: w / scale + zero, limited and rounded half to even.
 *
 * Layout, of a matrix [N, K] (`weight_shape`, the two numbers, is for the file to write):
 *
 * - `weight_packed`: i32 [N, K * bits / 32], codes plus 2^(bits - 1) from the low end. `weight_scale`: [N, K / group].
 * - `weight_zero_point`: i32 [N * bits / 32, K / group], zero points plus 2^(bits - 1) packed down the rows.
 */
export function packQuantized({
  bits = 4,
  group = 128,
  symmetric = true,
  scale = 'bf16',
}: PackQuantizedOptions = {}) {
  if (group === 'row') return packedRows(bits, scale);
  return symmetric ? packedSymmetric(bits, group, scale) : packedAsymmetric(bits, group, scale);
}

function packedSymmetric(bits: Bits, group: number, dtype: ScaleDType) {
  return format({
    block: group,
    encode(x: Tensor<f32>) {
      const scale = symmetricScale(x, bits, dtype);
      return { scale, q: quantize(x, scale, 0, bits) };
    },
    decode: ({ q, scale }) => q * scale,
    layout: {
      of: 'tensor',
      pack: ({ q, scale }) => ({
        weight_packed: packSigned(reshape(q, [dim(q, 0), dim(q, 1) * group]), bits),
        weight_scale: scale,
      }),
      unpack: ({ weight_packed, weight_scale }, [n, k]) => ({
        scale: weight_scale,
        q: reshape(unpackSigned(weight_packed, bits, k), [n, k / group, group]),
      }),
    },
  });
}

function packedAsymmetric(bits: Bits, group: number, dtype: ScaleDType) {
  const half = 2 ** (bits - 1);
  return format({
    block: group,
    encode(x: Tensor<f32>) {
      const low = min(amin(x), 0);
      const scale = stored((max(amax(x), 0) - low) / (2 * half - 1), dtype);
      const zero = codeOf[bits](clamp(round(-half - low / scale), -half, half - 1));
      return { scale, zero, q: quantize(x, scale, zero, bits) };
    },
    decode: ({ q, zero, scale }) => (q - zero) * scale,
    layout: {
      of: 'tensor',
      pack: ({ q, zero, scale }) => ({
        weight_packed: packSigned(reshape(q, [dim(q, 0), dim(q, 1) * group]), bits),
        weight_scale: scale,
        weight_zero_point: transpose(packSigned(transpose(zero), bits)),
      }),
      unpack: ({ weight_packed, weight_scale, weight_zero_point }, [n, k]) => ({
        scale: weight_scale,
        zero: transpose(unpackSigned(transpose(weight_zero_point), bits, n)),
        q: reshape(unpackSigned(weight_packed, bits, k), [n, k / group, group]),
      }),
    },
  });
}

/** Columns that are encoded together where the scale is that of the row. */
const STRIP = 32;

function packedRows(bits: Bits, dtype: ScaleDType) {
  return format({
    block: STRIP,
    row: (r) => ({ scale: symmetricScale(r, bits, dtype) }),
    encode: (x: Tensor<f32, [32]>, { scale }) => ({ q: quantize(x, scale, 0, bits) }),
    decode: ({ q, scale }) => q * scale,
    layout: {
      of: 'tensor',
      pack: ({ q, scale }) => ({
        weight_packed: packSigned(reshape(q, [dim(q, 0), dim(q, 1) * STRIP]), bits),
        weight_scale: reshape(scale, [dim(q, 0), 1]),
      }),
      unpack: ({ weight_packed, weight_scale }, [n, k]) => ({
        scale: reshape(weight_scale, [n]),
        q: reshape(unpackSigned(weight_packed, bits, k), [n, k / STRIP, STRIP]),
      }),
    },
  });
}

/**
 * `int-quantized`, 8 bits with one symmetric scale a row, as W8A8 checkpoints have it: 8 + 16 / K bits per weight with
 * bf16 scales. w = q * scale, `scale` and `q` as in {@link packQuantized}.
 *
 * Layout: `weight` i8 [N, K], `weight_scale` [N, 1].
 */
export function intQuantized({ scale: dtype = 'bf16' }: { scale?: ScaleDType } = {}) {
  return format({
    block: STRIP,
    row: (r) => ({ scale: symmetricScale(r, 8, dtype) }),
    encode: (x: Tensor<f32, [32]>, { scale }) => ({ q: quantize(x, scale, 0, 8) }),
    decode: ({ q, scale }) => q * scale,
    layout: {
      of: 'tensor',
      pack: ({ q, scale }) => ({
        weight: reshape(q, [dim(q, 0), dim(q, 1) * STRIP]),
        weight_scale: reshape(scale, [dim(q, 0), 1]),
      }),
      unpack: ({ weight, weight_scale }, [n, k]) => ({
        scale: reshape(weight_scale, [n]),
        q: reshape(weight, [n, k / STRIP, STRIP]),
      }),
    },
  });
}

/** {@link packQuantized} with 4 bits and symmetric groups of 128 (W4A16). */
export const ct_int4 = packQuantized();
/** {@link intQuantized} with bf16 scales (W8A8). */
export const ct_int8 = intQuantized();
