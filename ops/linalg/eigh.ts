// Eigenvalues of symmetric matrices by cyclic Jacobi rotations.

import type { Tensor } from 'quern';
import {
  abs,
  amax,
  argsort,
  at,
  dim,
  gather,
  iota,
  range,
  reshape,
  set,
  sqrt,
  transpose,
} from 'quern';
import { identity } from './identity.ts';

const sweeps = 30;
const tolerance = 2 ** -24;

/**
 * a = v diag(values) v^T for a symmetric a [n, n]: values [n] ascending, eigenvectors in the columns of v [n, n]. Both
 * triangles are read. (Jacobi 1846; Golub and Van Loan, section 8.5.)
 */
export function eigh(a: Tensor) {
  const n = dim(a, 0);
  const scale = amax(abs(a));
  let w = a * 1;
  let v = identity(n);
  let turned = 1;
  let sweep = 0;
  while (turned > 0 && sweep < sweeps) {
    turned = 0;
    for (const p of range(n)) {
      for (const q of range(p + 1, n)) {
        const off = at(w, p, q);
        if (abs(off) > tolerance * scale) {
          const theta = (at(w, q, q) - at(w, p, p)) / (2 * off);
          const t = (theta < 0 ? -1 : 1) / (abs(theta) + sqrt(1 + theta * theta));
          const c = 1 / sqrt(1 + t * t);
          const s = c * t;
          const [x, y] = [at(w, p), at(w, q)];
          w = set(w, c * x - s * y, p);
          w = set(w, s * x + c * y, q);
          for (const i of range(n)) {
            const [left, right] = [at(w, i, p), at(w, i, q)];
            w = set(w, c * left - s * right, i, p);
            w = set(w, s * left + c * right, i, q);
          }
          const [vp, vq] = [at(v, p), at(v, q)];
          v = set(v, c * vp - s * vq, p);
          v = set(v, s * vp + c * vq, q);
          turned = turned + 1;
        }
      }
    }
    sweep = sweep + 1;
  }
  const ids = iota(n);
  const diagonal = gather(reshape(w, [n * n]), ids * (n + 1));
  const order = argsort(diagonal);
  return { values: gather(diagonal, order), v: transpose(gather(v, order)) };
}
