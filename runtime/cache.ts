// The disk cache of compiled kernels. An entry is one file: a digest, a JSON header and the bytes it names.
// Entries are checked in full before use, written beside and renamed, so a crash, a full disk or a second
// process can only cost a compilation. A cache that cannot be written is no error: it is a cache.
import { nodeModule } from './platform.ts';
import type { Json } from '../compiler/artifact.ts';

const MAGIC = 'QUERNC1\n';
const DIGEST = 32;
const PREFIX = MAGIC.length + DIGEST + 4;
/** Most bytes of a cache unless told. */
const LIMIT = 512 * 2 ** 20;
/** Keys begin with two hexadecimal digits, and each pair has a folder. */
const FOLDERS = 256;
/** An entry that is read counts as new again, but its file is not touched more often than this. */
const TOUCH_MS = 24 * 3600 * 1000;

/** What an entry holds: JSON, and named bytes. */
export interface Entry {
  readonly header: Json;
  readonly blobs: { readonly [name: string]: Uint8Array };
}

/** Where entries go unless told: $QUERN_CACHE, else quern under $XDG_CACHE_HOME or ~/.cache. */
export function defaultCacheDir(): string | undefined {
  const os = nodeModule('node:os');
  const path = nodeModule('node:path');
  if (!os || !path) return undefined;
  const { QUERN_CACHE, XDG_CACHE_HOME } = process.env;
  if (QUERN_CACHE) return ['false', '0', 'off'].includes(QUERN_CACHE) ? undefined : QUERN_CACHE;
  return path.join(XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'quern');
}

export function encodeEntry(entry: Entry): Uint8Array {
  const crypto = nodeModule('node:crypto')!;
  const blobs = Object.entries(entry.blobs);
  const header = JSON.stringify({
    header: entry.header,
    blobs: blobs.map(([name, bytes]) => [name, bytes.length]),
  });
  const head = Buffer.from(header);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length);
  const body = Buffer.concat([length, head, ...blobs.map(([, bytes]) => bytes)]);
  const digest = crypto.createHash('sha256').update(body).digest();
  return Buffer.concat([Buffer.from(MAGIC), digest, body]);
}

/** The entry in a file's bytes, or undefined when they are not exactly what was written. */
export function decodeEntry(bytes: Uint8Array): Entry | undefined {
  const crypto = nodeModule('node:crypto')!;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (buffer.length < PREFIX || buffer.toString('latin1', 0, MAGIC.length) !== MAGIC)
    return undefined;
  const body = buffer.subarray(MAGIC.length + DIGEST);
  const digest = crypto.createHash('sha256').update(body).digest();
  if (!digest.equals(buffer.subarray(MAGIC.length, MAGIC.length + DIGEST))) return undefined;
  // The digest is right, so the rest is as encodeEntry made it.
  const length = body.readUInt32LE(0);
  const { header, blobs } = JSON.parse(body.toString('utf8', 4, 4 + length)) as {
    header: Json;
    blobs: readonly [string, number][];
  };
  let at = 4 + length;
  const out: Record<string, Uint8Array> = {};
  for (const [name, size] of blobs) {
    out[name] = new Uint8Array(body.subarray(at, at + size));
    at += size;
  }
  return { header, blobs: out };
}

/**
 * Entries by key (a hexadecimal digest) in a folder. Digests are spread evenly, so each of the folders within may
 * take its part of the limit, and whoever writes an entry looks at one of them only: those that were not used for
 * longest go.
 */
export class DiskCache {
  readonly dir: string;
  readonly #share: number;

  constructor(dir: string, limit = LIMIT) {
    this.dir = dir;
    this.#share = limit / FOLDERS;
  }

  #file(key: string): string {
    return nodeModule('node:path')!.join(this.dir, key.slice(0, 2), `${key.slice(2)}.quern`);
  }

  /** An intact entry, or undefined. */
  get(key: string): Entry | undefined {
    const fs = nodeModule('node:fs')!;
    const file = this.#file(key);
    let bytes: Uint8Array;
    try {
      bytes = fs.readFileSync(file);
    } catch {
      return undefined;
    }
    try {
      const now = Date.now();
      if (now - fs.statSync(file).mtimeMs > TOUCH_MS) fs.utimesSync(file, now / 1000, now / 1000);
    } catch {
      // Not ours to touch, or gone meanwhile: it only ages sooner.
    }
    return decodeEntry(bytes);
  }

  /** Whether the entry was written. */
  put(key: string, entry: Entry): boolean {
    const fs = nodeModule('node:fs')!;
    const path = nodeModule('node:path')!;
    const file = this.#file(key);
    const unique = nodeModule('node:crypto')!.randomBytes(6).toString('hex');
    const beside = `${file}.${unique}.tmp`;
    try {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(beside, encodeEntry(entry));
      fs.renameSync(beside, file);
    } catch {
      try {
        fs.rmSync(beside, { force: true });
      } catch {
        // The folder itself is not one; there is nothing to remove.
      }
      return false;
    }
    this.#trim(file);
    return true;
  }

  /** Removes the entries of a file's folder that were not used for longest, until it keeps to its share. */
  #trim(kept: string): void {
    const fs = nodeModule('node:fs')!;
    const path = nodeModule('node:path')!;
    try {
      const folder = path.dirname(kept);
      const files = fs.readdirSync(folder).map((name) => {
        const file = path.join(folder, name);
        const { size, mtimeMs } = fs.statSync(file);
        return { file, size, mtimeMs };
      });
      let bytes = files.reduce((sum, f) => sum + f.size, 0);
      files.sort((a, b) => a.mtimeMs - b.mtimeMs);
      for (const { file, size } of files) {
        if (bytes <= this.#share) return;
        if (file === kept) continue;
        fs.rmSync(file, { force: true });
        bytes -= size;
      }
    } catch {
      // Another process trims the same folder: it is under the limit when either is done.
    }
  }
}
