// Values of GGUF metadata. They are kept as the bytes of the file, so that what is not understood is written
// back unchanged (a tokenizer of 256 000 entries costs nothing until somebody asks for it).

/** The value types of the specification, by their number. */
export const valueTypes = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;
export type ValueType = (typeof valueTypes)[number];

/** Bytes of the types of fixed size. */
export const valueBytes: { readonly [T in ValueType]?: number } = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  u64: 8,
  i64: 8,
  f64: 8,
};

/** A value: its type and its bytes in the file, without the type number. */
export interface GgufValue {
  readonly type: ValueType;
  readonly bytes: Uint8Array;
}
export type Metadata = ReadonlyMap<string, GgufValue>;

type NumberType = Exclude<ValueType, 'string' | 'array'>;
const readers: { readonly [T in NumberType]: (v: DataView, at: number) => number } = {
  u8: (v, at) => v.getUint8(at),
  i8: (v, at) => v.getInt8(at),
  u16: (v, at) => v.getUint16(at, true),
  i16: (v, at) => v.getInt16(at, true),
  u32: (v, at) => v.getUint32(at, true),
  i32: (v, at) => v.getInt32(at, true),
  f32: (v, at) => v.getFloat32(at, true),
  bool: (v, at) => v.getUint8(at),
  u64: (v, at) => Number(v.getBigUint64(at, true)),
  i64: (v, at) => Number(v.getBigInt64(at, true)),
  f64: (v, at) => v.getFloat64(at, true),
};
const writers: { readonly [T in NumberType]: (v: DataView, x: number) => void } = {
  u8: (v, x) => v.setUint8(0, x),
  i8: (v, x) => v.setInt8(0, x),
  u16: (v, x) => v.setUint16(0, x, true),
  i16: (v, x) => v.setInt16(0, x, true),
  u32: (v, x) => v.setUint32(0, x, true),
  i32: (v, x) => v.setInt32(0, x, true),
  f32: (v, x) => v.setFloat32(0, x, true),
  bool: (v, x) => v.setUint8(0, x),
  u64: (v, x) => v.setBigUint64(0, BigInt(x), true),
  i64: (v, x) => v.setBigInt64(0, BigInt(x), true),
  f64: (v, x) => v.setFloat64(0, x, true),
};

const viewOf = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength);
const isNumber = (t: ValueType): t is NumberType => t !== 'string' && t !== 'array';
const text = (b: Uint8Array, at: number, length: number): string =>
  new TextDecoder().decode(b.subarray(at, at + length));

/** A number or a bool (as 0 or 1); undefined for anything else. 64-bit numbers are rounded to double precision. */
export const numberOf = (v: GgufValue | undefined): number | undefined =>
  v && isNumber(v.type) ? readers[v.type](viewOf(v.bytes), 0) : undefined;

export const stringOf = (v: GgufValue | undefined): string | undefined =>
  v?.type === 'string' ? text(v.bytes, 8, v.bytes.length - 8) : undefined;

/** Type and length of an array. */
export function arrayInfo(v: GgufValue): { readonly type: ValueType; readonly count: number } {
  const view = viewOf(v.bytes);
  return { type: valueTypes[view.getUint32(0, true)]!, count: Number(view.getBigUint64(4, true)) };
}

export function stringsOf(v: GgufValue | undefined): string[] | undefined {
  if (v?.type !== 'array' || arrayInfo(v).type !== 'string') return undefined;
  const view = viewOf(v.bytes);
  const out: string[] = [];
  for (let at = 12; at < v.bytes.length; ) {
    const length = Number(view.getBigUint64(at, true));
    out.push(text(v.bytes, at + 8, length));
    at += 8 + length;
  }
  return out;
}

export function numbersOf(v: GgufValue | undefined): number[] | undefined {
  if (v?.type !== 'array') return undefined;
  const { type, count } = arrayInfo(v);
  if (!isNumber(type)) return undefined;
  const view = viewOf(v.bytes);
  return Array.from({ length: count }, (_, i) => readers[type](view, 12 + i * valueBytes[type]!));
}

/** A number as a value of the given type. */
export function numberValue(type: NumberType, x: number): GgufValue {
  const bytes = new Uint8Array(valueBytes[type]!);
  writers[type](viewOf(bytes), x);
  return { type, bytes };
}

export const boolValue = (x: boolean): GgufValue => numberValue('bool', Number(x));

export function encodeString(s: string): Uint8Array {
  const utf8 = new TextEncoder().encode(s);
  const out = new Uint8Array(8 + utf8.length);
  viewOf(out).setBigUint64(0, BigInt(utf8.length), true);
  out.set(utf8, 8);
  return out;
}

export const stringValue = (s: string): GgufValue => ({ type: 'string', bytes: encodeString(s) });

function arrayValue(type: ValueType, parts: readonly Uint8Array[]): GgufValue {
  const bytes = new Uint8Array(12 + parts.reduce((n, p) => n + p.length, 0));
  viewOf(bytes).setUint32(0, valueTypes.indexOf(type), true);
  viewOf(bytes).setBigUint64(4, BigInt(parts.length), true);
  let at = 12;
  for (const p of parts) {
    bytes.set(p, at);
    at += p.length;
  }
  return { type: 'array', bytes };
}

export const stringsValue = (list: readonly string[]): GgufValue =>
  arrayValue('string', list.map(encodeString));
export const numbersValue = (type: NumberType, list: readonly number[]): GgufValue =>
  arrayValue(
    type,
    list.map((x) => numberValue(type, x).bytes),
  );

/** A short form for people: long arrays as their type and length. */
export function describeValue(v: GgufValue): string {
  const x = numberOf(v);
  if (x !== undefined) return v.type === 'bool' ? String(x !== 0) : String(x);
  if (v.type === 'string') return JSON.stringify(stringOf(v));
  const { type, count } = arrayInfo(v);
  const short = count <= 8 ? (numbersOf(v) ?? stringsOf(v)) : undefined;
  return short ? JSON.stringify(short) : `${type}[${count}]`;
}
