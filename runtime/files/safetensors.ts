// Streaming reader and writer of safetensors files: one file, a folder, or an index of shards. Memory is bounded
// by the rows or the chunk asked for, whatever the size of the file.
import { type FileHandle, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { raise, reasonOf } from '../errors.ts';
import { unpack } from '../pack.ts';
import {
  encodeHeader,
  type FileDType,
  fileDTypes,
  headerLength,
  parseHeader,
  type TensorEntry,
} from './header.ts';
import { decodeText, duplicateKey, isRecord } from './json.ts';
import { MOST_AT_ONCE, openToRead, readInto, unreadable, unwritable } from './raw.ts';

export { type FileDType, fileDTypes, storedAs, type TensorEntry } from './header.ts';

const CHUNK = 2 ** 22;

/** An open file whose header has been checked. */
class Shard {
  readonly file: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: { readonly [key: string]: string };
  readonly handle: FileHandle;

  private constructor(file: string, handle: FileHandle, header: ReturnType<typeof parseHeader>) {
    this.file = file;
    this.handle = handle;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
  }

  static async open(file: string): Promise<Shard> {
    const handle = await openToRead(file);
    try {
      const { size } = await handle.stat();
      const first = new Uint8Array(Math.min(size, 8));
      await readInto(handle, file, first, 0);
      const text = new Uint8Array(headerLength(file, first, size));
      await readInto(handle, file, text, 8);
      return new Shard(file, handle, parseHeader(file, text, size));
    } catch (e) {
      await handle.close();
      throw e;
    }
  }
}

export class SafetensorsReader {
  /** What was opened. */
  readonly path: string;
  /** Metadata of all files; where two disagree, that of the first in order of name. */
  readonly metadata: { readonly [key: string]: string };
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly #shards: readonly Shard[];
  readonly #owner: ReadonlyMap<string, Shard>;

  constructor(path: string, shards: readonly Shard[], owner: ReadonlyMap<string, Shard>) {
    this.path = path;
    this.#shards = shards;
    this.#owner = owner;
    this.metadata = Object.assign({}, ...shards.map((s) => s.metadata).reverse());
    this.tensors = new Map([...owner].map(([name, s]) => [name, s.tensors.get(name)!]));
  }

  get names(): readonly string[] {
    return [...this.tensors.keys()];
  }

  info(name: string): TensorEntry {
    return this.#find(name).entry;
  }

  #find(name: string): { readonly shard: Shard; readonly entry: TensorEntry } {
    const shard = this.#owner.get(name);
    if (!shard) {
      const names = this.names.slice(0, 8).join(', ');
      const more = this.names.length > 8 ? `, and ${this.names.length - 8} more` : '';
      raise('Q6104', { file: this.path, tensor: name, known: `${names}${more}` });
    }
    return { shard, entry: shard.tensors.get(name)! };
  }

  /** Bytes of rows `from` to `to` of axis 0, as they are in the file. A scalar is one row. */
  async readBytes(name: string, from = 0, to?: number): Promise<Uint8Array> {
    const { shard, entry } = this.#find(name);
    const { offset, length } = rowRange(shard.file, entry, from, to);
    const out = new Uint8Array(length);
    await readInto(shard.handle, shard.file, out, offset);
    return out;
  }

  /** Bytes of a tensor, from one place in it to another. */
  async readRange(name: string, from: number, to: number): Promise<Uint8Array> {
    const { shard, entry } = this.#find(name);
    if (!(from >= 0 && from <= to && to <= entry.bytes))
      raise('Q6105', {
        file: shard.file,
        what: `bytes of ${JSON.stringify(name)} out of range`,
        found: `${from} to ${to}`,
        expected: `within 0 to ${entry.bytes}`,
      });
    const out = new Uint8Array(to - from);
    await readInto(shard.handle, shard.file, out, entry.offset + from);
    return out;
  }

  /** Metadata of each file. */
  get metadataOfEach(): readonly { readonly [key: string]: string }[] {
    return this.#shards.map((s) => s.metadata);
  }

  /** The files that were opened. */
  get files(): readonly string[] {
    return this.#shards.map((s) => s.file);
  }

  /** Values of rows `from` to `to` of axis 0 as f32, whatever the dtype of the file. */
  async readRows(name: string, from = 0, to?: number): Promise<Float32Array> {
    return toFloats(this.info(name).dtype, await this.readBytes(name, from, to));
  }

  /** The bytes of a tensor in order, a chunk at a time; each chunk is the caller's to keep. */
  async *chunks(name: string, chunkBytes = CHUNK): AsyncGenerator<Uint8Array> {
    const { shard, entry } = this.#find(name);
    for (let at = 0; at < entry.bytes; at += chunkBytes) {
      const out = new Uint8Array(Math.min(chunkBytes, entry.bytes - at));
      await readInto(shard.handle, shard.file, out, entry.offset + at);
      yield out;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#shards.map((s) => s.handle.close()));
  }
}

/** Stored numbers as f32, rounded where they are wider; `bytes` must begin its buffer. */
export function toFloats(dtype: FileDType, bytes: Uint8Array): Float32Array {
  const n = bytes.length / fileDTypes[dtype].bytes;
  if (dtype === 'F32') return new Float32Array(bytes.buffer, 0, n);
  if (dtype === 'F64') return Float32Array.from(new Float64Array(bytes.buffer, 0, n));
  if (dtype === 'I64') return Float32Array.from(new BigInt64Array(bytes.buffer, 0, n), Number);
  const values = unpack(fileDTypes[dtype].dtype, [n], bytes);
  return values instanceof Float32Array ? values : Float32Array.from(values);
}

function rowRange(
  file: string,
  entry: TensorEntry,
  from: number,
  to: number | undefined,
): { readonly offset: number; readonly length: number } {
  const rows = entry.shape[0] ?? 1;
  const end = to ?? rows;
  if (!Number.isInteger(from) || !Number.isInteger(end) || from < 0 || end < from || end > rows)
    raise('Q6105', {
      file,
      what: `rows of ${JSON.stringify(entry.name)} out of range`,
      found: `rows ${from} to ${end}`,
      expected: `within 0 to ${rows}`,
    });
  const width = rows === 0 ? 0 : entry.bytes / rows;
  return { offset: entry.offset + from * width, length: (end - from) * width };
}

/** Opens a file, a folder of files, or a `*.safetensors.index.json`. Every header is checked here. */
export async function openSafetensors(path: string): Promise<SafetensorsReader> {
  const info = await stat(path).catch((e: unknown) => unreadable(path, e));
  if (path.endsWith('.json')) return openIndex(path);
  if (!info.isDirectory()) return openShards(path, [path], undefined);
  const names = (await readdir(path)).sort();
  const indices = names.filter((n) => n.endsWith('.safetensors.index.json'));
  if (indices.length > 1)
    raise('Q6106', { file: path, reason: `the folder has several: ${indices.join(', ')}` });
  if (indices.length === 1) return openIndex(join(path, indices[0]!));
  const files = names.filter((n) => n.endsWith('.safetensors'));
  if (files.length === 0)
    raise('Q6101', { file: path, detail: 'the folder holds no .safetensors file' });
  return openShards(
    path,
    files.map((n) => join(path, n)),
    undefined,
  );
}

async function openIndex(path: string): Promise<SafetensorsReader> {
  const bad = (reason: string): never => raise('Q6106', { file: path, reason });
  let text = '';
  let json: unknown;
  const bytes = await readFile(path).catch((e: unknown) => unreadable(path, e));
  try {
    text = decodeText(bytes);
    json = JSON.parse(text);
  } catch (e) {
    bad(`it is not JSON in UTF-8: ${reasonOf(e)}`);
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) bad(`it has the key ${JSON.stringify(twice)} twice`);
  if (!isRecord(json) || !isRecord(json.weight_map)) return bad('it has no "weight_map" object');
  const map = new Map<string, string>();
  for (const [tensor, file] of Object.entries(json.weight_map)) {
    // A shard lies beside its index: a path that leads elsewhere is none of ours to open.
    if (typeof file !== 'string' || basename(file) !== file || /[\\\0]|^\.{0,2}$/.test(file))
      bad(`the file of ${JSON.stringify(tensor)} is ${JSON.stringify(file)}, not a file name`);
    map.set(tensor, file as string);
  }
  const files = [...new Set(map.values())].sort().map((f) => join(dirname(path), f));
  return openShards(path, files, map);
}

/** Opens all files; `map`, when given, says which one must hold each tensor. */
async function openShards(
  path: string,
  files: readonly string[],
  map: ReadonlyMap<string, string> | undefined,
): Promise<SafetensorsReader> {
  const shards: Shard[] = [];
  try {
    for (const f of files) shards.push(await Shard.open(f));
    const owner = new Map<string, Shard>();
    if (map) {
      const byName = new Map(shards.map((s) => [basename(s.file), s]));
      for (const [tensor, file] of map) {
        const shard = byName.get(file)!;
        if (!shard.tensors.has(tensor))
          raise('Q6106', { file: path, reason: `${file} has no tensor ${JSON.stringify(tensor)}` });
        owner.set(tensor, shard);
      }
    } else
      for (const s of shards)
        for (const tensor of s.tensors.keys()) {
          const other = owner.get(tensor);
          if (other)
            raise('Q6103', { file: s.file, tensor, reason: `${basename(other.file)} has it too` });
          owner.set(tensor, s);
        }
    return new SafetensorsReader(path, shards, owner);
  } catch (e) {
    await Promise.all(shards.map((s) => s.handle.close()));
    throw e;
  }
}

/** What a writer is told of a tensor before its data comes. */
export interface TensorPlan {
  readonly name: string;
  readonly dtype: FileDType;
  readonly shape: readonly number[];
}

/**
 * Writes a file whose tensors are declared up front and whose data comes in order, in chunks of any size. The
 * file appears under its name when it is complete, or not at all. Equal input gives equal bytes.
 */
export class SafetensorsWriter {
  readonly path: string;
  readonly #temporary: string;
  readonly #handle: FileHandle;
  readonly #tensors: readonly (TensorPlan & { readonly bytes: number })[];
  #current = 0;
  #written = 0;
  #at: number;
  #closed = false;

  private constructor(
    path: string,
    temporary: string,
    handle: FileHandle,
    tensors: readonly (TensorPlan & { readonly bytes: number })[],
    at: number,
  ) {
    this.path = path;
    this.#temporary = temporary;
    this.#handle = handle;
    this.#tensors = tensors;
    this.#at = at;
    this.#skipEmpty();
  }

  static async create(
    path: string,
    tensors: readonly TensorPlan[],
    metadata: { readonly [key: string]: string } = {},
  ): Promise<SafetensorsWriter> {
    const seen = new Set<string>(['__metadata__']);
    const sized = tensors.map((t) => {
      const bytes = t.shape.reduce((p, n) => p * n, 1) * fileDTypes[t.dtype].bytes;
      const reason = seen.has(t.name)
        ? 'the name is taken'
        : !t.shape.every((n) => Number.isSafeInteger(n) && n >= 0) || !Number.isSafeInteger(bytes)
          ? `[${t.shape.join(', ')}] is not a shape`
          : undefined;
      if (reason) raise('Q6103', { file: path, tensor: t.name, reason });
      seen.add(t.name);
      return { ...t, bytes };
    });
    const header = encodeHeader(sized, metadata);
    const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.${Date.now()}.tmp`);
    const handle = await open(temporary, 'wx').catch((e: unknown) => unwritable(path, e));
    const made = new SafetensorsWriter(path, temporary, handle, sized, 0);
    await made.#put(header);
    return made;
  }

  /** Appends bytes to a tensor, which must be the next one that is not complete. */
  async append(name: string, bytes: Uint8Array): Promise<void> {
    if (this.#closed) this.#misuse('it is closed', `append to ${name}`, 'nothing more');
    const next = this.#tensors[this.#current];
    if (bytes.length === 0 && (!next || next.name !== name)) return;
    if (next?.name !== name)
      this.#misuse('a tensor out of order', name, next ? next.name : 'nothing more');
    const room = next!.bytes - this.#written;
    if (bytes.length > room)
      this.#misuse(`too much data for ${name}`, `${bytes.length} bytes`, `at most ${room} more`);
    // Counted before the write: two appends in flight must not claim the same place.
    this.#written += bytes.length;
    if (this.#written === next!.bytes) {
      this.#current++;
      this.#written = 0;
      this.#skipEmpty();
    }
    await this.#put(bytes);
  }

  #skipEmpty(): void {
    while (this.#tensors[this.#current]?.bytes === 0) this.#current++;
  }

  async #put(bytes: Uint8Array): Promise<void> {
    let at = this.#at;
    this.#at += bytes.length;
    try {
      for (let done = 0; done < bytes.length; ) {
        const most = Math.min(bytes.length - done, MOST_AT_ONCE);
        const { bytesWritten } = await this.#handle.write(bytes, done, most, at);
        done += bytesWritten;
        at += bytesWritten;
      }
    } catch (e) {
      await this.abort();
      unwritable(this.path, e);
    }
  }

  #misuse(what: string, found: string, expected: string): never {
    raise('Q6105', { file: this.path, what, found, expected });
  }

  /** Makes the file durable and gives it its name. */
  async finish(): Promise<void> {
    if (this.#closed) this.#misuse('it is closed', 'finish()', 'nothing more');
    const next = this.#tensors[this.#current];
    if (next) {
      const missing = `${next.bytes - this.#written} bytes of ${next.name} missing`;
      this.#misuse('the file is not complete', missing, 'every tensor whole');
    }
    this.#closed = true;
    try {
      await this.#handle.sync();
      await this.#handle.close();
      await rename(this.#temporary, this.path);
    } catch (e) {
      await this.#handle.close().catch(() => {});
      await rm(this.#temporary, { force: true });
      unwritable(this.path, e);
    }
  }

  /** Gives up: nothing is left behind. Harmless after finish(). */
  async abort(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#handle.close().catch(() => {});
    await rm(this.#temporary, { force: true });
  }
}
