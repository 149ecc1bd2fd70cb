// x ** y in f32: 2^(y * log2|x|) with the logarithm and the product kept as sums of two f32, good to a few ulp.
// Special cases are those of JavaScript's `**`: x ** 0 is 1, 1 ** Infinity is NaN.
import type { Expr } from '../loops.ts';
import {
  abs,
  add,
  and,
  asFloat,
  asInt,
  div,
  eq,
  horner,
  like,
  lt,
  max,
  min,
  mul,
  ne,
  nearest,
  not,
  or,
  pick,
  type Scope,
  scale,
  shl,
  splitConstant,
  splitExponent,
  sub,
  toInt,
  trunc,
  upper,
} from './arith.ts';
import { exp2Fraction } from './exponential.ts';

/** (atanh(s) - s) / s^3 as a polynomial in s^2, for |s| <= 0.1716. */
const atanhTail = [0.333333313, 0.200001672, 0.142686427, 0.117912978];
const twoOverLn2 = 2 / Math.LN2;
const [slopeHigh, slopeLow] = splitConstant(twoOverLn2);

/** log2 of x > 0 as high + low; high has 12 bits. */
function log2Pair(s: Scope, x: Expr): { readonly high: Expr; readonly low: Expr } {
  const { m, e } = splitExponent(s, x);
  // log(m) = 2 atanh(t), t = (m - 1) / (m + 1), with the rounding error of t in tl.
  const f = s.bind(sub(m, 1));
  const v = s.bind(add(m, 1));
  const t = s.bind(div(f, v));
  const th = s.bind(upper(t));
  const vh = s.bind(upper(v));
  const vl = sub(m, sub(vh, 1));
  const tl = div(sub(sub(f, mul(th, vh)), mul(th, vl)), v);
  const z = s.bind(mul(t, t));
  const tail = s.bind(add(tl, mul(mul(t, z), horner(atanhTail, z))));
  const lh = s.bind(upper(add(th, tail)));
  const ll = add(sub(th, lh), tail);
  // Times 2/ln 2, plus e: |e| >= 1 > |ph| or e = 0, so the error of the sum is exact.
  const ph = s.bind(mul(lh, slopeHigh));
  const pl = add(mul(ll, twoOverLn2), mul(lh, slopeLow));
  const sum = s.bind(add(e, ph));
  const low = s.bind(add(add(sub(e, sum), ph), pl));
  const high = s.bind(upper(add(sum, low)));
  return { high, low: s.bind(add(sub(sum, high), low)) };
}

/** 2^(y * (high + low)). */
function raise(s: Scope, high: Expr, low: Expr, y: Expr): Expr {
  const yc = s.bind(min(max(y, -(2 ** 40)), 2 ** 40));
  const yh = s.bind(upper(yc));
  const wh = s.bind(mul(yh, high));
  const wl = s.bind(add(mul(sub(yc, yh), high), mul(yc, low)));
  const n = s.bind(nearest(min(max(add(wh, wl), -160), 160)));
  // Far outside the range n is -160 or 160 and decides alone; r only has to be finite.
  const r = s.bind(min(max(add(sub(wh, n), wl), -1), 1));
  return scale(s, exp2Fraction(r), n);
}

/** Exponents that need no logarithm. */
const special: ReadonlyMap<number, (x: Expr) => Expr> = new Map([
  [0, (x: Expr) => like(1, x)],
  [1, (x: Expr) => x],
  [2, (x: Expr) => mul(x, x)],
  [3, (x: Expr) => mul(mul(x, x), x)],
  [-1, (x: Expr) => div(like(1, x), x)],
]);

export function pow(s: Scope, base: Expr, exponent: Expr): Expr {
  const x = s.bind(base);
  const simple = exponent.kind === 'const' ? special.get(exponent.value) : undefined;
  if (simple) return simple(x);
  const y = s.bind(exponent);
  const a = s.bind(abs(x));
  const { high, low } = log2Pair(s, a);
  const value = raise(s, high, low, y);

  const flat = or(eq(a, 0), eq(a, Infinity));
  const edge = pick(eq(eq(a, 0), lt(y, 0)), Infinity, 0);
  const whole = s.bind(eq(trunc(y), y));
  const odd = and(and(whole, lt(abs(y), 2 ** 24)), ne(and(toInt(y), 1), 0));
  const sign = and(asInt(x), shl(toInt(odd), 31));
  const signed = asFloat(or(asInt(pick(flat, edge, value)), sign));

  const noReal = and(and(lt(x, 0), not(whole)), ne(x, -Infinity));
  const oneToInf = and(eq(a, 1), eq(abs(y), Infinity));
  const undefinedAt = or(or(ne(x, x), ne(y, y)), or(noReal, oneToInf));
  return pick(eq(y, 0), 1, pick(undefinedAt, NaN, signed));
}
