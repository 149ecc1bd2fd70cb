// Instruction selection: one row an operation and scalar type, with its scalar and its vector form. Rows that
// have no single instruction say how they are made. The keys are what the target has itself (wasmNative); what is
// neither here nor in the table of expansions is a type error.

import { lookedUp } from './codes.ts';
import type { Scalar } from '../../compiler/ir/dtype.ts';
import type { BinaryName, CompareName, UnaryName } from '../../compiler/ir/ops.ts';
import type { Expandable, Native, OpKey } from '../../compiler/loops/expansions.ts';
import type { Module, Ref } from './binaryen.ts';
import type { Frame } from './frame.ts';

interface UnaryRow {
  readonly scalar: (f: Frame, a: Ref) => Ref;
  readonly vector: (f: Frame, a: Ref) => Ref;
}
interface BinaryRow {
  readonly scalar: (f: Frame, a: Ref, b: Ref) => Ref;
  readonly vector: (f: Frame, a: Ref, b: Ref) => Ref;
}

// ---- rows with an instruction of their own ----

type FloatUnary = 'neg' | 'floor' | 'ceil' | 'trunc' | 'nearest' | 'sqrt';
const floatUnary = (name: FloatUnary): UnaryRow => ({
  scalar: ({ m }, a) => m.f32[name](a),
  vector: ({ m }, a) => m.f32x4[name](a),
});
type FloatBinary = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max';
const floatBinary = (name: FloatBinary): BinaryRow => ({
  scalar: ({ m }, a, b) => m.f32[name](a, b),
  vector: ({ m }, a, b) => m.f32x4[name](a, b),
});
const intBinary = (name: 'add' | 'sub' | 'mul'): BinaryRow => ({
  scalar: ({ m }, a, b) => m.i32[name](a, b),
  vector: ({ m }, a, b) => m.i32x4[name](a, b),
});
/** Masks and integers alike. */
const bitwise = (name: 'and' | 'or' | 'xor'): BinaryRow => ({
  scalar: ({ m }, a, b) => m.i32[name](a, b),
  vector: ({ m }, a, b) => m.v128[name](a, b),
});

// ---- rows made of several ----

const negInt: UnaryRow = {
  scalar: ({ m }, a) => m.i32.sub(m.i32.const(0), a),
  vector: ({ m }, a) => m.i32x4.neg(a),
};
/** With a constant that stays in a register: engines load one from memory for each `f32x4.abs`. */
const absFloat: UnaryRow = {
  scalar: ({ m }, a) => m.f32.abs(a),
  vector: (f, a) => f.m.v128.and(a, f.vectorI32(new Array<number>(4).fill(0x7fffffff))),
};
const absInt: UnaryRow = {
  scalar: (f, a) => {
    const { m } = f;
    const [x, again] = f.twice(a, f.types.i32);
    const [sign, signAgain] = f.twice(m.i32.shr_s(x, m.i32.const(31)), f.types.i32);
    return m.i32.sub(m.i32.xor(sign, again()), signAgain());
  },
  vector: ({ m }, a) => m.i32x4.abs(a),
};
const notInt: UnaryRow = {
  scalar: ({ m }, a) => m.i32.xor(a, m.i32.const(-1)),
  vector: ({ m }, a) => m.v128.not(a),
};
const notBool: UnaryRow = {
  scalar: ({ m }, a) => m.i32.eqz(a),
  vector: ({ m }, a) => m.v128.not(a),
};
const popcount: UnaryRow = {
  scalar: ({ m }, a) => m.i32.popcnt(a),
  vector: ({ m }, a) =>
    m.i32x4.extadd_pairwise_i16x8_u(m.i16x8.extadd_pairwise_i8x16_u(m.i8x16.popcnt(a))),
};

type Choice = 'min_s' | 'min_u' | 'max_s' | 'max_u';
const keepFirst = {
  min_s: 'lt_s',
  min_u: 'lt_u',
  max_s: 'gt_s',
  max_u: 'gt_u',
} as const satisfies Record<Choice, string>;
const minMax = (name: Choice): BinaryRow => ({
  scalar: (f, a, b) => {
    const [x, xAgain] = f.twice(a, f.types.i32);
    const [y, yAgain] = f.twice(b, f.types.i32);
    return f.m.select(f.m.i32[keepFirst[name]](xAgain(), yAgain()), x, y);
  },
  vector: ({ m }, a, b) => m.i32x4[name](a, b),
});

/** By 1 where the divisor is 0: the remainder is then 0, and nothing traps. */
const rem = (name: 'rem_s' | 'rem_u'): BinaryRow => {
  const scalar: BinaryRow['scalar'] = (f, a, b) => {
    const [y, again] = f.twice(b, f.types.i32);
    return f.m.i32[name](a, f.m.i32.or(y, f.m.i32.eqz(again())));
  };
  return { scalar, vector: (f, a, b) => laneByLane(f, a, b, scalar) };
};
/** In 64 bits, where the least number by -1 does not trap; by 0 gives 0. */
const wholeDiv = (signed: boolean): BinaryRow => {
  const scalar: BinaryRow['scalar'] = (f, a, b) => {
    const { m } = f;
    const wide = (x: Ref): Ref => (signed ? m.i64.extend_s(x) : m.i64.extend_u(x));
    const x = wide(a);
    const [y, again] = f.twice(b, f.types.i32);
    const divisor = m.i64.or(wide(y), m.i64.extend_u(m.i32.eqz(again())));
    const quotient = m.i32.wrap(m.i64[signed ? 'div_s' : 'div_u'](x, divisor));
    return m.select(again(), quotient, m.i32.const(0));
  };
  return { scalar, vector: (f, a, b) => laneByLane(f, a, b, scalar) };
};

function laneByLane(f: Frame, a: Ref, b: Ref, scalar: BinaryRow['scalar']): Ref {
  const { m, types } = f;
  const [x, xAgain] = f.twice(a, types.v128);
  const [y, yAgain] = f.twice(b, types.v128);
  let out = m.i32x4.splat(scalar(f, m.i32x4.extract_lane(x, 0), m.i32x4.extract_lane(y, 0)));
  for (let i = 1; i < 4; i++) {
    const lane = scalar(f, m.i32x4.extract_lane(xAgain(), i), m.i32x4.extract_lane(yAgain(), i));
    out = m.i32x4.replace_lane(out, i, lane);
  }
  return out;
}

/** 2^n in each lane, n modulo 32, as u32: built as an f32 and converted. */
function powers(f: Frame, n: Ref): Ref {
  const { m } = f;
  const count = m.v128.and(n, f.vectorI32([31, 31, 31, 31]));
  const biased = m.i32x4.add(count, f.vectorI32([127, 127, 127, 127]));
  return m.i32x4.trunc_sat_f32x4_u(m.i32x4.shl(biased, m.i32.const(23)));
}
/** x >> n = (x * 2^(31 - n)) >> 31 in 64 bits. */
function shiftRightLanes(f: Frame, a: Ref, n: Ref): Ref {
  const { m, types } = f;
  const [x, xAgain] = f.twice(a, types.v128);
  const complement = m.v128.xor(n, f.vectorI32([31, 31, 31, 31]));
  const [p, pAgain] = f.twice(powers(f, complement), types.v128);
  const low = m.i64x2.shr_u(m.i64x2.extmul_low_i32x4_u(x, p), m.i32.const(31));
  const high = m.i64x2.shr_u(m.i64x2.extmul_high_i32x4_u(xAgain(), pAgain()), m.i32.const(31));
  return m.i8x16.shuffle(low, high, [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27]);
}
const shl: BinaryRow = {
  scalar: ({ m }, a, b) => m.i32.shl(a, b),
  vector: (f, a, b) => f.m.i32x4.mul(a, powers(f, b)),
};
const shrUnsigned: BinaryRow = {
  scalar: ({ m }, a, b) => m.i32.shr_u(a, b),
  vector: shiftRightLanes,
};
/** Negative numbers are shifted as their complement. */
const shrSigned: BinaryRow = {
  scalar: ({ m }, a, b) => m.i32.shr_s(a, b),
  vector: (f, a, b) => {
    const { m, types } = f;
    const [x, xAgain] = f.twice(a, types.v128);
    const [sign, signAgain] = f.twice(m.i32x4.shr_s(x, m.i32.const(31)), types.v128);
    return m.v128.xor(shiftRightLanes(f, m.v128.xor(sign, xAgain()), b), signAgain());
  },
};

// ---- the tables ----

export const unaryRows = {
  'neg.f32': floatUnary('neg'),
  'abs.f32': absFloat,
  'floor.f32': floatUnary('floor'),
  'ceil.f32': floatUnary('ceil'),
  'trunc.f32': floatUnary('trunc'),
  'round.f32': floatUnary('nearest'),
  'sqrt.f32': floatUnary('sqrt'),
  'neg.i32': negInt,
  'neg.u32': negInt,
  'abs.i32': absInt,
  'not.i32': notInt,
  'not.u32': notInt,
  'not.bool': notBool,
  'popcount.i32': popcount,
  'popcount.u32': popcount,
} as const satisfies Partial<Record<OpKey, UnaryRow>>;

export const binaryRows = {
  'add.f32': floatBinary('add'),
  'sub.f32': floatBinary('sub'),
  'mul.f32': floatBinary('mul'),
  'div.f32': floatBinary('div'),
  'min.f32': floatBinary('min'),
  'max.f32': floatBinary('max'),
  'add.i32': intBinary('add'),
  'sub.i32': intBinary('sub'),
  'mul.i32': intBinary('mul'),
  'add.u32': intBinary('add'),
  'sub.u32': intBinary('sub'),
  'mul.u32': intBinary('mul'),
  'min.i32': minMax('min_s'),
  'max.i32': minMax('max_s'),
  'min.u32': minMax('min_u'),
  'max.u32': minMax('max_u'),
  'rem.i32': rem('rem_s'),
  'rem.u32': rem('rem_u'),
  'div.i32': wholeDiv(true),
  'div.u32': wholeDiv(false),
  'and.i32': bitwise('and'),
  'or.i32': bitwise('or'),
  'xor.i32': bitwise('xor'),
  'and.u32': bitwise('and'),
  'or.u32': bitwise('or'),
  'xor.u32': bitwise('xor'),
  'and.bool': bitwise('and'),
  'or.bool': bitwise('or'),
  'xor.bool': bitwise('xor'),
  'shl.i32': shl,
  'shl.u32': shl,
  'shr.i32': shrSigned,
  'shr.u32': shrUnsigned,
} as const satisfies Partial<Record<OpKey, BinaryRow>>;

/** Shifts of all lanes by one count. */
export const uniformShifts = {
  'shl.i32': (m: Module, a: Ref, n: Ref) => m.i32x4.shl(a, n),
  'shl.u32': (m: Module, a: Ref, n: Ref) => m.i32x4.shl(a, n),
  'shr.i32': (m: Module, a: Ref, n: Ref) => m.i32x4.shr_s(a, n),
  'shr.u32': (m: Module, a: Ref, n: Ref) => m.i32x4.shr_u(a, n),
} as const;

/** Whole division by a positive literal, as in indices: it cannot trap. */
export const knownDivisor = {
  'div.i32': (m: Module, a: Ref, b: Ref) => m.i32.div_s(a, b),
  'div.u32': (m: Module, a: Ref, b: Ref) => m.i32.div_u(a, b),
  'rem.i32': (m: Module, a: Ref, b: Ref) => m.i32.rem_s(a, b),
  'rem.u32': (m: Module, a: Ref, b: Ref) => m.i32.rem_u(a, b),
} as const;

/** Bools compare as unsigned: masks and 0/1 alike. */
const orders = { f32: '', i32: '_s', u32: '_u', bool: '_u' } as const;
export function compareRef(
  f: Frame,
  op: CompareName,
  s: Scalar,
  lanes: number,
  a: Ref,
  b: Ref,
): Ref {
  const { m } = f;
  const type = s === 'f32' ? 'f32' : 'i32';
  const name = op === 'eq' || op === 'ne' ? op : `${op}${orders[s]}`;
  const table = (lanes === 1 ? m[type] : m[`${type}x4`]) as unknown as Readonly<
    Record<string, (a: Ref, b: Ref) => Ref>
  >;
  return table[name]!(a, b);
}

export const wasmNative: Native = new Set<OpKey>([
  ...(Object.keys(unaryRows) as OpKey[]),
  ...(Object.keys(binaryRows) as OpKey[]),
  'rank.f32',
  'muladd.f32',
  'sums.f32',
  ...lookedUp.map((d): OpKey => `lookup.${d}`),
]);

// Every operation that the type rules allow must be native or have an expansion: this fails to compile otherwise.
type IntUnary =
  | 'neg'
  | 'abs'
  | 'sign'
  | 'floor'
  | 'ceil'
  | 'trunc'
  | 'round'
  | 'roundHalfAway'
  | 'roundHalfUp';
type IntOnly = 'and' | 'or' | 'xor' | 'shl' | 'shr';
type Needed =
  | `${Exclude<UnaryName, 'not' | 'popcount'>}.f32`
  | `${IntUnary | 'not' | 'popcount' | 'exponent' | 'isnan'}.${'i32' | 'u32'}`
  | `${Exclude<BinaryName, IntOnly>}.f32`
  | `${Exclude<BinaryName, 'pow'>}.${'i32' | 'u32'}`
  | `${'and' | 'or' | 'xor' | 'not'}.bool`;
type Missing = Exclude<Needed, keyof typeof unaryRows | keyof typeof binaryRows | Expandable>;
const complete: [Missing] extends [never] ? true : Missing = true;
void complete;
