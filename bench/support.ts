// Timing shared by the benchmarks: warm-up, a pause for the engine to tier up, medians of alternating runs.

export const median = (xs: readonly number[]): number =>
  [...xs].sort((a, b) => a - b)[xs.length >> 1]!;
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

export interface Subject {
  readonly name: string;
  run(): Promise<void>;
}

/** Milliseconds a run of each subject, in turn A B A B ..., medians after warm-up. */
export async function alternate(
  subjects: readonly Subject[],
  rounds = 9,
  warmup = 3,
): Promise<number[]> {
  for (const s of subjects) for (let i = 0; i < warmup; i += 1) await s.run();
  await pause(400);
  const times: number[][] = subjects.map(() => []);
  for (let round = 0; round < rounds; round += 1)
    for (const [i, s] of subjects.entries()) {
      const start = performance.now();
      await s.run();
      times[i]!.push(performance.now() - start);
    }
  return times.map(median);
}

/** Reproducible numbers in [-1, 1). */
export function noise(length: number, seed = 1): Float32Array {
  const out = new Float32Array(length);
  let x = seed >>> 0 || 1;
  for (let i = 0; i < length; i += 1) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    out[i] = (x >>> 0) / 2 ** 31 - 1;
  }
  return out;
}

export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((r) => r[c]!.length)));
  return rows
    .map((r) =>
      r
        .map((x, c) => (c === 0 ? x.padEnd(widths[c]!) : x.padStart(widths[c]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
