// The name that an author most likely meant.

/** Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`; anything above `limit` is alike. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(replace, last[j]! + 1, row[j - 1]! + 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j]!, beforeLast[j - 2]! + 1);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/**
 * The known name nearest to `name`, for "did you mean"; undefined if none is near. A third of the letters may
 * differ, letter case counts little, and the first of equals wins.
 */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const limit = Math.max(1, Math.floor(name.length / 3));
  let best: string | undefined;
  let least = limit + 1;
  for (const candidate of known) {
    if (candidate === name) continue;
    const folded = distance(name.toLowerCase(), candidate.toLowerCase(), limit);
    // Equal but for case comes before one edit; a short name replaced as a whole is no likeness.
    const d = folded === 0 ? 0.5 : folded;
    if (d < least && folded < candidate.length) {
      best = candidate;
      least = d;
    }
  }
  return best;
}
