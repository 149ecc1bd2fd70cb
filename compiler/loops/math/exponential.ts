// exp, exp2, log, log2 and tanh in basic f32 operations, lane by lane. Polynomials are minimax fits of the
// functions named beside them; reductions are exact, so each result is within 2 ulp (tanh 4).
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
  nearest,
  pick,
  type Scope,
  scale,
  signOf,
  splitConstant,
  splitExponent,
  sub,
  upper,
  withSign,
} from './arith.ts';

/** ln 2 in two parts: the first has 9 bits, so that its product with an exponent is exact. */
const ln2 = [0.693359375, -2.12194440055e-4] as const;

/** (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2. */
const expTail = [0.49999994, 0.166665211, 0.041668389, 0.00836871006, 0.00138146128];
/** (2^r - 1) / r for |r| <= 1/2. */
const exp2Tail = [
  0.693147182, 0.240226507, 0.0555041023, 0.00961803738, 0.00133339048, 0.000154669309,
  0.0000152026632,
];
/** (log(1 + f) - f + f^2/2) / f^3 for 1 + f in [sqrt(1/2), sqrt(2)). */
const logTail = [
  0.333333135, -0.250000089, 0.200021192, -0.166679963, 0.142195508, -0.124055915, 0.118881747,
  -0.116756417, 0.0674660131,
];
/** (tanh(x) - x) / x^3 as a polynomial in x^2, for |x| < 0.625. */
const tanhTail = [
  -0.333333313, 0.133332059, -0.0539467633, 0.0217007045, -0.00817739964, 0.00214296253,
];

export function exp(s: Scope, x: Expr): Expr {
  // Beyond these bounds the result is 0 or Inf anyway; min and max keep a NaN.
  const c = s.bind(min(max(x, -104), 89));
  const n = s.bind(nearest(mul(c, Math.LOG2E)));
  const r = s.bind(sub(sub(c, mul(n, ln2[0])), mul(n, ln2[1])));
  return scale(s, add(add(mul(mul(r, r), horner(expTail, r)), r), 1), n);
}

/** 2^r for |r| <= 1/2. */
export const exp2Fraction = (r: Expr): Expr => add(mul(r, horner(exp2Tail, r)), 1);

export function exp2(s: Scope, x: Expr): Expr {
  const c = s.bind(min(max(x, -152), 130));
  const n = s.bind(nearest(c));
  return scale(s, exp2Fraction(s.bind(sub(c, n))), n);
}

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
  const tail = mul(mul(f, z), horner(logTail, f));
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
  const tail = mul(mul(f, z), horner(logTail, f));
  const low = s.bind(add(sub(sub(f, high), half), tail));
  const rest = add(mul(add(low, high), log2eLow), mul(low, log2eHigh));
  return logEdges(x, add(add(rest, mul(high, log2eHigh)), e));
}

export function tanh(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  const m = s.bind(abs(x));
  const z = s.bind(mul(m, m));
  const near = add(m, mul(mul(m, z), horner(tanhTail, z)));
  const far = sub(like(1, m), div(like(2, m), add(exp(s, add(m, m)), 1)));
  return withSign(pick(lt(m, 0.625), near, far), signOf(x));
}
