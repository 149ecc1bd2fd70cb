// What the tests of resident weights multiply, and formats of their own: fields of every width, scales of blocks, rows
// and super-blocks, zero points of all kinds.
import {
  abs,
  amax,
  amin,
  clamp,
  decode,
  encode,
  exp2,
  f16,
  f32,
  f8e5m2,
  format,
  gather,
  i3,
  i4,
  i5,
  i8,
  log2,
  matmul,
  reshape,
  round,
  sum,
  tensor,
  transpose,
  u1,
  u2,
  u3,
  u4,
  u5,
  u6,
  u7,
  u8,
} from 'quern';
import type { Dim, Encoded, Format, Tensor } from 'quern';
import { q8_0 } from 'quern/formats';

type Block<N extends number> = Tensor<f32, [N]>;

/** y = relu(x w^T + b), the activations in 8 bits. */
export function linear<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
  b: Tensor<f32, [N]>,
): Tensor<f32, [M, N]> {
  const y = matmul(decode(encode(q8_0, x)), transpose(decode(w))) + b;
  return y > 0 ? y : y * 0.25;
}

/** y = x w^T, without an encoding. */
export function dense<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(w));
}

/** Activations in 8 bits with scales of any size. */
export const wide8 = format({
  block: 32,
  encode(x: Block<32>) {
    const d = amax(abs(x)) / 127;
    return { d, q: i8(clamp(round(x * inverse(d)), -127, 127)) };
  },
  decode: ({ d, q }) => q * d,
});
export function wide<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(decode(encode(wide8, x)), transpose(decode(w)));
}

/** A gated pair over the same activations. */
export function gated<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
  v: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  const a = decode(encode(q8_0, x));
  return matmul(a, transpose(decode(w))) * matmul(a, transpose(decode(v)));
}

/** Weights that are read row by row as well. */
export function twice<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(decode(encode(q8_0, x)), transpose(decode(w))) + sum(decode(w), 1);
}

const inverse = (d: Tensor<f32, []>) => (d === 0 ? 0 : 1 / d);

/** A factory: `bits` of a grid from the least to the largest value. */
export function grid({ bits, block }: { bits: number; block: number }) {
  const top = 2 ** bits - 1;
  const code = [u1, u2, u3, u4, u5, u6, u7, u8][bits - 1]!;
  return format({
    block,
    encode(x: Tensor<f32>) {
      const low = amin(x);
      const d = (amax(x) - low) / top;
      return { d: f16(d), m: f16(low), q: code(clamp(round((x - low) * inverse(d)), 0, top)) };
    },
    decode: ({ d, m, q }) => q * d + m,
  });
}

/** Signed codes of odd widths. */
export const signed5 = format({
  block: 64,
  encode(x: Block<64>) {
    const d = amax(abs(x)) / 15;
    return { d, q: i5(clamp(round(x * inverse(d)), -15, 15)) };
  },
  decode: ({ d, q }) => q * d,
});
export const signed3 = format({
  block: 16,
  encode(x: Block<16>) {
    const d = amax(abs(x)) / 3;
    return { d: f16(d), q: i3(clamp(round(x * inverse(d)), -3, 3)) };
  },
  decode: ({ d, q }) => q * d,
});

/** A zero point in whole numbers for every block, and a scale for the whole row. */
export const rowScaled = format({
  block: 32,
  row: (r: Tensor<f32>) => ({ s: amax(abs(r)) / 30 }),
  encode(x: Block<32>, { s }) {
    const q = clamp(round(x * inverse(s)), -30, 30);
    const z = amin(q);
    return { z: u6(z + 30), q: u6(q - z) };
  },
  decode: ({ s, z, q }) => (q + (z - 30)) * s,
});

/** Sub-blocks of 16 with scales of 4 bits. */
export const nested = format({
  block: 64,
  encode(x: Block<64>) {
    const parts = reshape(x, [4, 16]);
    const own = amax(abs(parts), 1);
    const d = amax(own) / 15;
    const s = clamp(round(own * inverse(d)), 0, 15);
    const scale = reshape((s * d) / 7, [4, 1]);
    const q = scale === 0 ? 0 : clamp(round(parts / scale), -7, 7);
    return { d, s: u4(s), q: u4(reshape(q, [64]) + 8) };
  },
  decode: ({ d, s, q }) => reshape((reshape(q, [4, 16]) - 8) * reshape((s * d) / 7, [4, 1]), [64]),
});

/** Scales as powers of two in eighths of an octave of their own: whole numbers that the repacking turns into f32. */
export const eighths = format({
  block: 32,
  encode(x: Block<32>) {
    const peak = amax(abs(x));
    const e = clamp(round(8 * log2(peak === 0 ? 1 : peak / 7)) + 64, 0, 127);
    const d = exp2((e - 64) / 8);
    return { e: u7(e), q: i4(clamp(round(x / d), -7, 7)) };
  },
  decode: ({ e, q }) => q * exp2((e - 64) * 0.125),
});
/** Codes and zero points in units of their own. */
export const quarters = format({
  block: 64,
  encode(x: Block<64>) {
    const low = amin(x);
    const s = f16((amax(x) - low) / 15);
    const step = s === 0 ? 1 : f32(s);
    const z = clamp(round((-4 * low) / step), -120, 120);
    return { s, z: u8(z + 120), q: u4(clamp(round(x / step + z / 4), 0, 15)) };
  },
  decode: ({ s, z, q }) => (4 * q - (z - 120)) * (s * 0.25),
});

/** Scales of two levels, both in small fields: each is repacked, and their product taken in the kernel. */
export const twoLevels = format({
  block: 128,
  encode(x: Block<128>) {
    const parts = reshape(x, [4, 32]);
    const own = amax(abs(parts), 1);
    const top = amax(own);
    const d = f8e5m2(top === 0 ? 1 : top / 15);
    const s = clamp(round((own * 2) / d), 0, 31);
    const scale = reshape(s * d * (1 / 14), [4, 1]);
    const q = scale === 0 ? 0 : clamp(round(parts / scale), -7, 7);
    return { d, s: u5(s), q: i4(reshape(q, [128])) };
  },
  decode: ({ d, s, q }) => reshape(reshape(q, [4, 32]) * reshape(s * d * (1 / 14), [4, 1]), [128]),
});

const levels = [
  -1, -0.7, -0.45, -0.3, -0.21, -0.1, -0.04, 0, 0.03, 0.1, 0.19, 0.33, 0.44, 0.6, 0.75, 1,
];
/** A table of any numbers. */
export const codebook = format({
  block: 32,
  encode(x: Block<32>) {
    const d = amax(abs(x));
    const middles = levels.slice(1).map((v, i) => (v + levels[i]!) / 2);
    const above = f32(reshape(x * inverse(d), [32, 1]) > tensor(middles));
    return { d, q: u4(sum(above, 1)) };
  },
  decode: ({ d, q }) => gather(tensor(levels), q) * d,
});
