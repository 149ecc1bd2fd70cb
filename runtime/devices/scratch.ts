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

interface Placed {
  readonly start: number;
  readonly end: number;
  readonly of: Scratch;
}

const together = (a: Scratch, b: Scratch): boolean =>
  !a.live || !b.live || (a.live[0] <= b.live[1] && b.live[0] <= a.live[1]);

/** First fit by size, the largest first: at most a little more than what is live at once. `bytes` are those of all buffers. */
export function place(
  scratch: readonly Scratch[],
  bytes: readonly number[],
  workers: number,
): Placement {
  const offsets = scratch.map(() => 0);
  const extent = (isPrivate: boolean): number => {
    const placed: Placed[] = [];
    const order = scratch
      .map((of, index) => ({ of, index, size: roundUp(bytes[of.buffer]! + PADDING) }))
      .filter((x) => x.of.private === isPrivate)
      .sort((a, b) => b.size - a.size || a.index - b.index);
    let whole = 0;
    for (const { of, index, size } of order) {
      let start = 0;
      for (const p of placed)
        if (together(p.of, of) && p.start < start + size) start = Math.max(start, p.end);
      offsets[index] = start;
      placed.push({ start, end: start + size, of });
      placed.sort((a, b) => a.start - b.start);
      whole = Math.max(whole, start + size);
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
