// GGUF files on disk: one file, or the parts of a split one (`NAME-00001-of-00003.gguf`, keys split.* as
// llama.cpp's gguf-split writes them). Only heads are read at opening.
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { raise } from '../../errors.ts';
import { openToRead, readInto } from '../raw.ts';
import { type GgufHead, type GgufTensor, NeedMore, parseHead } from './header.ts';
import { type Metadata, numberOf } from './values.ts';

/** Enough for the head of most models without a tokenizer. */
const FIRST = 2 ** 16;
const MAX_PARTS = 10_000;

class Part {
  readonly file: string;
  readonly handle: FileHandle;
  readonly head: GgufHead;

  private constructor(file: string, handle: FileHandle, head: GgufHead) {
    this.file = file;
    this.handle = handle;
    this.head = head;
  }

  static async open(file: string): Promise<Part> {
    const handle = await openToRead(file);
    try {
      const { size } = await handle.stat();
      for (let length = Math.min(size, FIRST); ; ) {
        const bytes = new Uint8Array(length);
        await readInto(handle, file, bytes, 0);
        try {
          return new Part(file, handle, parseHead(file, bytes, size));
        } catch (e) {
          if (!(e instanceof NeedMore)) throw e;
          // At least doubled, so that all readings together cost no more than twice the last.
          length = Math.min(size, Math.max(e.length, 2 * length));
        }
      }
    } catch (e) {
      await handle.close();
      throw e;
    }
  }
}

export class GgufReader {
  readonly path: string;
  readonly version: number;
  /** Of the first part, which has it all, without the keys split.*. */
  readonly metadata: Metadata;
  readonly alignment: number;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  readonly parts: readonly string[];
  readonly #parts: readonly Part[];
  readonly #owner: ReadonlyMap<string, Part>;

  constructor(path: string, parts: readonly Part[], owner: ReadonlyMap<string, Part>) {
    const first = parts[0]!.head;
    this.path = path;
    this.version = first.version;
    this.alignment = first.alignment;
    this.metadata = new Map([...first.metadata].filter(([key]) => !key.startsWith('split.')));
    this.parts = parts.map((p) => p.file);
    this.#parts = parts;
    this.#owner = owner;
    this.tensors = new Map([...owner].map(([name, p]) => [name, p.head.tensors.get(name)!]));
  }

  /** Bytes of a tensor, from one place to another. */
  async readBytes(name: string, from = 0, to?: number): Promise<Uint8Array> {
    const part = this.#owner.get(name);
    const t = this.tensors.get(name);
    if (!part || !t)
      raise('Q6104', {
        file: this.path,
        tensor: name,
        known: [...this.tensors.keys()].slice(0, 8).join(', '),
      });
    const end = to ?? t.bytes;
    if (!(from >= 0 && from <= end && end <= t.bytes))
      raise('Q6105', {
        file: this.path,
        what: `bytes of ${JSON.stringify(name)} out of range`,
        found: `${from} to ${end}`,
        expected: `within 0 to ${t.bytes}`,
      });
    const out = new Uint8Array(end - from);
    await readInto(part.handle, part.file, out, t.offset + from);
    return out;
  }

  async close(): Promise<void> {
    await Promise.all(this.#parts.map((p) => p.handle.close()));
  }
}

/** Name of part `no` (from 0) of a file that is split in `count`. */
export const partName = (stem: string, no: number, count: number): string =>
  `${stem}-${String(no + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.gguf`;

/** Opens a file; any part of a split one opens them all. Every head is checked here. */
export async function openGguf(path: string): Promise<GgufReader> {
  const opened: Part[] = [];
  const bad = (reason: string): never => raise('Q6110', { file: path, reason });
  try {
    const given = await Part.open(path);
    opened.push(given);
    const count = numberOf(given.head.metadata.get('split.count')) ?? 1;
    if (count > 1) {
      const named = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/.exec(basename(path));
      if (!named || Number(named[3]) !== count || count > MAX_PARTS)
        bad(
          `it says that it is one of ${count} parts, but its name does not end in -N-of-${count}`,
        );
      opened.length = 0;
      for (let no = 0; no < count; no++) {
        const file = join(dirname(path), partName(named![1]!, no, count));
        const part = basename(file) === basename(path) ? given : await Part.open(file);
        opened.push(part);
        const said = numberOf(part.head.metadata.get('split.no'));
        if (said !== no) bad(`${basename(file)} says that it is part ${said} (from 0)`);
      }
    }
    const owner = new Map<string, Part>();
    for (const part of opened)
      for (const name of part.head.tensors.keys()) {
        if (owner.has(name)) bad(`two parts have the tensor ${JSON.stringify(name)}`);
        owner.set(name, part);
      }
    const told = numberOf(opened[0]!.head.metadata.get('split.tensors.count'));
    if (count > 1 && told !== undefined && told !== owner.size)
      bad(`its parts have ${owner.size} tensors, but split.tensors.count is ${told}`);
    return new GgufReader(path, opened, owner);
  } catch (e) {
    await Promise.all(opened.map((p) => p.handle.close().catch(() => {})));
    throw e;
  }
}
