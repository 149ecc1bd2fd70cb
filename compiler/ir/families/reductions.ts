// Reductions and the contraction: each element of the result takes in a whole axis or several.
import { fail } from '../../diagnostics/diagnostic.ts';
import { type Dim, Poly } from '../algebra.ts';
import { type DType, promote, scalarOf } from '../dtype.ts';
import type { TensorType } from '../ir.ts';
import type { ArgReduceName, OpInfo, ReduceAttrs, ReduceName } from '../ops.ts';
import { broadcastShapes, type Family, normalizeAxis, t, typeText } from './rules.ts';

function reducedShape(op: string, x: TensorType, { axes, keepdims }: ReduceAttrs): readonly Dim[] {
  for (const a of axes) normalizeAxis(op, a, x.shape);
  return keepdims
    ? x.shape.map((d, i) => (axes.includes(i) ? Poly.of(1) : d))
    : x.shape.filter((_, i) => !axes.includes(i));
}
const reduction = (op: ReduceName): OpInfo<ReduceName> => ({
  kind: 'reduce',
  cost: 1000,
  type: ([x], attrs) => {
    const wantsBool = op === 'any' || op === 'all';
    if (wantsBool !== (x!.dtype === 'bool') && wantsBool)
      fail('Q2004', { op, found: x!.dtype, expected: 'bool' });
    const s = scalarOf(x!.dtype);
    const out: DType = wantsBool ? 'bool' : s === 'bool' ? 'i32' : s;
    return [t(out, reducedShape(op, x!, attrs))];
  },
});
const argReduction = (op: ArgReduceName): OpInfo<ArgReduceName> => ({
  kind: 'reduce',
  cost: 1000,
  type: ([x], attrs) => [t('i32', reducedShape(op, x!, attrs))],
});

export const reductions: Family<ReduceName | ArgReduceName | 'matmul'> = {
  matmul: {
    kind: 'contract',
    cost: 1000,
    type: ([a, b]) => {
      const p = a!.shape;
      const q = b!.shape;
      const text = { a: typeText(a!), b: typeText(b!) };
      if (p.length < 2 || q.length < 2)
        fail('Q2002', { ...text, inner: 'both operands need two axes' });
      const k = p.at(-1)!;
      const l = q.at(-2)!;
      if (!k.equals(l)) fail('Q2002', { ...text, inner: `${k} is not ${l}` });
      const batch = broadcastShapes('matmul', [p.slice(0, -2), q.slice(0, -2)]);
      const s = promote(a!.dtype, b!.dtype);
      return [t(s, [...batch, p.at(-2)!, q.at(-1)!])];
    },
  },
  sum: reduction('sum'),
  amin: reduction('amin'),
  amax: reduction('amax'),
  any: reduction('any'),
  all: reduction('all'),
  argmin: argReduction('argmin'),
  argmax: argReduction('argmax'),
};
