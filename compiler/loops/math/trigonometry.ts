// sin and cos in basic f32 operations. pi/2 is subtracted in four parts, the first three of 11 bits, so that
// the reduction is good to 1e-7 for |x| <= 1e4. Beyond, precision fades with the size of x, but the result stays
// within [-1, 1]; Inf and NaN give NaN.
import type { Expr } from '../loops.ts';
import {
  abs,
  add,
  and,
  asFloat,
  asInt,
  like,
  max,
  min,
  mul,
  ne,
  nearest,
  pick,
  polynomial,
  type Scope,
  shl,
  signBit,
  signOf,
  toInt,
  xor,
} from './arith.ts';

/** pi/2 cut into numbers of 11 bits, and the rest. */
const halfPi = ((): readonly number[] => {
  const parts: number[] = [];
  // pi/2 to 80 bits, as a double and its remainder.
  let rest = Math.PI / 2;
  for (const bits of [10, 21, 32]) {
    const part = Math.floor(rest * 2 ** bits) / 2 ** bits;
    parts.push(part);
    rest -= part;
  }
  return [...parts, Math.fround(rest + 6.123233995736766e-17)];
})();

/** (sin(r) - r) / r^3 and (cos(r) - 1 + r^2/2) / r^4 in r^2, for |r| <= pi/4. */
const sinTail = [-0.166666552, 0.0083321603, -0.000195152825];
const cosTail = [0.0416666456, -0.00138873165, 0.0000244331568];

/** Sine of m >= 0, `turn` quarters of a turn ahead. */
function quarter(s: Scope, m: Expr, turn: number): Expr {
  const n = s.bind(nearest(mul(m, 2 / Math.PI)));
  const reduced = halfPi.reduce((r, part) => s.mulAdd(n, like(-part, n), r), m);
  const r = s.bind(min(max(reduced, -0.8), 0.8));
  const z = s.bind(mul(r, r));
  const q = s.bind(turn ? add(toInt(n), turn) : toInt(n));
  const sine = s.mulAdd(mul(r, z), polynomial(s, sinTail, z), r);
  const cosine = add(s.mulAdd(mul(z, z), polynomial(s, cosTail, z), mul(z, -0.5)), 1);
  const flip = and(shl(q, 30), signBit);
  return asFloat(xor(asInt(pick(ne(and(q, 1), 0), cosine, sine)), flip));
}

export function sin(s: Scope, a: Expr): Expr {
  const x = s.bind(a);
  return asFloat(xor(asInt(quarter(s, s.bind(abs(x)), 0)), signOf(x)));
}

export const cos = (s: Scope, a: Expr): Expr => quarter(s, s.bind(abs(a)), 1);
