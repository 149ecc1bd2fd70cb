// HQQ, half-quadratic quantization (Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models"), as
// the library hqq computes and stores it.
import {
  abs,
  amax,
  amin,
  at,
  clamp,
  concat,
  dim,
  f16,
  f32,
  format,
  i32,
  max,
  mean,
  min,
  pow,
  reshape,
  round,
  sign,
  slice,
  sum,
  tensor,
  u1,
  u2,
  u3,
  u4,
  u5,
  u6,
  u7,
  u8,
  zeros,
} from 'quern';
import type { Place, Tensor } from 'quern';

export interface HqqOptions {
  /** Bits of a code; 4 by default. */
  readonly bits?: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;
  /** Values that share a scale; 64 by default. */
  readonly group?: number;
  /** What a group is: neighbours in a row (1, the default), or rows that lie N / group apart (0). */
  readonly axis?: 0 | 1;
  /** Fit the zero points with the proximal solver; the default. */
  readonly solve?: boolean;
}

const codes = [u1, u2, u3, u4, u5, u6, u7, u8];
/** The solver: the norm |w|^p of the error, its penalty and growth, and the number of steps. */
const P = 0.7;
const BETA = 10;
const KAPPA = 1.01;
const STEPS = 20;
/** Limits the density of levels, for f16. */
const DENSEST = 2e4;

/** The proximal operator of |x|^p: what of x is so large that it counts as an outlier. */
function shrink(x: Tensor<f32>, beta: Tensor<f32, []>): Tensor<f32> {
  return sign(x) * max(abs(x) - (1 / beta) * pow(abs(x), P - 1), 0);
}

/**
 * Density of levels and zero point of each group of x, reduced along `axis`. The zero point is fitted by half-quadratic
 * splitting: outliers of the error are set aside, the zero point is the mean that fits the rest, until the mean error of
 * the whole tensor grows.
 */
function fit(x: Tensor<f32>, axis: 0 | 1, bits: number, solve: boolean) {
  const top = 2 ** bits - 1;
  const keep = { keepdims: true };
  const low = amin(x, axis, keep);
  const density = min(top / (amax(x, axis, keep) - low), DENSEST);
  const start = -low * density;
  let zero = bits === 4 ? round(start) : start;
  if (solve) {
    let step = i32(0);
    let beta = f32(BETA);
    let best = f32(1e4);
    let isImproving = step === 0;
    while (isImproving) {
      const q = clamp(round(x * density + zero), 0, top);
      const error = x - (q - zero) / density;
      zero = mean(q - (x - shrink(error, beta)) * density, axis, keep);
      beta = beta * KAPPA;
      step = step + 1;
      const size = mean(abs(error));
      isImproving = size < best && step < STEPS;
      best = size;
    }
  }
  return { density, zero };
}

/** Bit position, from the top, of each of the parts that share a byte: the first part has the highest bits. */
const shiftsOf = (bits: number, parts: number): number[][] =>
  Array.from({ length: parts }, (_, i) => [bits * (parts - 1 - i)]);

/**
 * w = (q - zero) * scale: bits + 32 / group bits per weight (4.5 at 4 bits).
 *
 * - `scale`, `zero`: f16. The scale is the range of the group / (2^bits - 1); the zero point need not be a whole number.
 *   For 4 bits the solver starts from a rounded one, as in the library.
 * - `q`: w / scale + zero, rounded half to even and limited, with scale and zero as they are stored.
 *
 * Layout, of a matrix [N, K]: `W_q` (for 8 to 5 bits u8 [N, K]; for 4, 2 and 1 bits u8 [N / 2, K], [N / 4, K], [N / 8, K]: a
 * byte has one code of each half, quarter, eighth of the matrix, the first in the highest bits; for 3 bits i32, ten codes a
 * word, of tenths of the groups' matrix), `scale` and `zero` f16, a number a group. 3 bits: with axis 0 [group / 10 rounded
 * up, N / group, K], tenths of the members of a group; with axis 1 [N K / group / 10, group], tenths of the groups, whose
 * number must be a multiple of ten. N must be a multiple of the group for axis 0.
 */
export function hqq({ bits = 4, group = 64, axis = 1, solve = true }: HqqOptions = {}) {
  const code = codes[bits - 1]!;
  const top = 2 ** bits - 1;
  const parts = bits > 4 ? 1 : Math.floor(8 / bits);
  return format({
    block: group,
    tensor(w) {
      const [n, k] = [dim(w, 0), dim(w, 1)];
      const groups = reshape(w, axis === 1 ? [n * (k / group), group] : [group, (n / group) * k]);
      const { density, zero } = fit(groups, axis, bits, solve);
      const shape = axis === 1 ? [n, k / group] : [n / group, k];
      return { scale: f16(reshape(1 / density, shape)), zero: f16(reshape(zero, shape)) };
    },
    encode(x: Tensor<f32>, { scale, zero, place }) {
      const s = ofBlock(scale, axis, group, place);
      const z = ofBlock(zero, axis, group, place);
      return { q: code(clamp(round(x / s + z), 0, top)) };
    },
    decode({ q, scale, zero, place }) {
      const s = ofBlock(scale, axis, group, place);
      return (q - ofBlock(zero, axis, group, place)) * s;
    },
    layout: {
      of: 'tensor',
      pack({ q, scale, zero }) {
        const [n, k] = [dim(q, 0), dim(q, 1) * group];
        if (bits === 3) return { W_q: packTenths(q, axis, group, n, k), scale, zero };
        const rows = reshape(q, [parts, n / parts, k]);
        const shifts = tensor(shiftsOf(bits, parts), i32);
        return { W_q: u8(sum(rows << reshape(shifts, [parts, 1, 1]), 0)), scale, zero };
      },
      unpack({ W_q, scale, zero }, [n, k]) {
        if (bits === 3) return { q: unpackTenths(W_q, axis, group, n, k), scale, zero };
        const shifts = tensor(shiftsOf(bits, parts), i32);
        const rows = (reshape(W_q, [1, n / parts, k]) >> reshape(shifts, [parts, 1, 1])) & top;
        return { q: code(reshape(rows, [n, k / group, group])), scale, zero };
      },
    },
  });
}

/** What a field of the groups holds for block [i, j]: one number for axis 1, one a column for axis 0. */
function ofBlock(
  field: Tensor,
  axis: 0 | 1,
  group: number,
  { index: [i, j], dims: [n, k] }: Place,
): Tensor<f32> {
  return axis === 1
    ? f32(at(field, i, j))
    : f32(at(reshape(field, [n / group, k / group, group]), i % (n / group), j));
}

/** Rows in tenths: how many make one, and the bit position of each. */
const tenthShifts = [[[27]], [[24]], [[21]], [[18]], [[15]], [[12]], [[9]], [[6]], [[3]], [[0]]];

function packTenths(q: Tensor, axis: 0 | 1, group: number, n: number, k: number): Tensor<i32> {
  const shifts = tensor(tenthShifts, i32);
  if (axis === 1) {
    const tenth = (n * (k / group)) / 10;
    return sum(reshape(q, [10, tenth, group]) << shifts, 0);
  }
  const tenth = Math.ceil(group / 10);
  const columns = (n / group) * k;
  const members = reshape(q, [group, columns]);
  const missing = zeros([10 * tenth - group, columns], u3);
  const all = reshape(concat([members, missing]), [10, tenth, columns]);
  return reshape(sum(all << shifts, 0), [tenth, n / group, k]);
}

function unpackTenths(words: Tensor, axis: 0 | 1, group: number, n: number, k: number) {
  const shifts = tensor(tenthShifts, i32);
  const shape = [n, k / group, group];
  if (axis === 1) {
    const tenth = (n * (k / group)) / 10;
    return u3(reshape((reshape(words, [1, tenth, group]) >> shifts) & 7, shape));
  }
  const tenth = Math.ceil(group / 10);
  const columns = (n / group) * k;
  const all = (reshape(words, [1, tenth, columns]) >> shifts) & 7;
  return u3(reshape(slice(reshape(all, [10 * tenth, columns]), 0, group), shape));
}

/** {@link hqq} with 4 bits and groups of 64 along the rows. */
export const hqq_int4 = hqq();
