// The 4-bit float E2M1 of the OCP Microscaling Formats specification v1.0, as ggml's types use it.
import { abs, argmin, gather, i8, reshape, tensor, u4 } from 'quern';
import type { Tensor } from 'quern';

/**
 * The E2M1 values times two, by code: whole numbers, so that integer dot products can take them.
 */
const doubled = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
/** Twice the value of each code. */
export function twice(codes: Tensor<u4>): Tensor<i8> {
  return gather(tensor(doubled, i8), codes);
}

/**
 * Codes of x [n] in units of half a scale [n] or []: the nearest magnitude as f32 computes the
 * distance, the smaller of equally near ones, with the sign on top unless it is 0.
 */
export function nearest(x: Tensor, half: Tensor, n: number): Tensor<u4> {
  const magnitudes = tensor(doubled.slice(0, 8)) * reshape(half, [-1, 1]);
  const index = argmin(abs(magnitudes - reshape(abs(x), [n, 1])), 1);
  return u4(x < 0 && index > 0 ? index | 8 : index);
}
