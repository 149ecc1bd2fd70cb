// Symmetric positive definite systems: Cholesky by outer products, triangular solves by rows, inverses with damping.

import type { Tensor } from 'quern';
import { at, dim, iota, matmul, mean, range, reshape, set, sqrt, transpose, zeros } from 'quern';
import { identity } from './identity.ts';

/**
 * The lower triangular L with L L^T = a, for a symmetric positive definite a [n, n]. Where a pivot is not positive, its
 * row and all that follow from it are NaN or Inf: test with isnan, or add to the diagonal first.
 */
export function cholesky(a: Tensor): Tensor {
  const n = dim(a, 0);
  let left = a * 1;
  let rows = zeros([n, n]);
  for (const j of range(n)) {
    const pivot = sqrt(at(left, j, j));
    const column = iota(n) >= j ? at(left, j) / pivot : 0;
    rows = set(rows, column, j);
    left = left - reshape(column, [n, 1]) * column;
  }
  return transpose(rows);
}

/** The x with l x = b for a lower triangular l [n, n] and b [n, m]; of an upper one with `upper`. */
export function solveTriangular(l: Tensor, b: Tensor, upper = false): Tensor {
  const [n, m] = [dim(l, 0), dim(b, 1)];
  let x = zeros([n, m]);
  for (const k of range(n)) {
    const i = upper ? n - 1 - k : k;
    // Rows that are not solved yet are still zero, and so is the other triangle's part of the product.
    const known = upper ? iota(n) > i : iota(n) < i;
    const row = reshape(known ? at(l, i) : 0, [1, n]);
    x = set(x, (at(b, i) - reshape(matmul(row, x), [m])) / at(l, i, i), i);
  }
  return x;
}

/** The x with a x = b for a symmetric positive definite a. */
export function solveSpd(a: Tensor, b: Tensor): Tensor {
  const l = cholesky(a);
  return solveTriangular(transpose(l), solveTriangular(l, b), true);
}

/** The inverse of a symmetric positive definite matrix. */
export const inverseSpd = (a: Tensor): Tensor => solveSpd(a, identity(dim(a, 0)));

/** The inverse of a + damping * mean(diagonal of a) * I, as GPTQ has it (Frantar et al., arXiv 2210.17323). */
export function inverseDamped(a: Tensor, damping: Tensor = 0.01): Tensor {
  const n = dim(a, 0);
  const eye = identity(n);
  const diagonal = mean(a * eye) * n;
  return inverseSpd(a + eye * (diagonal * damping));
}
