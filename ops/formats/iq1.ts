// What iq1_s and iq1_m of ggml share: points of a grid in {-1, 0, 1}^8, moved by an eighth up or
// down, and the search for the scale (quantize_row_iq1_s_impl, quantize_row_iq1_m_impl and
// iq1_find_best_neighbour2 in ggml-quants.c). Codes are -1, 0, 1 plus 1.
import { amin, argmin, at, dim, gather, i32, iota, range, reshape, sum, tensor, u16 } from 'quern';
import type { Tensor } from 'quern';
import { inOrder } from './fits.ts';
import { grid2048 } from './grids.ts';

export const DELTA = 0.125;

/** Codes [..., 8] of points given by their indices. */
export function codesOf(index: Tensor, dims: readonly number[]): Tensor {
  return (reshape(gather(tensor(grid2048, u16), index), [...dims, 1]) >> (iota(8) * 2)) & 3;
}

/** The order of x [n], smallest first; equal values keep theirs: which element is at each place. */
function orderOf(x: Tensor): Tensor {
  const n = dim(x, 0);
  const [row, column] = [reshape(x, [n, 1]), reshape(x, [1, n])];
  const [i, j] = [reshape(iota(n), [n, 1]), reshape(iota(n), [1, n])];
  const rank = sum(column < row || (column === row && j < i), 1);
  return sum(reshape(rank, [1, n]) === i ? j : 0, 1);
}

/** Sums [n + 1] of the first 0, 1, ... n terms. */
function prefixes(terms: Tensor): Tensor {
  const n = dim(terms, 0);
  const places = iota(n + 1);
  let total = at(terms, 0) * 0;
  let sums = places * total;
  for (const i of range(n)) {
    total = total + at(terms, i);
    sums = places === i + 1 ? total : sums;
  }
  return sums;
}

/** Sums over x [n] in order of size, for splits of the order into codes 0, 1 and 2. */
export function sortedSums(x: Tensor, weight: Tensor, counted: boolean) {
  const order = orderOf(x);
  const mine = gather(counted, order);
  const [xs, ws] = [gather(x, order), gather(weight, order)];
  return { order, sumX: prefixes(mine ? ws * xs : 0), sumW: prefixes(mine ? ws : 0) };
}

/**
 * Codes of a split: places before `first` get 0, before `second` 1, others 2; turned round for a
 * negative scale.
 */
export function codesOfSplit(
  order: Tensor,
  first: Tensor,
  second: Tensor,
  turned: boolean,
): Tensor {
  const n = dim(order, 0);
  const place = sum(reshape(order, [1, n]) === reshape(iota(n), [n, 1]) ? iota(n) : 0, 1);
  const code = (place < first ? 0 : 1) + (place < second ? 0 : 1);
  return turned ? 2 - code : code;
}

/**
 * The point for x [8] with codes [8] at a scale: that of the codes, or if they are no point the one
 * with the least error weighted by w, of those within the three smallest distances; and whether the
 * codes are a point.
 */
export function nearestTernary(codes: Tensor, x: Tensor, w: Tensor, scale: Tensor, shift: Tensor) {
  const points = tensor(grid2048, u16);
  const far = 1 << 20;
  let distance = iota(2048) * 0;
  for (const i of [0, 1, 2, 3, 4, 5, 6, 7]) {
    const off = ((points >> (2 * i)) & 3) - i32(at(codes, i));
    distance = distance + off * off;
  }
  const nearest = amin(distance);
  const onGrid = nearest === 0;
  let index = argmin(distance);
  if (nearest > 0) {
    const second = amin(distance > nearest ? distance : far);
    const third = amin(distance > second ? distance : far);
    let error = scale * iota(2048) * 0;
    for (const i of [0, 1, 2, 3, 4, 5, 6, 7]) {
      const off = scale * (((points >> (2 * i)) & 3) - 1 + shift) - at(x, i);
      error = error + at(w, i) * off * off;
    }
    const allowed = distance <= third;
    const least = amin(allowed ? error : Infinity);
    index = argmin(allowed && error === least ? distance * 2048 + iota(2048) : far * 512);
  }
  return { index, onGrid };
}

/** Moments of the least-squares scale of x [n] against values q [n]. */
export function moments(x: Tensor, w: Tensor, q: Tensor) {
  return { dot: inOrder(w * q * x), norm: inOrder(w * q * q) };
}
