// The dtypes. Each name is three things: a type (`Tensor<f16, [K]>`), a cast (`f16(x)`), and a value that names
// the dtype (`zeros([4], f16)`). Casts are the only way to narrow. Their exact meaning is castValue in
// compiler/ir/dtype.ts: to a float, round half to even; float to integer truncates towards zero and saturates,
// NaN gives 0; integer to integer wraps (two's complement); to bool, anything but 0 is true.
import { builtin } from './builtin.ts';
import type { Dim, DType, Operand, Tensor } from './types.ts';

/** A dtype as a value: call it to cast, or pass it where a dtype is asked for. */
export interface Cast<D extends DType> {
  // biome-ignore lint/suspicious/noExplicitAny: a shape that tsc does not know fits everywhere
  <S extends readonly Dim[] = any>(x: Operand<DType, S>): Tensor<D, S>;
  readonly dtype: D;
}

function cast<D extends DType>(dtype: D): Cast<D> {
  return Object.freeze(Object.assign(builtin(dtype), { dtype }));
}

/** IEEE single precision. */
export type f32 = 'f32';
/** IEEE single precision. Cast: `f32(x)`, same shape. */
export const f32: Cast<f32> = cast('f32');

/** IEEE half precision; overflows to Inf beyond 65504. */
export type f16 = 'f16';
/** IEEE half precision; overflows to Inf beyond 65504. Cast: `f16(x)`, same shape. */
export const f16: Cast<f16> = cast('f16');

/** bfloat16: the upper half of an f32, rounded. */
export type bf16 = 'bf16';
/** bfloat16: the upper half of an f32, rounded. Cast: `bf16(x)`, same shape. */
export const bf16: Cast<bf16> = cast('bf16');

/** 8-bit float, 4 exponent bits (fn): no Inf, saturates at 448. */
export type f8e4m3 = 'f8e4m3';
/** 8-bit float, 4 exponent bits (fn): no Inf, saturates at 448. Cast: `f8e4m3(x)`, same shape. */
export const f8e4m3: Cast<f8e4m3> = cast('f8e4m3');

/** 8-bit float, 5 exponent bits: IEEE-like, overflows to Inf beyond 57344. */
export type f8e5m2 = 'f8e5m2';
/** 8-bit float, 5 exponent bits: IEEE-like, overflows to Inf beyond 57344. Cast: `f8e5m2(x)`, same shape. */
export const f8e5m2: Cast<f8e5m2> = cast('f8e5m2');

/** 6-bit float, 2 exponent bits: saturates at 7.5; NaN gives 0. */
export type f6e2m3 = 'f6e2m3';
/** 6-bit float, 2 exponent bits: saturates at 7.5; NaN gives 0. Cast: `f6e2m3(x)`, same shape. */
export const f6e2m3: Cast<f6e2m3> = cast('f6e2m3');

/** 6-bit float, 3 exponent bits: saturates at 28; NaN gives 0. */
export type f6e3m2 = 'f6e3m2';
/** 6-bit float, 3 exponent bits: saturates at 28; NaN gives 0. Cast: `f6e3m2(x)`, same shape. */
export const f6e3m2: Cast<f6e3m2> = cast('f6e3m2');

/** 4-bit float: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; saturates; NaN gives 0. */
export type f4e2m1 = 'f4e2m1';
/** 4-bit float: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; saturates; NaN gives 0. Cast: `f4e2m1(x)`, same shape. */
export const f4e2m1: Cast<f4e2m1> = cast('f4e2m1');

/** 8-bit power of two (the scale of MX formats): rounds towards zero, at least 2^-127. */
export type e8m0 = 'e8m0';
/** 8-bit power of two (the scale of MX formats): rounds towards zero, at least 2^-127. Cast: `e8m0(x)`, same shape. */
export const e8m0: Cast<e8m0> = cast('e8m0');

/** Signed integer of 2 bits, -2 to 1. */
export type i2 = 'i2';
/** Signed integer of 2 bits, -2 to 1. Cast: `i2(x)`, same shape. */
export const i2: Cast<i2> = cast('i2');

/** Signed integer of 3 bits, -4 to 3. */
export type i3 = 'i3';
/** Signed integer of 3 bits, -4 to 3. Cast: `i3(x)`, same shape. */
export const i3: Cast<i3> = cast('i3');

/** Signed integer of 4 bits, -8 to 7. */
export type i4 = 'i4';
/** Signed integer of 4 bits, -8 to 7. Cast: `i4(x)`, same shape. */
export const i4: Cast<i4> = cast('i4');

/** Signed integer of 5 bits, -16 to 15. */
export type i5 = 'i5';
/** Signed integer of 5 bits, -16 to 15. Cast: `i5(x)`, same shape. */
export const i5: Cast<i5> = cast('i5');

/** Signed integer of 6 bits, -32 to 31. */
export type i6 = 'i6';
/** Signed integer of 6 bits, -32 to 31. Cast: `i6(x)`, same shape. */
export const i6: Cast<i6> = cast('i6');

/** Signed integer of 7 bits, -64 to 63. */
export type i7 = 'i7';
/** Signed integer of 7 bits, -64 to 63. Cast: `i7(x)`, same shape. */
export const i7: Cast<i7> = cast('i7');

/** Signed integer of 8 bits, -128 to 127. */
export type i8 = 'i8';
/** Signed integer of 8 bits, -128 to 127. Cast: `i8(x)`, same shape. */
export const i8: Cast<i8> = cast('i8');

/** Signed integer of 16 bits, -32768 to 32767. */
export type i16 = 'i16';
/** Signed integer of 16 bits, -32768 to 32767. Cast: `i16(x)`, same shape. */
export const i16: Cast<i16> = cast('i16');

/** Signed integer of 32 bits, -2147483648 to 2147483647. */
export type i32 = 'i32';
/** Signed integer of 32 bits, -2147483648 to 2147483647. Cast: `i32(x)`, same shape. */
export const i32: Cast<i32> = cast('i32');

/** Unsigned integer of 1 bit, 0 to 1. */
export type u1 = 'u1';
/** Unsigned integer of 1 bit, 0 to 1. Cast: `u1(x)`, same shape. */
export const u1: Cast<u1> = cast('u1');

/** Unsigned integer of 2 bits, 0 to 3. */
export type u2 = 'u2';
/** Unsigned integer of 2 bits, 0 to 3. Cast: `u2(x)`, same shape. */
export const u2: Cast<u2> = cast('u2');

/** Unsigned integer of 3 bits, 0 to 7. */
export type u3 = 'u3';
/** Unsigned integer of 3 bits, 0 to 7. Cast: `u3(x)`, same shape. */
export const u3: Cast<u3> = cast('u3');

/** Unsigned integer of 4 bits, 0 to 15. */
export type u4 = 'u4';
/** Unsigned integer of 4 bits, 0 to 15. Cast: `u4(x)`, same shape. */
export const u4: Cast<u4> = cast('u4');

/** Unsigned integer of 5 bits, 0 to 31. */
export type u5 = 'u5';
/** Unsigned integer of 5 bits, 0 to 31. Cast: `u5(x)`, same shape. */
export const u5: Cast<u5> = cast('u5');

/** Unsigned integer of 6 bits, 0 to 63. */
export type u6 = 'u6';
/** Unsigned integer of 6 bits, 0 to 63. Cast: `u6(x)`, same shape. */
export const u6: Cast<u6> = cast('u6');

/** Unsigned integer of 7 bits, 0 to 127. */
export type u7 = 'u7';
/** Unsigned integer of 7 bits, 0 to 127. Cast: `u7(x)`, same shape. */
export const u7: Cast<u7> = cast('u7');

/** Unsigned integer of 8 bits, 0 to 255. */
export type u8 = 'u8';
/** Unsigned integer of 8 bits, 0 to 255. Cast: `u8(x)`, same shape. */
export const u8: Cast<u8> = cast('u8');

/** Unsigned integer of 16 bits, 0 to 65535. */
export type u16 = 'u16';
/** Unsigned integer of 16 bits, 0 to 65535. Cast: `u16(x)`, same shape. */
export const u16: Cast<u16> = cast('u16');

/** Unsigned integer of 32 bits, 0 to 4294967295. */
export type u32 = 'u32';
/** Unsigned integer of 32 bits, 0 to 4294967295. Cast: `u32(x)`, same shape. */
export const u32: Cast<u32> = cast('u32');

/** Truth value, stored as a byte. `bool(x > 0)` makes a mask a tensor that can be returned. */
export type bool = 'bool';
/** Truth value, stored as a byte. `bool(x > 0)` makes a mask a tensor that can be returned. Cast: `bool(x)`, same shape. */
export const bool: Cast<bool> = cast('bool');
