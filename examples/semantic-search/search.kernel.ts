// Embeddings in 1 and 4 bits, and the search over either: one matrix-vector product that decodes as it reads.

import type { Dim, Encoded, Format, f32, Tensor } from 'quern';
import {
  abs,
  amax,
  clamp,
  decode,
  f16,
  format,
  i4,
  matmul,
  mean,
  round,
  transpose,
  u1,
} from 'quern';

/** The signs, and one magnitude per 64 values. */
export const bit1 = format({
  block: 64,
  encode: (x: Tensor<f32, [64]>) => ({ d: f16(mean(abs(x))), q: u1(x > 0) }),
  decode: ({ d, q }) => (q * 2 - 1) * d,
});

/** Codes from -7 to 7, and one step per 32 values. */
export const bit4 = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = f16(amax(abs(x)) / 7);
    return { d, q: i4(clamp(round(d === 0 ? 0 : x / d), -7, 7)) };
  },
  decode: ({ d, q }) => q * d,
});

/** How alike each of N stored vectors is to the query. */
export function scores<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  query: Tensor<f32, [M, K]>,
  stored: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(query, transpose(decode(stored)));
}

/** The same with vectors as they are: what the others are held against. */
export function exact<M extends Dim, N extends Dim, K extends Dim>(
  query: Tensor<f32, [M, K]>,
  stored: Tensor<f32, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(query, transpose(stored));
}
