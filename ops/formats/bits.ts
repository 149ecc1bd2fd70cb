// Codes of a few bits in bytes, least significant bit first: two 4-bit codes a byte with the first in the low nibble, four
// 6-bit codes in three bytes.
import { dim, iota, reshape, sum, u8 } from 'quern';
import type { Tensor, i32 } from 'quern';

/** Codes [n] to bytes [n * bits / 8]. */
export function packBits(codes: Tensor, bits: number): Tensor<u8> {
  const n = dim(codes, 0);
  if (8 % bits === 0) {
    const parts = reshape(codes, [(n * bits) / 8, 8 / bits]);
    return u8(sum(parts << (iota(8 / bits) * bits), 1));
  }
  const single = (reshape(codes, [n, 1]) >> iota(bits)) & 1;
  return u8(sum(reshape(single, [(n * bits) / 8, 8]) << iota(8), 1));
}

/** Bytes [n * bits / 8] to codes [n]. */
export function unpackBits(bytes: Tensor<u8>, bits: number): Tensor<i32> {
  const n = (dim(bytes, 0) * 8) / bits;
  if (8 % bits === 0) {
    const parts = reshape(bytes, [(n * bits) / 8, 1]) >> (iota(8 / bits) * bits);
    return reshape(parts & (2 ** bits - 1), [n]);
  }
  const single = (reshape(bytes, [(n * bits) / 8, 1]) >> iota(8)) & 1;
  return sum(reshape(single, [n, bits]) << iota(bits), 1);
}
