// Kernels that tsc must accept: operators, broadcasting, control flow, masks, helpers.
import {
  abs,
  all,
  amax,
  any,
  argmax,
  argmin,
  at,
  bool,
  broadcastTo,
  ceil,
  clamp,
  concat,
  cos,
  dim,
  exp,
  f16,
  f32,
  full,
  gather,
  group,
  i32,
  i8,
  isnan,
  map,
  matmul,
  max,
  mean,
  min,
  pad,
  popcount,
  pow,
  range,
  reshape,
  round,
  shape,
  sign,
  sin,
  slice,
  sqrt,
  stack,
  sum,
  tanh,
  tensor,
  transpose,
  u32,
  u8,
  zeros,
} from 'quern';
import type { Dim, Scalar, Tensor } from 'quern';

export function softmax<M extends Dim, N extends Dim>(z: Tensor<f32, [M, N]>): Tensor<f32, [M, N]> {
  const shifted = z - amax(z, 1, { keepdims: true });
  return exp(shifted) / sum(exp(shifted), 1, { keepdims: true });
}
export const softmaxRaw = <M extends Dim, N extends Dim>(z: Tensor<f32, [M, N]>) =>
  exp(z) / sum(exp(z), 1);

/** matmul with operands of every kind: named, computed, batched, mixed dtypes. */
export function products<M extends Dim, K extends Dim, N extends Dim, B extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f16, [K, N]>,
  c: Tensor<i8, [M, K]>,
  batch: Tensor<f32, [B, M, K]>,
): { y: Tensor<f32, [M, N]>; z: Tensor<f32, [B, M, N]>; s: Tensor<f32, [B, M, M]> } {
  const y: Tensor<f32, [M, N]> = matmul(x * 2, w);
  const mixed: Tensor<f32, [M, N]> = matmul(c, w);
  const exact: Tensor<i32, [M, M]> = matmul(c, transpose(c));
  const batched: Tensor<f32, [B, M, N]> = matmul(batch, w);
  const scores: Tensor<f32, [B, M, M]> = matmul(batch, transpose(batch, [0, 2, 1]));
  const computed: Tensor<f32, [B, M, M]> = matmul(batch * 0.5, transpose(batch, [0, 2, 1]) * 2);
  const four: Tensor<f32, [B, B, M, M]> = matmul(
    reshape(batch, [1, -1, 4, 4]),
    reshape(batch, [1, -1, 4, 4]),
  );
  return {
    y: y + mixed + sum(exact) + sum(four),
    z: batched,
    s: scores > 0 ? scores : computed,
  };
}

/** Masks: comparisons are booleans to TypeScript, and may be combined, counted, cast and selected by. */
export function masks<M extends Dim>(
  x: Tensor<f32, [M]>,
  flags: Tensor<bool, [M]>,
): { kept: Tensor<bool, [M]>; count: Tensor<i32, []>; picked: Tensor<f32, [M]> } {
  const kept = x > 0 && !isnan(x);
  let more = true;
  let steps = 0;
  while (more) {
    steps += 1;
    more = any(x > steps) && !all(flags);
  }
  if (any(flags) || all(x >= 0, 0)) steps = 0;
  return {
    kept: bool(kept),
    count: sum(x > 0 || isnan(x)),
    picked: flags ? x * steps : f32(kept) * x,
  };
}

/** Loops with carried values, parallel maps, records of results. */
export function control<N extends Dim, K extends Dim>(
  w: Tensor<f32, [N, K]>,
  limit: Scalar,
  options: { passes?: number; exact: boolean },
): { low: Tensor<f32, [N]>; index: Tensor<i32, [N]> } {
  const [rows, width] = shape(w);
  let total = zeros([dim(w, 1)]);
  let best = at(w, 0);
  for (const i of range(rows)) {
    total = total + at(w, i);
    best = at(w, i, 0) > limit ? at(w, i) : best;
  }
  for (const scale of [1, 0.5, 0.25]) total = total * scale;
  for (let p = 0; p < (options.passes ?? 2); p++) total = options.exact ? total : round(total);
  const grid = map([rows, width / 8], (i, j) => sum(slice(at(w, i), j * 8, j * 8 + 8)));
  const { low, index } = map(rows, (i) => {
    const row = at(w, i) + mean(grid) + mean(total) + mean(best);
    return { low: amax(row), index: argmin(row) };
  });
  return { low, index };
}

/** The rest of the builtins, and Math, with nested helpers. */
export function everything<K extends Dim>(
  x: Tensor<f32, [K]>,
  bits: Tensor<u32, [K]>,
): Tensor<f32, [K]> {
  function smooth(v: number, sharp = 2): number {
    const inner = (u: number) => tanh(u * sharp) + sin(u) * cos(u);
    return inner(v) + Math.floor(v) + Math.round(v) + Math.max(v, 0);
  }
  const table = tensor(
    [
      [1, 2],
      [3, 4],
    ],
    i8,
  );
  const mixed = concat([stack([x, x], 1), pad(group(x, 2), 0, 1, { axis: 0, value: 1 })]);
  const turned = (bits << 3) ^ (bits >>> 2) ^ ~bits ^ u32(popcount(bits) % 7);
  const padded = broadcastTo(full([1], sqrt(2)), [8]) ** 2 + pow(2, gather(table, u8(turned)));
  const sorted = min(clamp(x, -1, 1), max(sign(x), ceil(mixed)));
  const top = at(x, -1) + at(x, argmax(abs(x))) + f16(x) * 2;
  return smooth(sorted) + padded + top + i32(x > 0) - transpose(table) + reshape(x, [-1]);
}

/** Plain numbers have lost dtype and shape: they fit wherever a tensor is declared. */
export function lost<K extends Dim>(x: Tensor<f32, [K]>): Tensor<f32, [K]> {
  const n = x * 2;
  const scalar: Tensor<f32, []> = amax(n);
  // An inner call takes its type from the outer one's parameter, which must not make it a mask.
  const nested: Tensor<f32, [K]> = reshape(concat([n, reshape(abs(n), [-1])]), shape(x));
  const row: Tensor<f32, [K]> = map(3, (i) => n + i);
  const rows: Tensor<f32, [K, K]> = map([2, 3], (i, j) => at(n, i) + j);
  const mask: Tensor<bool, [K]> = map(3, (i) => n > i);
  const product: Tensor<f32, [K, K]> = matmul(n, n);
  return mask ? row + scalar + nested : sum(matmul(rows, product), 0);
}
