// Formats that tsc must accept without a single complaint.
import {
  abs,
  amax,
  any,
  argmax,
  at,
  bf16,
  bitcast,
  clamp,
  concat,
  decode,
  encode,
  exponent,
  f16,
  f32,
  fields,
  floor,
  format,
  gather,
  i8,
  iota,
  isnan,
  matmul,
  max,
  mean,
  reshape,
  round,
  slice,
  sum,
  tensor,
  transpose,
  u4,
  u8,
  zeros,
} from 'quern';
import type { Dim, Encoded, Format, Scalar, Tensor } from 'quern';

/** A codec of one block with a byte-exact layout. */
export const q4_0 = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = at(x, argmax(abs(x))) / -8;
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), q: u4(clamp(floor(x * inverse + 8.5), 0, 15)) };
  },
  decode: ({ d, q }) => (q - 8) * d,
  layout: {
    pack: ({ d, q }) =>
      concat([bitcast(f16(d), u8), u8(slice(q, 0, 16) | (slice(q, 16, 32) << 4))]),
    unpack: (b: Tensor<u8, [18]>) => ({
      d: bitcast(reshape(slice(b, 0, 2), [2]), f16),
      q: u4(concat([slice(b, 2, 18) & 15, slice(b, 2, 18) >> 4])),
    }),
  },
});

/** A layout of the whole tensor: fields of all levels to planes of any shape, and back. */
export const interleaved = format({
  block: 32,
  tensor: (w) => ({ top: amax(abs(w)) }),
  encode(x: Tensor<f32, [32]>, { top }) {
    return { q: u4(round(x / top)) };
  },
  decode: ({ q, top }) => q * top,
  layout: {
    of: 'tensor',
    pack: ({ q, top }) => ({ codes: u8(transpose(reshape(q, [-1, 32]))), top: f16(top) }),
    unpack: ({ codes, top }, [n, k]) => ({
      q: u4(reshape(transpose(codes), [n, k / 32, 32])),
      top: f32(top),
    }),
  },
});

/** Levels: a scale a tensor, one a row, one a block; none of the parameters annotated. */
export const levels = format({
  block: 16,
  tensor: (w) => ({ global: f32(amax(abs(w)) / 448) }),
  row: (r, { global }) => ({ scale: bf16(amax(abs(r)) / global) }),
  encode(x, { global, scale }) {
    const s = global * scale;
    return { q: i8(round(x / s)), odd: any(isnan(x)) };
  },
  decode: ({ global, scale, q, odd }) => (odd ? 0 : q * scale * global),
});

/** Planar byte-exact arrays, a two-dimensional block, and a codebook from outside. */
const book = tensor([-1, -0.5, 0, 0.25, 0.5, 1, 2, 4]);
export const tiles = format({
  block: [4, 8],
  encode: (x: Tensor<f32, [4, 8]>) => ({ absmax: f32(amax(abs(x))), q: u4(round(max(x, 0))) }),
  decode: ({ absmax, q }) => gather(book, q) * absmax,
  layout: {
    pack: ({ absmax, q }) => ({ absmax, nibbles: u8(q) }),
    unpack: ({ absmax, nibbles }) => ({ absmax, q: u4(nibbles) }),
  },
});

/** A factory: options are constants, the block is a number that tsc does not know. */
export function uniform({ bits = 8, group = 64 }: { bits?: number; group?: number } = {}) {
  const top = 2 ** (bits - 1) - 1;
  const scaleOf = (x: number) => {
    const m = amax(abs(x));
    return m === 0 ? 1 : m / top;
  };
  return format({
    block: group,
    encode(x) {
      const s = scaleOf(x);
      return { s: f16(s), q: i8(clamp(round(x / s), -top, top)) };
    },
    decode: ({ s, q }) => q * s,
  });
}
export const int8 = uniform({ bits: 8 });

/** y = x · wᵀ, for weights stored in any format. */
export function linear<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(decode(w)));
}
export function fixed<M extends Dim>(
  x: Tensor<f16, [M, 64]>,
  w: Encoded<typeof q4_0, [128, 64]>,
  bias: Tensor<f32, [128]>,
): Tensor<f32, [M, 128]> {
  return matmul(x, transpose(decode(w))) + bias;
}
export function requantize<F extends Format, M extends Dim, K extends Dim>(
  w: Encoded<F, [M, K]>,
): Encoded<typeof int8, [M, K]> {
  return encode(int8, decode(w));
}
export function codes<N extends Dim, K extends Dim>(
  w: Encoded<typeof q4_0, [N, K]>,
): Tensor<u4, [N, number, 32]> {
  const { d, q } = fields(w);
  const scale: Tensor<f16> = d;
  return scale ? q : q;
}
export function anyField<F extends Format, K extends Dim>(w: Encoded<F, [K]>, f: F, c: Scalar) {
  return encode(f, decode(w) * c + mean(zeros([4])) + exponent(sum(iota(3))));
}

/** Importance weights, and what the caller passes for them. */
export const weighed = format({
  block: 32,
  weigh: (r, weights) => weights * mean(r * r),
  encode(x: Tensor<f32, [32]>, _: object, weights?: Tensor<f32, [32]>) {
    const peak = weights === undefined ? amax(abs(x)) : sum(x * weights);
    return { d: f16(peak), q: i8(round(x / peak)) };
  },
  decode: ({ d, q }) => q * d,
});
export function weigh<N extends Dim, K extends Dim>(
  x: Tensor<f32, [N, K]>,
  w: Tensor<f32, [K]>,
): Encoded<typeof weighed, [N, K]> {
  return encode(weighed, x, { weights: w });
}
