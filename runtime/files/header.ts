// The header of a safetensors file, checked in full before anything believes it: 8 bytes of length, a JSON
// object that maps names to dtype, shape and byte range, and the data, which the ranges must tile exactly.
import { type DType, dtypes, storageBytes } from '../../compiler/ir/dtype.ts';
import { raise, reasonOf } from '../errors.ts';
import { decodeText, duplicateKey, isRecord } from './json.ts';

/** Dtypes of the file format, with their width in bytes and the dtype of the language where there is one. */
export const fileDTypes = {
  F64: { bytes: 8 },
  F32: { bytes: 4, dtype: 'f32' },
  F16: { bytes: 2, dtype: 'f16' },
  BF16: { bytes: 2, dtype: 'bf16' },
  F8_E4M3: { bytes: 1, dtype: 'f8e4m3' },
  F8_E5M2: { bytes: 1, dtype: 'f8e5m2' },
  I64: { bytes: 8 },
  I32: { bytes: 4, dtype: 'i32' },
  I16: { bytes: 2, dtype: 'i16' },
  I8: { bytes: 1, dtype: 'i8' },
  U32: { bytes: 4, dtype: 'u32' },
  U16: { bytes: 2, dtype: 'u16' },
  U8: { bytes: 1, dtype: 'u8' },
  BOOL: { bytes: 1, dtype: 'bool' },
} as const satisfies { readonly [name: string]: { bytes: number; dtype?: DType } };

export type FileDType = keyof typeof fileDTypes;
const isFileDType = (x: unknown): x is FileDType =>
  typeof x === 'string' && Object.hasOwn(fileDTypes, x);

export const MAX_HEADER = 100_000_000;

/** One tensor of a file; `offset` counts from the start of the file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly bytes: number;
}

export interface Header {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: { readonly [key: string]: string };
  /** Where the data begins. */
  readonly dataStart: number;
}

/** Length of the header text, from the first 8 bytes. */
export function headerLength(file: string, first: Uint8Array, fileSize: number): number {
  if (first.length < 8)
    raise('Q6102', { file, reason: `it has ${fileSize} bytes, and its length field takes 8` });
  const length = new DataView(first.buffer, first.byteOffset).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER))
    raise('Q6102', {
      file,
      reason: `it claims a header of ${length} bytes; at most ${MAX_HEADER} are allowed`,
    });
  if (length > BigInt(fileSize - 8))
    raise('Q6102', {
      file,
      reason: `it claims a header of ${length} bytes, but only ${fileSize - 8} follow (truncated?)`,
    });
  return Number(length);
}

/** Parses and checks a header; `text` is the bytes after the length, `fileSize` that of the whole file. */
export function parseHeader(file: string, text: Uint8Array, fileSize: number): Header {
  const bad = (reason: string): never => raise('Q6102', { file, reason });
  let json: unknown;
  let source = '';
  try {
    source = decodeText(text);
  } catch {
    bad('its header is not UTF-8');
  }
  if (source[0] !== '{') bad('its header does not begin with {');
  try {
    json = JSON.parse(source);
  } catch (e) {
    bad(`its header is not JSON: ${reasonOf(e)}`);
  }
  if (!isRecord(json)) return bad('its header is not a JSON object');
  const twice = duplicateKey(source);
  if (twice !== undefined) bad(`its header has the key ${JSON.stringify(twice)} twice`);

  const dataStart = 8 + text.length;
  const entries: TensorEntry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') {
      if (!isRecord(value) || !Object.values(value).every((v) => typeof v === 'string'))
        bad('__metadata__ is not a map of strings');
      metadata = value as Record<string, string>;
    } else entries.push(parseEntry(file, name, value, dataStart, fileSize));
  }
  checkTiling(file, entries, dataStart, fileSize);
  return { tensors: new Map(entries.map((e) => [e.name, e])), metadata, dataStart };
}

const isSize = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0;

function parseEntry(
  file: string,
  name: string,
  value: unknown,
  dataStart: number,
  fileSize: number,
): TensorEntry {
  const bad = (reason: string): never => raise('Q6103', { file, tensor: name, reason });
  if (!isRecord(value)) return bad('its entry is not an object');
  const { dtype, shape, data_offsets: range } = value;
  if (!isFileDType(dtype))
    return bad(
      `unknown dtype ${JSON.stringify(dtype)}; known are ${Object.keys(fileDTypes).join(' ')}`,
    );
  if (!Array.isArray(shape) || !shape.every(isSize))
    return bad(`the shape ${JSON.stringify(shape)} is not a list of whole numbers >= 0`);
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isSize))
    return bad(`data_offsets ${JSON.stringify(range)} are not two whole numbers >= 0`);
  const [begin, end] = range as [number, number];
  if (begin > end) bad(`data_offsets begin at ${begin}, after their end ${end}`);
  if (end > fileSize - dataStart)
    bad(
      `data_offsets end at ${end}, but the file holds ${fileSize - dataStart} bytes of data (truncated?)`,
    );
  let need: number = fileDTypes[dtype].bytes;
  for (const n of shape as number[]) {
    need *= n;
    // Checked at each step: a zero further on does not make an overflow right.
    if (!Number.isSafeInteger(need)) bad(`the shape [${shape.join(', ')}] is too large`);
  }
  if (need !== end - begin)
    bad(`${dtype} [${shape.join(', ')}] takes ${need} bytes, but data_offsets span ${end - begin}`);
  return { name, dtype, shape: shape as number[], offset: dataStart + begin, bytes: need };
}

/** The ranges must cover the data once: no overlap, no hole, nothing left over. */
function checkTiling(
  file: string,
  entries: readonly TensorEntry[],
  dataStart: number,
  fileSize: number,
): void {
  const sorted = [...entries].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let at = dataStart;
  let previous = 'the header';
  for (const e of sorted) {
    if (e.offset !== at) {
      const reason =
        e.offset < at
          ? `its data overlaps ${previous} by ${at - e.offset} bytes`
          : `a hole of ${e.offset - at} bytes lies between ${previous} and its data`;
      raise('Q6103', { file, tensor: e.name, reason });
    }
    at = e.offset + e.bytes;
    previous = JSON.stringify(e.name);
  }
  if (at !== fileSize)
    raise('Q6102', { file, reason: `${fileSize - at} bytes after the last tensor belong to none` });
}

/** The bytes of a file before its data, for tensors in this order; padded with spaces to 8 bytes. */
export function encodeHeader(
  tensors: readonly {
    readonly name: string;
    readonly dtype: FileDType;
    readonly shape: readonly number[];
  }[],
  metadata: { readonly [key: string]: string },
): Uint8Array {
  const parts: string[] = [];
  const keys = Object.keys(metadata).sort();
  if (keys.length) {
    const sorted = keys.map((k) => `${JSON.stringify(k)}:${JSON.stringify(metadata[k])}`);
    parts.push(`"__metadata__":{${sorted.join(',')}}`);
  }
  let at = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = at + shape.reduce((p, n) => p * n, 1) * fileDTypes[dtype].bytes;
    parts.push(
      `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [at, end] })}`,
    );
    at = end;
  }
  const text = new TextEncoder().encode(`{${parts.join(',')}}`);
  const length = Math.ceil(text.length / 8) * 8;
  const out = new Uint8Array(8 + length).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true);
  out.set(text, 8);
  return out;
}

const byDType = new Map<DType, FileDType>(
  Object.entries(fileDTypes).flatMap(([name, info]) =>
    'dtype' in info ? [[info.dtype, name as FileDType] as const] : [],
  ),
);

/**
 * How a tensor of the language lies in a file: in its own dtype where the file format has it, else as U8,
 * one entry a byte of storage, the last axis being the bytes of a row.
 */
export function storedAs(
  dtype: DType,
  shape: readonly number[],
): { readonly dtype: FileDType; readonly shape: readonly number[] } {
  const own = byDType.get(dtype);
  if (own) return { dtype: own, shape };
  if (dtypes[dtype].bits === 8) return { dtype: 'U8', shape };
  const row = storageBytes(dtype, shape.slice(-1));
  return { dtype: 'U8', shape: [...shape.slice(0, -1), row] };
}
