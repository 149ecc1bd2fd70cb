// What the type rules of several families share: shapes by broadcasting, axes, types as text.
import { fail } from '../../diagnostics/diagnostic.ts';
import { type Dim, shapeText } from '../algebra.ts';
import type { DType } from '../dtype.ts';
import type { TensorType } from '../ir.ts';
import type { OpInfo, OpName } from '../ops.ts';

/** The rows of one family of ops: a missing one is a type error. */
export type Family<K extends OpName> = { readonly [N in K]: OpInfo<N> };

export const t = (dtype: DType, shape: readonly Dim[]): TensorType => ({ dtype, shape });
export const typeText = (x: TensorType): string =>
  `${x.dtype}${x.shape.length ? shapeText(x.shape) : ''}`;

/** NumPy broadcasting over symbolic dims: only a literal 1 stretches. */
export function broadcastShapes(op: string, shapes: readonly (readonly Dim[])[]): readonly Dim[] {
  let out: readonly Dim[] = [];
  for (const s of shapes) {
    const [long, short] = s.length > out.length ? [s, out] : [out, s];
    const shift = long.length - short.length;
    out = long.map((d, i) => {
      const o = i < shift ? undefined : short[i - shift]!;
      if (!o || o.constant === 1 || o.equals(d)) return d;
      if (d.constant === 1) return o;
      return fail('Q2001', {
        op,
        a: shapeText(long),
        b: shapeText(short),
        why: `${d} is not ${o}`,
      });
    });
  }
  return out;
}

export function normalizeAxis(op: string, axis: number, shape: readonly Dim[]): number {
  const a = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(a) || a < 0 || a >= shape.length)
    fail('Q2003', { op, axis, shape: shapeText(shape) });
  return a;
}
