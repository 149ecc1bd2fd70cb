// Two 4-bit codes a byte in ggml's order: the first half of the block fills the low nibbles, the second
// half the high ones. Shared by the 32-element block structs.
import { concat, dim, slice, u4, u8 } from 'quern';
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
