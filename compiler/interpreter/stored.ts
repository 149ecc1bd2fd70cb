// Meaning of updates and of sorting.
import {
  allocate,
  type Concrete,
  count,
  type Data,
  type Precision,
  stridesOf,
} from './concrete.ts';

/**
 * `x` with the part at the leading indices replaced; as it is where an index lies outside of its axis. `inPlace`:
 * nobody else sees the array of `x`.
 */
export function set(
  x: Concrete,
  value: Concrete,
  indices: readonly Concrete[],
  inPlace: boolean,
): Concrete {
  const out = inPlace ? x : { ...x, data: x.data.slice() as Data };
  const strides = stridesOf(x.shape);
  let at = 0;
  for (const [axis, index] of indices.entries()) {
    const i = index.data[0]!;
    if (i < 0 || i >= x.shape[axis]!) return out;
    at += i * strides[axis]!;
  }
  out.data.set(value.data, at);
  return out;
}

/** Positions in order: equal elements keep theirs, -0 equals 0, a NaN is the largest. */
export function sort(
  x: Concrete,
  axis: number,
  descending: boolean,
  precision: Precision,
): [Concrete, Concrete] {
  const n = x.shape[axis]!;
  const inner = count(x.shape.slice(axis + 1));
  const outer = count(x.shape.slice(0, axis));
  const values = allocate(x.dtype, x.data.length, precision);
  const indices = new Int32Array(x.data.length);
  const sign = descending ? -1 : 1;
  const order = (a: number, b: number): number => {
    if (Number.isNaN(a) || Number.isNaN(b))
      return sign * (Number(Number.isNaN(a)) - Number(Number.isNaN(b)));
    return a === b ? 0 : a < b ? -sign : sign;
  };
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      const base = o * n * inner + i;
      const ids = Array.from({ length: n }, (_, k) => k);
      ids.sort((p, q) => order(x.data[base + p * inner]!, x.data[base + q * inner]!) || p - q);
      ids.forEach((id, k) => {
        values[base + k * inner] = x.data[base + id * inner]!;
        indices[base + k * inner] = id;
      });
    }
  return [
    { dtype: x.dtype, shape: x.shape, data: values },
    { dtype: 'i32', shape: x.shape, data: indices },
  ];
}
