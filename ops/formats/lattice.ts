// What ggml's iq2 and iq3 types share: magnitudes are points of a grid in a small lattice, signs
// are stored apart, and the encoder looks for a scale at which points of the grid are near
// (quantize_row_iq2_*_impl and quantize_row_iq3_*_impl in ggml-quants.c). Levels l = 0, 1, 2, ...
// of a coordinate stand for magnitudes 2 l + 1 in units of the scale.
import {
  abs,
  amax,
  amin,
  argmin,
  at,
  clamp,
  f32,
  gather,
  i32,
  iota,
  max,
  popcount,
  range,
  reshape,
  round,
  sqrt,
  sum,
  tensor,
  u16,
} from 'quern';
import type { Tensor } from 'quern';
import { inOrder } from './fits.ts';

export interface Lattice {
  /** Points in ascending order, `bits` bits a coordinate. */
  readonly grid: readonly number[];
  /** Coordinates of a point. */
  readonly width: number;
  readonly bits: number;
  /** Levels of a coordinate. */
  readonly levels: number;
  /** How many of the smallest distances to the grid make a neighbour. */
  readonly shells: number;
}

/** Coordinates [..., width] of points given by their indices [...]. */
export function coordinates({ grid, width, bits }: Lattice, index: Tensor, dims: number[]): Tensor {
  const points = reshape(gather(tensor(grid, u16), index), [...dims, 1]);
  return (points >> (iota(width) * bits)) & (2 ** bits - 1);
}

/** What iq2 types decode levels 0, 1, 2 to: 8, 25, 43, near eight times 1, 3, 5. */
export function magnitude(level: Tensor): Tensor {
  return 8 + 17 * level + (level >> 1);
}

/** Signs [n, 8] of n bytes of sign bits, as 1 and -1. */
export function signsOf(bytes: Tensor, n: number): Tensor {
  return 1 - 2 * ((reshape(bytes, [n, 1]) >> iota(8)) & 1);
}

/** Bytes of sign bits from the lower seven: the number of negative signs is even. */
export function evenSigns(codes: Tensor): Tensor {
  return codes | ((popcount(codes) & 1) << 7);
}

/**
 * Sign bits and magnitudes of x [32, 8]. With `even`, an odd number of negative signs is made even
 * by turning the value that matters least, whose magnitude is then negative; of those bytes the
 * lower seven bits suffice.
 */
export function splitSigns(x: Tensor, weight: Tensor, even: boolean) {
  const negative = x < 0;
  const magnitudes = abs(x);
  if (!even) return { bytes: sum(i32(negative) << iota(8), 1), magnitudes };
  const odd = reshape((sum(negative, 1) & 1) === 1, [32, 1]);
  const turned = odd && iota(8) === reshape(argmin(weight * x * x, 1), [32, 1]);
  const bytes = sum(i32(negative !== turned) << iota(8), 1);
  return { bytes: bytes & 127, magnitudes: turned ? -magnitudes : magnitudes };
}

/** Levels of v at 1 / inverse a unit. */
function levelsAt({ levels }: Lattice, inverse: Tensor, v: Tensor): Tensor {
  return clamp(round(0.5 * (inverse * v - 1)), 0, levels - 1);
}

/**
 * The index of the point for v [width] at a scale, and whether v's own levels are a point. If not,
 * of the points within the nearest `shells` distances of these levels the one with the least error
 * of v weighted by w; on equal errors the one nearer to the levels, then the first.
 */
function nearestPoint(lattice: Lattice, v: Tensor, w: Tensor, inverse: Tensor, scale: Tensor) {
  const { grid, width, bits, shells } = lattice;
  const own = levelsAt(lattice, inverse, v);
  const points = tensor(grid, u16);
  const level = (i: number): Tensor => (points >> (bits * i)) & (2 ** bits - 1);
  const axes = Array.from({ length: width }, (_, i) => i);
  const distance = axes.reduce((total: Tensor, i) => {
    const off = level(i) - i32(at(own, i));
    return total + off * off;
  }, 0);
  const far = 1 << 20;
  const onGrid = amin(distance) === 0;
  let reach = amin(distance);
  for (let shell = 1; shell < shells; shell++)
    reach = onGrid ? 0 : amin(distance > reach ? distance : far);
  const error = axes.reduce((total: Tensor, i) => {
    const off = scale * (2 * level(i) + 1) - at(v, i);
    return total + at(w, i) * off * off;
  }, 0);
  const allowed = distance <= reach;
  const least = amin(allowed ? error : Infinity);
  const rank = distance * grid.length + iota(grid.length);
  return { index: argmin(allowed && error === least ? rank : far * 512), onGrid };
}

export interface LatticeSearch {
  readonly lattice: Lattice;
  /** Points a group. */
  readonly count: number;
  /** Inverse scales `(2 levels - 1 + step * delta) / unit` are tried, step from -reach to reach. */
  readonly reach: number;
  readonly delta: number;
  /** Whether points count as found on the grid where no inverse scale is better than none. */
  readonly startsOnGrid: boolean;
}

interface Moments {
  readonly dot: Tensor;
  readonly norm: Tensor;
}

/** Moments of the least-squares scale of v [n] for points given by their indices [count]. */
function momentsOf(
  { lattice, count }: LatticeSearch,
  index: Tensor,
  v: Tensor,
  w: Tensor,
): Moments {
  const n = count * lattice.width;
  const q = 2 * reshape(coordinates(lattice, index, [count]), [n]) + 1;
  return { dot: inOrder(w * v * q), norm: inOrder(w * q * q) };
}

/** Points for all of v [count * width]. */
function pointsAt(s: LatticeSearch, v: Tensor, w: Tensor, inverse: Tensor, scale: Tensor) {
  const { lattice, count } = s;
  const [vs, ws] = [v, w].map((t) => reshape(t, [count, lattice.width]));
  let index = iota(count) * 0;
  let onGrid = iota(count) * 0;
  for (const k of range(count)) {
    const found = nearestPoint(lattice, at(vs!, k), at(ws!, k), inverse, scale);
    index = iota(count) === k ? found.index : index;
    onGrid = iota(count) === k ? i32(found.onGrid) : onGrid;
  }
  return { index, onGrid };
}

/**
 * The scale of magnitudes v [count * width] with weights w, and the points: for each inverse scale
 * the points fix a least-squares scale, and the best is kept. Its own points are looked for once
 * more where `again` says so (from what was on the grid), and the scale is fitted to them.
 */
export function fitPoints(
  s: LatticeSearch,
  v: Tensor,
  w: Tensor,
  unit: Tensor,
  first: Tensor,
  again: (onGrid: Tensor) => Tensor,
) {
  const top = 2 * s.lattice.levels - 1;
  const root = sqrt(w);
  let scale = f32(first);
  let best = f32(0);
  let index = iota(s.count) * 0;
  let onGrid = iota(s.count) * 0 + (s.startsOnGrid ? 1 : 0);
  for (const step of range(2 * s.reach + 1)) {
    const inverse = (top + (step - s.reach) * s.delta) / unit;
    const found = pointsAt(s, v, root, inverse, 1 / inverse);
    const { dot, norm } = momentsOf(s, found.index, v, w);
    const better = norm > 0 && dot * dot > best * norm;
    scale = better ? dot / norm : scale;
    best = better ? scale * dot : best;
    index = better ? found.index : index;
    onGrid = better ? found.onGrid : onGrid;
  }
  const refitted = again(onGrid);
  if (amax(refitted) > 0 && scale > 0) {
    const found = pointsAt(s, v, root, 1 / scale, scale);
    index = refitted > 0 ? found.index : index;
    const { dot, norm } = momentsOf(s, index, v, w);
    scale = norm > 0 ? dot / norm : scale;
  }
  return { scale, index };
}

/** Four-bit codes l of scales (2 l + 1) * unit, and the unit; 0 where all scales are. */
export function scaleCodes(scales: Tensor) {
  const unit = max(amax(scales), 0) / 31;
  const codes = clamp(round(0.5 * ((1 / unit) * scales - 1)), 0, 15);
  return { unit, codes: unit > 0 ? codes : 0 };
}
