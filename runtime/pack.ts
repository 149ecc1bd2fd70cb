// Logical values <-> storage bytes, for every dtype. The meaning is compiler/ir/dtype.ts (rounding, codes,
// padded rows); this file is the same thing at bulk speed: typed-array copies, bit tricks on the f32 pattern,
// and tables of at most 64 Ki entries. Storage is little-endian, as WebAssembly and every GPU is.
import {
  type DType,
  castValue,
  dtypes,
  floatOfBits,
  isFloat,
  paddedRow,
  storageBytes,
} from '../compiler/ir/dtype.ts';

export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array;
export type NumberArray = TypedArray | readonly number[];
/** What `data()` gives: the narrowest array that holds every value of the dtype. */
export type LogicalArray =
  | Float32Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array;

type ArrayMaker<T> = {
  new (length: number): T;
  new (buffer: ArrayBufferLike, offset: number, length: number): T;
  readonly BYTES_PER_ELEMENT: number;
};

/** The array type of a dtype's logical values. */
export function logicalArrayType(dtype: DType): ArrayMaker<LogicalArray> {
  const { kind, bits } = dtypes[dtype];
  if (kind === 'float') return Float32Array;
  if (kind === 'int') return bits <= 8 ? Int8Array : bits === 16 ? Int16Array : Int32Array;
  return bits <= 8 ? Uint8Array : bits === 16 ? Uint16Array : Uint32Array;
}

/** The dtype that an array has by itself. */
export function naturalDType(data: NumberArray): DType {
  if (data instanceof Int32Array) return 'i32';
  if (data instanceof Uint8Array || data instanceof Uint8ClampedArray) return 'u8';
  if (data instanceof Int8Array) return 'i8';
  if (data instanceof Uint32Array) return 'u32';
  if (data instanceof Int16Array) return 'i16';
  if (data instanceof Uint16Array) return 'u16';
  return 'f32';
}

const count = (shape: readonly number[]): number => shape.reduce((p, n) => p * n, 1);

/** Storage that is byte for byte the logical array. */
export const isPlain = (d: DType): boolean =>
  d === 'f32' || (!isFloat(d) && dtypes[d].bits % 8 === 0 && d !== 'bool');

/** A typed array over bytes if they are aligned for it. */
function overlay<T>(bytes: Uint8Array, type: ArrayMaker<T>, length: number): T | undefined {
  if (bytes.byteOffset % type.BYTES_PER_ELEMENT !== 0) return undefined;
  return new type(bytes.buffer, bytes.byteOffset, length);
}

/** Values of `data`, all of which the dtype holds or rounds, as its logical array. */
export function fitting(dtype: DType, data: NumberArray): LogicalArray {
  const type = logicalArrayType(dtype);
  if (data instanceof (type as unknown as new () => LogicalArray) && dtype !== 'bool') return data;
  const out = new type(data.length);
  if (dtype === 'bool') for (let i = 0; i < out.length; i++) out[i] = data[i] !== 0 ? 1 : 0;
  else out.set(data as ArrayLike<number>);
  return out;
}

/** Values of `data` as the dtype's logical array: floats truncate and saturate, integers wrap. */
function toLogical(dtype: DType, data: NumberArray): LogicalArray {
  if (dtype === 'bool' || isFloat(dtype) || !isFloat(naturalDType(data)))
    return fitting(dtype, data);
  const out = new (logicalArrayType(dtype))(data.length);
  for (let i = 0; i < out.length; i++) out[i] = castValue('f32', dtype, data[i]!);
  return out;
}

/**
 * Codes of minifloats from f32 bit patterns, rounding half to even: normal results by adding half a unit
 * below the kept bits, subnormal ones by adding a magic float whose last place is their step.
 */
function encodeFloats(dtype: DType, data: Float32Array, out: Uint8Array | Uint16Array): void {
  const f = dtypes[dtype].minifloat!;
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length);
  if (f.special === 'e8m0') {
    for (let i = 0; i < words.length; i++) {
      const w = words[i]!;
      const nan = (w & 0x7fffffff) > 0x7f800000;
      out[i] = nan ? 255 : w >>> 31 ? 0 : Math.min(w >>> 23, 254);
    }
    return;
  }
  const { m, e, bias, special } = f;
  const drop = 23 - m;
  const half = 2 ** (drop - 1) - 1;
  const rebias = (127 - bias) << m;
  const signShift = 31 - (e + m);
  const signMask = 1 << (e + m);
  const top = (2 ** e - 1) << m;
  const largest =
    special === 'ieee' ? top : special === 'fn' ? (1 << (e + m)) - 2 : (1 << (e + m)) - 1;
  const nan = special === 'ieee' ? top + (1 << (m - 1)) : special === 'fn' ? (1 << (e + m)) - 1 : 0;
  // bf16 has the exponent range of f32: its subnormals are those of f32, and the normal path rounds them.
  const smallest = e === 8 ? 0 : (127 + 1 - bias) << 23;
  const cell = new Float32Array(1);
  const cellBits = new Uint32Array(cell.buffer);
  const magic = 2 ** (1 - bias - m + 23);
  cell[0] = magic;
  const magicBits = cellBits[0]!;
  for (let i = 0; i < words.length; i++) {
    const w = words[i]!;
    const a = w & 0x7fffffff;
    if (a > 0x7f800000) {
      out[i] = nan;
      continue;
    }
    let code: number;
    if (a < smallest) {
      cell[0] = Math.abs(data[i]!) + magic;
      code = cellBits[0]! - magicBits;
    } else {
      code = ((a + half + ((a >>> drop) & 1)) >>> drop) - rebias;
      if (code > largest) code = largest;
    }
    out[i] = code | ((w >>> signShift) & signMask);
  }
}

const tables = new Map<DType, Float32Array>();
/** Value of every code of a float dtype of at most 16 bits. */
function valueTable(dtype: DType): Float32Array {
  let table = tables.get(dtype);
  if (!table) {
    table = Float32Array.from({ length: 2 ** dtypes[dtype].bits }, (_, i) => floatOfBits(dtype, i));
    tables.set(dtype, table);
  }
  return table;
}

/** Writes rows of codes below 8 bits little-endian, each row padded with zeros to whole bytes of 8 elements. */
function packBits(
  codes: ArrayLike<number>,
  bits: number,
  row: number,
  rows: number,
  out: Uint8Array,
): void {
  const rowBytes = (Math.ceil(row / 8) * 8 * bits) / 8;
  const mask = 2 ** bits - 1;
  let from = 0;
  for (let r = 0; r < rows; r++) {
    let to = r * rowBytes;
    const end = to + rowBytes;
    let word = 0;
    let filled = 0;
    for (let i = 0; i < row; i++) {
      word |= (codes[from++]! & mask) << filled;
      filled += bits;
      if (filled >= 8) {
        out[to++] = word;
        word >>>= 8;
        filled -= 8;
      }
    }
    if (filled > 0) out[to++] = word;
    while (to < end) out[to++] = 0;
  }
}

function unpackBits(
  bytes: Uint8Array,
  bits: number,
  row: number,
  rows: number,
  codes: Uint8Array,
): void {
  const rowBytes = (Math.ceil(row / 8) * 8 * bits) / 8;
  const mask = 2 ** bits - 1;
  let to = 0;
  for (let r = 0; r < rows; r++) {
    let from = r * rowBytes;
    let word = 0;
    let held = 0;
    for (let i = 0; i < row; i++) {
      if (held < bits) {
        word |= bytes[from++]! << held;
        held += 8;
      }
      codes[to++] = word & mask;
      word >>>= bits;
      held -= bits;
    }
  }
}

const rowOf = (shape: readonly number[]): number => (shape.length ? shape[shape.length - 1]! : 1);
const rowsOf = (shape: readonly number[]): number => count(shape.slice(0, -1));

/** Writes the logical values `data` of a tensor as its storage bytes into `out`. */
export function packInto(
  dtype: DType,
  shape: readonly number[],
  data: NumberArray,
  out: Uint8Array,
): void {
  packLogical(dtype, shape, toLogical(dtype, data), out);
}

/** The same of a logical array. */
export function packLogical(
  dtype: DType,
  shape: readonly number[],
  logical: LogicalArray,
  out: Uint8Array,
): void {
  const { bits } = dtypes[dtype];
  const n = count(shape);
  if (isPlain(dtype)) {
    out.set(new Uint8Array(logical.buffer, logical.byteOffset, logical.byteLength));
    return;
  }
  if (!isFloat(dtype)) {
    if (bits === 8) out.set(logical);
    else packBits(logical, bits, rowOf(shape), rowsOf(shape), out);
    return;
  }
  const floats = logical as Float32Array;
  if (bits === 16) {
    const view = overlay(out, Uint16Array, n);
    const codes = view ?? new Uint16Array(n);
    encodeFloats(dtype, floats, codes);
    if (!view) out.set(new Uint8Array(codes.buffer));
  } else if (bits === 8) encodeFloats(dtype, floats, out);
  else {
    const codes = new Uint8Array(n);
    encodeFloats(dtype, floats, codes);
    packBits(codes, bits, rowOf(shape), rowsOf(shape), out);
  }
}

/** Storage bytes of logical values. */
export function pack(dtype: DType, shape: readonly number[], data: NumberArray): Uint8Array {
  const out = new Uint8Array(storageBytes(dtype, shape));
  packInto(dtype, shape, data, out);
  return out;
}

/** Logical values of storage bytes; always a copy. */
export function unpack(dtype: DType, shape: readonly number[], bytes: Uint8Array): LogicalArray {
  const { bits, kind } = dtypes[dtype];
  const n = count(shape);
  const type = logicalArrayType(dtype);
  const out = new type(n);
  if (isPlain(dtype)) {
    new Uint8Array(out.buffer).set(bytes.subarray(0, out.byteLength));
    return out;
  }
  if (bits % 8 !== 0) {
    const codes = new Uint8Array(n);
    unpackBits(bytes, bits, rowOf(shape), rowsOf(shape), codes);
    if (kind === 'uint') return codes;
    if (kind === 'int') {
      const shift = 32 - bits;
      for (let i = 0; i < n; i++) out[i] = (codes[i]! << shift) >> shift;
    } else look(valueTable(dtype), codes, out);
    return out;
  }
  if (kind === 'bool') for (let i = 0; i < n; i++) out[i] = bytes[i]! !== 0 ? 1 : 0;
  else if (bits === 8) look(valueTable(dtype), bytes, out);
  else look(valueTable(dtype), overlay(bytes, Uint16Array, n) ?? words16(bytes, n), out);
  return out;
}

const words16 = (bytes: Uint8Array, n: number): Uint16Array =>
  new Uint16Array(bytes.slice(0, n * 2).buffer);

function look(table: Float32Array, codes: Uint8Array | Uint16Array, out: LogicalArray): void {
  for (let i = 0; i < out.length; i++) out[i] = table[codes[i]!]!;
}

/** First value that an integer dtype cannot hold exactly, or undefined when all fit. */
export function firstMisfit(dtype: DType, data: NumberArray): number | undefined {
  const { min, max, kind } = dtypes[dtype];
  if (kind === 'float' || kind === 'bool' || naturalDType(data) === dtype) return undefined;
  for (let i = 0; i < data.length; i++) {
    const x = data[i]!;
    if (!(x >= min! && x <= max!) || !Number.isInteger(x)) return x;
  }
  return undefined;
}

export { paddedRow, storageBytes };
