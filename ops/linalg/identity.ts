// Matrices that the algorithms start from.

import type { Tensor } from 'quern';
import { f32, iota, reshape } from 'quern';

/** The identity matrix [n, n]. */
export const identity = (n: number): Tensor => f32(reshape(iota(n), [n, 1]) === iota(n));
