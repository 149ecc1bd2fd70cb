// Tensor IR: SSA over typed tensors with symbolic shapes. Regions hold the bodies of maps, loops and kernels.
// The table of ops is in ops.ts; this file only says what a value, an op, a region and a function are.
import type { Span } from '../diagnostics/diagnostic.ts';
import type { Dim } from './algebra.ts';
import type { DType } from './dtype.ts';
import type { OpAttrs, OpName } from './ops.ts';

export interface TensorType {
  readonly dtype: DType;
  /** Rank 0 is a scalar. */
  readonly shape: readonly Dim[];
}

export interface Value {
  readonly id: number;
  readonly type: TensorType;
  /** The author's name for it, if it has one: diagnostics and dumps use it. */
  name?: string;
  /** The op that made it; parameters of functions and regions have none. */
  def?: { readonly op: Op; readonly index: number };
}

export interface Op<K extends OpName = OpName> {
  readonly name: K;
  readonly operands: readonly Value[];
  readonly attrs: OpAttrs[K];
  readonly regions: readonly Region[];
  readonly results: readonly Value[];
  readonly span: Span;
}

export interface Region {
  readonly params: readonly Value[];
  readonly ops: readonly Op[];
  readonly yields: readonly Value[];
}

/** Something a call must satisfy: `poly` divisible by `modulus`, checked at dispatch. */
export interface Constraint {
  readonly poly: Dim;
  readonly modulus: number;
  /** Who asked for it, in the author's words. */
  readonly reason: string;
}

/** How a parameter or a result of a function looks from outside. */
export type Signature =
  | { readonly kind: 'tensor'; readonly name: string; readonly values: readonly [Value] }
  | {
      readonly kind: 'encoded';
      readonly name: string;
      /** Identity of the format: see FormatRef in artifact.ts. */
      readonly format: string;
      readonly shape: readonly Dim[];
      readonly fields: readonly string[];
      /** One value a field, in the order of `fields`. */
      readonly values: readonly Value[];
    };

export interface Func {
  readonly name: string;
  /** Dims in the order of their first use in the signature. */
  readonly dims: readonly string[];
  readonly constraints: readonly Constraint[];
  readonly params: readonly Signature[];
  readonly results: readonly Signature[];
  /** params: the values of `params`, flattened; yields: those of `results`. */
  readonly body: Region;
}

export const isScalar = (v: Value): boolean => v.type.shape.length === 0;

/** Calls `visit` for every op, inner regions included, in program order. */
export function walk(region: Region, visit: (op: Op, inside: Region) => void): void {
  for (const op of region.ops) {
    visit(op, region);
    for (const r of op.regions) walk(r, visit);
  }
}

/** The operand that a result of an op starts as: of an update, and of what a loop carries. */
export function startOf(op: Op, result: number): Value | undefined {
  if (op.name === 'set') return op.operands[0];
  if (op.name === 'while') return op.operands[result];
  if (op.name !== 'for') return undefined;
  return op.operands[(op as Op<'for'>).attrs.extent === undefined ? result + 1 : result];
}
