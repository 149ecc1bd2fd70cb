// Meaning of the elementwise ops. Operands are first cast to the dtype that the op computes in
// (that of its result; for comparisons, the promotion of both), then read with broadcasting;
// storing rounds the result.
import {
  castValue,
  type DType,
  dtypes,
  floatOfBits,
  floatToBits,
  isFloat,
  promote,
  wrapInt,
} from '../ir/dtype.ts';
import { binaryMeaning, compareMeaning, unaryMeaning } from '../ir/meaning.ts';
import type { BinaryName, CompareName, UnaryName } from '../ir/ops.ts';
import {
  allocate,
  broadcastStrides,
  type Concrete,
  count,
  type Data,
  offsets,
  type Precision,
  sameShape,
} from './concrete.ts';

/**
 * Operand data in the dtype `to`, as promotion does it: only f64 precision keeps more than `to`
 * holds.
 */
export function widen(x: Concrete, to: DType, precision: Precision): Data {
  if (x.dtype === to) return x.data;
  const out = allocate(to, x.data.length, precision);
  // Typed arrays convert by ToInt32 / ToUint32 / fround, which is exactly what widening means.
  if (isFloat(to) || !isFloat(x.dtype)) out.set(x.data);
  else for (let i = 0; i < out.length; i++) out[i] = castValue(x.dtype, to, x.data[i]!);
  return out;
}

/** Reads operands of one result shape; undefined offsets mean that index i reads element i. */
function reader(x: Concrete, shape: readonly number[]): Int32Array | undefined {
  if (sameShape(x.shape, shape)) return undefined;
  return offsets(shape, broadcastStrides(x.shape, shape));
}

/**
 * Ops of float results compute in f32 whatever the operand; the others see the operand as it is.
 */
export function unary(name: UnaryName, x: Concrete, result: DType, precision: Precision): Concrete {
  const f = unaryMeaning[name];
  const input = result === 'f32' ? widen(x, 'f32', precision) : x.data;
  const out = allocate(result, input.length, precision);
  for (let i = 0; i < out.length; i++) out[i] = f(input[i]!, x.dtype);
  return { dtype: result, shape: x.shape, data: out };
}

/** Applies `f` to pairs of elements; one-element operands and equal shapes need no offsets. */
function zip(
  f: (x: number, y: number, dtype: DType) => number | boolean,
  a: Concrete,
  b: Concrete,
  compute: DType,
  out: Data,
  shape: readonly number[],
  precision: Precision,
): void {
  const p = widen(a, compute, precision);
  const q = widen(b, compute, precision);
  const n = out.length;
  if (b.data.length === 1 && a.data.length === n) {
    const y = q[0]!;
    for (let i = 0; i < n; i++) out[i] = +f(p[i]!, y, compute);
    return;
  }
  if (a.data.length === 1 && b.data.length === n) {
    const x = p[0]!;
    for (let i = 0; i < n; i++) out[i] = +f(x, q[i]!, compute);
    return;
  }
  const ra = reader(a, shape);
  const rb = reader(b, shape);
  for (let i = 0; i < n; i++) out[i] = +f(p[ra ? ra[i]! : i]!, q[rb ? rb[i]! : i]!, compute);
}

export function binary(
  name: BinaryName,
  a: Concrete,
  b: Concrete,
  result: DType,
  shape: readonly number[],
  precision: Precision,
): Concrete {
  const data = allocate(result, count(shape), precision);
  zip(binaryMeaning[name], a, b, result, data, shape, precision);
  return { dtype: result, shape, data };
}

export function compare(
  name: CompareName,
  a: Concrete,
  b: Concrete,
  shape: readonly number[],
  precision: Precision,
): Concrete {
  const data = allocate('bool', count(shape), precision);
  const compute = a.dtype === b.dtype ? a.dtype : promote(a.dtype, b.dtype);
  zip(compareMeaning[name], a, b, compute, data, shape, precision);
  return { dtype: 'bool', shape, data };
}

/** The operand that the condition chooses, element by element. */
export function select(
  c: Concrete,
  a: Concrete,
  b: Concrete,
  result: DType,
  shape: readonly number[],
  precision: Precision,
): Concrete {
  const data = allocate(result, count(shape), precision);
  const p = widen(a, result, precision);
  const q = widen(b, result, precision);
  const rc = reader(c, shape);
  const ra = reader(a, shape);
  const rb = reader(b, shape);
  for (let i = 0; i < data.length; i++)
    data[i] = c.data[rc ? rc[i]! : i]! ? p[ra ? ra[i]! : i]! : q[rb ? rb[i]! : i]!;
  return { dtype: result, shape, data };
}

/** An explicit cast: rounds onto the target's grid at either precision. */
export function cast(x: Concrete, to: DType, precision: Precision): Concrete {
  if (x.dtype === to && precision === 'f32') return x;
  const data = allocate(to, x.data.length, precision);
  for (let i = 0; i < data.length; i++) data[i] = castValue(x.dtype, to, x.data[i]!);
  return { dtype: to, shape: x.shape, data };
}

/**
 * Unsigned bit patterns of the elements. Stored f32 are read in place: their NaN payloads count.
 */
function bitsOf(x: Concrete): ArrayLike<number> {
  if (x.data instanceof Float32Array && x.dtype === 'f32')
    return new Uint32Array(x.data.buffer, x.data.byteOffset, x.data.length);
  if (isFloat(x.dtype)) return Array.from(x.data, (v) => floatToBits(x.dtype, v));
  const { bits } = dtypes[x.dtype];
  return bits === 32 ? Uint32Array.from(x.data) : Array.from(x.data, (v) => v & (2 ** bits - 1));
}

/** Elements of the dtype with the given patterns; of f32, without passing through a double. */
function ofBits(to: DType, bits: Uint32Array, precision: Precision): Data {
  if (to === 'f32' && precision === 'f32') return new Float32Array(bits.buffer);
  const out = allocate(to, bits.length, precision);
  for (let i = 0; i < out.length; i++)
    out[i] = isFloat(to) ? floatOfBits(to, bits[i]!) : wrapInt(to, bits[i]!);
  return out;
}

/** Same bits in another dtype; of another width, the last axis counts little-endian parts. */
export function bitcast(
  x: Concrete,
  to: DType,
  shape: readonly number[],
  precision: Precision,
): Concrete {
  const source = bitsOf(x);
  const from = dtypes[x.dtype].bits;
  const width = dtypes[to].bits;
  const out = new Uint32Array(count(shape));
  if (from >= width) {
    const parts = from / width;
    for (let i = 0; i < out.length; i++) {
      const whole = source[Math.floor(i / parts)]! >>> ((i % parts) * width);
      out[i] = width === 32 ? whole : whole & (2 ** width - 1);
    }
  } else {
    const parts = width / from;
    for (let i = 0; i < source.length; i++)
      out[Math.floor(i / parts)]! |= source[i]! << ((i % parts) * from);
  }
  return { dtype: to, shape, data: ofBits(to, out, precision) };
}
