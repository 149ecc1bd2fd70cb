// Least-squares searches for scales, as ggml-quants.c defines them (make_qx_quants,
// make_qkx2_quants, make_qkx3_quants, make_qp_quants). Candidates often differ by less than f32
// rounding, so every sum runs over the elements in order, as in the reference: groups or candidates
// are columns, and sums go down the columns.
import {
  abs,
  amax,
  amin,
  argmax,
  argmin,
  at,
  clamp,
  dim,
  iota,
  min,
  range,
  reshape,
  round,
  sqrt,
  sum,
} from 'quern';
import type { Dim, Tensor } from 'quern';

/** Groups and super-blocks whose largest magnitude or scale is below this count as zero. */
export const EPSILON = 1e-15;

/** The sum over the first axis, one row after the other. */
export function inOrder(terms: Tensor): Tensor {
  let total = at(terms, 0);
  for (const i of range(1, dim(terms, 0))) total = total + at(terms, i);
  return total;
}

/**
 * Sums of columns [n, g]. Those of several run side by side; a single one must not be split into
 * lanes.
 */
export function down(terms: Tensor): Tensor {
  return dim(terms, 1) === 1 ? inOrder(terms) : sum(terms, 0);
}

/**
 * The {@link emphasis} of ggml's types without super-blocks: values share the mean square of the
 * row.
 */
export function rowEmphasis(r: Tensor, weights: Tensor): Tensor {
  return emphasis(r, weights, inOrder(r * r) / dim(r, 0));
}

/**
 * How much each element counts in a fit: its importance times a magnitude that small values share.
 */
export function emphasis(x: Tensor, importance: Tensor, meanSquare: Tensor): Tensor {
  return importance * sqrt(meanSquare + x * x);
}

/** The value of largest magnitude of each column [n, g], with its sign; the first one on ties. */
export function peaks(x: Tensor): Tensor {
  const n = dim(x, 0);
  const first = argmax(abs(x), 0);
  return sum(reshape(iota(n), [n, 1]) === first ? x : 0, 0);
}

/**
 * The minima of columns [n, g]; that of a single one is by index, so that of zeros of both signs
 * the first is kept.
 */
function lowest(x: Tensor): Tensor {
  return dim(x, 1) === 1 ? at(x, at(argmin(x, 0), 0)) : amin(x, 0);
}

/** Levels per unit; a group whose values are all equal has none. */
function density(levels: Tensor, reach: Tensor): Tensor {
  return reach > 0 ? levels / reach : 0;
}

export interface AffineSearch {
  /** The largest code. */
  readonly levels: number;
  /** Densities `levels + first + delta * step` over the range are tried, step 0 to `steps`. */
  readonly first: number;
  readonly delta: number;
  readonly steps: number;
  /** Minimise weighted magnitudes of errors rather than squares. */
  readonly absolute?: boolean;
}

/**
 * For each column of x [n, g] the scale and the minimum (negated, at least 0) of x ≈ scale * q -
 * minimum with q in 0 .. levels, by weighted least squares: densities of levels fix q, the fit
 * gives scale and minimum, and the best by weighted error is kept. The next density starts from the
 * minimum found so far. `codes` are those of the fit that was kept.
 */
export function fitAffine<N extends Dim, G extends Dim>(
  x: Tensor<'f32', [N, G]>,
  weight: Tensor<'f32', [N, G]>,
  { levels, first, delta, steps, absolute = false }: AffineSearch,
) {
  const penalty = (off: Tensor): Tensor => weight * (absolute ? abs(off) : off * off);
  const top = amax(x, 0);
  const sumW = down(weight);
  const sumX = down(weight * x);
  let low = min(lowest(x), 0);
  const plain = density(levels, top - low);
  let scale = plain > 0 ? 1 / plain : 0;
  // The codes of the fit that was kept are found again from what made them.
  let keptDensity = plain;
  let keptLow = low;
  let best = down(penalty(scale * clamp(round(plain * (x - low)), 0, levels) + low - x));
  for (const step of range(steps + 1)) {
    const tried = density(first + step * delta + levels, top - low);
    const q = clamp(round(tried * (x - low)), 0, levels);
    const sumQ = down(weight * q);
    const sumQQ = down(weight * q * q);
    const sumQX = down(weight * q * x);
    const det = sumW * sumQQ - sumQ * sumQ;
    const freeLow = (sumQQ * sumX - sumQ * sumQX) / det;
    const clipped = freeLow > 0;
    const newLow = clipped ? 0 : freeLow;
    const newScale = clipped ? sumQX / sumQQ : (sumW * sumQX - sumX * sumQ) / det;
    const error = down(penalty(newScale * q + newLow - x));
    const better = det > 0 && error < best;
    best = better ? error : best;
    scale = better ? newScale : scale;
    keptDensity = better ? tried : keptDensity;
    keptLow = better ? low : keptLow;
    low = better ? newLow : low;
  }
  return {
    scale,
    minimum: -low,
    codes: clamp(round(keptDensity * (x - keptLow)), 0, levels),
  };
}

/**
 * For each column of x [n, g] the scale of x ≈ scale * q with q in -reach .. reach - 1, by weighted
 * least squares: 19 scales around peak / -reach fix q, the fit gives the scale, and the best is
 * kept. `codes` are those of the fit that was kept; a column of zeros has scale 0 and codes -reach.
 */
export function fitSigned(x: Tensor, weight: Tensor, reach: number) {
  const peak = peaks(x);
  const levelsAt = (inverse: Tensor): Tensor => clamp(round(inverse * x), -reach, reach - 1);
  let scale = peak * 0;
  let best = peak * 0;
  let kept = -reach / peak;
  for (const step of range(20)) {
    // First the plain scale, then -9 .. 9 tenths of a level around it.
    const inverse = -(reach + 0.1 * (step === 0 ? 0 : step - 10)) / peak;
    const q = levelsAt(inverse);
    const dot = down(weight * x * q);
    const norm = down(weight * q * q);
    const better = norm > 0 && (step === 0 || dot * dot > best * norm);
    scale = better ? dot / norm : scale;
    best = better ? scale * dot : best;
    kept = better ? inverse : kept;
  }
  const active = abs(peak) >= EPSILON;
  return { scale: active ? scale : 0, codes: active ? levelsAt(kept) : -reach };
}

interface Range {
  readonly low: number;
  readonly high: number;
}

/**
 * Codes as the reference keeps them, in unsigned bytes: those of negative values count as 256 more
 * until they change.
 */
function asBytes(codes: Tensor): Tensor {
  return codes < 0 ? codes + 256 : codes;
}

/**
 * Five sweeps over the rows of codes q of x [n, g] that move one code at a time where that lowers
 * the weighted error of the best scale, dot / norm.
 */
function sweep(x: Tensor, weight: Tensor, start: Tensor, { low, high }: Range, needsNorm: boolean) {
  const n = dim(x, 0);
  const keep = (codes: Tensor): Tensor => (low === 0 ? asBytes(codes) : codes);
  let q = keep(start);
  let dot = down(weight * x * start);
  let norm = down(weight * start * start);
  const rows = reshape(iota(n), [n, 1]);
  for (const turn of range(5 * n)) {
    const i = turn % n;
    const [xi, wi, qi] = [at(x, i), at(weight, i), at(q, i)];
    const freeDot = dot - wi * xi * qi;
    const freeNorm = norm - wi * qi * qi;
    const free = round((xi * freeNorm) / freeDot);
    const next = low === 0 ? min(free, high) : clamp(free, low, high);
    const newDot = freeDot + wi * xi * next;
    const newNorm = freeNorm + wi * next * next;
    const usable = freeDot > 0 && (needsNorm ? freeNorm > 0 : newNorm > 0);
    const better = usable && next !== qi && newDot * newDot * norm > dot * dot * newNorm;
    q = rows === i && better ? keep(next) : q;
    dot = better ? newDot : dot;
    norm = better ? newNorm : norm;
  }
  return { scale: norm > 0 ? dot / norm : 0, codes: q };
}

/**
 * The search of q3_K without importance weights (make_q3_quants): for each column of x [n, g] the
 * scale of x ≈ scale * q with q in -reach .. reach - 1 and weights x * x, from the codes at peak /
 * -reach by sweeps.
 */
export function fitBySweeps(x: Tensor, reach: number) {
  const peak = peaks(x);
  const active = abs(peak) >= EPSILON;
  const start = clamp(round((-reach / peak) * x), -reach, reach - 1);
  const { scale, codes } = sweep(x, x * x, start, { low: -reach, high: reach - 1 }, false);
  return { scale: active ? scale : 0, codes: active ? codes : -reach };
}

/**
 * For each column of x [n, g], numbers that are hardly ever negative, the scale of x ≈ scale * q
 * with q in 0 .. levels: the best of nine scales around largest / levels, then sweeps.
 */
export function fitPositive(x: Tensor, weight: Tensor, levels: number) {
  const top = amax(x, 0);
  const active = top >= EPSILON;
  let density = levels / top;
  const codesAt = (inverse: Tensor): Tensor => min(round(inverse * x), levels);
  const errorOf = (inverse: Tensor, codes: Tensor): Tensor => {
    const off = x - (1 / inverse) * codes;
    return down(weight * off * off);
  };
  let best = errorOf(density, asBytes(codesAt(density)));
  for (const step of range(9)) {
    const tried = (0.1 * (step - 4) + levels) / top;
    const error = errorOf(tried, codesAt(tried));
    // Step 4 is what best starts with.
    const better = step !== 4 && error < best;
    best = better ? error : best;
    density = better ? tried : density;
  }
  const { scale, codes } = sweep(x, weight, codesAt(density), { low: 0, high: levels }, true);
  return { scale: active ? scale : 0, codes: active ? codes : 0 };
}
