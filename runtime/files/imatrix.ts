// llama.cpp's importance matrices, old (.dat) and new (GGUF): for each matrix of a model the sums, over the tokens of a
// calibration text, of the squares of what it was multiplied with, one sum an input column. Both forms as
// common/imatrix-loader.cpp and tools/imatrix/imatrix.cpp of llama.cpp read and write them.
import { open, readFile, rename, rm } from 'node:fs/promises';
import { raise } from '../errors.ts';
import { encodeHead } from './gguf/header.ts';
import { openGguf } from './gguf/reader.ts';
import {
  type GgufValue,
  numberOf,
  numberValue,
  stringOf,
  stringValue,
  stringsOf,
  stringsValue,
} from './gguf/values.ts';
import { decodeText } from './json.ts';
import { unreadable, unwritable } from './raw.ts';

/** Sums of one weight; of a stack of matrices, the sums of one after those of the other. */
export interface ImportanceEntry {
  readonly sums: Float64Array;
  /** Tokens that were added up, for each matrix of the stack. */
  readonly counts: readonly number[];
}

export interface Importance {
  /** By the tensor names of GGUF models. */
  readonly entries: ReadonlyMap<string, ImportanceEntry>;
  readonly chunks: number;
  /** Tokens of a chunk; 0 if the file does not say. */
  readonly chunkSize: number;
  readonly datasets: readonly string[];
}

const bad = (file: string, reason: string): never => raise('Q6113', { file, reason });
const MAX_FILE = 2 ** 31;

export async function readImatrix(file: string): Promise<Importance> {
  const handle = await open(file, 'r').catch((e: unknown) => unreadable(file, e));
  let magic = '';
  try {
    const first = new Uint8Array(4);
    const { bytesRead } = await handle.read(first, 0, 4, 0);
    magic = String.fromCharCode(...first.subarray(0, bytesRead));
    if ((await handle.stat()).size > MAX_FILE) bad(file, 'it has more than 2 GiB');
  } catch (e) {
    unreadable(file, e);
  } finally {
    await handle.close();
  }
  if (magic === 'GGUF') return readGguf(file);
  return parseDat(file, await readFile(file).catch((e: unknown) => unreadable(file, e)));
}

async function readGguf(file: string): Promise<Importance> {
  const reader = await openGguf(file);
  try {
    const { metadata, tensors } = reader;
    const type = stringOf(metadata.get('general.type'));
    if (type !== 'imatrix')
      bad(file, `its general.type is ${JSON.stringify(type) ?? 'missing'}, not "imatrix"`);
    const entries = new Map<string, ImportanceEntry>();
    const values = async (name: string): Promise<Float64Array> => {
      const t = tensors.get(name) ?? bad(file, `it has no tensor ${JSON.stringify(name)}`);
      if (t.type !== 0) bad(file, `${name} is not f32`);
      const bytes = await reader.readBytes(name);
      return Float64Array.from(new Float32Array(bytes.buffer, 0, bytes.length / 4));
    };
    for (const key of tensors.keys()) {
      const [, name, part] = /^(.*)\.(in_sum2|counts)$/s.exec(key) ?? [];
      // Other tensors hold statistics of other programs.
      if (name === undefined) continue;
      if (part === 'counts') {
        if (!tensors.has(`${name}.in_sum2`))
          bad(file, `it has no sums for ${JSON.stringify(name)}`);
        continue;
      }
      const sums = await values(`${name}.in_sum2`);
      const counts = [...(await values(`${name}.counts`))].map(Math.round);
      entries.set(name, checked(file, name, { sums, counts }));
    }
    return {
      entries,
      chunks: numberOf(metadata.get('imatrix.chunk_count')) ?? 0,
      chunkSize: numberOf(metadata.get('imatrix.chunk_size')) ?? 0,
      datasets: stringsOf(metadata.get('imatrix.datasets')) ?? [],
    };
  } finally {
    await reader.close();
  }
}

function checked(file: string, name: string, entry: ImportanceEntry): ImportanceEntry {
  const { sums, counts } = entry;
  const where = JSON.stringify(name);
  if (!counts.length || sums.length % counts.length !== 0)
    bad(file, `${where} has ${sums.length} sums for ${counts.length} matrices`);
  if (!sums.every((x) => x >= 0 && Number.isFinite(x)))
    bad(file, `a sum of ${where} is no finite number >= 0`);
  if (!counts.every((n) => Number.isSafeInteger(n) && n >= 0))
    bad(file, `a count of ${where} is no whole number >= 0`);
  return entry;
}

/** The old form: entries of a name, a number of chunks and values; then chunks and the name of the text. */
export function parseDat(file: string, bytes: Uint8Array): Importance {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (n: number, what: string): number => {
    if (n < 0 || n > bytes.length - at)
      bad(file, `${what} at byte ${at} takes ${n} bytes, but ${bytes.length - at} are left`);
    at += n;
    return at - n;
  };
  const int = (what: string): number => view.getInt32(take(4, what), true);
  const text = (what: string): string => {
    const length = int(`the length of ${what}`);
    const start = take(length, what);
    try {
      return decodeText(bytes.subarray(start, start + length));
    } catch {
      return bad(file, `${what} at byte ${start} is not UTF-8`);
    }
  };
  const count = int('the number of entries');
  if (count < 1) bad(file, `it has ${count} entries`);
  const entries = new Map<string, ImportanceEntry>();
  for (let i = 0; i < count; i++) {
    const name = text(`the name of entry ${i}`);
    if (entries.has(name)) bad(file, `it has ${JSON.stringify(name)} twice`);
    const calls = int('a number of chunks');
    const values = int('a number of values');
    if (values < 1) bad(file, `${JSON.stringify(name)} has ${values} values`);
    const start = take(4 * values, `the values of ${JSON.stringify(name)}`);
    const sums = Float64Array.from({ length: values }, (_, j) =>
      view.getFloat32(start + 4 * j, true),
    );
    entries.set(name, checked(file, name, { sums, counts: [calls] }));
  }
  // The end is optional.
  const chunks = at < bytes.length ? int('the number of chunks') : 0;
  const dataset = at < bytes.length ? text('the name of the text') : '';
  return { entries, chunks, chunkSize: 0, datasets: dataset ? [dataset] : [] };
}

/** In the order of names, as llama.cpp writes them. */
const sorted = (m: Importance): [string, ImportanceEntry][] =>
  [...m.entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

export function encodeDat(m: Importance): Uint8Array {
  const parts: Uint8Array[] = [];
  const int = (n: number): void => {
    parts.push(new Uint8Array(Int32Array.of(n).buffer));
  };
  const text = (s: string): void => {
    const utf8 = new TextEncoder().encode(s);
    int(utf8.length);
    parts.push(utf8);
  };
  const entries = sorted(m);
  int(entries.length);
  for (const [name, { sums, counts }] of entries) {
    // The old form has one number of chunks for all matrices, and values that are means times it.
    const most = Math.max(1, ...counts);
    const calls = Math.max(1, Math.ceil(most / (m.chunkSize || most)));
    const width = sums.length / counts.length;
    const values = Float32Array.from(sums, (x, i) => {
      const n = counts[Math.floor(i / width)]!;
      return n ? (x / n) * calls : 0;
    });
    text(name);
    int(calls);
    int(values.length);
    parts.push(new Uint8Array(values.buffer));
  }
  int(m.chunks);
  text(m.datasets[0] ?? '');
  return new Uint8Array(Buffer.concat(parts));
}

export function encodeImatrixGguf(file: string, m: Importance): Uint8Array {
  const metadata = new Map<string, GgufValue>([
    ['general.type', stringValue('imatrix')],
    ['imatrix.datasets', stringsValue(m.datasets)],
    ['imatrix.chunk_count', numberValue('u32', m.chunks)],
    ['imatrix.chunk_size', numberValue('u32', m.chunkSize)],
  ]);
  const tensors = sorted(m).flatMap(([name, { sums, counts }]) => {
    const n = counts.length;
    return [
      { name: `${name}.in_sum2`, type: 0, shape: [n, sums.length / n], data: sums },
      { name: `${name}.counts`, type: 0, shape: [n, 1], data: counts },
    ];
  });
  const { bytes, places, size } = encodeHead(file, metadata, tensors);
  const out = new Uint8Array(size);
  out.set(bytes);
  for (const [i, t] of tensors.entries())
    out.set(new Uint8Array(Float32Array.from(t.data).buffer), places[i]!.offset);
  return out;
}

/** Writes the form that the name asks for: .gguf, or .dat for the old one. */
export async function writeImatrix(file: string, m: Importance): Promise<void> {
  const bytes = file.endsWith('.dat') ? encodeDat(m) : encodeImatrixGguf(file, m);
  const beside = `${file}.${process.pid}.tmp`;
  try {
    const handle = await open(beside, 'wx');
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(beside, file);
  } catch (e) {
    await rm(beside, { force: true });
    unwritable(file, e);
  }
}

/**
 * Mean squares of the inputs of a weight, one a column, for each matrix of the stack; undefined if it is not in
 * there. A matrix that no token reached counts every column alike.
 */
export function columnWeights(
  file: string,
  m: Importance,
  name: string,
  columns: number,
): readonly Float32Array[] | undefined {
  const entry = m.entries.get(name);
  if (!entry) return undefined;
  const { sums, counts } = entry;
  if (sums.length !== columns * counts.length)
    bad(
      file,
      `${JSON.stringify(name)} has ${sums.length} sums for ${counts.length} matrices of ${columns} columns`,
    );
  return counts.map((n, i) =>
    Float32Array.from(sums.subarray(i * columns, (i + 1) * columns), (x) => (n ? x / n : 1)),
  );
}
