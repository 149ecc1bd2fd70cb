// What GPTQ, AWQ, Marlin and compressed-tensors checkpoints share: integer grids, and their codes in 32-bit words.
import {
  amax,
  amin,
  clamp,
  dim,
  f16,
  f32,
  iota,
  max,
  min,
  reshape,
  round,
  sum,
  u2,
  u3,
  u4,
  u8,
} from 'quern';
import type { Tensor, i32 } from 'quern';

export type WordBits = 2 | 3 | 4 | 8;

/** The storage dtype of unsigned codes. */
export const codeOf = { 2: u2, 3: u3, 4: u4, 8: u8 };

/**
 * Round to nearest on 2^bits levels: w = (q - zero) * scale. The range is widened to contain 0, or made symmetric with
 * zero in the middle. Codes are found with the rounded scale; where it is 0 they all mean 0.
 */
export function roundToGrid(x: Tensor<f32>, bits: WordBits, symmetric: boolean) {
  const code = codeOf[bits];
  const top = 2 ** bits - 1;
  const low = min(amin(x), 0);
  const high = max(amax(x), 0);
  const reach = max(-low, high);
  const scale = f16((symmetric ? reach * 2 : high - low) / top);
  const step = scale === 0 ? 1 : f32(scale);
  const zero = symmetric ? (top + 1) / 2 : clamp(round(-low / step), 0, top);
  return { scale, zero: code(zero), q: code(clamp(round(x / step) + zero, 0, top)) };
}

/**
 * Codes [rows, n] to words [rows, n * bits / 32]: the bits of a row in a stream, least significant first. Codes of 3
 * bits straddle words; n is a multiple of 32 then, of 32 / bits otherwise.
 */
export function packWords(codes: Tensor, bits: WordBits): Tensor<i32> {
  const [rows, n] = [dim(codes, 0), dim(codes, 1)];
  if (32 % bits === 0) {
    const parts = reshape(codes, [rows, (n * bits) / 32, 32 / bits]);
    return sum(parts << (iota(32 / bits) * bits), 2);
  }
  const single = (reshape(codes, [rows, n / 32, 32, 1]) >> iota(bits)) & 1;
  const stream = reshape(single, [rows, n / 32, bits, 32]);
  return reshape(sum(stream << iota(32), 3), [rows, (n / 32) * bits]);
}

/** The inverse of {@link packWords}, for rows of n codes. */
export function unpackWords(words: Tensor, bits: WordBits, n: number): Tensor<i32> {
  const rows = dim(words, 0);
  if (32 % bits === 0) {
    const parts = reshape(words, [rows, (n * bits) / 32, 1]) >> (iota(32 / bits) * bits);
    return reshape(parts & (2 ** bits - 1), [rows, n]);
  }
  const single = (reshape(words, [rows, n / 32, bits, 1]) >> iota(32)) & 1;
  const stream = reshape(single, [rows, n / 32, 32, bits]);
  return reshape(sum(stream << iota(bits), 3), [rows, n]);
}
