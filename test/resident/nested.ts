// Formats whose block constants are products over two and three levels of blocks, of any sizes: minima belong to the inner
// blocks, to the outer ones, or there are none.
import {
  abs,
  amax,
  amin,
  clamp,
  f16,
  f32,
  format,
  max,
  min,
  reshape,
  round,
  u2,
  u3,
  u4,
  u5,
  u6,
} from 'quern';
import type { Tensor } from 'quern';

export interface NestedOptions {
  /** Weights of an outer block, and of the blocks in it; each divides the one before. */
  readonly outer: number;
  readonly middle?: number;
  readonly inner: number;
  readonly bits: number;
  readonly minima?: 'none' | 'inner' | 'outer';
  /** A literal that all weights are multiplied by. */
  readonly unit?: number;
}

const codes = [u2, u3, u4, u5, u6];
const inverse = (d: Tensor<f32>) => (d === 0 ? 0 : 1 / d);

/** w = unit * (d * s * q - minimum), `s` once an inner block, `d` once an outer one. */
export function twoLevel({ outer, inner, bits, minima = 'none', unit = 1 }: NestedOptions) {
  return minima === 'none'
    ? plain(outer, inner, bits, unit)
    : minima === 'inner'
      ? innerMinima(outer, inner, bits, unit)
      : outerMinima(outer, inner, bits, unit);
}

function plain(outer: number, inner: number, bits: number, unit: number) {
  const code = codes[bits - 2]!;
  const middle = 2 ** (bits - 1);
  return format({
    block: outer,
    encode(x: Tensor<f32>) {
      const parts = reshape(x / unit, [outer / inner, inner]);
      const own = amax(abs(parts), 1) / (middle - 0.5);
      const d = f16(amax(own) / 15);
      const s = clamp(round(own * inverse(f32(d))), 0, 15);
      const q = clamp(
        round(parts * inverse(reshape(s * d, [outer / inner, 1]))) + middle,
        0,
        2 * middle - 1,
      );
      return { d, s: u4(s), q: code(reshape(q, [outer])) };
    },
    decode: ({ d, s, q }) =>
      reshape(
        (reshape(q, [outer / inner, inner]) - middle) * reshape(s * d * unit, [outer / inner, 1]),
        [outer],
      ),
  });
}

function innerMinima(outer: number, inner: number, bits: number, unit: number) {
  const code = codes[bits - 2]!;
  const top = 2 ** bits - 1;
  return format({
    block: outer,
    encode(x: Tensor<f32>) {
      const parts = reshape(x / unit, [outer / inner, inner]);
      const low = max(-amin(parts, 1), 0);
      const own = (amax(parts, 1) + low) / top;
      const d = f16(amax(own) / 63);
      const dm = f16(amax(low) / 63);
      const s = clamp(round(own * inverse(f32(d))), 0, 63);
      const m = clamp(round(low * inverse(f32(dm))), 0, 63);
      const scale = reshape(s * d, [outer / inner, 1]);
      const least = reshape(m * dm, [outer / inner, 1]);
      const q = clamp(round((parts + least) * inverse(scale)), 0, top);
      return { d, dm, s: u6(s), m: u6(m), q: code(reshape(q, [outer])) };
    },
    decode: ({ d, dm, s, m, q }) =>
      reshape(
        (reshape(q, [outer / inner, inner]) * reshape(s * d, [outer / inner, 1]) -
          reshape(m * dm, [outer / inner, 1])) *
          unit,
        [outer],
      ),
  });
}

function outerMinima(outer: number, inner: number, bits: number, unit: number) {
  const code = codes[bits - 2]!;
  const top = 2 ** bits - 1;
  return format({
    block: outer,
    encode(x: Tensor<f32>) {
      const low = f16(min(amin(x / unit), 0));
      const parts = reshape(x / unit - low, [outer / inner, inner]);
      const own = max(amax(parts, 1), 0) / top;
      const d = f16(amax(own) / 31);
      const s = clamp(round(own * inverse(f32(d))), 0, 31);
      const q = clamp(round(parts * inverse(reshape(s * d, [outer / inner, 1]))), 0, top);
      return { d, low, s: u5(s), q: code(reshape(q, [outer])) };
    },
    decode: ({ d, low, s, q }) =>
      (reshape(reshape(q, [outer / inner, inner]) * reshape(s * d, [outer / inner, 1]), [outer]) +
        low) *
      unit,
  });
}

/** w = unit * (d * e * s * q - minimum), `e` once a middle block; minima are in units of their own or of `d * e`. */
export function threeLevel({
  outer,
  middle = 0,
  inner,
  bits,
  minima = 'none',
  unit = 1,
}: NestedOptions) {
  const code = codes[bits - 2]!;
  const top = 2 ** bits - 1;
  const [wide, narrow] = [outer / middle, middle / inner];
  const has = minima === 'none' ? 0 : 1;
  const isInner = minima === 'inner' ? 1 : 0;
  return format({
    block: outer,
    encode(x: Tensor<f32>) {
      const parts = reshape(x / unit, [wide, narrow, inner]);
      const low = max(-amin(parts, 2), 0) * has;
      const own = (amax(parts, 2) + low) / top;
      const most = amax(own, 1);
      const d = f16(amax(most) / (15 * 15));
      const e = clamp(round(most * inverse(f32(d) * 15)), 1, 15);
      const s = clamp(round(own * inverse(reshape(e * d, [wide, 1]))), 0, 15);
      const dm = f16(amax(low) / 15);
      const m = clamp(
        round((isInner ? low : reshape(amax(low, 1), [wide, 1]) + 0 * low) * inverse(f32(dm))),
        0,
        15,
      );
      const scale = reshape(s * reshape(e * d, [wide, 1]), [wide, narrow, 1]);
      const q = clamp(round((parts + reshape(m * dm, [wide, narrow, 1])) * inverse(scale)), 0, top);
      return {
        d,
        dm,
        e: u4(e),
        s: u4(reshape(s, [wide * narrow])),
        m: u4(reshape(m, [wide * narrow])),
        q: code(reshape(q, [outer])),
      };
    },
    decode: ({ d, dm, e, s, m, q }) => {
      const scale = reshape(reshape(s, [wide, narrow]) * reshape(e * d, [wide, 1]), [
        wide,
        narrow,
        1,
      ]);
      const least = reshape(m * dm, [wide, narrow, 1]);
      return reshape((reshape(q, [wide, narrow, inner]) * scale - least) * unit, [outer]);
    },
  });
}
