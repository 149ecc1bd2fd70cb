// Elementwise ops: one result an element, operands broadcast. What they do to numbers is in meaning.ts.
import { fail } from '../../diagnostics/diagnostic.ts';
import { isFloat, promote, scalarOf } from '../dtype.ts';
import type { BinaryName, CompareName, OpInfo, UnaryName } from '../ops.ts';
import { broadcastShapes, type Family, t } from './rules.ts';

const floatOnly = (cost: number): OpInfo<UnaryName> => ({
  kind: 'unary',
  cost,
  type: ([x]) => [t('f32', x!.shape)],
});
/** Keeps integers as they are: rounding an integer is the identity. */
const numeric = (op: string, cost = 1): OpInfo<UnaryName> => ({
  kind: 'unary',
  cost,
  type: ([x]) => {
    const s = scalarOf(x!.dtype);
    if (s === 'bool') fail('Q2004', { op, found: 'bool', expected: 'a number' });
    return [t(s, x!.shape)];
  },
});
const arithmetic = (op: string, cost = 1): OpInfo<BinaryName> => ({
  kind: 'binary',
  cost,
  type: ([a, b]) => [t(promote(a!.dtype, b!.dtype), broadcastShapes(op, [a!.shape, b!.shape]))],
});
const bitwise = (op: string, bools: boolean): OpInfo<BinaryName> => ({
  kind: 'binary',
  cost: 1,
  type: ([a, b]) => {
    const shape = broadcastShapes(op, [a!.shape, b!.shape]);
    if (bools && a!.dtype === 'bool' && b!.dtype === 'bool') return [t('bool', shape)];
    for (const x of [a!, b!])
      if (isFloat(x.dtype)) fail('Q2004', { op, found: x.dtype, expected: 'integers' });
    return [t(promote(a!.dtype, b!.dtype), shape)];
  },
});
const comparison = (op: string): OpInfo<CompareName> => ({
  kind: 'compare',
  cost: 1,
  type: ([a, b]) => [t('bool', broadcastShapes(op, [a!.shape, b!.shape]))],
});

export const elementwise: Family<UnaryName | BinaryName | CompareName | 'select' | 'cast'> = {
  neg: numeric('-'),
  abs: numeric('abs'),
  sign: numeric('sign', 3),
  floor: numeric('floor'),
  ceil: numeric('ceil'),
  trunc: numeric('trunc'),
  round: numeric('round'),
  roundHalfAway: numeric('roundHalfAway', 4),
  roundHalfUp: numeric('roundHalfUp', 2),
  sqrt: floatOnly(6),
  exp: floatOnly(14),
  exp2: floatOnly(12),
  log: floatOnly(16),
  log2: floatOnly(16),
  sin: floatOnly(18),
  cos: floatOnly(18),
  tanh: floatOnly(20),
  not: {
    kind: 'unary',
    cost: 1,
    type: ([x]) => {
      if (isFloat(x!.dtype))
        fail('Q2004', { op: 'not', found: x!.dtype, expected: 'bool or an integer' });
      return [t(scalarOf(x!.dtype), x!.shape)];
    },
  },
  popcount: {
    kind: 'unary',
    cost: 6,
    type: ([x]) => {
      if (isFloat(x!.dtype))
        fail('Q2004', { op: 'popcount', found: x!.dtype, expected: 'an integer' });
      return [t('i32', x!.shape)];
    },
  },
  exponent: { kind: 'unary', cost: 4, type: ([x]) => [t('i32', x!.shape)] },
  isnan: { kind: 'unary', cost: 1, type: ([x]) => [t('bool', x!.shape)] },
  add: arithmetic('+'),
  sub: arithmetic('-'),
  mul: arithmetic('*'),
  div: {
    kind: 'binary',
    cost: 5,
    type: ([a, b]) => [t('f32', broadcastShapes('/', [a!.shape, b!.shape]))],
  },
  rem: arithmetic('%', 8),
  pow: {
    kind: 'binary',
    cost: 40,
    type: ([a, b]) => [t('f32', broadcastShapes('**', [a!.shape, b!.shape]))],
  },
  min: arithmetic('min'),
  max: arithmetic('max'),
  and: bitwise('&', true),
  or: bitwise('|', true),
  xor: bitwise('^', true),
  shl: bitwise('<<', false),
  shr: bitwise('>>', false),
  eq: comparison('==='),
  ne: comparison('!=='),
  lt: comparison('<'),
  le: comparison('<='),
  gt: comparison('>'),
  ge: comparison('>='),
  select: {
    kind: 'elementwise',
    cost: 1,
    type: ([c, a, b]) => {
      if (c!.dtype !== 'bool')
        fail('Q2004', { op: '?:', found: c!.dtype, expected: 'a bool condition' });
      const both = a!.dtype === b!.dtype ? a!.dtype : promote(a!.dtype, b!.dtype);
      return [t(both, broadcastShapes('?:', [c!.shape, a!.shape, b!.shape]))];
    },
  },
  cast: { kind: 'elementwise', cost: 3, type: ([x], a) => [t(a.dtype, x!.shape)] },
};
