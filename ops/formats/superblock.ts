// What q2_K, q4_K and q5_K of ggml share: super-blocks of 256 values in groups that have a scale
// and a minimum, both small integers in units of two f16 numbers (quantize_row_q*_K_ref and
// quantize_row_q*_K_impl in ggml-quants.c).
import { abs, amax, at, clamp, f16, group, max, reshape, round, sqrt, sum, transpose } from 'quern';
import type { Tensor } from 'quern';
import { type AffineSearch, emphasis, fitAffine, fitPositive, inOrder } from './fits.ts';

export interface AffineSuperblock {
  /** Values a group. */
  readonly size: number;
  /** The largest scale and minimum of a group, as integers. */
  readonly units: number;
  /** The search without importance weights, and its weights: |x|, or rms(group) + |x|. */
  readonly search: AffineSearch;
  readonly addsRms: boolean;
  /**
   * With importance weights, the share of the mean square of the super-block that every value's
   * weight gets.
   */
  readonly share: number;
}

/** Integers 0 .. units and the unit of numbers that are at least 0, by the largest of them. */
function byLargest(values: Tensor, units: number) {
  const top = max(amax(values), 0);
  const codes = clamp(round(values * (top > 0 ? units / top : 0)), 0, units);
  return { unit: f16(top / units), codes };
}

/** The same by a weighted fit. */
function byFit(values: Tensor, weight: Tensor, groups: number, units: number) {
  const column = (v: Tensor): Tensor => reshape(v, [groups, 1]);
  const { scale, codes } = fitPositive(column(values), column(weight), units);
  return { unit: f16(at(scale, 0)), codes: reshape(codes, [groups]) };
}

/** The fields of x [256]; codes are found again with the rounded scales, unless these are 0. */
export function encodeAffine(x: Tensor, weights: Tensor | undefined, s: AffineSuperblock) {
  const groups = 256 / s.size;
  const levels = s.search.levels;
  const columns = transpose(group(x, s.size));
  const refined = { levels, first: -0.9, delta: 0.05, steps: 36 };
  let fit: { scale: Tensor; minimum: Tensor; codes: Tensor };
  let scales: { unit: Tensor; codes: Tensor };
  let mins: { unit: Tensor; codes: Tensor };
  if (weights === undefined) {
    const rms = sqrt(sum(columns * columns, 0) / s.size);
    fit = fitAffine(columns, s.addsRms ? rms + abs(columns) : abs(columns), s.search);
    scales = byLargest(fit.scale, s.units);
    mins = byLargest(fit.minimum, s.units);
  } else {
    const meanSquare = (s.share * inOrder(x * x)) / 256;
    const weight = emphasis(columns, transpose(group(weights, s.size)), meanSquare);
    const total = sum(weight, 0);
    fit = fitAffine(columns, weight, refined);
    scales = byFit(fit.scale, total, groups, s.units);
    mins = byFit(fit.minimum, total, groups, s.units);
  }
  const unit = scales.unit * scales.codes;
  const shifted = columns + mins.unit * mins.codes;
  const q = unit === 0 ? fit.codes : clamp(round(shifted / unit), 0, levels);
  return {
    d: scales.unit,
    dmin: mins.unit,
    scales: scales.codes,
    mins: mins.codes,
    q: reshape(transpose(q), [256]),
  };
}

/** w = d * scale * q - dmin * min, a scale and a min each `size` values. */
export function decodeAffine(
  {
    d,
    dmin,
    scales,
    mins,
    q,
  }: { d: Tensor; dmin: Tensor; scales: Tensor; mins: Tensor; q: Tensor },
  size: number,
): Tensor {
  const groups = 256 / size;
  const unit = reshape(d * scales, [groups, 1]);
  return reshape(unit * group(q, size) - reshape(dmin * mins, [groups, 1]), [256]);
}
