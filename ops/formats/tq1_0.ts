// TQ1_0 of ggml (block_tq1_0, quantize_row_tq1_0_ref in ggml-quants.c): ternary weights of BitNet
// b1.58 and TriLMs, five to a byte.
import {
  abs,
  amax,
  bitcast,
  concat,
  f16,
  floor,
  format,
  gather,
  reshape,
  roundHalfAway,
  slice,
  sum,
  tensor,
  i32,
  u8,
} from 'quern';
import type { Tensor, f32 } from 'quern';

const places = [[81], [27], [9], [3], [1]];

/**
 * Digits [n, width], the first row the most significant of five, to bytes: the smallest b with b /
 * 256 >= number / 243.
 */
function bytesOf(digits: Tensor, n: number, width: number): Tensor {
  const number = sum(reshape(digits, [n, width]) * tensor(places.slice(0, n), i32), 0);
  return floor((number * 256 + 242) / 243);
}

/**
 * Where the elements lie: `width` bytes from `start` on hold a first digit each, then a second, and
 * so on.
 */
const runs = [
  { start: 0, width: 32, digits: 5 },
  { start: 32, width: 16, digits: 5 },
  { start: 48, width: 4, digits: 4 },
];
/** The byte of each element. */
const place = runs.flatMap(({ start, width, digits }) =>
  Array.from({ length: width * digits }, (_, e) => start + (e % width)),
);
/** 3 to the power of its digit. */
const power = runs.flatMap(({ width, digits }) =>
  Array.from({ length: width * digits }, (_, e) => 3 ** ((e - (e % width)) / width)),
);

/**
 * Ternary codes, one f16 scale per 256 values: 1.6875 bits per weight.
 *
 * - `trits`: the codes (level plus 1: 0, 1, 2 for -d, 0, d), five digits of base 3 a byte as a
 *   fraction of 256: bytes 0 to 31 hold elements j + 32 i, 32 to 47 elements 160 + j + 16 i, the
 *   last four only four digits, 240 + j + 4 i. Encoding rounds half away from zero.
 * - `d`: the scale, the largest magnitude.
 *
 * Struct: 54 bytes, `trits` then `d`.
 */
export const tq1_0 = format({
  block: 256,
  encode(x: Tensor<f32, [256]>) {
    const d = amax(abs(x));
    const inverse = d === 0 ? 0 : 1 / d;
    const digits = i32(roundHalfAway(x * inverse)) + 1;
    const trits = concat([
      bytesOf(slice(digits, 0, 160), 5, 32),
      bytesOf(slice(digits, 160, 240), 5, 16),
      bytesOf(slice(digits, 240, 256), 4, 4),
    ]);
    return { trits: u8(trits), d: f16(d) };
  },
  // Digit i of b / 256 in base 3 is the whole part of the fraction of b * 3^i / 256, times 3.
  decode: ({ trits, d }) => {
    const byte = gather(trits, tensor(place, u8));
    const digits = (((byte * tensor(power, u8)) & 255) * 3) >> 8;
    return (digits - 1) * d;
  },
  layout: {
    pack: ({ trits, d }) => concat([trits, bitcast(d, u8)]),
    unpack: (bytes: Tensor<u8, [54]>) => ({
      trits: slice(bytes, 0, 52),
      d: bitcast(slice(bytes, 52, 54), f16),
    }),
  },
});
