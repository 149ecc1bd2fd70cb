// 2:4 sparsity: of four neighbours two are kept. As compressed-tensors stores it (`sparse-24-bitmask`): the kept values, and
// a bit for each element.
import {
  abs,
  bf16,
  f8e4m3,
  f16,
  f32,
  format,
  gather,
  iota,
  min,
  popcount,
  reshape,
  sum,
  tensor,
  u8,
} from 'quern';
import type { Tensor } from 'quern';

export interface Sparse24Options {
  /** The dtype of the kept values; bf16 by default. */
  readonly value?: 'f32' | 'bf16' | 'f16' | 'f8e4m3';
}

const casts = { f32, bf16, f16, f8e4m3 };

/** 1 where the column is before the row. */
const before = [
  [0, 0, 0, 0],
  [1, 0, 0, 0],
  [1, 1, 0, 0],
  [1, 1, 1, 0],
];

/** How many set bits precede each bit of its four: [groups, 4]. */
const precede = (bits: Tensor) => sum(reshape(bits, [-1, 1, 4]) * tensor(before, u8), 2);

/**
 * Half of the values and a bit for each element: bits / 2 + 1 bits per weight (9 with bf16).
 *
 * - `mask`: bit i of a block of eight is set where element i is kept: the two of largest magnitude of each four, the first
 *   ones on ties.
 * - `kept`: their values, in order. A mask with other than two bits in a nibble, which is no 2:4 mask, repeats the second
 *   value or leaves it out.
 *
 * Layout, of a matrix [N, K]: `compressed` [N, K / 2], `bitmask` u8 [N, K / 8]. K must be a multiple of 8.
 */
export function sparse24({ value = 'bf16' }: Sparse24Options = {}) {
  const cast = casts[value];
  return format({
    block: 8,
    encode(x: Tensor<f32, [8]>) {
      const size = reshape(abs(x), [2, 4]);
      const [mine, other] = [reshape(size, [2, 4, 1]), reshape(size, [2, 1, 4])];
      const beats = other > mine || (other === mine && tensor(before, u8) > 0);
      const bits = sum(beats, 2) < 2 ? 1 : 0;
      // Slot s holds the element that s kept ones precede.
      const slots = reshape(iota(2), [1, 2, 1]);
      const chosen =
        reshape(bits, [2, 1, 4]) * (reshape(precede(bits), [2, 1, 4]) === slots ? 1 : 0);
      const from = sum(chosen * iota(4), 2) + reshape(iota(2), [2, 1]) * 4;
      return {
        mask: u8(sum(reshape(bits, [8]) << iota(8))),
        kept: cast(gather(x, reshape(from, [4]))),
      };
    },
    decode({ mask, kept }) {
      const i = iota(8);
      const four = (mask >> (i & 4)) & 15;
      const place = i & 3;
      // How many kept ones precede the element in its four.
      const slot = min(popcount(four & ((1 << place) - 1)), 1) + ((i & 4) >> 1);
      return ((four >> place) & 1) === 1 ? gather(f32(kept), slot) : 0;
    },
    layout: {
      pack: ({ mask, kept }) => ({ compressed: kept, bitmask: mask }),
      unpack: ({ compressed, bitmask }) => ({ kept: compressed, mask: bitmask }),
    },
  });
}

/** {@link sparse24} with bf16 values. */
export const ct_sparse24 = sparse24();
