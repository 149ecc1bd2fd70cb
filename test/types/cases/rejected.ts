// What tsc itself must flag, one mistake a directive: an unused directive is an error too.
import {
  amax,
  argmax,
  at,
  decode,
  encode,
  exp,
  f16,
  fields,
  format,
  i8,
  matmul,
  round,
  sum,
  transpose,
  zeros,
} from 'quern';
import type { Dim, Encoded, Format, Tensor, f32 } from 'quern';

export function shapes<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Tensor<f32, [N, K]>,
  a: Tensor<f32, [2, 4]>,
  b: Tensor<f32, [8, 2]>,
  batch: Tensor<f32, [3, M, N]>,
) {
  // @ts-expect-error K against M
  matmul(x, x);
  // @ts-expect-error K against N: a weight stored [N, K] needs transpose
  matmul(x, w);
  // @ts-expect-error 4 against 8
  matmul(a, b);
  // @ts-expect-error N against K, batched
  matmul(batch, transpose(w));
  // @ts-expect-error N against M, both batched
  matmul(batch, batch);
  // @ts-expect-error the product is [M, N]
  const wrong: Tensor<f32, [N, M]> = matmul(x, transpose(w));
  // @ts-expect-error 2 is not 8
  const turned: Tensor<f32, [2, 8]> = transpose(transpose(b));
  return [wrong, turned];
}

export function wrongReturn<M extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
): Tensor<f32, [K, M]> {
  // @ts-expect-error the named tensor is [M, K]
  return x;
}
export function wrongWeight<F extends Format, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<F, [N, K]>,
): Tensor<f32, [M, N]> {
  // @ts-expect-error decode(w) is [N, K], not [K, N]
  return matmul(x, decode(w));
}

export function dtypes<K extends Dim>(x: Tensor<f32, [K]>, q: Tensor<i8, [K, K]>) {
  // @ts-expect-error f32 is not f16
  const half: Tensor<f16, [K]> = x;
  // @ts-expect-error exp gives f32
  const narrow: Tensor<f16, [K]> = exp(f16(x));
  // @ts-expect-error integers contract to i32
  const product: Tensor<f32, [K, K]> = matmul(q, q);
  // @ts-expect-error a cast keeps the shape
  const scalar: Tensor<i8, []> = i8(x);
  // @ts-expect-error an index is i32
  const index: Tensor<f32, []> = argmax(x);
  // @ts-expect-error not a dtype
  zeros([4], 'f32');
  // @ts-expect-error f99 is no dtype
  const unknown: Tensor<'f99', [K]> = 0;
  return [half, narrow, product, scalar, index, unknown];
}

export function calls<M extends Dim>(x: Tensor<f32, [M]>, s: string) {
  // @ts-expect-error tensors have no methods
  x.sum();
  // @ts-expect-error tensors are indexed by at()
  x[0];
  // @ts-expect-error arity
  round(x, 2);
  // @ts-expect-error arity
  sum();
  // @ts-expect-error at needs an index
  at(x);
  // @ts-expect-error a string is no tensor
  exp(s);
  // @ts-expect-error the option is keepdims
  amax(x, 0, { keepDims: true });
  // @ts-expect-error dims are an array
  zeros(4);
  // @ts-expect-error a tensor is not encoded
  decode(x);
}

export const bytes = format({
  block: 32,
  encode: (x: Tensor<f32, [32]>) => ({ d: f16(amax(x)), q: i8(x) }),
  // @ts-expect-error there is no field `scale`
  decode: ({ scale, q }) => q * scale,
});
export const block = format({
  block: 32,
  // @ts-expect-error the block is 32, not 16
  encode: (x: Tensor<f32, [16]>) => ({ q: i8(x) }),
  decode: ({ q }) => q * 2,
});
export const shape = format({
  block: 32,
  encode: (x: Tensor<f32, [32]>) => ({ q: i8(x) }),
  // @ts-expect-error decode gives back the block
  decode: () => transpose(x16),
});
declare const x16: Tensor<f32, [4, 4]>;
// @ts-expect-error decode is missing
export const half = format({ block: 32, encode: (x: Tensor<f32, [32]>) => ({ q: i8(x) }) });
export const text = format({
  block: 32,
  // @ts-expect-error fields are tensors
  encode: (x: Tensor<f32, [32]>) => ({ q: i8(x), t: 'x' }),
  decode: () => 0,
});

export function encoded<N extends Dim, K extends Dim>(w: Encoded<typeof bytes, [N, K]>, f: Format) {
  // @ts-expect-error there is no field `scale`
  const { scale } = fields(w);
  // @ts-expect-error the field d is f16
  const d: Tensor<f32> = fields(w).d;
  // @ts-expect-error the format is the first argument
  encode(decode(w), f);
  // @ts-expect-error the option is weights
  encode(bytes, decode(w), { weight: d });
  // @ts-expect-error decode gives [N, K]
  const turned: Tensor<f32, [K, N]> = decode(w);
  return [scale, d, turned];
}
