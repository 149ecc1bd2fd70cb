// Kernels of the benchmarks: parsed by Quern, never executed.

import type { Dim, Encoded, Format, f32, Tensor } from 'quern';
import { decode, matmul, transpose } from 'quern';

/** y = x · wᵀ with the weights decoded inside the kernel. */
export function linear<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(decode(w)));
}

/** The same product on weights that are f32 already. */
export function dense<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(w));
}

/** A small kernel: what a call costs besides the work. */
export function scale<N extends Dim>(x: Tensor<f32, [N]>): Tensor<f32, [N]> {
  return x * 2;
}
