// Leading singular directions without a full decomposition: power iteration, subspace iteration, and the randomised
// SVD of Halko, Martinsson and Tropp (Finding Structure with Randomness, SIAM Review 2011).

import type { Tensor } from 'quern';
import { dim, matmul, range, slice, sqrt, sum, transpose } from 'quern';
import { normal } from '../random.ts';
import { qr } from './qr.ts';
import { svd } from './svd.ts';

/** The largest singular value of a [m, n] with its vectors, u [m, 1] and v [n, 1], after so many rounds. */
export function powerIteration(a: Tensor, rounds = 30, seed: Tensor = 0) {
  let v = normal(seed, [dim(a, 1), 1]);
  for (const _ of range(rounds)) {
    const next = matmul(transpose(a), matmul(a, v));
    const length = sqrt(sum(next * next));
    v = length > 0 ? next / length : next;
  }
  const image = matmul(a, v);
  const s = sqrt(sum(image * image));
  return { u: s > 0 ? image / s : image, s, v };
}

/** An orthonormal basis q [m, rank] that holds most of the range of a [m, n]. */
export function subspaceIteration(a: Tensor, rank: number, rounds = 2, seed: Tensor = 0): Tensor {
  let q = qr(matmul(a, normal(seed, [dim(a, 1), rank]))).q;
  for (const _ of range(rounds)) {
    const right = qr(matmul(transpose(a), q)).q;
    q = qr(matmul(a, right)).q;
  }
  return q;
}

export interface RandomizedOptions {
  /** Columns beyond the rank that the basis has while it is sought; 8 by default. */
  readonly oversample?: number;
  /** Rounds of subspace iteration; 2 by default. */
  readonly rounds?: number;
  readonly seed?: Tensor;
}

/** The leading part of the SVD of a [m, n]: u [m, rank], s [rank], v [n, rank]. rank + oversample <= min(m, n). */
export function randomizedSvd(
  a: Tensor,
  rank: number,
  { oversample = 8, rounds = 2, seed = 0 }: RandomizedOptions = {},
) {
  const q = subspaceIteration(a, rank + oversample, rounds, seed);
  // The projection is wide: its transpose has few columns to turn.
  const small = svd(matmul(transpose(a), q));
  return {
    u: slice(matmul(q, small.v), 0, rank, 1),
    s: slice(small.s, 0, rank),
    v: slice(small.u, 0, rank, 1),
  };
}
