// Reading bytes of a file at a place: what the readers of every file format share.
import { type FileHandle, open } from 'node:fs/promises';
import { QuernError, raise, reasonOf } from '../errors.ts';

/** One read or write of the operating system takes less than 2 GiB. */
export const MOST_AT_ONCE = 2 ** 28;

/** Raises Q6101, or the caught error itself if it is one of ours already. */
export function unreadable(file: string, e: unknown): never {
  if (e instanceof QuernError) throw e;
  return raise('Q6101', { file, detail: reasonOf(e) }, e);
}

export const unwritable = (file: string, e: unknown): never =>
  raise('Q6107', { file, detail: reasonOf(e) }, e);

export const openToRead = (file: string): Promise<FileHandle> =>
  open(file, 'r').catch((e: unknown) => unreadable(file, e));

/** Fills `out` with the bytes from `at` on. */
export async function readInto(
  handle: FileHandle,
  file: string,
  out: Uint8Array,
  at: number,
): Promise<void> {
  let done = 0;
  while (done < out.length) {
    const want = Math.min(out.length - done, MOST_AT_ONCE);
    const { bytesRead } = await handle
      .read(out, done, want, at + done)
      .catch((e: unknown) => unreadable(file, e));
    if (bytesRead === 0)
      raise('Q6101', {
        file,
        detail: `it ends at byte ${at + done}; it became shorter while open`,
      });
    done += bytesRead;
  }
}
