// The table of what a target may lack: one row an operation, giving it in simpler ones. Rows are shared by all
// backends; a backend names the operations that it has itself (Native) and gets the rest rewritten by expand.ts.
import { type DType, dtypes, type Scalar } from '../ir/dtype.ts';
import type { BinaryName, UnaryName } from '../ir/ops.ts';
import { decodeBits, type Expr } from './loops.ts';
import type { Scope } from './math/arith.ts';
import { exp, exp2, log, log2, tanh } from './math/exponential.ts';
import { decode, decodeBool, encode, encodeBool, roundTo, store } from './math/minifloat.ts';
import { pow } from './math/power.ts';
import {
  absInt,
  exponentFloat,
  exponentInt,
  isNan,
  never,
  popcount,
  remFloat,
  roundHalfAway,
  roundHalfEven,
  roundHalfUp,
  same,
  signFloat,
  signInt,
  signUint,
} from './math/rounding.ts';
import { cos, sin } from './math/trigonometry.ts';

/**
 * `exp.f32`, `rem.i32`, ...; `grid`, `encode`, `decode`, `load` and `store` go by storage dtype, and `lookup`: `decode` of four lanes
 * and more.
 */
export type OpKey =
  | `${UnaryName | BinaryName}.${Scalar}`
  | `${'grid' | 'encode' | 'decode' | 'lookup' | 'load' | 'store'}.${DType}`
  /** Of vectors of 16 lanes and more. */
  | 'rank.f32'
  /** Products and sums as one operation, or as two; of vectors of four lanes. */
  | 'muladd.f32'
  /** Sums are rounded as they are written, never reordered: not what drivers of GPUs promise. */
  | 'sums.f32';
export type Native = ReadonlySet<OpKey>;

export type Expansion = (scope: Scope, ...operands: readonly Expr[]) => Expr;

const floats = {
  'exp.f32': exp,
  'exp2.f32': exp2,
  'log.f32': log,
  'log2.f32': log2,
  'tanh.f32': tanh,
  'sin.f32': sin,
  'cos.f32': cos,
  'pow.f32': pow,
  'rem.f32': remFloat,
  'round.f32': roundHalfEven,
  'roundHalfAway.f32': roundHalfAway,
  'roundHalfUp.f32': roundHalfUp,
  'sign.f32': signFloat,
  'exponent.f32': exponentFloat,
  'isnan.f32': isNan,
} as const satisfies Partial<Record<OpKey, Expansion>>;

/**
 * Made in vectors also for a single element, where products and sums may be one operation in vectors only: an element is then
 * the same wherever it stands.
 */
export const inVectors: ReadonlySet<OpKey> = new Set<OpKey>([
  'exp.f32',
  'exp2.f32',
  'log.f32',
  'log2.f32',
  'tanh.f32',
  'sin.f32',
  'cos.f32',
]);

/** Integers are whole already, and never NaN. */
const integers = {
  'floor.i32': same,
  'ceil.i32': same,
  'trunc.i32': same,
  'round.i32': same,
  'roundHalfAway.i32': same,
  'roundHalfUp.i32': same,
  'floor.u32': same,
  'ceil.u32': same,
  'trunc.u32': same,
  'round.u32': same,
  'roundHalfAway.u32': same,
  'roundHalfUp.u32': same,
  'abs.i32': absInt,
  'abs.u32': same,
  'sign.i32': signInt,
  'sign.u32': signUint,
  'exponent.i32': exponentInt,
  'exponent.u32': exponentInt,
  'isnan.i32': never,
  'isnan.u32': never,
  'isnan.bool': never,
  'popcount.i32': popcount,
  'popcount.u32': popcount,
} as const satisfies Partial<Record<OpKey, Expansion>>;

/** What every target has to have, or be given, for programs of the language. */
export type Expandable = keyof typeof floats | keyof typeof integers;

const smallFloats = (Object.keys(dtypes) as DType[]).filter((d) => dtypes[d].minifloat);
const small = (name: 'grid' | 'encode' | 'decode', make: (d: DType) => Expansion) =>
  smallFloats.map((d): [OpKey, Expansion] => [`${name}.${d}`, make(d)]);

export const expansions: ReadonlyMap<OpKey, Expansion> = new Map<OpKey, Expansion>([
  ...(Object.entries({ ...floats, ...integers }) as [OpKey, Expansion][]),
  ...small('grid', roundTo),
  ...small('encode', encode),
  ...small('decode', decode),
]);

/** A dtype that a target cannot load or store, as another with the same layout. */
export interface StorageRule {
  readonly as: DType;
  readonly afterLoad: Expansion;
  readonly beforeStore: Expansion;
}

const codeType = { 4: 'u4', 6: 'u6', 8: 'u8', 16: 'u16' } as const;
export const storageRules: ReadonlyMap<DType, StorageRule> = new Map<DType, StorageRule>([
  ...smallFloats.map((d): [DType, StorageRule] => [
    d,
    {
      as: codeType[dtypes[d].bits as keyof typeof codeType],
      // As an operation, which a target may have itself.
      afterLoad: (_, a) => decodeBits(d, a),
      beforeStore: store(d),
    },
  ]),
  ['bool', { as: 'u8', afterLoad: decodeBool, beforeStore: encodeBool }],
]);
