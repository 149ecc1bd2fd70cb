// The head of a GGUF file (ggml, docs/gguf.md), versions 2 and 3, little-endian: metadata and tensor list, checked in
// full before anything believes them. Nothing is allocated by a number of the file alone: lists grow as their
// bytes are seen, and a number too large for the rest of the file is refused at once.
import { raise } from '../../errors.ts';
import { ggmlBytes, ggmlTypes } from './types.ts';
import {
  encodeString,
  type GgufValue,
  type Metadata,
  numberOf,
  valueBytes,
  valueTypes,
} from './values.ts';

export interface GgufTensor {
  readonly name: string;
  /** Number of the ggml type. */
  readonly type: number;
  /** Outermost axis first, as elsewhere in Quern; the file has them the other way round. */
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface GgufHead {
  readonly version: number;
  readonly metadata: Metadata;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  readonly alignment: number;
  /** Where the data of the tensors begins. */
  readonly dataStart: number;
}

/** Bytes that a head may have; the largest tokenizers take some 20 MB. */
export const MAX_HEAD = 2 ** 27;
const MAX_DEPTH = 4;
const MAX_DIMS = 4;
/** ggml holds names in 64 bytes, the last one zero. */
const MAX_NAME = 63;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Says that more of the file must be read first; `length` bytes from its start, at least. */
export class NeedMore extends Error {
  readonly length: number;
  constructor(length: number) {
    super('more of the file is needed');
    this.length = length;
  }
}

/** Walks over the first bytes of a file. */
class Cursor {
  at = 0;
  readonly #file: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fileSize: number;

  constructor(file: string, bytes: Uint8Array, fileSize: number) {
    this.#file = file;
    // A Buffer's slice() would be a view that keeps all of it in memory.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fileSize = fileSize;
  }

  bad(reason: string): never {
    return raise('Q6108', { file: this.#file, reason });
  }

  /** Passes over `n` bytes and gives the place where they began. */
  take(n: number, what: string): number {
    const start = this.at;
    // Compared this way round: the sum could exceed what a double counts exactly.
    if (n > this.#fileSize - start)
      this.bad(
        `${what} at byte ${start} takes ${n} bytes, but ${this.#fileSize - start} are left (truncated?)`,
      );
    if (n > MAX_HEAD - start) this.bad(`its metadata takes more than ${MAX_HEAD} bytes`);
    if (start + n > this.#bytes.length) throw new NeedMore(start + n);
    this.at += n;
    return start;
  }

  u32(what: string): number {
    return this.#view.getUint32(this.take(4, what), true);
  }

  /** A 64-bit number that must be a safe integer. */
  size(what: string): number {
    const n = this.#view.getBigUint64(this.take(8, what), true);
    if (n > BigInt(Number.MAX_SAFE_INTEGER)) this.bad(`${what} is ${n}, which no file can hold`);
    return Number(n);
  }

  /** A count of things that take `least` bytes each, so that it can be checked against the file. */
  count(what: string, least: number): number {
    const n = this.size(what);
    if (n > (this.#fileSize - this.at) / least)
      this.bad(`${what} is ${n}, but only ${this.#fileSize - this.at} bytes follow (truncated?)`);
    return n;
  }

  string(what: string): string {
    const length = this.size(`the length of ${what}`);
    const start = this.take(length, what);
    try {
      return length === 0 ? '' : utf8.decode(this.#bytes.subarray(start, start + length));
    } catch {
      return this.bad(`${what} at byte ${start} is not UTF-8`);
    }
  }

  slice(from: number): Uint8Array {
    return this.#bytes.slice(from, this.at);
  }

  isMagic(): boolean {
    const at = this.take(4, 'its first word');
    return [0x47, 0x47, 0x55, 0x46].every((c, i) => this.#bytes[at + i] === c);
  }
}

/** Parses the head from the first bytes of a file; throws {@link NeedMore} where they do not reach. */
export function parseHead(file: string, bytes: Uint8Array, fileSize: number): GgufHead {
  const c = new Cursor(file, bytes, fileSize);
  if (!c.isMagic()) c.bad('it does not begin with "GGUF"');
  const version = c.u32('the version');
  if (version === 0x02000000 || version === 0x03000000) c.bad('it is big-endian');
  if (version !== 2 && version !== 3)
    c.bad(`it has version ${version}; versions 2 and 3 can be read`);
  // A tensor has a name, a count of dims, a type and an offset; a value has a key, a type and a byte.
  const tensorCount = c.count('the number of tensors', 24);
  const valueCount = c.count('the number of metadata values', 13);

  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < valueCount; i++) {
    const key = c.string(`key ${i}`);
    if (metadata.has(key)) c.bad(`the metadata has the key ${JSON.stringify(key)} twice`);
    metadata.set(key, parseValue(c, JSON.stringify(key)));
  }
  const alignment = alignmentOf(metadata, (reason) => c.bad(reason));

  const listed: ListedTensor[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const t = parseTensor(file, c, i);
    if (names.has(t.name)) raise('Q6109', { file, tensor: t.name, reason: 'the name is taken' });
    names.add(t.name);
    listed.push(t);
  }
  const dataStart = Math.ceil(c.at / alignment) * alignment;
  const tensors = place(file, listed, dataStart, alignment, fileSize);
  return { version, metadata, tensors, alignment, dataStart };
}

function parseValue(c: Cursor, key: string): GgufValue {
  const id = c.u32(`the type of ${key}`);
  const type = valueTypes[id] ?? c.bad(`${key} has the value type ${id}; 0 to 12 are known`);
  const start = c.at;
  skipValue(c, id, key, 0);
  return { type, bytes: c.slice(start) };
}

/** Passes over a value and checks it. */
function skipValue(c: Cursor, id: number, key: string, depth: number): void {
  const type = valueTypes[id] ?? c.bad(`${key} has elements of type ${id}; 0 to 12 are known`);
  const size = valueBytes[type];
  if (size !== undefined) c.take(size, key);
  else if (type === 'string') c.string(key);
  else {
    if (depth === MAX_DEPTH) c.bad(`${key} nests arrays more than ${MAX_DEPTH} deep`);
    const inner = c.u32(`the element type of ${key}`);
    const each = valueBytes[valueTypes[inner] ?? c.bad(`${key} has elements of type ${inner}`)];
    const count = c.count(`the length of ${key}`, each ?? 8);
    if (each !== undefined) c.take(count * each, key);
    else for (let i = 0; i < count; i++) skipValue(c, inner, key, depth + 1);
  }
}

function alignmentOf(metadata: Metadata, bad: (reason: string) => never): number {
  const value = metadata.get('general.alignment');
  if (!value) return 32;
  const n = numberOf(value);
  if (value.type !== 'u32' || n === undefined || n < 1 || n > 2 ** 20 || (n & (n - 1)) !== 0)
    return bad(`general.alignment is ${value.type} ${n}, not a power of two up to 2^20 in a u32`);
  return n;
}

type ListedTensor = Omit<GgufTensor, 'offset'> & { readonly relative: number };

function parseTensor(file: string, c: Cursor, index: number): ListedTensor {
  const name = c.string(`the name of tensor ${index}`);
  const bad = (reason: string): never => raise('Q6109', { file, tensor: name, reason });
  const length = new TextEncoder().encode(name).length;
  if (length === 0 || length > MAX_NAME)
    bad(`its name has ${length} bytes; 1 to ${MAX_NAME} are allowed`);
  const dims = c.u32('the number of dims');
  if (dims > MAX_DIMS) bad(`it has ${dims} dims; at most ${MAX_DIMS} are allowed`);
  const shape: number[] = [];
  let elements = 1;
  for (let d = 0; d < dims; d++) {
    const n = c.size(`dim ${d} of ${JSON.stringify(name)}`);
    shape.unshift(n);
    // Checked at each step: a zero further on does not make an overflow right.
    elements *= n;
    if (!Number.isSafeInteger(elements * 8)) bad(`the shape [${shape.join(', ')}] is too large`);
  }
  const type = c.u32('the type');
  const info = ggmlTypes[type] ?? bad(`it has the ggml type ${type}, which is not known`);
  const row = shape.at(-1) ?? 1;
  if (row % info.block !== 0)
    bad(`its rows of ${row} are no multiple of the ${info.block} elements of a ${info.name} block`);
  const relative = c.size(`the offset of ${JSON.stringify(name)}`);
  return { name, shape, type, bytes: ggmlBytes(info, elements), relative };
}

/** The data must be aligned, inside of the file and apart. */
function place(
  file: string,
  listed: readonly ListedTensor[],
  dataStart: number,
  alignment: number,
  fileSize: number,
): ReadonlyMap<string, GgufTensor> {
  const tensors = listed.map(({ relative, ...t }): GgufTensor => {
    const bad = (reason: string): never => raise('Q6109', { file, tensor: t.name, reason });
    if (relative % alignment !== 0)
      bad(`its offset ${relative} is no multiple of the alignment ${alignment}`);
    const room = fileSize - dataStart - relative;
    if (t.bytes > 0 && t.bytes > room)
      bad(
        `its ${t.bytes} bytes at offset ${relative} end ${t.bytes - room} bytes after the file (truncated?)`,
      );
    return { ...t, offset: dataStart + relative };
  });
  const sorted = tensors.filter((t) => t.bytes > 0).sort((a, b) => a.offset - b.offset);
  for (const [i, t] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before && before.offset + before.bytes > t.offset)
      raise('Q6109', {
        file,
        tensor: t.name,
        reason: `its data overlaps ${JSON.stringify(before.name)}`,
      });
  }
  return new Map(tensors.map((t) => [t.name, t]));
}

/** What a writer is told of a tensor. */
export interface GgufPlan {
  readonly name: string;
  readonly type: number;
  readonly shape: readonly number[];
}

export interface EncodedHead {
  /** The bytes before the data, padded to the alignment. */
  readonly bytes: Uint8Array;
  /** Where each tensor begins, from the start of the file, and its bytes. */
  readonly places: readonly { readonly offset: number; readonly bytes: number }[];
  /** Of the whole file: ggml pads the last tensor too. */
  readonly size: number;
}

/** The head of a version 3 file with these tensors, in this order. */
export function encodeHead(
  file: string,
  metadata: Metadata,
  tensors: readonly GgufPlan[],
): EncodedHead {
  const alignment = alignmentOf(metadata, (reason) => raise('Q6108', { file, reason }));
  const up = (n: number): number => Math.ceil(n / alignment) * alignment;
  const parts: Uint8Array[] = [new TextEncoder().encode('GGUF'), words(3)];
  parts.push(longs(tensors.length, metadata.size));
  for (const [key, v] of metadata)
    parts.push(encodeString(key), words(valueTypes.indexOf(v.type)), v.bytes);
  let at = 0;
  const relative: { offset: number; bytes: number }[] = [];
  const seen = new Set<string>();
  for (const { name, type, shape } of tensors) {
    const bytes = plannedBytes(file, { name, type, shape }, seen);
    relative.push({ offset: at, bytes });
    parts.push(encodeString(name), words(shape.length), longs(...[...shape].reverse()));
    parts.push(words(type), longs(at));
    at = up(at + bytes);
  }
  const length = parts.reduce((n, p) => n + p.length, 0);
  const bytes = new Uint8Array(up(length));
  let to = 0;
  for (const p of parts) {
    bytes.set(p, to);
    to += p.length;
  }
  const places = relative.map((r) => ({ offset: bytes.length + r.offset, bytes: r.bytes }));
  return { bytes, places, size: bytes.length + at };
}

function plannedBytes(file: string, { name, type, shape }: GgufPlan, seen: Set<string>): number {
  const bad = (reason: string): never => raise('Q6109', { file, tensor: name, reason });
  const info = ggmlTypes[type] ?? bad(`${type} is no ggml type`);
  const length = new TextEncoder().encode(name).length;
  if (length === 0 || length > MAX_NAME)
    bad(`its name has ${length} bytes; GGUF allows 1 to ${MAX_NAME}`);
  if (seen.has(name)) bad('the name is taken');
  seen.add(name);
  if (shape.length > MAX_DIMS) bad(`it has ${shape.length} dims; GGUF allows ${MAX_DIMS}`);
  const elements = shape.reduce((p, n) => p * n, 1);
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0) || !Number.isSafeInteger(elements * 8))
    bad(`[${shape.join(', ')}] is not a shape`);
  if ((shape.at(-1) ?? 1) % info.block !== 0)
    bad(`rows of ${shape.at(-1)} are no multiple of a ${info.name} block of ${info.block}`);
  return ggmlBytes(info, elements);
}

function words(...list: number[]): Uint8Array {
  const out = new Uint8Array(4 * list.length);
  const view = new DataView(out.buffer);
  for (const [i, x] of list.entries()) view.setUint32(4 * i, x, true);
  return out;
}

function longs(...list: number[]): Uint8Array {
  const out = new Uint8Array(8 * list.length);
  const view = new DataView(out.buffer);
  for (const [i, x] of list.entries()) view.setBigUint64(8 * i, BigInt(x), true);
  return out;
}
