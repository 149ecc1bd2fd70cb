// Reading the arguments of builtins: shapes, axes, options.
import { fail } from '../../diagnostics/diagnostic.ts';
import { type Dim, Poly } from '../../ir/algebra.ts';
import type { DType } from '../../ir/dtype.ts';
import type { Value } from '../../ir/ir.ts';
import { normalizeAxis } from '../../ir/ops.ts';
import type { Stager } from '../stager.ts';
import { describeVal, is, type Val } from '../values.ts';

/** A builtin: gets its staged arguments, returns a static value or a tensor. */
export type Builtin = (s: Stager, args: readonly Val[]) => Val;
export type BuiltinTable = Readonly<Record<string, Builtin>>;

export const wrongArguments = (callee: string, args: readonly Val[], expected: string): never =>
  fail('Q1012', {
    callee: `${callee}()`,
    found: args.map(describeVal).join(', ') || 'no arguments',
    expected,
  });

export function dimsOf(s: Stager, v: Val, callee: string): Dim[] {
  if (is(v, 'array')) return v.items.map((x) => s.ctx.dimOf(x, `A dim of ${callee}()`));
  return [s.ctx.dimOf(v, `The shape of ${callee}()`)];
}

export function axisOf(s: Stager, v: Val, callee: string, x: Value, otherwise: number): number {
  const axis = v === undefined ? otherwise : s.ctx.staticNumber(v, `The axis of ${callee}()`);
  return normalizeAxis(callee, axis, x.type.shape);
}

export function option(args: readonly Val[], index: number, name: string): Val {
  const o = args[index];
  return is(o, 'record') ? o.fields.get(name) : undefined;
}

export function dtypeOf(v: Val, callee: string, otherwise: DType): DType {
  if (v === undefined) return otherwise;
  if (is(v, 'dtype')) return v.dtype;
  return fail('Q1012', {
    callee: `${callee}()`,
    found: describeVal(v),
    expected: 'a dtype such as f32 or u8',
  });
}

export const reshapeTo = (s: Stager, x: Value, shape: readonly Dim[]): Value =>
  s.ctx.builder.one('reshape', [x], { shape });

/** The product of a shape with one -1, solved. */
export function completeShape(x: Value, shape: readonly Dim[]): readonly Dim[] {
  const hole = shape.findIndex((d) => d.constant === -1);
  if (hole < 0) return shape;
  const rest = shape.filter((_, i) => i !== hole).reduce((p, d) => p.mul(d), Poly.of(1));
  const total = x.type.shape.reduce((p, d) => p.mul(d), Poly.of(1));
  const size = rest.terms.size === 0 ? undefined : total.over(rest);
  if (!size)
    return fail('Q2005', {
      from: `[${x.type.shape.join(', ')}]`,
      to: `[${shape.join(', ')}]`,
      a: `${total}`,
      b: `a multiple of ${rest}`,
    });
  return shape.map((d, i) => (i === hole ? size : d));
}
