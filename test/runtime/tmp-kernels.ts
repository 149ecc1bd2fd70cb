import { abs, argmax, at, clamp, decode, f16, floor, format, matmul, transpose, u4, u8, bitcast, concat, slice, reshape } from 'quern';
import type { Dim, Encoded, Format, Tensor, f32 } from 'quern';
export const q4_0 = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = at(x, argmax(abs(x))) / -8;
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), q: u4(clamp(floor(x * inverse + 8.5), 0, 15)) };
  },
  decode: ({ d, q }) => (q - 8) * d,
});
export function linear<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>, w: Encoded<F, [N, K]>): Tensor<f32, [M, N]> {
  return matmul(x, transpose(decode(w)));
}
export function add<N extends Dim>(x: Tensor<f32, [N]>, y: Tensor<f32, [N]>): Tensor<f32, [N]> {
  return x + y;
}
export function two<N extends Dim>(x: Tensor<f32, [N]>, k: number) {
  return { a: x * k, b: x + 1 };
}
