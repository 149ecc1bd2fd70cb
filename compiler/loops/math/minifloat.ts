// Small floats in integer and f32 operations, generic over the parameters of dtype.ts and exact for every bit
// pattern: rounding onto the grid (roundToFloat), stored bits of a value (floatToBits), value of stored bits
// (floatOfBits). No f32 subnormal is used as an operand where a small float is merely subnormal: x86 takes
// a hundred cycles for each.
import { type DType, dtypes, type Minifloat } from '../../ir/dtype.ts';
import { bits, convert, type Expr } from '../loops.ts';
import {
  abs,
  add,
  and,
  asFloat,
  asInt,
  eq,
  ge,
  gt,
  lt,
  max,
  min,
  mul,
  ne,
  or,
  pick,
  type Scope,
  shl,
  shr,
  signBit,
  signOf,
  sub,
  toInt,
  withSign,
} from './arith.ts';

const info = (d: DType): Minifloat => dtypes[d].minifloat!;
const isE8m0 = (f: Minifloat): boolean => f.special === 'e8m0';
/** Same exponent range as f32, so the code is the upper half of the f32. */
const isTruncated = (f: Minifloat): boolean => f.special === 'ieee' && f.e === 8;
const topCode = (f: Minifloat): number => (2 ** f.e - 1) * 2 ** f.m;
const logical = (a: Expr, count: number): Expr => asInt(shr(bits(a, 'u32'), count));

/**
 * |x| rounded onto the grid, NaN kept: adding and subtracting 2^23 quanta of the result's binade rounds half to
 * even. Types with an Inf come out as 2^(top exponent) for it, which has the code of Inf.
 */
function magnitude(s: Scope, f: Minifloat, m: Expr): Expr {
  const limit = f.special === 'ieee' ? 2 ** (2 ** f.e - 1 - f.bias) : f.max;
  const c = s.bind(min(m, limit));
  const exponent = max(and(asInt(c), 0x7f800000), (128 - f.bias) << 23);
  const quanta = s.bind(asFloat(add(exponent, (23 - f.m) << 23)));
  return sub(add(c, quanta), quanta);
}

/** Rounds the upper half of an f32, half to even; the low half is left as it falls. */
const roundUpper = (u: Expr): Expr => add(add(u, 0x7fff), and(logical(u, 16), 1));

/** Bits of the power of two at or below x, between 2^-127 and 2^127; zero and negatives give 2^-127. */
const powerBits = (u: Expr): Expr => min(max(and(max(u, 0), 0x7f800000), 0x00400000), 0x7f000000);

export const roundTo =
  (d: DType) =>
  (s: Scope, a: Expr): Expr => {
    const f = info(d);
    const x = s.bind(a);
    if (isE8m0(f)) return pick(ne(x, x), NaN, asFloat(powerBits(asInt(x))));
    if (isTruncated(f)) {
      const u = s.bind(asInt(x));
      return pick(ne(x, x), NaN, asFloat(and(roundUpper(u), -0x10000)));
    }
    const r = s.bind(magnitude(s, f, abs(x)));
    const bounded = f.special === 'ieee' ? pick(gt(r, f.max), Infinity, r) : r;
    const signed = withSign(bounded, signOf(x));
    return f.special === 'none' ? pick(ne(x, x), 0, signed) : signed;
  };

/** Code of a magnitude on the grid; NaN gives some code. */
function magnitudeCode(s: Scope, f: Minifloat, magnitude: Expr): Expr {
  const r = s.bind(magnitude);
  const u = s.bind(asInt(r));
  const normal = sub(shr(u, 23 - f.m), (127 - f.bias) << f.m);
  const subnormal = toInt(mul(r, 2 ** (f.bias - 1 + f.m)));
  return pick(lt(u, (128 - f.bias) << 23), subnormal, normal, 'i32');
}

function finish(f: Minifloat, x: Expr, code: Expr): Expr {
  const nan = f.special === 'ieee' ? topCode(f) + 2 ** (f.m - 1) : 2 ** (f.e + f.m) - 1;
  const sign = shl(logical(asInt(x), 31), f.e + f.m);
  const signed = or(code, sign);
  return pick(ne(x, x), f.special === 'none' ? 0 : nan, signed, 'i32');
}

/** Stored bits of a value that is on the grid. */
export const encode =
  (d: DType) =>
  (s: Scope, a: Expr): Expr => {
    const f = info(d);
    const x = s.bind(a);
    if (isE8m0(f)) return encodePower(x);
    if (isTruncated(f)) return pick(ne(x, x), 0x7fc0, logical(asInt(x), 16), 'i32');
    const m = s.bind(abs(x));
    const code = s.bind(magnitudeCode(s, f, m));
    const finite = f.special === 'ieee' ? pick(eq(m, Infinity), topCode(f), code, 'i32') : code;
    return finish(f, x, finite);
  };

/**
 * Code of |x| rounded onto the grid; NaN gives some code. Adding 2^23 quanta of the result's binade, as `magnitude` does,
 * leaves the number of quanta in the low bits of the sum. In front of it belongs the number of binades, and a subnormal, in
 * the lowest binade, has none.
 */
function roundedCode(s: Scope, f: Minifloat, m: Expr): Expr {
  const limit = f.special === 'ieee' ? 2 ** (2 ** f.e - 1 - f.bias) : f.max;
  const c = s.bind(min(m, limit));
  const exponent = s.bind(max(and(asInt(c), 0x7f800000), (128 - f.bias) << 23));
  const quanta = s.bind(add(exponent, (23 - f.m) << 23));
  const count = sub(asInt(add(c, asFloat(quanta))), quanta);
  return sub(add(count, shr(exponent, 23 - f.m)), (128 - f.bias) << f.m);
}

/** Stored bits of any value: rounding and encoding share their parts. */
export const store =
  (d: DType) =>
  (s: Scope, a: Expr): Expr => {
    const f = info(d);
    const x = s.bind(a);
    if (isE8m0(f)) return encodePower(x);
    if (isTruncated(f)) {
      const u = s.bind(asInt(x));
      return pick(ne(x, x), 0x7fc0, logical(roundUpper(u), 16), 'i32');
    }
    return finish(f, x, roundedCode(s, f, abs(x)));
  };

/** 2^-127 is the one f32 subnormal among the powers: its exponent field is 0, as its code. */
const encodePower = (x: Expr): Expr => {
  const code = and(shr(powerBits(asInt(x)), 23), 0xff);
  return pick(ne(x, x), 255, code, 'i32');
};

/**
 * Types with Inf and NaN are common as scales, so they take the short road: sign and magnitude are moved into place
 * and a multiplication by a power of two rebiases the exponent, exactly. A stored subnormal is an f32 subnormal for a
 * moment, which costs time where it occurs; the general road below would cost everyone.
 */
function decodeScaled(s: Scope, f: Minifloat, code: Expr): Expr {
  const width = f.e + f.m;
  const low = 2 ** (width + 23 - f.m) - 1;
  const placed = and(shr(shl(code, 31 - width), 8 - f.e), signBit | low);
  const v = s.bind(mul(asFloat(placed), 2 ** (127 - f.bias)));
  // Inf and NaN came out as finite numbers of the next binade.
  const special = ge(abs(v), 2 ** (2 ** f.e - 1 - f.bias));
  return asFloat(or(asInt(v), pick(special, 0x7f800000, 0, 'i32')));
}

/** Value of stored bits (i32, upper bits clear). */
export const decode =
  (d: DType) =>
  (s: Scope, a: Expr): Expr => {
    const f = info(d);
    if (isTruncated(f)) return asFloat(shl(a, 16));
    const code = s.bind(a);
    if (isE8m0(f)) {
      return asFloat(pick(eq(code, 255), 0x7fc00000, max(shl(code, 23), 0x00400000), 'i32'));
    }
    const width = f.e + f.m;
    if (f.special === 'ieee') return decodeScaled(s, f, code);
    const m = s.bind(and(code, 2 ** width - 1));
    const rebias = (127 - f.bias) << 23;
    const subnormal = s.bind(lt(m, 2 ** f.m));
    // A subnormal is read as (1 + fraction) in the lowest normal binade, then loses the 1.
    const u = add(add(shl(m, 23 - f.m), rebias), pick(subnormal, 1 << 23, 0, 'i32'));
    const value = sub(asFloat(u), pick(subnormal, 2 ** (1 - f.bias), 0));
    const signed = withSign(value, and(shl(code, 31 - width), signBit));
    return f.special === 'fn' ? pick(eq(m, 2 ** width - 1), NaN, signed) : signed;
  };

/** Bools are stored as bytes. */
export const decodeBool = (_: Scope, a: Expr): Expr => ne(a, 0);
export const encodeBool = (_: Scope, a: Expr): Expr => convert(a, 'i32');
