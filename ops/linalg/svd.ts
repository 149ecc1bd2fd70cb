// Singular values by one-sided Jacobi rotations: columns are turned in pairs until all are orthogonal. Small singular
// values come out with a small relative error, which a detour over a^T a would lose.

import type { Tensor } from 'quern';
import { abs, argsort, at, dim, gather, range, reshape, set, sqrt, sum, transpose } from 'quern';
import { identity } from './identity.ts';

const sweeps = 30;
/** Columns count as orthogonal below this cosine: a few roundings of f32. */
const tolerance = 2 ** -22;

/**
 * a = u diag(s) v^T for a [m, n]: u [m, n], s [n] descending, v [n, n]. Best with m >= n; for m < n the last n - m
 * singular values are 0 but for rounding, and so are columns of u where s is 0. (Hestenes 1958; Demmel and Veselic 1992.)
 */
export function svd(a: Tensor) {
  const n = dim(a, 1);
  let w = transpose(a) * 1;
  let v = identity(n);
  let turned = 1;
  let sweep = 0;
  while (turned > 0 && sweep < sweeps) {
    turned = 0;
    for (const p of range(n)) {
      for (const q of range(p + 1, n)) {
        const x = at(w, p);
        const y = at(w, q);
        const alpha = sum(x * x);
        const beta = sum(y * y);
        const gamma = sum(x * y);
        if (abs(gamma) > tolerance * sqrt(alpha) * sqrt(beta)) {
          const zeta = (beta - alpha) / (2 * gamma);
          const t = (zeta < 0 ? -1 : 1) / (abs(zeta) + sqrt(1 + zeta * zeta));
          const c = 1 / sqrt(1 + t * t);
          const s = c * t;
          const [vp, vq] = [at(v, p), at(v, q)];
          w = set(w, c * x - s * y, p);
          w = set(w, s * x + c * y, q);
          v = set(v, c * vp - s * vq, p);
          v = set(v, s * vp + c * vq, q);
          turned = turned + 1;
        }
      }
    }
    sweep = sweep + 1;
  }
  const norms = sqrt(sum(w * w, 1));
  const order = argsort(norms, { descending: true });
  const s = gather(norms, order);
  const rows = gather(w, order);
  const length = reshape(s, [n, 1]);
  return {
    u: transpose(length > 0 ? rows / length : 0),
    s,
    v: transpose(gather(v, order)),
  };
}
