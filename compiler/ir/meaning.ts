// What the elementwise ops mean on single numbers: the definition that the interpreter runs, that constants are
// folded by, and that every backend is tested against. Operands are already in the dtype that the op computes in.
import { type DType, dtypes, exponentOf, roundHalfEven } from './dtype.ts';
import type { BinaryName, CompareName, UnaryName } from './ops.ts';

const sign = (x: number): number => (x > 0 ? 1 : x < 0 ? -1 : x);
const popcount = (x: number): number => {
  let n = 0;
  for (let v = x >>> 0; v; v &= v - 1) n += 1;
  return n;
};

/**
 * Meaning of the unary ops on one number; f32 results are rounded by the caller. `exponent` is floor(log2 |x|),
 * exact, and -150 for zero, 128 for Inf and NaN.
 */
export const unaryMeaning: { readonly [U in UnaryName]: (x: number, dtype: DType) => number } = {
  neg: (x) => -x,
  abs: (x) => Math.abs(x),
  sign,
  floor: (x) => Math.floor(x),
  ceil: (x) => Math.ceil(x),
  trunc: (x) => Math.trunc(x),
  round: roundHalfEven,
  roundHalfAway: (x) => (Number.isFinite(x) ? Math.sign(x) * Math.floor(Math.abs(x) + 0.5) : x),
  roundHalfUp: (x) => (Number.isFinite(x) ? Math.floor(x + 0.5) : x),
  sqrt: Math.sqrt,
  exp: Math.exp,
  exp2: (x) => 2 ** x,
  log: Math.log,
  log2: Math.log2,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  not: (x, d) => (d === 'bool' ? (x ? 0 : 1) : ~x),
  popcount: (x, d) => popcount(dtypes[d].bits === 32 ? x : x & (2 ** dtypes[d].bits - 1)),
  exponent: (x) => {
    if (x === 0) return -150;
    if (!Number.isFinite(x)) return 128;
    return exponentOf(x);
  },
  isnan: (x) => (Number.isNaN(x) ? 1 : 0),
};

const mulInt = (a: number, b: number): number => Math.imul(a, b);
/**
 * Meaning of the binary ops, given the dtype of the result. Integers wrap; a shift counts modulo 32; the
 * remainder has the sign of the dividend, and x % 0 is 0 for integers. min and max give NaN if either is NaN.
 */
export const binaryMeaning: {
  readonly [B in BinaryName]: (a: number, b: number, dtype: DType) => number;
} = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b, d) => (d === 'f32' ? a * b : mulInt(a, b)),
  div: (a, b) => a / b,
  rem: (a, b, d) => (d === 'f32' ? a % b : b === 0 ? 0 : a % b),
  pow: (a, b) => a ** b,
  min: (a, b) => Math.min(a, b),
  max: (a, b) => Math.max(a, b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << b,
  shr: (a, b, d) => (d === 'u32' ? a >>> b : a >> b),
};
export const compareMeaning: { readonly [C in CompareName]: (a: number, b: number) => boolean } = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
};
