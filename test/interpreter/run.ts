// Runs single ops through the interpreter: builds the function around them, and its dims from the
// inputs.
import {
  type Concrete,
  type InterpretOptions,
  interpret,
} from '../../compiler/interpreter/interpret.ts';
import { Poly } from '../../compiler/ir/algebra.ts';
import { Builder } from '../../compiler/ir/builder.ts';
import { type DType, dtypes, isFloat } from '../../compiler/ir/dtype.ts';
import type { Func, Value } from '../../compiler/ir/ir.ts';
import type { OpAttrs, OpName } from '../../compiler/ir/ops.ts';
import { parseFunc } from '../../compiler/ir/parser.ts';
import { verifyOrThrow } from '../../compiler/ir/verifier.ts';

/** A tensor of the given values; the shape is that of a vector unless one is given. */
export function t(
  dtype: DType,
  values: readonly number[],
  shape: readonly number[] = [values.length],
): Concrete {
  const { kind } = dtypes[dtype];
  const data = isFloat(dtype)
    ? Float32Array.from(values)
    : kind === 'bool'
      ? Uint8Array.from(values)
      : kind === 'uint'
        ? Uint32Array.from(values)
        : Int32Array.from(values);
  return { dtype, shape, data };
}

/** Results of what `make` builds over parameters of the inputs' types. */
export function evaluate(
  inputs: readonly Concrete[],
  make: (b: Builder, params: readonly Value[]) => readonly Value[],
  options?: InterpretOptions,
): Concrete[] {
  const b = new Builder();
  const params = inputs.map((x, i) =>
    b.param({ dtype: x.dtype, shape: x.shape.map((n) => Poly.of(n)) }, `p${i}`),
  );
  const body = b.region(params, () => make(b, params));
  const func: Func = {
    name: 'f',
    dims: [],
    constraints: [],
    body,
    params: params.map((v) => ({ kind: 'tensor', name: v.name!, values: [v] })),
    results: body.yields.map((v, i) => ({ kind: 'tensor', name: `r${i}`, values: [v] })),
  };
  verifyOrThrow(func, 'in the test');
  return interpret(func, inputs, options);
}

export const op = <K extends OpName>(
  name: K,
  attrs: OpAttrs[K],
  inputs: readonly Concrete[],
  options?: InterpretOptions,
): Concrete => evaluate(inputs, (b, params) => b.op(name, params, attrs), options)[0]!;

/** Runs a function that is written as text. */
export const text = (
  source: string,
  inputs: readonly Concrete[],
  options?: InterpretOptions,
): Concrete[] => interpret(parseFunc(source), inputs, options);

export const values = (x: Concrete): number[] => Array.from(x.data);
export const poly = (n: number): Poly => Poly.of(n);
