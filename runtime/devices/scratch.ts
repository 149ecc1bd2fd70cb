// Where the temporaries of a call lie in one block of scratch: those that are not live at the same time share memory. A
// private one has a copy for each worker; the copies of a worker lie together, behind everything shared.
import { PADDING } from './allocator.ts';

/** A temporary: its place among the buffers, and the first and last kernel of the program that touch it. */
export interface Scratch {
  readonly buffer: number;
  readonly private: boolean;
  /** Absent where it must be taken to be live all the time. */
  readonly live: readonly [first: number, last: number] | undefined;
}

export interface Placement {
  readonly bytes: number;
  /** For each temporary, its offset in the block, and what each further worker adds to it. */
  readonly offsets: readonly number[];
  readonly slices: readonly number[];
}

/** No two threads write the same cache line. */
const LINE = 64;
const roundUp = (n: number): number => Math.ceil(n / LINE) * LINE;

const together = (a: Scratch, b: Scratch): boolean =>
  !a.live || !b.live || (a.live[0] <= b.live[1] && b.live[0] <= a.live[1]);

/** First fit by size, the largest first: at most a little more than what is live at once. `bytes` are those of all buffers. */
export function place(
  scratch: readonly Scratch[],
  bytes: readonly number[],
  workers: number,
): Placement {
  const offsets = scratch.map(() => 0);
  const size = (i: number): number => roundUp(bytes[scratch[i]!.buffer]! + PADDING);
  const order = scratch.map((_, i) => i).sort((a, b) => size(b) - size(a) || a - b);
  const extent = (isPrivate: boolean): number => {
    /** What lies there already, by offset. */
    const placed: number[] = [];
    let whole = 0;
    for (const i of order) {
      if (scratch[i]!.private !== isPrivate) continue;
      let start = 0;
      for (const p of placed)
        if (together(scratch[p]!, scratch[i]!) && offsets[p]! < start + size(i))
          start = Math.max(start, offsets[p]! + size(p));
      offsets[i] = start;
      let at = placed.length;
      for (; at > 0 && offsets[placed[at - 1]!]! > start; at--) placed[at] = placed[at - 1]!;
      placed[at] = i;
      whole = Math.max(whole, start + size(i));
    }
    return whole;
  };
  const shared = extent(false);
  const own = extent(true);
  return {
    bytes: shared + workers * own,
    offsets: scratch.map((s, i) => offsets[i]! + (s.private ? shared : 0)),
    slices: scratch.map((s) => (s.private && workers > 1 ? own : 0)),
  };
}
