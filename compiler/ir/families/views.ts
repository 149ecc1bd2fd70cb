// Leaves, and views: ops whose elements are elements of their operands, found by index arithmetic.
import { fail } from '../../diagnostics/diagnostic.ts';
import { Poly, product, sameDims, shapeText } from '../algebra.ts';
import { dtypes, isFloat, promote } from '../dtype.ts';
import type { LeafName, ViewName } from '../ops.ts';
import { broadcastShapes, type Family, normalizeAxis, t, typeText } from './rules.ts';

export const views: Family<LeafName | ViewName> = {
  const: { kind: 'leaf', cost: 0, type: (_, a) => [t(a.dtype, [])] },
  table: { kind: 'leaf', cost: 2, type: (_, a) => [t(a.dtype, a.shape)] },
  iota: { kind: 'leaf', cost: 0, type: (_, a) => [t('i32', [a.size])] },
  dim: { kind: 'leaf', cost: 0, type: () => [t('i32', [])] },
  bitcast: {
    kind: 'view',
    cost: 2,
    type: ([x], a) => {
      const from = dtypes[x!.dtype].bits;
      const to = dtypes[a.dtype].bits;
      if (from === to) return [t(a.dtype, x!.shape)];
      if (from % 8 || to % 8 || x!.dtype === 'bool' || a.dtype === 'bool')
        fail('Q2004', {
          op: 'bitcast',
          found: `${x!.dtype} to ${a.dtype}`,
          expected: 'equal widths, or whole bytes on both sides',
        });
      if (from > to) return [t(a.dtype, [...x!.shape, Poly.of(from / to)])];
      if (x!.shape.at(-1)?.constant !== to / from)
        fail('Q2006', {
          op: 'bitcast',
          found: typeText(x!),
          expected: `a last axis of ${to / from}`,
        });
      return [t(a.dtype, x!.shape.slice(0, -1))];
    },
  },
  broadcast: {
    kind: 'view',
    cost: 0,
    type: ([x], a) => {
      const s = broadcastShapes('broadcast', [x!.shape, a.shape]);
      if (!sameDims(s, a.shape))
        fail('Q2001', {
          op: 'broadcast',
          a: shapeText(x!.shape),
          b: shapeText(a.shape),
          why: 'the result would be larger',
        });
      return [t(x!.dtype, a.shape)];
    },
  },
  reshape: {
    kind: 'view',
    cost: 0,
    type: ([x], a) => {
      const from = product(x!.shape);
      const to = product(a.shape);
      if (!from.equals(to))
        fail('Q2005', {
          from: shapeText(x!.shape),
          to: shapeText(a.shape),
          a: `${from}`,
          b: `${to}`,
        });
      return [t(x!.dtype, a.shape)];
    },
  },
  materialize: { kind: 'view', cost: 0, type: ([x]) => [t(x!.dtype, x!.shape)] },
  transpose: {
    kind: 'view',
    cost: 0,
    type: ([x], a) => {
      if (
        a.perm.length !== x!.shape.length ||
        [...a.perm].sort((p, q) => p - q).some((p, i) => p !== i)
      )
        fail('Q2006', {
          op: 'transpose',
          found: `axes [${a.perm.join(', ')}] of ${shapeText(x!.shape)}`,
          expected: 'every axis once',
        });
      return [
        t(
          x!.dtype,
          a.perm.map((p) => x!.shape[p]!),
        ),
      ];
    },
  },
  slice: {
    kind: 'view',
    cost: 0,
    type: ([x], a) => {
      const axis = normalizeAxis('slice', a.axis, x!.shape);
      const [roomLow] = x!.shape[axis]!.sub(a.start).sub(a.size).bounds();
      if (roomLow < 0 && x!.shape[axis]!.sub(a.start).sub(a.size).constant !== undefined)
        fail('Q2008', {
          what: 'slice',
          found: `${a.start} .. ${a.start.add(a.size)} of ${x!.shape[axis]}`,
        });
      return [
        t(
          x!.dtype,
          x!.shape.map((d, i) => (i === axis ? a.size : d)),
        ),
      ];
    },
  },
  concat: {
    kind: 'view',
    cost: 2,
    type: (xs, a) => {
      const axis = normalizeAxis('concat', a.axis, xs[0]!.shape);
      let size = Poly.of(0);
      let dtype = xs[0]!.dtype;
      for (const x of xs) {
        if (
          x.shape.length !== xs[0]!.shape.length ||
          x.shape.some((d, i) => i !== axis && !d.equals(xs[0]!.shape[i]!))
        )
          fail('Q2001', {
            op: 'concat',
            a: shapeText(xs[0]!.shape),
            b: shapeText(x.shape),
            why: `they differ in another axis than ${axis}`,
          });
        size = size.add(x.shape[axis]!);
        if (x.dtype !== dtype) dtype = promote(x.dtype, dtype);
      }
      return [
        t(
          dtype,
          xs[0]!.shape.map((d, i) => (i === axis ? size : d)),
        ),
      ];
    },
  },
  pad: {
    kind: 'view',
    cost: 2,
    type: ([x], a) => {
      const axis = normalizeAxis('pad', a.axis, x!.shape);
      return [
        t(
          x!.dtype,
          x!.shape.map((d, i) => (i === axis ? d.add(a.low).add(a.high) : d)),
        ),
      ];
    },
  },
  gather: {
    kind: 'view',
    cost: 3,
    type: ([x, i], a) => {
      const axis = normalizeAxis('gather', a.axis, x!.shape);
      if (isFloat(i!.dtype))
        fail('Q2004', { op: 'gather', found: i!.dtype, expected: 'integer indices' });
      return [t(x!.dtype, [...x!.shape.slice(0, axis), ...i!.shape, ...x!.shape.slice(axis + 1)])];
    },
  },
  at: {
    kind: 'view',
    cost: 1,
    type: ([x, ...is]) => {
      if (is.length > x!.shape.length)
        fail('Q2006', {
          op: 'at',
          found: `${is.length} indices into ${typeText(x!)}`,
          expected: 'at most one index an axis',
        });
      for (const i of is) {
        if (isFloat(i.dtype))
          fail('Q2004', { op: 'at', found: i.dtype, expected: 'integer indices' });
        if (i.shape.length)
          fail('Q2006', {
            op: 'at',
            found: typeText(i),
            expected: 'scalar indices; use gather for a tensor of indices',
          });
      }
      return [t(x!.dtype, x!.shape.slice(is.length))];
    },
  },
};
