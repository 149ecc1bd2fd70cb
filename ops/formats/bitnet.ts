// BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764): ternary weights by absmean quantization, and the packing of the
// transformers library.
import { abs, clamp, dim, format, i2, i32, mean, reshape, round, sum, tensor, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';

/** Keeps the division defined for a tensor of zeros; the value of the authors' training notes. */
const EPSILON = 1e-5;
/** Columns that are encoded together. */
const STRIP = 32;
/** Bit position of the codes of a byte: one of each quarter of the rows, the first in the lowest bits. */
const shifts = [[[0]], [[2]], [[4]], [[6]]];

/**
 * Ternary codes with one f32 scale for the whole tensor: 2 bits per weight in i2 storage, 32 bits a tensor.
 *
 * - `scale`: mean |W|.
 * - `q`: W / (scale + epsilon), limited to [-1, 1] and rounded half to even: -1, 0 or 1.
 *
 * Layout, of a matrix [N, K] with N a multiple of 4: `weight` u8 [N / 4, K], the codes plus 1 of the rows r, r + N / 4, r + N /
 * 2 and r + 3 N / 4 in the bits of row r from the low end, as pack_weights of transformers has them; code 3, which none of them is, comes back as -2. And
 * `scale`, the factor itself (checkpoints keep it, or its inverse, as `weight_scale`).
 */
export const bitnet = format({
  block: STRIP,
  tensor: (w: Tensor<f32>) => ({ scale: mean(abs(w)) }),
  encode(x: Tensor<f32, [32]>, { scale }) {
    return { q: i2(round(clamp(x / (scale + EPSILON), -1, 1))) };
  },
  decode: ({ q, scale }) => q * scale,
  layout: {
    of: 'tensor',
    pack({ q, scale }) {
      const [n, k] = [dim(q, 0), dim(q, 1) * STRIP];
      const codes = (reshape(q, [4, n / 4, k]) + 1) & 3;
      return { weight: u8(sum(codes << tensor(shifts, i32), 0)), scale };
    },
    unpack({ weight, scale }, [n, k]) {
      const codes = (reshape(weight, [1, n / 4, k]) >> tensor(shifts, i32)) & 3;
      return { scale, q: i2(reshape(codes - 1, [n, k / STRIP, STRIP])) };
    },
  },
});
