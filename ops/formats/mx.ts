// The microscaling formats of the OCP specification v1.0 (MXFP8, MXFP6, MXFP4, MXINT8), with the choices of scale and
// rounding that software makes (Rouhani et al. 2023, arXiv 2310.10537; microxcaling; torchao).
import {
  abs,
  amax,
  bitcast,
  clamp,
  e8m0,
  exp2,
  exponent,
  f4e2m1,
  f6e2m3,
  f6e3m2,
  f8e4m3,
  f8e5m2,
  f32,
  format,
  i8,
  i32,
  isnan,
  max,
  round,
  roundHalfAway,
  trunc,
  u4,
  u6,
  u8,
} from 'quern';
import type { Tensor } from 'quern';
import { packBits, unpackBits } from './bits.ts';

export type MxFloat = 'e4m3' | 'e5m2' | 'e2m3' | 'e3m2' | 'e2m1';

export interface MxOptions {
  /** What an element is: one of the minifloats, or 8-bit fixed point. */
  readonly element: MxFloat | 'int8';
  /** How elements round to nearest or down: ties to even (the default), ties away from zero, towards zero. */
  readonly rounding?: 'even' | 'away' | 'zero';
  /**
   * How the largest magnitude of a block chooses the power of two. `floor` (the specification): it gets the largest
   * exponent of the element, and what is beyond the largest element saturates. `ceil`: the next power of two unless it is
   * one. `even`: as `floor`, of the magnitude rounded to the mantissa of the element. `rceil`: the smallest for which
   * nothing saturates.
   */
  readonly scale?: 'floor' | 'ceil' | 'even' | 'rceil';
}

/** Mantissa bits, exponents of the smallest and the largest normal number, largest value, and the bits that hold it. */
const elements = {
  e4m3: { cast: f8e4m3, code: u8, bits: 8, mantissa: 3, least: -6, top: 8, largest: 448 },
  e5m2: { cast: f8e5m2, code: u8, bits: 8, mantissa: 2, least: -14, top: 15, largest: 57344 },
  e2m3: { cast: f6e2m3, code: u6, bits: 6, mantissa: 3, least: 0, top: 2, largest: 7.5 },
  e3m2: { cast: f6e3m2, code: u6, bits: 6, mantissa: 2, least: -2, top: 4, largest: 28 },
  e2m1: { cast: f4e2m1, code: u4, bits: 4, mantissa: 1, least: 0, top: 2, largest: 6 },
};
/** Fixed point with 6 bits behind the point: -127/64 to 127/64. */
const fixed = { mantissa: 6, top: 0, largest: 127 / 64 };

const rounders = { even: round, away: roundHalfAway, zero: trunc };

/** floor(log2) and ceil(log2) of a positive number. */
const below = (x: Tensor<f32, []>) => exponent(x);
const above = (x: Tensor<f32, []>) => exponent(x) + (x > exp2(exponent(x)) ? 1 : 0);

/** The shared scale, a power of two from 2^-127 to 2^127; NaN for a block that holds Inf or NaN. */
function sharedScale(
  x: Tensor<f32>,
  rule: 'floor' | 'ceil' | 'even' | 'rceil',
  { mantissa, top, largest }: { mantissa: number; top: number; largest: number },
): Tensor<e8m0, []> {
  const peak = amax(abs(x));
  // Adding half a step of the mantissa to the bits carries into the exponent where rounding would.
  const carried = bitcast(bitcast(peak, i32) + 2 ** (22 - mantissa), f32);
  const e =
    rule === 'floor'
      ? below(peak) - top
      : rule === 'ceil'
        ? above(peak) - top
        : rule === 'even'
          ? below(carried) - top
          : above(peak / largest);
  return e8m0(peak < Infinity ? exp2(clamp(e, -127, 127)) : NaN);
}

/**
 * Blocks of 32 elements with one power of two: bits + 0.25 bits per weight. w = q * scale.
 *
 * - `scale`: E8M0. A block of zeros has 2^-127, one with Inf or NaN has NaN.
 * - `q`: w / scale as an element, saturating; for `int8` the number of 64ths, -127 to 127. Decoding takes -128 too.
 *
 * Layout: `elements`, their bits one after the other from the low end (the specification leaves the order open: 8-bit
 * elements are bytes, two 4-bit elements share one, four 6-bit elements take three), and `scales`, bytes.
 */
export function microscaling({ element, rounding = 'even', scale = 'floor' }: MxOptions) {
  return element === 'int8' ? fixedPoint(rounding, scale) : floating(element, rounding, scale);
}

function floating(
  element: MxFloat,
  rounding: 'even' | 'away' | 'zero',
  rule: 'floor' | 'ceil' | 'even' | 'rceil',
) {
  const grid = elements[element];
  const { cast, code, bits, mantissa, least, largest } = grid;
  return format({
    block: 32,
    encode(x: Tensor<f32, [32]>) {
      const scale = sharedScale(x, rule, grid);
      const y = x / scale;
      // The distance of neighbours around y: dividing by it is exact, and so is the cast of what was rounded.
      const step = exp2(max(exponent(y), least) - mantissa);
      const rounded = rounding === 'even' ? y : rounders[rounding](y / step) * step;
      return { scale, q: cast(isnan(scale) ? 0 : clamp(rounded, -largest, largest)) };
    },
    decode: ({ scale, q }) => q * scale,
    layout: {
      pack: ({ scale, q }) => ({
        elements: packBits(bitcast(q, code), bits),
        scales: bitcast(scale, u8),
      }),
      unpack: ({ elements, scales }) => ({
        scale: bitcast(scales, e8m0),
        q: bitcast(code(unpackBits(elements, bits)), cast),
      }),
    },
  });
}

function fixedPoint(rounding: 'even' | 'away' | 'zero', rule: 'floor' | 'ceil' | 'even' | 'rceil') {
  return format({
    block: 32,
    encode(x: Tensor<f32, [32]>) {
      const scale = sharedScale(x, rule, fixed);
      const rounded = rounders[rounding]((x / scale) * 64);
      return { scale, q: i8(clamp(rounded, -127, 127)) };
    },
    decode: ({ scale, q }) => (q * scale) / 64,
    layout: {
      pack: ({ scale, q }) => ({ elements: bitcast(q, u8), scales: bitcast(scale, u8) }),
      unpack: ({ elements, scales }) => ({
        scale: bitcast(scales, e8m0),
        q: bitcast(elements, i8),
      }),
    },
  });
}

/** {@link microscaling} with 8-bit E4M3 elements: 8.25 bits per weight. */
export const mxfp8_e4m3 = microscaling({ element: 'e4m3' });
/** {@link microscaling} with 8-bit E5M2 elements: 8.25 bits per weight. */
export const mxfp8_e5m2 = microscaling({ element: 'e5m2' });
/** {@link microscaling} with 6-bit E2M3 elements: 6.25 bits per weight. */
export const mxfp6_e2m3 = microscaling({ element: 'e2m3' });
/** {@link microscaling} with 6-bit E3M2 elements: 6.25 bits per weight. */
export const mxfp6_e3m2 = microscaling({ element: 'e3m2' });
/** {@link microscaling} with 8-bit fixed-point elements: 8.25 bits per weight. */
export const mxint8 = microscaling({ element: 'int8' });
