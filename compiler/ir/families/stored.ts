// Ops that are made by statements and always have storage of their own: an update of a part of a tensor, and
// sorting. Everything else that runs in order is a loop in the language over these.
import { fail } from '../../diagnostics/diagnostic.ts';
import { sameDims, shapeText } from '../algebra.ts';
import { dtypes, isFloat } from '../dtype.ts';
import type { StoredName } from '../ops.ts';
import { type Family, normalizeAxis, t, typeText } from './rules.ts';

export const storedOps: Family<StoredName> = {
  set: {
    kind: 'stored',
    cost: 1000,
    type: ([x, value, ...ids]) => {
      if (ids.length > x!.shape.length)
        fail('Q2006', {
          op: 'set',
          found: `${ids.length} indices into ${typeText(x!)}`,
          expected: 'at most one index an axis',
        });
      for (const i of ids)
        if (isFloat(i.dtype) || i.dtype === 'bool' || i.shape.length)
          fail('Q2004', { op: 'set', found: typeText(i), expected: 'integer scalars as indices' });
      const part = x!.shape.slice(ids.length);
      if (!sameDims(value!.shape, part))
        fail('Q2006', {
          op: 'set',
          found: `a value ${typeText(value!)} for a part of shape ${shapeText(part)}`,
          expected: 'a value of the shape that the indices leave, or one that broadcasts to it',
        });
      if (value!.dtype !== x!.dtype)
        fail('Q2004', {
          op: 'set',
          found: `a value of ${value!.dtype} for a tensor of ${x!.dtype}`,
          expected: `a value of ${x!.dtype}`,
        });
      return [t(x!.dtype, x!.shape)];
    },
  },
  sort: {
    kind: 'stored',
    cost: 1000,
    type: ([x], a) => {
      normalizeAxis('sort', a.axis, x!.shape);
      if (dtypes[x!.dtype].bits % 8 !== 0)
        fail('Q2004', { op: 'sort', found: x!.dtype, expected: 'a dtype of whole bytes' });
      return [t(x!.dtype, x!.shape), t('i32', x!.shape)];
    },
  },
};
