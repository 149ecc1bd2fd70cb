// Writing files whose whole plan is known before their data: every byte has its place from the start, so tensors
// can be written in any order, and a run that was cut off can be continued. The data goes into files beside the
// final ones; a journal says which parts are whole. The final names appear when everything is complete.
import { type FileHandle, appendFile, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { raise, reasonOf } from '../errors.ts';
import { isRecord } from './json.ts';
import { MOST_AT_ONCE, readInto, unwritable } from './raw.ts';

/** A stretch of a file that is filled from its front. */
export interface PlannedPiece {
  /** Unique among all pieces of all files. */
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
}
export interface PlannedFile {
  readonly path: string;
  /** The bytes from the start of the file on. */
  readonly head: Uint8Array;
  readonly pieces: readonly PlannedPiece[];
  /** Of the whole file; what no piece covers stays zero. */
  readonly size: number;
}

/** What a journal tells of a finished part: its name and what the caller wants to know of it again. */
export interface Finished {
  readonly part: string;
  readonly pieces: readonly string[];
  readonly record: unknown;
}

export interface StreamedOptions {
  /** Identity of the work: only a run with the same key may continue it. */
  readonly key: string;
  /** Continue what a run with the same plan and key left behind, if there is something. */
  readonly resume?: boolean;
}

/** Parts are noted in the journal when this many milliseconds have gone since the last time. */
const NOTE_EVERY = 200;

const beside = (path: string, suffix: string): string =>
  join(dirname(path), `.${basename(path)}.${suffix}`);
const partial = (path: string): string => beside(path, 'quern-part');
/** Of a job that writes these files. */
export const journalOf = (files: readonly PlannedFile[]): string =>
  beside(files[0]!.path, 'quern-journal');

interface Cursor {
  readonly handle: FileHandle;
  readonly file: string;
  readonly piece: PlannedPiece;
  done: number;
}

export class StreamedOutput {
  /** Parts that an earlier run has finished. */
  readonly finished: readonly Finished[];
  readonly #files: readonly PlannedFile[];
  readonly #handles: readonly FileHandle[];
  readonly #pieces: ReadonlyMap<string, Cursor>;
  readonly #journal: string;
  /** Pieces that no finished part has. */
  readonly #missing: Set<string>;
  #pending: Finished[] = [];
  #noted = performance.now();
  #closed = false;

  private constructor(
    files: readonly PlannedFile[],
    handles: readonly FileHandle[],
    finished: readonly Finished[],
  ) {
    this.#files = files;
    this.#handles = handles;
    this.#journal = journalOf(files);
    this.finished = finished;
    this.#missing = new Set(files.flatMap((f) => f.pieces.map((p) => p.name)));
    for (const { pieces } of finished) for (const name of pieces) this.#missing.delete(name);
    this.#pieces = new Map(
      files.flatMap((f, i) =>
        f.pieces.map((piece) => [
          piece.name,
          { handle: handles[i]!, file: f.path, piece, done: 0 } as Cursor,
        ]),
      ),
    );
  }

  /** Makes the files, or opens those of the run that is continued. The folder must exist. */
  static async create(
    files: readonly PlannedFile[],
    { key, resume = false }: StreamedOptions,
  ): Promise<StreamedOutput> {
    const journal = journalOf(files);
    const before = await readJournal(journal);
    if (before && before.host === hostname() && before.pid !== process.pid && (await runs(before)))
      raise('Q6112', { file: files[0]!.path, pid: String(before.pid) });
    const continued = resume && before !== undefined;
    if (continued && before.key !== key)
      raise('Q6111', {
        file: files[0]!.path,
        reason: 'the input, the options or the version of Quern are not those of the earlier run',
      });
    const handles: FileHandle[] = [];
    try {
      // What is noted must never be believed of files that begin anew.
      if (continued) await recover(files);
      else await rm(journal, { force: true });
      for (const f of files) handles.push(await openPartial(f, continued));
      const finished = continued ? before.finished : [];
      const started = await startOf(process.pid);
      const head = { quern: 1, key, pid: process.pid, host: hostname(), started };
      const lines = [head, ...finished].map((x) => `${JSON.stringify(x)}\n`).join('');
      // Rewritten in one step, so that a cut at this moment does not lose what an earlier run has noted.
      const next = `${journal}.next`;
      const file = await open(next, 'w');
      try {
        await file.writeFile(lines);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(next, journal);
      return new StreamedOutput(files, handles, finished);
    } catch (e) {
      for (const h of handles) await h.close().catch(() => {});
      return unwritableAs(files[0]!.path, e);
    }
  }

  /** Appends bytes to a piece. Pieces may be filled side by side. */
  async append(name: string, bytes: Uint8Array): Promise<void> {
    const cursor = this.#pieces.get(name);
    if (this.#closed || !cursor)
      return this.#misuse(
        name,
        this.#closed ? 'the output is closed' : 'no such piece',
        'a piece of the plan',
      );
    const { piece, handle, file } = cursor;
    if (bytes.length > piece.bytes - cursor.done)
      this.#misuse(name, `${bytes.length} bytes`, `at most ${piece.bytes - cursor.done} more`);
    let at = piece.offset + cursor.done;
    // Counted before the write: two appends in flight must not claim the same place.
    cursor.done += bytes.length;
    try {
      for (let done = 0; done < bytes.length; ) {
        const most = Math.min(bytes.length - done, MOST_AT_ONCE);
        const { bytesWritten } = await handle.write(bytes, done, most, at);
        done += bytesWritten;
        at += bytesWritten;
      }
    } catch (e) {
      unwritable(file, e);
    }
  }

  /** Says that a part, made of these pieces, is whole. */
  async commit(part: string, pieces: readonly string[], record: unknown): Promise<void> {
    for (const name of pieces) {
      const { piece, done } = this.#pieces.get(name)!;
      if (done !== piece.bytes)
        this.#misuse(name, `${done} bytes`, `${piece.bytes} bytes before it is whole`);
    }
    this.#pending.push({ part, pieces, record });
    for (const name of pieces) this.#missing.delete(name);
    if (performance.now() - this.#noted >= NOTE_EVERY) await this.#note();
  }

  /** Notes the pending parts, once their data is on the disk. */
  async #note(): Promise<void> {
    if (!this.#pending.length) return;
    const lines = this.#pending.map((x) => `${JSON.stringify(x)}\n`).join('');
    this.#pending = [];
    try {
      for (const h of this.#handles) await h.datasync();
      await appendFile(this.#journal, lines, { flush: true });
    } catch (e) {
      unwritable(this.#journal, e);
    }
    this.#noted = performance.now();
  }

  #misuse(name: string, found: string, expected: string): never {
    return raise('Q6105', {
      file: this.#files[0]!.path,
      what: `the data of ${JSON.stringify(name)}`,
      found,
      expected,
    });
  }

  /** Makes the files durable and gives them their names. */
  async finish(): Promise<void> {
    const [missing] = this.#missing;
    if (missing !== undefined) this.#misuse(missing, 'nothing', 'every piece in a finished part');
    await this.#note();
    this.#closed = true;
    try {
      for (const h of this.#handles) {
        await h.sync();
        await h.close();
      }
      for (const f of this.#files) await rename(partial(f.path), f.path);
      await rm(this.#journal, { force: true });
    } catch (e) {
      unwritable(this.#files[0]!.path, e);
    }
  }

  /** Gives up; what is whole is kept for a later run if `keep` is set, else nothing is left behind. */
  async abort({ keep = false } = {}): Promise<void> {
    if (this.#closed) return;
    if (keep) await this.#note().catch(() => {});
    this.#closed = true;
    for (const h of this.#handles) await h.close().catch(() => {});
    if (keep) return;
    for (const f of this.#files) await rm(partial(f.path), { force: true });
    await rm(this.#journal, { force: true });
  }
}

interface Journal {
  readonly key: string;
  readonly pid: number;
  readonly host: string;
  /** When the process began, as far as the system says. */
  readonly started: string | undefined;
  readonly finished: readonly Finished[];
}

/** The journal of an earlier run; undefined if there is none that makes sense. */
async function readJournal(path: string): Promise<Journal | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '');
  // A last line that was cut off has no end, and does not count.
  const lines = text.split('\n').slice(0, -1).map(parsed);
  const [head, ...rest] = lines;
  if (!isRecord(head) || head.quern !== 1 || typeof head.key !== 'string') return undefined;
  const finished: Finished[] = [];
  for (const line of rest) {
    if (!isRecord(line) || typeof line.part !== 'string' || !Array.isArray(line.pieces)) break;
    finished.push({ part: line.part, pieces: line.pieces as string[], record: line.record });
  }
  const started = typeof head.started === 'string' ? head.started : undefined;
  return { key: head.key, pid: Number(head.pid), host: String(head.host), started, finished };
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Whether the process that wrote a journal still runs, and not another one that has its number now. */
async function runs({ pid, started }: Journal): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = await startOf(pid);
  return now === undefined || started === undefined || now === started;
}

/** When a process began, in ticks since the machine did; undefined where there is no /proc. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The name, in parentheses, may hold anything; the 20th number after it is the time.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

/** A run that was cut off while it gave files their names: those that have theirs go back. */
async function recover(files: readonly PlannedFile[]): Promise<void> {
  for (const f of files) {
    if (await stat(partial(f.path)).catch(() => undefined)) continue;
    const named = await open(f.path, 'r').catch(() => undefined);
    if (!named) continue;
    const other = await unlike(named, f.path, f).finally(() => named.close());
    if (!other) await rename(f.path, partial(f.path));
  }
}

/** Why an open file cannot be the unfinished one of the plan; undefined if it can. */
async function unlike(h: FileHandle, path: string, f: PlannedFile): Promise<string | undefined> {
  const { size } = await h.stat();
  if (size !== f.size) return `it has ${size} bytes instead of ${f.size}`;
  const head = new Uint8Array(f.head.length);
  await readInto(h, path, head, 0);
  return head.every((b, i) => b === f.head[i]) ? undefined : 'it begins otherwise';
}

async function openPartial(f: PlannedFile, continued: boolean): Promise<FileHandle> {
  const path = partial(f.path);
  const lost = (reason: string): never =>
    raise('Q6111', { file: f.path, reason: `the unfinished file: ${reason}` });
  const handle = await open(path, continued ? 'r+' : 'w').catch((e: unknown) =>
    continued ? lost(reasonOf(e)) : unwritable(f.path, e),
  );
  try {
    if (continued) {
      const other = await unlike(handle, path, f);
      if (other) lost(other);
    } else {
      await handle.write(f.head, 0, f.head.length, 0);
      await handle.truncate(f.size);
    }
    return handle;
  } catch (e) {
    await handle.close();
    throw e;
  }
}

function unwritableAs(file: string, e: unknown): never {
  if (e instanceof Error && 'explanation' in e) throw e;
  return unwritable(file, e);
}
