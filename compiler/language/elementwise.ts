// Elementwise functions: one result an element, the shape of the operand. As everywhere, operands widen first
// (small floats to f32, integers below 32 bits to i32), so no result is narrower than 32 bits.
import { builtin } from './builtin.ts';
import type { Dim, DType, Tensor, Widened } from './types.ts';

/** Keeps the shape; the dtype widens. */
// biome-ignore lint/suspicious/noExplicitAny: what tsc does not know fits everywhere
type Numeric = <D extends DType = any, S extends readonly Dim[] = any>(
  x: Tensor<D, S>,
) => Tensor<Widened<D>, S>;
/** Keeps the shape; the result has the dtype `R` whatever the operand has. */
// biome-ignore lint/suspicious/noExplicitAny: what tsc does not know fits everywhere
type Into<R extends DType> = <S extends readonly Dim[] = any>(x: Tensor<any, S>) => Tensor<R, S>;

/** |x|. The smallest i32 stays itself; NaN stays NaN. `abs(x)` */
export const abs: Numeric = builtin('abs');
/** Largest integer not above x, in the dtype of x. NaN and Inf stay. `floor(-1.5)` is -2. */
export const floor: Numeric = builtin('floor');
/** Smallest integer not below x, in the dtype of x. NaN and Inf stay. `ceil(-1.5)` is -1. */
export const ceil: Numeric = builtin('ceil');
/** x without its fraction, in the dtype of x. NaN and Inf stay. `trunc(-1.5)` is -1. */
export const trunc: Numeric = builtin('trunc');
/** Nearest integer, ties to even (IEEE, `rint`). NaN and Inf stay. `round(2.5)` is 2, `round(3.5)` is 4. */
export const round: Numeric = builtin('round');
/** Nearest integer, ties away from zero (C's `roundf`). NaN and Inf stay. `roundHalfAway(-2.5)` is -3. */
export const roundHalfAway: Numeric = builtin('roundHalfAway');
/** Nearest integer, ties up (`Math.round`). NaN and Inf stay. `roundHalfUp(-2.5)` is -2. */
export const roundHalfUp: Numeric = builtin('roundHalfUp');
/** -1, 0 or 1 by the sign of x; zeros keep their sign, NaN stays NaN. `sign(-3)` is -1. */
export const sign: Numeric = builtin('sign');
/** Square root as f32; NaN below zero. `sqrt(2)` */
export const sqrt: Into<'f32'> = builtin('sqrt');
/** e to the power of x, as f32. `exp(x - amax(x))` */
export const exp: Into<'f32'> = builtin('exp');
/** 2 to the power of x, as f32; exact for integers in range. `exp2(-3)` is 0.125. */
export const exp2: Into<'f32'> = builtin('exp2');
/** Natural logarithm as f32; -Inf at 0, NaN below. `log(x)` */
export const log: Into<'f32'> = builtin('log');
/** Logarithm to base 2 as f32; -Inf at 0, NaN below. For an exact exponent use {@link exponent}. `log2(8)` is 3. */
export const log2: Into<'f32'> = builtin('log2');
/** Sine as f32; NaN for Inf. `sin(angle)` */
export const sin: Into<'f32'> = builtin('sin');
/** Cosine as f32; NaN for Inf. `cos(angle)` */
export const cos: Into<'f32'> = builtin('cos');
/** Hyperbolic tangent as f32. `tanh(x)` */
export const tanh: Into<'f32'> = builtin('tanh');
/** Number of set bits of an integer, counted in the width of its dtype; i32. `popcount(u8(7))` is 3. */
export const popcount: Into<'i32'> = builtin('popcount');
/** floor(log2 |x|), exact, as i32; -150 for zero, 128 for Inf and NaN. `exponent(0.75)` is -1. */
export const exponent: Into<'i32'> = builtin('exponent');

/** Whether x is NaN, elementwise: a mask. `isnan(x) ? 0 : x` */
export const isnan: (x: Tensor) => boolean = builtin('isnan');

/** The smaller of two, elementwise with broadcasting; NaN if either is NaN. (`amin` reduces.) `min(x, 7)` */
export const min: (a: Tensor, b: Tensor) => Tensor = builtin('min');
/** The larger of two, elementwise with broadcasting; NaN if either is NaN. (`amax` reduces.) `max(x, 0)` */
export const max: (a: Tensor, b: Tensor) => Tensor = builtin('max');
/** a to the power of b, always f32, elementwise with broadcasting; the same as `a ** b`. `pow(x, 2)` */
export const pow: (a: Tensor, b: Tensor) => Tensor<'f32'> = builtin('pow');
/** x limited to [lo, hi]: `min(max(x, lo), hi)`, with broadcasting; NaN stays NaN. `clamp(q, 0, 15)` */
export const clamp: (x: Tensor, lo: Tensor, hi: Tensor) => Tensor = builtin('clamp');
