// Activations, normalisations and losses that are called within kernels, on tensors of any rank. Floats are f32.

import type { Tensor } from 'quern';
import { abs, amax, dim, exp, iota, log, max, mean, reshape, shape, sqrt, sum, tanh } from 'quern';

/** max(x, 0); NaN stays NaN. */
export const relu = (x: Tensor): Tensor => max(x, 0);

/** 1 / (1 + e^-x). */
export const sigmoid = (x: Tensor): Tensor => 1 / (1 + exp(-x));

/** x sigmoid(x), also called swish (Elfwing et al., arXiv 1702.03118). */
export const silu = (x: Tensor): Tensor => x / (1 + exp(-x));

/** log(1 + e^x), without overflow. */
export const softplus = (x: Tensor): Tensor => max(x, 0) + log(1 + exp(-abs(x)));

/** 1 - erf(z) for z >= 0, within 5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26). */
function complement(z: Tensor): Tensor {
  const t = 1 / (1 + 0.3275911 * z);
  const p =
    ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return p * exp(-z * z);
}

/** The error function, within 5e-7. */
export function erf(x: Tensor): Tensor {
  const rest = complement(abs(x));
  return x < 0 ? rest - 1 : 1 - rest;
}

/** x Phi(x), Phi the distribution of a standard normal (Hendrycks and Gimpel, arXiv 1606.08415), within 3e-7 |x|. */
export function gelu(x: Tensor): Tensor {
  const rest = 0.5 * complement(abs(x) * Math.SQRT1_2);
  return x * (x < 0 ? rest : 1 - rest);
}

/** The approximation of {@link gelu} by tanh, of the same paper. */
export const geluTanh = (x: Tensor): Tensor =>
  0.5 * x * (1 + tanh(sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));

/** e^x / sum(e^x) along an axis, the last by default; large numbers do not overflow. */
export function softmax(x: Tensor, axis = -1): Tensor {
  const e = exp(x - amax(x, axis, { keepdims: true }));
  return e / sum(e, axis, { keepdims: true });
}

/** log(softmax(x)) along an axis, the last by default. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  const shifted = x - amax(x, axis, { keepdims: true });
  return shifted - log(sum(exp(shifted), axis, { keepdims: true }));
}

/** -log softmax(logits)[target] along the last axis, which is removed, in nats. `target` holds indices into that axis. */
export function crossEntropy(logits: Tensor, target: Tensor): Tensor {
  // Differences to the largest keep their digits, however large it is.
  const off = logits - amax(logits, -1, { keepdims: true });
  const isTarget = iota(dim(logits, -1)) === reshape(target, [...shape(target), 1]);
  return log(sum(exp(off), -1)) - sum(isTarget ? off : 0, -1);
}

/** x / sqrt(mean(x²) + eps) * w along the last axis (Zhang and Sennrich, arXiv 1910.07467). */
export const rmsNorm = (x: Tensor, w: Tensor, eps = 1e-5): Tensor =>
  (x / sqrt(mean(x * x, -1, { keepdims: true }) + eps)) * w;

/** (x - mean(x)) / sqrt(var(x) + eps) * w + b along the last axis, var of the whole population (arXiv 1607.06450). */
export function layerNorm(x: Tensor, w: Tensor, b: Tensor, eps = 1e-5): Tensor {
  const off = x - mean(x, -1, { keepdims: true });
  const scale = 1 / sqrt(mean(off * off, -1, { keepdims: true }) + eps);
  return off * scale * w + b;
}
