// exp, exp2, log, log2 and tanh in basic f32 operations, lane by lane. Polynomials are minimax fits of the
// functions named beside them. exp and exp2 are within 1.25 ulp, log and log2 within 2, tanh within 3, whether products and sums
// are one operation or two; that holds for all f32, with subnormal results, infinities and NaN.
import type { Expr } from '../loops.ts';
import {
  abs,
  add,
  and,
  div,
  eq,
  gt,
  horner,
  like,
  lt,
  max,
  min,
  mul,
  pick,
  polynomial,
  powerAt,
  type Scope,
  shr,
  signOf,
  splitConstant,
  splitExponent,
  sub,
  upper,
  wholeOf,
  type Whole,
  withSign,
} from './arith.ts';

/** ln 2 in two parts: the first has 9 bits, so that its product with an exponent is exact. */
const ln2 = [0.693359375, -2.12194440055e-4] as const;

/** (exp(t) - 1) / t for |t| <= ln(2)/2. */
const expSlope = [1, 0.4999999, 0.16666521, 0.041668892, 0.008368675, 0.0013789198];
/** (2^t - 1) / t for |t| <= 1/2. */
const exp2Slope = [0.693147182, 0.24022646, 0.055503596, 0.009618653, 0.0013390993, 0.00015291688];
/** (1 - exp(-2t)) / t for |t| <= ln(2)/4. */
const tanhSlope = [2, -1.9999999, 1.3333237, -0.66667897, 0.26772037, -0.08877221];
/** (2^r - 1) / r for |r| <= 1/2, finer. */
const exp2Tail = [
  0.693147182, 0.240226507, 0.0555041023, 0.00961803738, 0.00133339048, 0.000154669309,
  0.0000152026632,
];
/** (log(1 + f) - f + f^2/2) / f^3 for 1 + f in [sqrt(1/2), sqrt(2)). */
const logTail = [
  0.333333135, -0.250000089, 0.200021192, -0.166679963, 0.142195508, -0.124055915, 0.118881747,
  -0.116756417, 0.0674660131,
];
/** A power of e or of 2: logarithm of the base, and the operands beyond which results are 0 and Inf anyway. */
interface Base {
  readonly log2: number;
  readonly none: number;
  readonly infinite: number;
}
const e: Base = { log2: Math.LOG2E, none: -104, infinite: 89 };
const two: Base = { log2: 1, none: -150.5, infinite: 128 };

/** What makes (1 + t p) 2^n of a bounded operand, where n is given. */
type Fraction = (x: Expr, n: Expr) => { readonly t: Expr; readonly p: Expr };

/**
 * base^x = (1 + t p) 2^n, n being the whole number next to x log2(base). 2^n is one factor where it is known to be a normal number.
 * Where it may only be too small, or only too large, the result is made 2^64 away from that end and brought there by a constant;
 * else there are two factors. So it is rounded once more at most, where it is subnormal.
 */
function power(s: Scope, x: Expr, base: Base, fraction: Fraction): Expr {
  const [lo, hi] = s.range(x);
  const above = lo < base.none ? max(x, base.none) : x;
  // Bounds keep a NaN.
  const c = s.bind(hi > base.infinite ? min(above, base.infinite) : above);
  const least = Math.round(Math.max(lo, base.none) * base.log2);
  const most = Math.round(Math.min(hi, base.infinite) * base.log2);
  const whole = (offset: number): Whole => wholeOf(s, c, base.log2, offset);
  const times = (factor: Expr, n: Expr): Expr => {
    const f = s.bind(factor);
    const { t, p } = fraction(c, n);
    return s.mulAdd(mul(t, f), p, f);
  };
  const away = least >= -100 && most <= 127 ? 0 : most <= 63 ? 64 : least >= -36 ? -64 : undefined;
  if (away === undefined) {
    const { n, i } = whole(2 * 127);
    const half = s.bind(shr(i, 1));
    return mul(times(powerAt(half), n), powerAt(sub(i, half)));
  }
  const { n, i } = whole(127 + away);
  const value = times(powerAt(i), n);
  return away === 0 ? value : mul(value, 2 ** -away);
}

export const exp = (s: Scope, x: Expr): Expr =>
  power(s, x, e, (c, n) => {
    const rough = s.mulAdd(n, like(-ln2[0], n), c);
    const t = s.bind(s.mulAdd(n, like(-ln2[1], n), rough));
    return { t, p: polynomial(s, expSlope, t) };
  });

/** 2^r for |r| <= 1/2. */
export const exp2Fraction = (r: Expr): Expr => add(mul(r, horner(exp2Tail, r)), 1);

export const exp2 = (s: Scope, x: Expr): Expr =>
  power(s, x, two, (c, n) => {
    const t = s.bind(sub(c, n));
    return { t, p: polynomial(s, exp2Slope, t) };
  });

/** What a logarithm gives outside of the positive finite numbers. */
function logEdges(x: Expr, value: Expr): Expr {
  const edge = pick(eq(x, 0), -Infinity, pick(lt(x, 0), NaN, x));
  return pick(and(gt(x, 0), lt(x, Infinity)), value, edge);
}

export function log(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  const { m, e } = splitExponent(s, x);
  const f = s.bind(sub(m, 1));
  const z = s.bind(mul(f, f));
  const tail = mul(mul(f, z), polynomial(s, logTail, f));
  const low = sub(add(tail, mul(e, ln2[1])), mul(z, 0.5));
  return logEdges(x, add(add(low, f), mul(e, ln2[0])));
}

const [log2eHigh, log2eLow] = splitConstant(Math.LOG2E);

export function log2(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  const { m, e } = splitExponent(s, x);
  const f = s.bind(sub(m, 1));
  const z = s.bind(mul(f, f));
  const half = s.bind(mul(z, 0.5));
  const high = s.bind(upper(sub(f, half)));
  const tail = mul(mul(f, z), polynomial(s, logTail, f));
  const low = s.bind(add(sub(sub(f, high), half), tail));
  const rest = add(mul(add(low, high), log2eLow), mul(low, log2eHigh));
  return logEdges(x, add(add(rest, mul(high, log2eHigh)), e));
}

/**
 * (1 - e) / (1 + e) of |x|, e being exp(-2|x|), with 1 - e from the polynomial so that small numbers keep their digits. From 10 on
 * the result is 1.
 */
export function tanh(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  const m = s.bind(min(abs(x), 10));
  const { n, i } = wholeOf(s, m, -2 * Math.LOG2E, 127);
  const t = s.bind(s.mulAdd(n, like(Math.LN2 / 2, n), m));
  const f = s.bind(powerAt(i));
  const rest = sub(like(1, m), f);
  const q = s.bind(s.mulAdd(mul(t, f), polynomial(s, tanhSlope, t), rest));
  return withSign(div(q, sub(like(2, m), q)), signOf(x));
}
