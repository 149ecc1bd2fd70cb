// Encoded tensors taken apart and put together again.
import type { Dim, Encoded, Format, Tensor } from 'quern';
import { broadcastTo, decode, factors, format, gather, i4, reshape, shape, tensor } from 'quern';
import { amax, abs, amin, f16, round, sum, u2, u3, u4, zerosLike } from 'quern';

/** scale and offset once an element. */
export function apart<F extends Format, N extends Dim, K extends Dim>(w: Encoded<F, [N, K]>) {
  const { integers, scale, offset } = factors(w);
  const whole = shape(integers);
  const flat = (x: Tensor) =>
    reshape(broadcastTo(reshape(x, [...whole.slice(0, -1), 1]), whole), shape(decode(w)));
  return {
    integers,
    scale: flat(scale),
    offset: flat(offset === undefined ? zerosLike(scale) : offset),
    decoded: decode(w),
  };
}

const unit = (x: Tensor) => f16(amax(abs(x)) / 7);
const codes = (x: Tensor) => u4(round(x) + 8);

/** A zero point that is subtracted as a float. */
export const floatZero = format({
  block: 8,
  encode: (x: Tensor) => ({ d: unit(x), q: codes(x) }),
  decode: ({ d, q }) => d * (q * 1 - 7.5),
});
/** A scale of the tensor, one of the row and one of four elements; negative, divided, and what is taken away from. */
export const levels = format({
  block: 16,
  tensor: (x: Tensor) => ({ t: amax(abs(x)) }),
  row: (x: Tensor) => ({ r: amax(x) + 2 }),
  encode: (x: Tensor) => ({ s: u3(tensor([1, 2, 3, 4])), m: f16(amin(x)), q: u2(round(x)) }),
  decode: ({ t, r, s, m, q }) => {
    const fours = reshape(q, [4, 4]);
    return reshape(m - (-(fours * reshape(s, [4, 1])) * t) / r, [16]);
  },
});
/** Blocks of several rows, whose runs are halves of a row. */
export const tiles = format({
  block: [2, 8],
  encode: (x: Tensor) => ({ d: f16(amax(abs(reshape(x, [2, 2, 4])), -1)), q: i4(round(x)) }),
  decode: ({ d, q }) => reshape(reshape(q, [2, 2, 4]) * reshape(d, [2, 2, 1]), [2, 8]),
});
/** A table of floats that are integers times a power of two. */
export const quarters = format({
  block: 4,
  encode: (x: Tensor) => ({ d: unit(x), q: u2(round(x)) }),
  decode: ({ d, q }) => gather(tensor([-0.75, 0, 0.25, 31.5]), q) * d,
});
/** What neighbours have to do with each other is no product. */
export const mixed = format({
  block: 4,
  encode: (x: Tensor) => ({ d: unit(x), q: i4(round(x)) }),
  decode: ({ d, q }) => (q + sum(q * d)) * (q * d),
});
/** The scale varies within of the block, but not run by run. */
export const striped = format({
  block: 4,
  encode: (x: Tensor) => ({ d: f16(reshape(x, [2, 2])), q: i4(round(x)) }),
  decode: ({ d, q }) => reshape(reshape(q, [2, 2]) * reshape(amax(d, 0), [1, 2]), [4]),
});
