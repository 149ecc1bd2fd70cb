// Kernels of the tests of threads: parsed by Quern, never executed.
import {
  amax,
  at,
  clamp,
  decode,
  dim,
  encode,
  exp,
  format,
  map,
  matmul,
  max,
  range,
  sum,
  transpose,
  u3,
  u4,
} from 'quern';
import type { Dim, Encoded, Format, Tensor, f32 } from 'quern';
import { q8_0 } from 'quern/formats';

export function elementwise<N extends Dim>(x: Tensor<f32, [N]>, y: Tensor<f32, [N]>) {
  return exp(-x * x) * y + 0.5;
}

export function linear<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(decode(w)));
}

/** A product whose encoding follows it piece by piece, and the product itself. */
export function encodedProduct<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
) {
  const y = matmul(decode(encode(q8_0, x)), transpose(decode(w)));
  return { y, e: encode(q8_0, max(y, -0.5)) };
}

/** The same where nobody wants the product. */
export function encodedAlone<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
) {
  return encode(q8_0, exp(matmul(decode(encode(q8_0, x)), transpose(decode(w)))));
}

/** Rows that a piece has whole, so that workers take rows. */
export function scores<M extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [64, K]>,
): Tensor<f32, [M, 64]> {
  const s = matmul(x, transpose(w));
  const e = exp(s - amax(s, 1, { keepdims: true }));
  return e / sum(e, 1, { keepdims: true });
}

/** Two kernels, the second of which reads what the workers of the first wrote. */
export function chain<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [N, K]>,
  v: Tensor<f32, [K, N]>,
): Tensor<f32, [M, K]> {
  const hidden = matmul(x, transpose(w));
  return matmul(max(hidden, 0), transpose(v));
}

export function softmax<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>): Tensor<f32, [M, N]> {
  const e = exp(x - amax(x, 1, { keepdims: true }));
  return e / sum(e, 1, { keepdims: true });
}

export function attention<H extends Dim, M extends Dim, N extends Dim, D extends Dim>(
  q: Tensor<f32, [H, M, D]>,
  k: Tensor<f32, [H, N, D]>,
  v: Tensor<f32, [H, N, D]>,
): Tensor<f32, [H, M, D]> {
  const s = matmul(q, transpose(k)) * 0.125;
  const e = exp(s - amax(s, 2, { keepdims: true }));
  return matmul(e / sum(e, 2, { keepdims: true }), v);
}

/** The same over keys that lie channel by channel. */
export function attentionByChannel<H extends Dim, M extends Dim, N extends Dim, D extends Dim>(
  q: Tensor<f32, [H, M, D]>,
  k: Tensor<f32, [H, D, N]>,
  v: Tensor<f32, [H, N, D]>,
): Tensor<f32, [H, M, D]> {
  const s = matmul(q, k) * 0.125;
  const e = exp(s - amax(s, 2, { keepdims: true }));
  return matmul(e / sum(e, 2, { keepdims: true }), v);
}

/** Results of fewer than eight bits, scalars and rows. */
export function narrow<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  return { codes: u3(x * 3 + 3), sums: u4(sum(x, 1) + 8), flags: x > 0 };
}

/** A product in sub-byte columns: neighbours share bytes. */
export function narrowProduct<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [N, K]>,
) {
  return u3(matmul(x, transpose(w)) + 4);
}

/** Every row keeps a scratch row through a loop. */
export function relax<M extends Dim>(x: Tensor<f32, [M, 24]>) {
  return map(dim(x, 0), (i) => {
    let row = at(x, i);
    for (const t of range(5)) row = row * 0.5 + sum(row * row) / (t + 25);
    return row;
  });
}

/** A format whose fields are all narrower than a byte. */
export const narrowed = format({
  block: 16,
  encode(x: Tensor<f32, [16]>) {
    return { s: u4(clamp(amax(x) * 4, 0, 15)), q: u3(clamp(x * 3 + 3, 0, 7)) };
  },
  decode: ({ s, q }) => (q - 3) * (s + 1),
});

/** One number of everything, after rows that were shared out. */
export function total<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  const rows = sum(x * x, 1);
  return { rows, whole: sum(rows), scaled: x / (sum(rows) + 1) };
}

/** A state that is updated where it lies, if it is given up. */
export function decay<M extends Dim, N extends Dim>(
  m: Tensor<f32, [M, N]>,
  g: Tensor<f32, [M, N]>,
) {
  return m * 0.5 + g;
}
