// Casts to every small float as stored bits, for the test over all of their codes.
import {
  bitcast,
  clamp,
  f16,
  f32,
  f4e2m1,
  f6e2m3,
  f6e3m2,
  f8e4m3,
  f8e5m2,
  u16,
  u4,
  u6,
  u8,
} from 'quern';
import type { Dim, Tensor } from 'quern';

const types = {
  f16: { float: f16, code: u16, largest: 65504 },
  f8e4m3: { float: f8e4m3, code: u8, largest: 448 },
  f8e5m2: { float: f8e5m2, code: u8, largest: 57344 },
  f6e2m3: { float: f6e2m3, code: u6, largest: 7.5 },
  f6e3m2: { float: f6e3m2, code: u6, largest: 28 },
  f4e2m1: { float: f4e2m1, code: u4, largest: 6 },
};
type Name = keyof typeof types;

/** The code of each x; beyond the largest number what the cast says. */
export function castTo<N extends Dim>(x: Tensor<f32, [N]>, name: Name) {
  const { float, code } = types[name];
  return u16(bitcast(float(x), code));
}
/** The same, saturating. */
export function saturateTo<N extends Dim>(x: Tensor<f32, [N]>, name: Name) {
  const { float, code, largest } = types[name];
  return u16(bitcast(float(clamp(x, -largest, largest)), code));
}
/** The values of codes. */
export function valuesOf<N extends Dim>(codes: Tensor<u16, [N]>, name: Name) {
  const { float, code } = types[name];
  return f32(bitcast(code(codes), float));
}
