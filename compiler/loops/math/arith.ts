// Short forms for writing expansions: the operators of loop IR with numbers lifted to the type of the other
// operand, and the bit tricks on f32 that several expansions share.
import type { Scalar } from '../../ir/dtype.ts';
import type { BinaryName } from '../../ir/ops.ts';
import { binary, bits, compare, constant, convert, type Expr, select, unary } from '../loops.ts';

/** Where an expansion puts values that it uses more than once, and what it may ask. */
export interface Scope {
  /** Makes a `let` before the statement. */
  bind(value: Expr): Expr;
  /** Bounds of an operand, where it is not NaN. */
  range(operand: Expr): readonly [lo: number, hi: number];
  /** Whether the target leaves sums of f32 as they are written, so that a large number added and taken off rounds. */
  readonly exactSums: boolean;
  /** a * b + c, rounded once or twice as the target likes. */
  mulAdd(a: Expr, b: Expr, c: Expr): Expr;
}

export type Operand = Expr | number;

export const like = (x: Operand, model: Expr): Expr =>
  typeof x === 'number' ? constant(x, model.type.scalar, model.type.lanes) : x;
const op =
  (name: BinaryName) =>
  (a: Expr, b: Operand): Expr =>
    binary(name, a, like(b, a));

export const add = op('add');
export const sub = op('sub');
export const mul = op('mul');
export const div = op('div');
export const min = op('min');
export const max = op('max');
export const and = op('and');
export const or = op('or');
export const xor = op('xor');
export const shl = op('shl');
/** Arithmetic for i32, logical for u32. */
export const shr = op('shr');

export const eq = (a: Expr, b: Operand): Expr => compare('eq', a, like(b, a));
export const ne = (a: Expr, b: Operand): Expr => compare('ne', a, like(b, a));
export const lt = (a: Expr, b: Operand): Expr => compare('lt', a, like(b, a));
export const le = (a: Expr, b: Operand): Expr => compare('le', a, like(b, a));
export const gt = (a: Expr, b: Operand): Expr => compare('gt', a, like(b, a));
export const ge = (a: Expr, b: Operand): Expr => compare('ge', a, like(b, a));

/** c ? a : b, with numbers taking the given scalar type. */
export const pick = (c: Expr, a: Operand, b: Operand, scalar: Scalar = 'f32'): Expr => {
  const lift = (x: Operand): Expr =>
    typeof x === 'number' ? constant(x, scalar, c.type.lanes) : x;
  return select(c, lift(a), lift(b));
};

export const abs = (a: Expr): Expr => unary('abs', a);
export const floor = (a: Expr): Expr => unary('floor', a);
export const trunc = (a: Expr): Expr => unary('trunc', a);
export const nearest = (a: Expr): Expr => unary('round', a);
export const not = (a: Expr): Expr => unary('not', a);

export const asInt = (a: Expr): Expr => bits(a, 'i32');
export const asUint = (a: Expr): Expr => bits(a, 'u32');
export const asFloat = (a: Expr): Expr => bits(a, 'f32');
export const toInt = (a: Expr): Expr => convert(a, 'i32');
export const toFloat = (a: Expr): Expr => convert(a, 'f32');

export const signBit = -0x80000000;
/** The sign bit of an f32, as i32. */
export const signOf = (a: Expr): Expr => and(asInt(a), signBit);
/** |magnitude| with the given sign bit; the magnitude must not be negative. */
export const withSign = (magnitude: Expr, sign: Expr): Expr => asFloat(or(asInt(magnitude), sign));

/** The upper 12 bits of the significand: products of two such numbers are exact. */
export const upper = (a: Expr): Expr => asFloat(and(asInt(a), -0x1000));
/** The same for a constant. */
export function splitConstant(x: number): readonly [number, number] {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, x);
  view.setInt32(0, view.getInt32(0) & -0x1000);
  const hi = view.getFloat32(0);
  return [hi, Math.fround(x - hi)];
}

/** Horner's rule; coefficients from the constant upwards. */
export function horner(coefficients: readonly number[], x: Expr): Expr {
  let sum = like(coefficients.at(-1)!, x);
  for (let i = coefficients.length - 2; i >= 0; i--) sum = add(mul(sum, x), coefficients[i]!);
  return sum;
}

/** The same with products and sums as one operation where there is one. */
export function polynomial(s: Scope, coefficients: readonly number[], x: Expr): Expr {
  let sum = like(coefficients.at(-1)!, x);
  for (let i = coefficients.length - 2; i >= 0; i--)
    sum = s.mulAdd(sum, x, like(coefficients[i]!, x));
  return sum;
}

/** A whole number as f32, and the same plus an offset in the low bits of an i32. */
export interface Whole {
  readonly n: Expr;
  readonly i: Expr;
}

/** A float from here to twice this counts by ones. */
const counts = 1.5 * 2 ** 23;

/** The whole number next to x * by, for |x * by| up to 2^21; of NaN anything. The bits above the lowest 16 of `i` are any. */
export function wholeOf(s: Scope, x: Expr, by: number, offset: number): Whole {
  if (s.exactSums) {
    const up = like(counts + offset, x);
    const sum = s.bind(by === 1 ? add(x, up) : s.mulAdd(x, like(by, x), up));
    return { n: s.bind(sub(sum, up)), i: asInt(sum) };
  }
  const n = s.bind(nearest(by === 1 ? x : mul(x, by)));
  return { n, i: s.bind(add(toInt(n), offset)) };
}

/** 2^(i - 127) as f32, for an i of which the lowest 9 bits are from 1 to 254. */
export const powerAt = (i: Expr): Expr => asFloat(shl(i, 23));

/** 2^k as f32, for i32 k in -126..127. */
export const powerOfTwo = (k: Expr): Expr => asFloat(shl(add(k, 127), 23));

/** p * 2^n for a whole f32 n in -252..254: one rounding, also where the result is subnormal. */
export function scale(s: Scope, p: Expr, n: Expr): Expr {
  const i = s.bind(toInt(n));
  const half = s.bind(shr(i, 1));
  return mul(mul(p, powerOfTwo(half)), powerOfTwo(sub(i, half)));
}

/** x = m * 2^e with m in [sqrt(1/2), sqrt(2)), for x > 0 and finite; e is a whole f32. */
export function splitExponent(s: Scope, x: Expr): { readonly m: Expr; readonly e: Expr } {
  const rootHalf = 0x3f3504f3;
  const subnormal = s.bind(lt(x, 2 ** -126));
  const u = s.bind(sub(asInt(pick(subnormal, mul(x, 2 ** 23), x)), rootHalf));
  const e = s.bind(sub(toFloat(shr(u, 23)), pick(subnormal, 23, 0)));
  const m = s.bind(asFloat(add(and(u, 0x7fffff), rootHalf)));
  return { m, e };
}
