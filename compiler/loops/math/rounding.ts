// Rounding modes, signs, exponents, remainders and bit counts in basic operations; all exact.
import { constant, convert, type Expr } from '../loops.ts';
import {
  abs,
  add,
  and,
  asFloat,
  asInt,
  asUint,
  div,
  eq,
  floor,
  ge,
  gt,
  like,
  lt,
  max,
  min,
  mul,
  ne,
  not,
  or,
  pick,
  type Scope,
  shr,
  signOf,
  sub,
  toFloat,
  toInt,
  trunc,
  upper,
  withSign,
} from './arith.ts';

export const same = (_: Scope, a: Expr): Expr => a;
export const isNan = (s: Scope, a: Expr): Expr => {
  const x = s.bind(a);
  return ne(x, x);
};
export const never = (_: Scope, a: Expr): Expr => constant(0, 'bool', a.type.lanes);

/** Half to even, for targets without it: adding 2^23 rounds off the fraction. */
export function roundHalfEven(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  const m = s.bind(abs(x));
  const whole = sub(add(m, 2 ** 23), 2 ** 23);
  return pick(lt(m, 2 ** 23), withSign(whole, signOf(x)), x);
}

/**
 * The number below one half is added with the sign of x and the sum is cut: from a half on, and only from there, the
 * rounding of the sum reaches the next whole number. Whole numbers stay, and -0.3 gives -0.
 */
export function roundHalfAway(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  return trunc(add(x, withSign(like(belowHalf, x), signOf(x))));
}
/** The largest f32 below one half. */
const belowHalf = 0.5 - 2 ** -25;

export function roundHalfUp(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  const t = s.bind(floor(x));
  return add(t, pick(ge(sub(x, t), 0.5), 1, 0));
}

/** Zeros and NaN stay as they are. */
export function signFloat(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  return pick(gt(x, 0), 1, pick(lt(x, 0), like(-1, x), x));
}
export function signInt(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  return sub(toInt(gt(x, 0)), toInt(lt(x, 0)));
}
export const signUint = (_: Scope, a: Expr): Expr => min(a, 1);

export function absInt(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  return pick(lt(x, 0), sub(like(0, x), x), x, 'i32');
}

/** The exponent field; subnormals are whole multiples of 2^-149, which convert exactly. */
export function exponentFloat(s: Scope, a: Expr): Expr {
  const u = s.bind(and(asInt(a), 0x7fffffff));
  const normal = sub(shr(u, 23), 127);
  const subnormal = max(sub(shr(asInt(toFloat(u)), 23), 127 + 149), -150);
  return pick(lt(u, 0x800000), subnormal, normal, 'i32');
}

/** Of an integer: its second bit from the top is cleared, so that the conversion cannot round up. */
export function exponentInt(s: Scope, a: Expr): Expr {
  const m = s.bind(asUint(a.type.scalar === 'i32' ? abs(a) : a));
  const e = sub(shr(asInt(convert(and(m, not(shr(m, 1))), 'f32')), 23), 127);
  return pick(eq(m, 0), -150, e, 'i32');
}

export function popcount(s: Scope, a: Expr): Expr {
  const x = s.bind(asUint(a));
  const pairs = s.bind(sub(x, and(shr(x, 1), 0x55555555)));
  const fours = s.bind(add(and(pairs, 0x33333333), and(shr(pairs, 2), 0x33333333)));
  const bytes = and(add(fours, shr(fours, 4)), 0x0f0f0f0f);
  return asInt(shr(mul(bytes, 0x01010101), 24));
}

/**
 * The remainder of truncated division, exact while |a / b| < 2^24; beyond, the magnitude is below |b| but
 * the digits are lost. The quotient may be one off, which shows as a remainder outside [0, |b|).
 */
export function remFloat(s: Scope, dividend: Expr, divisor: Expr): Expr {
  const a = s.bind(dividend);
  const m = s.bind(abs(a));
  const b = s.bind(abs(divisor));
  const q = s.bind(trunc(div(m, b)));
  // q * b as p + e, by splitting both into 12 bits.
  const qh = s.bind(upper(q));
  const bh = s.bind(upper(b));
  const ql = s.bind(sub(q, qh));
  const bl = s.bind(sub(b, bh));
  const p = s.bind(mul(q, b));
  const e = add(add(add(sub(mul(qh, bh), p), mul(qh, bl)), mul(ql, bh)), mul(ql, bl));
  const r = s.bind(sub(sub(m, p), e));
  const low = s.bind(pick(lt(r, 0), add(r, b), r));
  const exact = pick(ge(low, b), sub(low, b), low);
  const small = pick(lt(m, b), m, min(max(exact, 0), b));
  // Inf % b and a % 0 are NaN by q; a % Inf is a by the comparison.
  return asFloat(or(asInt(small), signOf(a)));
}

/** x % c for c = 2^k: cut the low bits of |x| and give them the sign of x. */
export function remPowerOfTwo(s: Scope, dividend: Expr, c: number): Expr {
  const x = s.bind(dividend);
  if (x.type.scalar === 'u32') return and(x, c - 1);
  // Negative numbers are biased by c - 1, so that the cut rounds towards zero.
  const bias = and(shr(x, 31), c - 1);
  return sub(x, and(add(x, bias), -c));
}
export const isPowerOfTwo = (c: number): boolean => c > 0 && (c & (c - 1)) === 0;
