// Order statistics, on top of sorting.

import type { Tensor } from 'quern';
import { at, dim, f32, floor, i32, isnan, map, sort, sqrt, sum } from 'quern';
import { rowsAlong } from './arrays.ts';

/**
 * The q-quantile along an axis, the last by default, which is removed: linear between the two nearest elements, as
 * NumPy. NaN if any element is NaN.
 */
export function quantile(x: Tensor, q: Tensor, axis = -1): Tensor {
  const { rows, reduced } = rowsAlong(x, axis);
  const sorted = sort(f32(rows));
  const last = f32(dim(rows, 1)) - 1;
  const values = map(dim(rows, 0), (r) => {
    const position = q * last;
    const low = floor(position);
    const a = at(sorted, r, i32(low));
    const b = at(sorted, r, i32(low) + 1);
    const top = at(sorted, r, -1);
    const between = position - low;
    return isnan(top) ? top : between > 0 ? a + (b - a) * between : a;
  });
  return reduced(values);
}

/** The middle element along an axis, or the mean of the middle two. */
export const median = (x: Tensor, axis = -1): Tensor => quantile(x, 0.5, axis);

/** Standard deviation along an axis, of the whole population. */
export function deviation(x: Tensor, axis = -1): Tensor {
  const { rows, reduced } = rowsAlong(x, axis);
  const centred = rows - sum(rows, 1, { keepdims: true }) / dim(rows, 1);
  return reduced(sqrt(sum(centred * centred, 1) / dim(rows, 1)));
}
