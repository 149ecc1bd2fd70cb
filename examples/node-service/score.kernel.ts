import type { Dim, Encoded, f32, Tensor } from 'quern';
import { abs, amax, clamp, decode, f16, format, i8, matmul, round, transpose } from 'quern';

/** Codes of 8 bits, one step per 32 values. */
export const bytes = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = f16(amax(abs(x)) / 127);
    return { d, q: i8(clamp(round(d === 0 ? 0 : x / d), -127, 127)) };
  },
  decode: ({ d, q }) => q * d,
});

/** One score a class. */
export function classify<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<typeof bytes, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(decode(w)));
}
