// The largest and the smallest of many f32 numbers by integer instructions, one each where a float's `max` takes eight to give
// NaN and the signs of zeros their due. As signed integers, floats without a sign are in order and those with one in reverse;
// as unsigned ones a negative NaN is above all, and as signed ones a positive NaN is.
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Gathered } from './reductions.ts';

/** Bits of f32 numbers. */
const infinity = 0x7f800000;
const minusInfinity = 0xff800000;
const zero = 0;
const quietNaN = 0x7fc00000;

const signed = (op: 'min' | 'max', from: number): Gathered => ({
  op,
  scalar: 'i32',
  from: from | 0,
  of: (e) => L.bits(e, 'i32'),
});
const unsigned = (op: 'min' | 'max', from: number): Gathered => ({
  op,
  scalar: 'u32',
  from,
  of: (e) => L.bits(e, 'u32'),
});

const like = (value: number, e: Expr): Expr => L.constant(value, e.type.scalar, e.type.lanes);

/** The bits that are the result, unless a NaN is among the largest of both orders. */
function orNaN(bits: Expr, most: Expr, mostUnsigned: Expr): Expr {
  const odd = L.binary(
    'or',
    L.compare('gt', most, like(infinity, most)),
    L.compare('gt', mostUnsigned, like(minusInfinity, mostUnsigned)),
  );
  return L.bits(L.select(odd, like(quietNaN, bits), bits), 'f32');
}

interface Extreme {
  readonly parts: readonly Gathered[];
  readonly finish: (results: readonly Expr[]) => Expr;
}

export const extremes: { readonly [how in 'min' | 'max']: Extreme } = {
  max: {
    parts: [
      signed('max', minusInfinity),
      signed('min', minusInfinity),
      unsigned('max', minusInfinity),
    ],
    // Of negative numbers alone the least integer is the one closest to zero.
    finish: ([most, least, mostUnsigned]) => {
      const positive = L.compare('ge', most!, like(0, most!));
      return orNaN(L.select(positive, most!, least!), most!, mostUnsigned!);
    },
  },
  min: {
    parts: [signed('max', zero), signed('min', infinity), unsigned('max', zero)],
    // A number with a sign is the largest unsigned integer, the larger the further from zero.
    finish: ([most, least, mostUnsigned]) => {
      const bits = L.bits(mostUnsigned!, 'i32');
      const negative = L.compare('lt', bits, like(0, bits));
      return orNaN(L.select(negative, bits, least!), most!, mostUnsigned!);
    },
  },
};
