import type { Dim, f32, Tensor } from 'quern';
import { abs, amax, clamp, decode, encode, f16, format, i3, mean, round, sqrt } from 'quern';

/** Codes from -3 to 3, and one step per 16 values. */
export const small = format({
  block: 16,
  encode(x: Tensor<f32, [16]>) {
    const d = f16(amax(abs(x)) / 3);
    return { d, q: i3(clamp(round(d === 0 ? 0 : x / d), -3, 3)) };
  },
  decode: ({ d, q }) => q * d,
});

/** What remains of x after a trip through the format, and the error. */
export function trip<N extends Dim, K extends Dim>(x: Tensor<f32, [N, K]>) {
  const y = decode(encode(small, x));
  return { y, error: sqrt(mean((x - y) * (x - y))) };
}
