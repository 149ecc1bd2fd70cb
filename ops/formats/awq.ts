// The checkpoints of AWQ (Lin et al. 2023, arXiv 2306.00978) as AutoAWQ and llm-awq write them.
import {
  concat,
  dim,
  f16,
  format,
  gather,
  i32,
  reshape,
  slice,
  tensor,
  transpose,
  u4,
  zeros,
} from 'quern';
import type { Tensor, f32 } from 'quern';
import { packWords, roundToGrid, unpackWords } from './words.ts';

export interface AwqOptions {
  /** Input columns that share a scale; 128 by default. */
  readonly group?: 32 | 64 | 128;
  /** The order of the codes: that of the GEMM kernels (the default) or of the GEMV kernels. */
  readonly version?: 'gemm' | 'gemv';
}

/** Which of eight codes lies in each nibble of a word, from the low end, and the nibble of each code. */
const interleaved = [0, 2, 4, 6, 1, 3, 5, 7];
const nibbleOf = [0, 4, 1, 5, 2, 6, 3, 7];

/** Codes [rows, n] in another order within each eight. */
function reorder(codes: Tensor, order: readonly number[]): Tensor {
  const [rows, n] = [dim(codes, 0), dim(codes, 1)];
  return reshape(gather(reshape(codes, [rows, n / 8, 8]), tensor(order, i32), 2), [rows, n]);
}

/**
 * 4-bit codes with a zero point and an f16 scale a group: 4 + 20 / group bits per weight (4.15625 at 128).
 * w = (q - zero) * scale, as in the format `uniform`. Encoding rounds to nearest; AWQ scales the columns before.
 *
 * Layout `gemm`, of a matrix [N, K] = [out, in]:
 *
 * - `qweight`: i32 [K, N / 8], eight rows of the matrix a word, in the nibbles 0, 2, 4, 6, 1, 3, 5, 7.
 * - `qzeros`: i32 [K / group, N / 8], in the same order. `scales`: f16 [K / group, N].
 *
 * Layout `gemv`:
 *
 * - `qweight`: i32 [N, K / 8], eight columns a word, in order.
 * - `qzeros`: i32 [N, Z], in order, and `scales`: f16 [N, 8 Z], both with zeros behind the K / group groups. Z is
 *   K / group / 8 rounded up, to a multiple of 2 for groups of 64 and of 4 for groups of 32.
 *
 * N must be a multiple of 8.
 */
export function awq({ group = 128, version = 'gemm' }: AwqOptions = {}) {
  return version === 'gemm' ? gemm(group) : gemv(group);
}

function gemm(group: number) {
  return format({
    block: group,
    encode: (x: Tensor<f32>) => roundToGrid(x, 4, false),
    decode: ({ q, zero, scale }) => (q - zero) * scale,
    layout: {
      of: 'tensor',
      pack({ q, zero, scale }) {
        const codes = reshape(q, [dim(q, 0), dim(q, 1) * group]);
        return {
          qweight: packWords(reorder(transpose(codes), interleaved), 4),
          qzeros: packWords(reorder(transpose(zero), interleaved), 4),
          scales: transpose(scale),
        };
      },
      unpack({ qweight, qzeros, scales }, [n, k]) {
        const codes = u4(transpose(reorder(unpackWords(qweight, 4, n), nibbleOf)));
        return {
          scale: transpose(scales),
          zero: u4(transpose(reorder(unpackWords(qzeros, 4, n), nibbleOf))),
          q: reshape(codes, [n, k / group, group]),
        };
      },
    },
  });
}

/** Words of zero points a row: eight a word, in steps of `step` words. */
const widthOf = (groups: number, step: number): number =>
  ((groups + 8 * step - 1) >> Math.log2(8 * step)) * step;

function gemv(group: number) {
  const step = Math.max(1, 128 / group);
  return format({
    block: group,
    encode: (x: Tensor<f32>) => roundToGrid(x, 4, false),
    decode: ({ q, zero, scale }) => (q - zero) * scale,
    layout: {
      of: 'tensor',
      pack({ q, zero, scale }) {
        const [n, groups] = [dim(q, 0), dim(q, 1)];
        const width = widthOf(groups, step);
        const behind = 8 * width - groups;
        return {
          qweight: packWords(reshape(q, [n, groups * group]), 4),
          qzeros: packWords(concat([zero, zeros([n, behind], u4)], 1), 4),
          scales: concat([scale, zeros([n, behind], f16)], 1),
        };
      },
      unpack({ qweight, qzeros, scales }, [n, k]) {
        const groups = k / group;
        const width = widthOf(groups, step);
        return {
          scale: slice(scales, 0, groups, 1),
          zero: u4(slice(unpackWords(qzeros, 4, 8 * width), 0, groups, 1)),
          q: reshape(u4(unpackWords(qweight, 4, k)), [n, groups, group]),
        };
      },
    },
  });
}

/** {@link awq} with groups of 128 in the order of the GEMM kernels, as most checkpoints have them. */
export const awq_int4 = awq();
