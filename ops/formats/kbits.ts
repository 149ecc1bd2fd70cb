// How ggml's super-blocks of 256 values spread narrow codes over bytes. Shared by the K and ternary
// structs.
import { concat, i32, reshape, slice, sum, tensor, u8 } from 'quern';
import type { Tensor } from 'quern';

const pairShifts = [[0], [2], [4], [6]];
const nibbleShifts = [[0], [4]];
const bitShifts = [[0], [1], [2], [3], [4], [5], [6], [7]];

/**
 * Two bits of each of 256 codes to 64 bytes: byte 32 h + j holds elements 128 h + j + {0, 32, 64,
 * 96}.
 */
export function packPairs(codes: Tensor): Tensor<u8> {
  const shifted = (reshape(codes, [2, 4, 32]) & 3) << tensor(pairShifts, i32);
  return u8(reshape(sum(shifted, 1), [64]));
}

/** The inverse of {@link packPairs}: integers 0 to 3. */
export function unpackPairs(bytes: Tensor<u8, [64]>): Tensor {
  return reshape((reshape(bytes, [2, 1, 32]) >> tensor(pairShifts, i32)) & 3, [256]);
}

/**
 * Four bits of each of 256 codes to 128 bytes: byte 32 c + j holds elements 64 c + j and 64 c + j +
 * 32.
 */
export function packNibbles(codes: Tensor): Tensor<u8> {
  const shifted = (reshape(codes, [4, 2, 32]) & 15) << tensor(nibbleShifts, i32);
  return u8(reshape(sum(shifted, 1), [128]));
}

/** The inverse of {@link packNibbles}: integers 0 to 15. */
export function unpackNibbles(bytes: Tensor<u8, [128]>): Tensor {
  return reshape((reshape(bytes, [4, 1, 32]) >> tensor(nibbleShifts, i32)) & 15, [256]);
}

/** One bit of each of 256 elements to 32 bytes: bit c of byte j belongs to element 32 c + j. */
export function packPlane(bits: Tensor): Tensor<u8> {
  return u8(sum((reshape(bits, [8, 32]) & 1) << tensor(bitShifts, i32), 0));
}

/** The inverse of {@link packPlane}: integers 0 and 1. */
export function unpackPlane(bytes: Tensor<u8, [32]>): Tensor {
  return reshape((reshape(bytes, [1, 32]) >> tensor(bitShifts, i32)) & 1, [256]);
}

/**
 * Eight 6-bit scales and eight 6-bit minima to twelve bytes. Bits 4 and 5 of the later four scales
 * (or minima) are the top bits of the earlier four.
 */
export function packSixBits(scales: Tensor, mins: Tensor): Tensor<u8> {
  const [s, t] = [slice(scales, 0, 4), slice(scales, 4, 8)];
  const [m, n] = [slice(mins, 0, 4), slice(mins, 4, 8)];
  return u8(concat([s | ((t >> 4) << 6), m | ((n >> 4) << 6), (t & 15) | ((n & 15) << 4)]));
}

/** The inverse of {@link packSixBits}. */
export function unpackSixBits(bytes: Tensor<u8, [12]>): { scales: Tensor; mins: Tensor } {
  const [a, b, c] = [slice(bytes, 0, 4), slice(bytes, 4, 8), slice(bytes, 8, 12)];
  return {
    scales: concat([a & 63, (c & 15) | ((a >> 6) << 4)]),
    mins: concat([b & 63, (c >> 4) | ((b >> 6) << 4)]),
  };
}
