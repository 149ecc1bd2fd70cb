// Meaning of reductions and of matmul. Float sums are taken in double and rounded once, so that no
// order of summation is privileged; integer sums wrap. Along an empty axis: sum 0, any false, all
// true, amin the largest and amax the smallest value of the result's dtype, argmin and argmax 0.
import { type DType, dtypes, isFloat, promote } from '../ir/dtype.ts';
import type { ArgReduceName, ReduceName } from '../ir/ops.ts';
import {
  allocate,
  broadcastStrides,
  type Concrete,
  count,
  offsets,
  type Precision,
  stridesOf,
} from './concrete.ts';
import { widen } from './elementwise.ts';

/** One cell a result: starts, takes in elements with their running number, and gives the value. */
interface Step {
  readonly start: (result: DType) => number;
  readonly take: (sum: number, x: number) => number;
}

const limit = (d: DType, end: 'min' | 'max'): number =>
  dtypes[d][end] ?? (end === 'max' ? Infinity : -Infinity);

const floatSum: Step = { start: () => 0, take: (s, x) => s + x };
const wrappingSum: Step = { start: () => 0, take: (s, x) => (s + x) | 0 };
const steps: { readonly [R in Exclude<ReduceName, 'sum'>]: Step } = {
  amin: { start: (d) => limit(d, 'max'), take: Math.min },
  amax: { start: (d) => limit(d, 'min'), take: Math.max },
  any: { start: () => 0, take: (s, x) => s | x },
  all: { start: () => 1, take: (s, x) => s & x },
};

/** Offsets of the kept positions and, relative to each, those of the reduced ones. */
function split(x: Concrete, axes: readonly number[]): { kept: Int32Array; reduced: Int32Array } {
  const reducedAxes = new Set(axes.map((a) => (a < 0 ? a + x.shape.length : a)));
  const strides = stridesOf(x.shape);
  const side = (inside: boolean): Int32Array => {
    const on = x.shape.map((_, i) => i).filter((i) => reducedAxes.has(i) === inside);
    return offsets(
      on.map((i) => x.shape[i]!),
      on.map((i) => strides[i]!),
    );
  };
  return { kept: side(false), reduced: side(true) };
}

/** Every kept position takes in the elements at its reduced ones, in row-major order. */
export function reduce(
  name: ReduceName,
  x: Concrete,
  axes: readonly number[],
  result: DType,
  shape: readonly number[],
  precision: Precision,
): Concrete {
  const { kept, reduced } = split(x, axes);
  const { start, take } = name !== 'sum' ? steps[name] : isFloat(result) ? floatSum : wrappingSum;
  const data = allocate(result, kept.length, precision);
  for (let k = 0; k < kept.length; k++) {
    const base = kept[k]!;
    let sum = start(result);
    for (let r = 0; r < reduced.length; r++) sum = take(sum, x.data[base + reduced[r]!]!);
    data[k] = sum;
  }
  return { dtype: result, shape, data };
}

/**
 * The first of the best, counted in row-major order over the reduced axes; the first NaN if there
 * is one.
 */
export function argReduce(
  name: ArgReduceName,
  x: Concrete,
  axes: readonly number[],
  shape: readonly number[],
): Concrete {
  const { kept, reduced } = split(x, axes);
  const sign = name === 'argmax' ? 1 : -1;
  const data = new Int32Array(kept.length);
  for (let k = 0; k < kept.length; k++) {
    let best = 0;
    let top = Number.NEGATIVE_INFINITY;
    for (let r = 0; r < reduced.length; r++) {
      const v = sign * x.data[kept[k]! + reduced[r]!]!;
      if (v > top) {
        top = v;
        best = r;
      } else if (Number.isNaN(v)) {
        best = r;
        break;
      }
    }
    data[k] = best;
  }
  return { dtype: 'i32', shape, data };
}

/** Row by row of the result, so that the inner loop runs along rows of both `b` and the sums. */
export function matmul(
  a: Concrete,
  b: Concrete,
  shape: readonly number[],
  precision: Precision,
): Concrete {
  const dtype = promote(a.dtype, b.dtype);
  const p = widen(a, dtype, precision);
  const q = widen(b, dtype, precision);
  const [rows, cols] = shape.slice(-2) as [number, number];
  const inner = a.shape.at(-1)!;
  const batch = shape.slice(0, -2);
  const matrices = (x: Concrete): Int32Array => {
    const size = x.shape.at(-2)! * x.shape.at(-1)!;
    const strides = broadcastStrides(x.shape.slice(0, -2), batch);
    return offsets(
      batch,
      strides.map((s) => s * size),
    );
  };
  const pBase = matrices(a);
  const qBase = matrices(b);
  const out = allocate(dtype, count(shape), precision);
  const float = isFloat(dtype);
  const sums = float ? new Float64Array(cols) : new Int32Array(cols);
  for (let n = 0; n < pBase.length; n++)
    for (let m = 0; m < rows; m++) {
      sums.fill(0);
      for (let k = 0; k < inner; k++) {
        const x = p[pBase[n]! + m * inner + k]!;
        const row = qBase[n]! + k * cols;
        if (float) for (let j = 0; j < cols; j++) sums[j]! += x * q[row + j]!;
        else for (let j = 0; j < cols; j++) sums[j]! += Math.imul(x, q[row + j]!);
      }
      out.set(sums, (n * rows + m) * cols);
    }
  return { dtype, shape, data: out };
}
