// Operations as WGSL: one row each. What has no row is expanded into what has (compiler/loops/expand.ts); a missing
// one is a type error. Transcendental functions are expanded: those of WGSL are as exact as a driver likes.
import type { Scalar } from '../../compiler/ir/dtype.ts';
import type { BinaryName, CompareName, UnaryName } from '../../compiler/ir/ops.ts';
import type { Expandable, Native, OpKey } from '../../compiler/loops/expansions.ts';
import type { ReduceOp } from '../../compiler/loops/loops.ts';
import type { PartName } from './prelude.ts';

/**
 * How tight an operator binds. WGSL wants parentheses around comparisons in lists of arguments (where < could start a
 * template) and between shifts, bitwise and other operators.
 */
export const levels = { compare: 0, loose: 1, add: 7, mul: 8, prefix: 9, atom: 10 } as const;

/** An operator, a builtin, or a function of the prelude (of which there is one a width). */
export type Row =
  | { readonly infix: string; readonly level: number }
  | { readonly prefix: string }
  | { readonly call: string }
  | { readonly part: PartName };

const call = (name: string): Row => ({ call: name });
const infix = (sign: string, level: number = levels.loose): Row => ({ infix: sign, level });
const part = (name: PartName): Row => ({ part: name });
const prefix = (sign: string): Row => ({ prefix: sign });

export const unaryRows = {
  'neg.f32': prefix('-'),
  'neg.i32': prefix('-'),
  'neg.u32': part('negate'),
  'abs.f32': call('abs'),
  'abs.i32': call('abs'),
  'sqrt.f32': call('sqrt'),
  'floor.f32': call('floor'),
  'ceil.f32': call('ceil'),
  'trunc.f32': call('trunc'),
  'round.f32': call('round'),
  'isnan.f32': part('is_nan'),
  'not.i32': prefix('~'),
  'not.u32': prefix('~'),
  'not.bool': prefix('!'),
  'popcount.i32': part('bit_count'),
  'popcount.u32': part('bit_count_u'),
} as const satisfies Partial<Record<OpKey, Row>>;

const integer = {
  add: infix('+', levels.add),
  sub: infix('-', levels.add),
  mul: infix('*', levels.mul),
  and: infix('&'),
  or: infix('|'),
  xor: infix('^'),
  shl: infix('<<'),
  shr: infix('>>'),
  min: call('min'),
  max: call('max'),
} as const;

export const binaryRows = {
  'add.f32': infix('+', levels.add),
  'sub.f32': infix('-', levels.add),
  'mul.f32': infix('*', levels.mul),
  'div.f32': infix('/', levels.mul),
  'min.f32': part('min_nan'),
  'max.f32': part('max_nan'),
  'add.i32': integer.add,
  'sub.i32': integer.sub,
  'mul.i32': integer.mul,
  'and.i32': integer.and,
  'or.i32': integer.or,
  'xor.i32': integer.xor,
  'shl.i32': integer.shl,
  'shr.i32': integer.shr,
  'min.i32': integer.min,
  'max.i32': integer.max,
  'div.i32': part('int_div'),
  'rem.i32': part('int_rem'),
  'add.u32': integer.add,
  'sub.u32': integer.sub,
  'mul.u32': integer.mul,
  'and.u32': integer.and,
  'or.u32': integer.or,
  'xor.u32': integer.xor,
  'shl.u32': integer.shl,
  'shr.u32': integer.shr,
  'min.u32': integer.min,
  'max.u32': integer.max,
  'div.u32': part('int_div_u'),
  'rem.u32': part('int_rem_u'),
  'and.bool': infix('&'),
  'or.bool': infix('|'),
  'xor.bool': infix('!=', levels.compare),
  'min.bool': infix('&'),
  'max.bool': infix('|'),
} as const satisfies Partial<Record<OpKey, Row>>;

/** Whole division by a positive literal needs no guard. */
export const knownDivisor: { readonly [k: string]: Row } = {
  'div.i32': infix('/', levels.mul),
  'div.u32': infix('/', levels.mul),
  'rem.i32': infix('%', levels.mul),
  'rem.u32': infix('%', levels.mul),
};

export const compareRows: { readonly [C in CompareName]: string } = {
  eq: '==',
  ne: '!=',
  lt: '<',
  le: '<=',
  gt: '>',
  ge: '>=',
};

/** How two values are combined, by scalar type. */
export const combineKey = (op: ReduceOp, scalar: Scalar): string =>
  `${op === 'add' && scalar === 'bool' ? 'or' : op}.${scalar}`;

/** f16 is read natively, and so is f8e5m2, its upper half. What is written is made of bits: WGSL rounds as it likes. */
export const wgslNative: Native = new Set<OpKey>([
  ...(Object.keys(unaryRows) as OpKey[]),
  ...(Object.keys(binaryRows) as OpKey[]),
  'load.f16',
  'decode.f16',
  'decode.f8e5m2',
]);

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
type Ints = Extract<Scalar, 'i32' | 'u32'>;
type Needed =
  | `${Exclude<UnaryName, 'not' | 'popcount'>}.f32`
  | `${IntUnary | 'not' | 'popcount' | 'exponent' | 'isnan'}.${Ints}`
  | `${Exclude<BinaryName, IntOnly>}.f32`
  | `${Exclude<BinaryName, 'pow'>}.${Ints}`
  | `${'and' | 'or' | 'xor' | 'not'}.bool`;
type Missing = Exclude<Needed, keyof typeof unaryRows | keyof typeof binaryRows | Expandable>;
const complete: [Missing] extends [never] ? true : Missing = true;
void complete;
