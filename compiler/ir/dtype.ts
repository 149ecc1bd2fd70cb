// Element types: what each stores, what it computes as, and the exact rounding onto its grid.
// Everything here is the definition; the backends' bit tricks are tested against it.

/** Element type of a tensor. Sub-byte types are storage: one logical element counts as one. */
export type DType =
  | 'f32'
  | 'f16'
  | 'bf16'
  | 'f8e4m3'
  | 'f8e5m2'
  | 'f6e2m3'
  | 'f6e3m2'
  | 'f4e2m1'
  | 'e8m0'
  | 'i2'
  | 'i3'
  | 'i4'
  | 'i5'
  | 'i6'
  | 'i7'
  | 'i8'
  | 'i16'
  | 'i32'
  | 'u1'
  | 'u2'
  | 'u3'
  | 'u4'
  | 'u5'
  | 'u6'
  | 'u7'
  | 'u8'
  | 'u16'
  | 'u32'
  | 'bool';

/** What arithmetic sees: every dtype widens to one of these. */
export type Scalar = 'f32' | 'i32' | 'u32' | 'bool';

/** A small float: 1 sign bit, `e` exponent bits, `m` mantissa bits. */
export interface Minifloat {
  readonly e: number;
  readonly m: number;
  readonly bias: number;
  readonly signed: boolean;
  /** Largest finite magnitude. */
  readonly max: number;
  /** IEEE: top exponent is Inf/NaN. fn: only all-ones is NaN. none: every code is finite. */
  readonly special: 'ieee' | 'fn' | 'none' | 'e8m0';
}

export interface DTypeInfo {
  readonly bits: number;
  readonly scalar: Scalar;
  readonly kind: 'float' | 'int' | 'uint' | 'bool';
  readonly minifloat?: Minifloat;
  /** Integer types: inclusive bounds. */
  readonly min?: number;
  readonly max?: number;
}

const mini = (
  bits: number,
  e: number,
  m: number,
  bias: number,
  max: number,
  special: Minifloat['special'],
): DTypeInfo => ({
  bits,
  scalar: 'f32',
  kind: 'float',
  minifloat: { e, m, bias, signed: special !== 'e8m0', max, special },
});
const int = (bits: number): DTypeInfo => ({
  bits,
  scalar: 'i32',
  kind: 'int',
  min: -(2 ** (bits - 1)),
  max: 2 ** (bits - 1) - 1,
});
const uint = (bits: number): DTypeInfo => ({
  bits,
  scalar: bits === 32 ? 'u32' : 'i32',
  kind: 'uint',
  min: 0,
  max: 2 ** bits - 1,
});

export const dtypes: { readonly [D in DType]: DTypeInfo } = {
  f32: { bits: 32, scalar: 'f32', kind: 'float' },
  f16: mini(16, 5, 10, 15, 65504, 'ieee'),
  bf16: mini(16, 8, 7, 127, 3.3895313892515355e38, 'ieee'),
  f8e4m3: mini(8, 4, 3, 7, 448, 'fn'),
  f8e5m2: mini(8, 5, 2, 15, 57344, 'ieee'),
  f6e2m3: mini(6, 2, 3, 1, 7.5, 'none'),
  f6e3m2: mini(6, 3, 2, 3, 28, 'none'),
  f4e2m1: mini(4, 2, 1, 1, 6, 'none'),
  e8m0: mini(8, 8, 0, 127, 2 ** 127, 'e8m0'),
  i2: int(2),
  i3: int(3),
  i4: int(4),
  i5: int(5),
  i6: int(6),
  i7: int(7),
  i8: int(8),
  i16: int(16),
  i32: int(32),
  u1: uint(1),
  u2: uint(2),
  u3: uint(3),
  u4: uint(4),
  u5: uint(5),
  u6: uint(6),
  u7: uint(7),
  u8: uint(8),
  u16: uint(16),
  u32: uint(32),
  bool: { bits: 8, scalar: 'bool', kind: 'bool', min: 0, max: 1 },
};

export const isDType = (name: string): name is DType => Object.hasOwn(dtypes, name);
export const scalarOf = (d: DType): Scalar => dtypes[d].scalar;
export const isFloat = (d: DType): boolean => dtypes[d].kind === 'float';

/** Round half to even, in exact double arithmetic. */
export function roundHalfEven(x: number): number {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

const f32view = new Float32Array(1);
const u32view = new Uint32Array(f32view.buffer);
export function bitsOfF32(x: number): number {
  f32view[0] = x;
  return u32view[0]!;
}
export function f32OfBits(bits: number): number {
  u32view[0] = bits;
  return f32view[0]!;
}

/** floor(log2 |x|) of a finite, non-zero number, exact. */
export function exponentOf(x: number): number {
  const a = Math.abs(x);
  let e = Math.floor(Math.log2(a));
  if (2 ** e > a) e -= 1;
  else if (2 ** (e + 1) <= a) e += 1;
  return e;
}

/**
 * The value that a float dtype holds for `x`. Rounds half to even. Types with an Inf overflow to it;
 * types without saturate. NaN stays NaN where the type has one, else it becomes 0. e8m0 holds powers of
 * two: it rounds towards zero, and holds 2^-127 for anything smaller, zero and negatives included.
 */
export function roundToFloat(d: DType, x: number): number {
  const f = dtypes[d].minifloat;
  if (!f) return Math.fround(x);
  if (f.special === 'e8m0') {
    if (Number.isNaN(x)) return NaN;
    if (!(x > 2 ** -127)) return 2 ** -127;
    return x >= f.max ? f.max : 2 ** exponentOf(x);
  }
  if (Number.isNaN(x)) return f.special === 'none' ? 0 : NaN;
  if (x === 0) return x;
  if (!Number.isFinite(x)) return f.special === 'ieee' ? x : Math.sign(x) * f.max;
  const minExp = 1 - f.bias;
  const step = 2 ** (Math.max(exponentOf(x), minExp) - f.m);
  const r = roundHalfEven(x / step) * step;
  if (Math.abs(r) > f.max)
    return f.special === 'ieee' ? Math.sign(x) * Infinity : Math.sign(x) * f.max;
  return r === 0 && (x < 0 || Object.is(x, -0)) ? -0 : r;
}

/** The stored bits of a value that is already on the dtype's grid. */
export function floatToBits(d: DType, value: number): number {
  const f = dtypes[d].minifloat;
  if (!f) return bitsOfF32(value);
  if (f.special === 'e8m0') return Number.isNaN(value) ? 255 : exponentOf(value) + 127;
  const signBit = Object.is(value, -0) || value < 0 ? 1 : 0;
  const top = 2 ** f.e - 1;
  let code: number;
  const a = Math.abs(value);
  if (Number.isNaN(value))
    code = f.special === 'fn' ? 2 ** (f.e + f.m) - 1 : top * 2 ** f.m + 2 ** (f.m - 1);
  else if (a === Infinity) code = top * 2 ** f.m;
  else if (a < 2 ** (1 - f.bias)) code = a / 2 ** (1 - f.bias - f.m);
  else {
    const e = exponentOf(a);
    code = (e + f.bias) * 2 ** f.m + (a / 2 ** e - 1) * 2 ** f.m;
  }
  return signBit * 2 ** (f.e + f.m) + code;
}

/** The value of stored bits; the inverse of {@link floatToBits}, for every bit pattern. */
export function floatOfBits(d: DType, bits: number): number {
  const f = dtypes[d].minifloat;
  if (!f) return f32OfBits(bits);
  if (f.special === 'e8m0') return bits === 255 ? NaN : 2 ** (bits - 127);
  const m = bits % 2 ** f.m;
  const e = Math.floor(bits / 2 ** f.m) % 2 ** f.e;
  const sign = Math.floor(bits / 2 ** (f.e + f.m)) ? -1 : 1;
  const top = 2 ** f.e - 1;
  if (f.special === 'ieee' && e === top) return m === 0 ? sign * Infinity : NaN;
  if (f.special === 'fn' && e === top && m === 2 ** f.m - 1) return NaN;
  return e === 0
    ? sign * m * 2 ** (1 - f.bias - f.m)
    : sign * (1 + m / 2 ** f.m) * 2 ** (e - f.bias);
}

/** Wrap an integer into a dtype's width, two's complement. */
export function wrapInt(d: DType, x: number): number {
  const { bits, kind } = dtypes[d];
  if (bits === 32) return kind === 'uint' ? x >>> 0 : x | 0;
  if (kind === 'bool') return x ? 1 : 0;
  const masked = x & (2 ** bits - 1);
  return kind === 'int' && masked >= 2 ** (bits - 1) ? masked - 2 ** bits : masked;
}

/** The meaning of a cast: float to integer truncates and saturates (NaN gives 0); integer to integer wraps. */
export function castValue(from: DType, to: DType, x: number): number {
  const t = dtypes[to];
  if (t.kind === 'float') return roundToFloat(to, Math.fround(x));
  if (t.kind === 'bool') return x !== 0 ? 1 : 0;
  if (!isFloat(from)) return wrapInt(to, x);
  if (Number.isNaN(x)) return 0;
  return Math.min(Math.max(Math.trunc(x), t.min!), t.max!) + 0;
}

/** dtype that an arithmetic result has for operands of two dtypes. */
export function promote(a: DType, b: DType): DType {
  const x = scalarOf(a);
  const y = scalarOf(b);
  if (x === 'f32' || y === 'f32') return 'f32';
  if (x === 'u32' || y === 'u32') return 'u32';
  return 'i32';
}

/**
 * Elements that a row of `n` takes in storage. Rows of sub-byte elements are padded to 8 elements, so
 * that each row starts on a byte and rows can be written in parallel.
 */
export const paddedRow = (d: DType, n: number): number =>
  dtypes[d].bits % 8 === 0 ? n : Math.ceil(n / 8) * 8;

/** Bytes of a tensor in storage. */
export function storageBytes(d: DType, shape: readonly number[]): number {
  const last = shape.length ? shape[shape.length - 1]! : 1;
  const rows = shape.slice(0, -1).reduce((p, n) => p * n, 1);
  return (rows * paddedRow(d, last) * dtypes[d].bits) / 8;
}
