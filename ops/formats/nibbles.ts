// Two 4-bit codes a byte in ggml's order: the first half of the block fills the low nibbles, the
// second half the high ones. Shared by the 32-element block structs; those of 5 bits put the top
// bits in front.
import { concat, dim, i32, reshape, slice, sum, tensor, u4, u5, u8 } from 'quern';
import type { Dim, Tensor } from 'quern';

/** Codes [N] to bytes [N / 2]. */
export function packHalves<N extends Dim>(codes: Tensor<u4, [N]>): Tensor<u8> {
  const half = dim(codes, 0) / 2;
  return u8(slice(codes, 0, half) | (slice(codes, half, 2 * half) << 4));
}

/** Bytes [N / 2] to codes [N]. */
export function unpackHalves<N extends Dim>(bytes: Tensor<u8, [N]>): Tensor<u4> {
  return u4(concat([bytes & 15, bytes >> 4]));
}

const bitShifts = [0, 1, 2, 3, 4, 5, 6, 7];

/** Codes [32] of 5 bits to 20 bytes: 4 with the top bits in order, then the nibbles. */
export function packFive(codes: Tensor<u5, [32]>): Tensor<u8> {
  const top = sum(reshape(codes >> 4, [4, 8]) << tensor(bitShifts, i32), 1);
  return concat([u8(top), packHalves(u4(codes & 15))]);
}

/** The inverse of {@link packFive}. */
export function unpackFive(bytes: Tensor<u8, [20]>): Tensor<u5> {
  const top = (reshape(slice(bytes, 0, 4), [4, 1]) >> tensor(bitShifts, i32)) & 1;
  return u5(unpackHalves(slice(bytes, 4, 20)) | (reshape(top, [32]) << 4));
}
