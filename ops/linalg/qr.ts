// Orthogonal factorisation by Householder reflections.

import type { Tensor } from 'quern';
import {
  abs,
  amax,
  at,
  dim,
  iota,
  matmul,
  range,
  reshape,
  set,
  slice,
  sqrt,
  sum,
  transpose,
} from 'quern';
import { identity } from './identity.ts';

/**
 * a = q r for a [m, n] with m >= n: q [m, n] has orthonormal columns, r [n, n] is upper triangular with diagonal of any
 * sign. Columns are scaled before they are squared, so that no norm overflows.
 */
export function qr(a: Tensor) {
  const [m, n] = [dim(a, 0), dim(a, 1)];
  // Columns as rows: reflections then run along memory.
  let r = transpose(a) * 1;
  let q = identity(m);
  for (const k of range(n)) {
    const x = iota(m) >= k ? at(r, k) : 0;
    const top = amax(abs(x));
    const scaled = top > 0 ? x / top : x;
    const norm = sqrt(sum(scaled * scaled));
    const v = set(scaled, at(scaled, k) + (at(scaled, k) < 0 ? -norm : norm), k);
    const size = sum(v * v);
    const beta = size > 0 ? 2 / size : 0;
    const column = reshape(v, [m, 1]);
    r = r - beta * matmul(r, column) * v;
    q = q - beta * matmul(q, column) * v;
  }
  const upper = reshape(iota(n), [n, 1]) <= iota(n);
  return { q: slice(q, 0, n, 1), r: upper ? transpose(slice(r, 0, n, 1)) : 0 };
}
