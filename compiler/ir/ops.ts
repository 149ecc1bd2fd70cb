// The op table of the tensor IR. One row an op: its attributes (OpAttrs) here, its type rule and its cost in the file
// of its family; what elementwise ops mean on single numbers is in meaning.ts. The interpreter, the printer and the
// lowering hold tables over the same names, so that a missing entry is a type error.
import type { Dim } from './algebra.ts';
import type { DType } from './dtype.ts';
import { elementwise } from './families/elementwise.ts';
import { reductions } from './families/reductions.ts';
import { regions } from './families/regions.ts';
import { storedOps } from './families/stored.ts';
import { views } from './families/views.ts';
import type { Region, TensorType } from './ir.ts';

export { broadcastShapes, normalizeAxis, typeText } from './families/rules.ts';

export type UnaryName =
  | 'neg'
  | 'abs'
  | 'sign'
  | 'floor'
  | 'ceil'
  | 'trunc'
  | 'round'
  | 'roundHalfAway'
  | 'roundHalfUp'
  | 'sqrt'
  | 'exp'
  | 'exp2'
  | 'log'
  | 'log2'
  | 'sin'
  | 'cos'
  | 'tanh'
  | 'not'
  | 'popcount'
  | 'exponent'
  | 'isnan';
export type BinaryName =
  | 'add'
  | 'sub'
  | 'mul'
  | 'div'
  | 'rem'
  | 'pow'
  | 'min'
  | 'max'
  | 'and'
  | 'or'
  | 'xor'
  | 'shl'
  | 'shr';
export type CompareName = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge';
export type ReduceName = 'sum' | 'amin' | 'amax' | 'any' | 'all';
export type ArgReduceName = 'argmin' | 'argmax';
export type LeafName = 'const' | 'table' | 'iota' | 'dim';
export type ViewName =
  | 'bitcast'
  | 'broadcast'
  | 'reshape'
  | 'transpose'
  | 'slice'
  | 'concat'
  | 'pad'
  | 'gather'
  | 'at'
  | 'materialize';
/** Made by statements: they always have storage of their own. */
export type StoredName = 'set' | 'sort';
export type RegionName = 'map' | 'for' | 'while' | 'if' | 'kernel';

type None = Readonly<Record<never, never>>;
export interface ReduceAttrs {
  readonly axes: readonly number[];
  readonly keepdims: boolean;
}

export type OpAttrs = { readonly [U in UnaryName | BinaryName | CompareName]: None } & {
  readonly [R in ReduceName | ArgReduceName]: ReduceAttrs;
} & {
  /** A scalar literal. */
  readonly const: { readonly value: number; readonly dtype: DType };
  /** A constant tensor, row-major: codebooks, masks. */
  readonly table: {
    readonly data: readonly number[];
    readonly dtype: DType;
    readonly shape: readonly Dim[];
  };
  /** 0, 1, ..., size-1 as i32. */
  readonly iota: { readonly size: Dim };
  /** The run-time value of a symbolic dim, as i32. */
  readonly dim: { readonly dim: Dim };
  /** Elementwise choice: condition, then, else. */
  readonly select: None;
  /** Value-preserving where it can be; see castValue in dtype.ts. */
  readonly cast: { readonly dtype: DType };
  /** Same bits, other dtype. Narrower appends an axis of the ratio, wider removes it (little-endian). */
  readonly bitcast: { readonly dtype: DType };
  readonly broadcast: { readonly shape: readonly Dim[] };
  readonly reshape: { readonly shape: readonly Dim[] };
  readonly transpose: { readonly perm: readonly number[] };
  readonly slice: { readonly axis: number; readonly start: Dim; readonly size: Dim };
  readonly concat: { readonly axis: number };
  /** Operands: x, fill (a scalar). */
  readonly pad: { readonly axis: number; readonly low: Dim; readonly high: Dim };
  /** Operands: x, integer indices. Indices are clamped into the axis. */
  readonly gather: { readonly axis: number };
  /** Operands: x, one scalar index for each leading axis. Indices are clamped. */
  readonly at: None;
  /** The same elements, which have storage of their own. */
  readonly materialize: None;
  /** [..., M, K] x [..., K, N]; leading axes broadcast. f32 sums, or i32 sums for integers. */
  readonly matmul: None;
  /**
   * Operands: x, value, one scalar index for each leading axis. x with that part replaced by the value, which has
   * the shape of what the indices leave; nothing is replaced where an index is outside of its axis.
   */
  readonly set: None;
  /**
   * Results: the elements in order along the axis, and their indices as i32. Stable in both directions; a NaN counts
   * as the largest.
   */
  readonly sort: { readonly axis: number; readonly descending: boolean };
  /** Parallel map: the region takes one index a dim; each result is dims ++ the yielded shape. */
  readonly map: { readonly dims: readonly Dim[] };
  /** Operands: [trip count scalar if `extent` is absent], initial values. Region: (i, carried...) -> carried. */
  readonly for: { readonly extent?: Dim };
  /** Operands: initial values. Regions: (carried...) -> condition; (carried...) -> carried. */
  readonly while: None;
  /** Operand: condition. Regions: () -> values; () -> values. */
  readonly if: None;
  /** A fused group: one loop nest. Captures are implicit; results are materialised. */
  readonly kernel: { readonly name: string; readonly schedule: string };
};
export type OpName = keyof OpAttrs;

export type TypeRule<K extends OpName> = (
  operands: readonly TensorType[],
  attrs: OpAttrs[K],
  regions: readonly Region[],
) => readonly TensorType[];

export interface OpInfo<K extends OpName> {
  /** Result element i depends only on finitely many operand elements found by index arithmetic. */
  readonly kind:
    | 'leaf'
    | 'unary'
    | 'binary'
    | 'compare'
    | 'elementwise'
    | 'view'
    | 'reduce'
    | 'contract'
    | 'stored'
    | 'region';
  readonly type: TypeRule<K>;
  /** Relative cost of one element, 1 = an addition: guides the choice between recomputing and storing. */
  readonly cost: number;
}

export const ops: { readonly [K in OpName]: OpInfo<K> } = {
  ...elementwise,
  ...views,
  ...reductions,
  ...storedOps,
  ...regions,
};

export const isUnary = (n: OpName): n is UnaryName => ops[n].kind === 'unary';
export const isBinary = (n: OpName): n is BinaryName => ops[n].kind === 'binary';
export const isCompare = (n: OpName): n is CompareName => ops[n].kind === 'compare';
