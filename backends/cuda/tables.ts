// Operations as CUDA C: one row each. What has no row is expanded into what has (compiler/loops/expand.ts); a missing
// one is a type error.
import type { Scalar } from '../../compiler/ir/dtype.ts';
import type { BinaryName, CompareName, UnaryName } from '../../compiler/ir/ops.ts';
import type { Expandable, Native, OpKey } from '../../compiler/loops/expansions.ts';
import type { ReduceOp } from '../../compiler/loops/loops.ts';
import type { PartName } from './prelude.ts';

/** An infix operator with its level, or a function; `part` is what it needs of the prelude. */
export type Row =
  | { readonly infix: string; readonly level: number }
  | { readonly call: string; readonly part?: PartName };

const call = (name: string, part?: PartName): Row => ({ call: name, ...(part ? { part } : {}) });
const infix = (sign: string, level: number): Row => ({ infix: sign, level });

/** Levels of C's operators; a higher one binds tighter. */
export const levels = {
  or: 1,
  xor: 2,
  and: 3,
  equal: 4,
  order: 5,
  shift: 6,
  add: 7,
  mul: 8,
  prefix: 9,
  atom: 10,
} as const;

export const unaryRows = {
  'neg.f32': call('-'),
  'neg.i32': call('-'),
  'neg.u32': call('-'),
  'abs.f32': call('fabsf'),
  'abs.i32': call('abs'),
  'sqrt.f32': call('sqrtf'),
  'floor.f32': call('floorf'),
  'ceil.f32': call('ceilf'),
  'trunc.f32': call('truncf'),
  'round.f32': call('rintf'),
  'roundHalfAway.f32': call('roundf'),
  'exp.f32': call('expf'),
  'exp2.f32': call('exp2f'),
  'log.f32': call('logf'),
  'log2.f32': call('log2f'),
  'sin.f32': call('sinf'),
  'cos.f32': call('cosf'),
  'tanh.f32': call('tanhf'),
  'isnan.f32': call('isnan'),
  'not.i32': call('~'),
  'not.u32': call('~'),
  'not.bool': call('!'),
  'popcount.i32': call('__popc'),
  'popcount.u32': call('__popc'),
} as const satisfies Partial<Record<OpKey, Row>>;

const integer = {
  add: infix('+', levels.add),
  sub: infix('-', levels.add),
  mul: infix('*', levels.mul),
  and: infix('&', levels.and),
  or: infix('|', levels.or),
  xor: infix('^', levels.xor),
  shl: infix('<<', levels.shift),
  shr: infix('>>', levels.shift),
  min: call('min'),
  max: call('max'),
} as const;

export const binaryRows = {
  'add.f32': infix('+', levels.add),
  'sub.f32': infix('-', levels.add),
  'mul.f32': infix('*', levels.mul),
  'div.f32': infix('/', levels.mul),
  'rem.f32': call('fmodf'),
  'pow.f32': call('power', 'power'),
  'min.f32': call('min_nan', 'min_nan'),
  'max.f32': call('max_nan', 'max_nan'),
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
  'div.i32': call('int_div', 'int_div'),
  'rem.i32': call('int_rem', 'int_rem'),
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
  'div.u32': call('int_div', 'int_div'),
  'rem.u32': call('int_rem', 'int_rem'),
  'and.bool': infix('&', levels.and),
  'or.bool': infix('|', levels.or),
  'xor.bool': infix('^', levels.xor),
  'min.bool': infix('&', levels.and),
  'max.bool': infix('|', levels.or),
} as const satisfies Partial<Record<OpKey, Row>>;

/** Whole division by a positive literal needs no guard. */
export const knownDivisor: { readonly [k: string]: Row } = {
  'div.i32': infix('/', levels.mul),
  'div.u32': infix('/', levels.mul),
  'rem.i32': infix('%', levels.mul),
  'rem.u32': infix('%', levels.mul),
};
/** i32 arithmetic that may leave the range, where C leaves it open what happens. */
export const wrapping: { readonly [k: string]: PartName } = {
  add: 'add_wrap',
  sub: 'sub_wrap',
  mul: 'mul_wrap',
};

export const compareRows: { readonly [C in CompareName]: readonly [string, number] } = {
  eq: ['==', levels.equal],
  ne: ['!=', levels.equal],
  lt: ['<', levels.order],
  le: ['<=', levels.order],
  gt: ['>', levels.order],
  ge: ['>=', levels.order],
};

export const combineRows: { readonly [R in ReduceOp]: PartName } = {
  add: 'Add',
  min: 'Min',
  max: 'Max',
  and: 'And',
  or: 'Or',
};

/** f16 is native throughout: its conversions are exact or round to nearest even. */
export const cudaNative: Native = new Set<OpKey>([
  ...(Object.keys(unaryRows) as OpKey[]),
  ...(Object.keys(binaryRows) as OpKey[]),
  'load.f16',
  'store.f16',
  'decode.f16',
  'encode.f16',
  'grid.f16',
  'load.bool',
  'store.bool',
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
