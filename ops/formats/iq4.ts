// The codebook and the search that iq4_nl and iq4_xs of ggml share (kvalues_iq4nl,
// quantize_row_iq4_nl_impl with ntry 7 in ggml-quants.c).
import { abs, gather, i8, range, reshape, shape, sum, tensor, u4 } from 'quern';
import type { Tensor } from 'quern';
import { EPSILON, down, peaks } from './fits.ts';

/** The 16 levels: denser around zero, where weights are. */
const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/** Sums of neighbouring levels. 2 v on such a sum takes the upper level. */
const boundaries = [-231, -187, -148, -114, -84, -57, -32, -9, 14, 38, 63, 91, 122, 158, 202];

/** The levels of codes. */
export function levelOf(codes: Tensor<u4>): Tensor<i8> {
  return gather(tensor(levels, i8), codes);
}

/** Codes of the levels nearest to each v. */
export function nearestLevel(v: Tensor): Tensor<u4> {
  const dims = shape(v);
  return u4(sum(reshape(v + v, [...dims, 1]) >= tensor(boundaries), dims.length));
}

/**
 * For each column of x [n, g] the scale of x ≈ scale * level, by weighted least squares: 16 scales
 * that put the largest magnitude near either end of the codebook fix the codes, the fit gives the
 * scale, and the best is kept.
 */
export function fitLevels(x: Tensor, weight: Tensor): Tensor {
  const peak = peaks(x);
  let scale = peak * 0;
  let best = peak * 0;
  for (const step of range(16)) {
    // First the top level on the peak's side, then the bottom level and its neighbourhood.
    const inverse = step === 0 ? 1 / (peak / 127) : (step - 135) / peak;
    const value = levelOf(nearestLevel(inverse * x));
    const dot = down(weight * value * x);
    const norm = down(weight * value * value);
    const better = norm > 0 && (step === 0 || dot * dot > best * norm);
    scale = better ? dot / norm : scale;
    best = better ? scale * dot : best;
  }
  return abs(peak) >= EPSILON ? scale : 0;
}
