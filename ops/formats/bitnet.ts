// BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764): ternary weights by absmean quantization.
import { abs, clamp, format, i2, mean, round } from 'quern';
import type { Tensor, f32 } from 'quern';

/** Keeps the division defined for a tensor of zeros; the value of the authors' training notes. */
const EPSILON = 1e-5;

/**
 * Ternary codes with one f32 scale for the whole tensor: 2 bits per weight in i2 storage, 32 bits a tensor.
 *
 * - `scale`: mean |W|.
 * - `q`: W / (scale + epsilon), limited to [-1, 1] and rounded half to even: -1, 0 or 1.
 */
export const bitnet = format({
  block: 32,
  tensor: (w: Tensor<f32>) => ({ scale: mean(abs(w)) }),
  encode(x: Tensor<f32, [32]>, { scale }) {
    return { q: i2(round(clamp(x / (scale + EPSILON), -1, 1))) };
  },
  decode: ({ q, scale }) => q * scale,
});
