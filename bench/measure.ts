// Timing: subjects take turns, A B C, C B A, ..., so that what the machine does to one it does to all. A turn is a burst of calls,
// each timed by itself.
import { type Column, median, quantile, type Timed } from './results.ts';

/** Something that can be called again and again: a kernel of Quern, of a peer, a limit of the machine. */
export interface Subject {
  readonly column: Column;
  readonly what: string;
  readonly bytes?: number;
  readonly ops?: number;
  readonly error?: number;
  readonly tolerance?: number;
  /** Copies of its operands that it rotates over: each is touched before anything is timed. */
  readonly copies: number;
  /** Calls for at least `ms` milliseconds and at least `calls` times; the microseconds of each. */
  turn(ms: number, calls: number, clock: Clock): Promise<readonly number[]>;
}

/**
 * Elapsed time, or processor time of the process: that one leaves out what other programs take on a busy machine, though not what
 * they do to caches and memory.
 */
export type Clock = 'elapsed' | 'processor';
/** Microseconds, from any start. */
export const clocks: { readonly [C in Clock]: () => number } = {
  elapsed: () => performance.now() * 1000,
  processor: () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
};

export interface SubjectOptions extends Omit<Subject, 'copies' | 'turn'> {
  readonly copies?: number;
  /** One call on the operands numbered `copy`; a number it returns says how many units of work that was (else 1). */
  run(copy: number): unknown;
}

/** A subject of this process. */
export function subject({ run, copies = 1, ...about }: SubjectOptions): Subject {
  let next = 0;
  return {
    ...about,
    copies,
    async turn(ms, calls, clock) {
      const now = clocks[clock];
      const times: number[] = [];
      const begin = performance.now();
      while (times.length < calls || performance.now() - begin < ms) {
        const copy = next;
        next = (next + 1) % copies;
        const start = now();
        const made = run(copy);
        const units = made instanceof Promise ? await made : made;
        const us = now() - start;
        times.push(typeof units === 'number' ? us / units : us);
      }
      return times;
    },
  };
}

export interface Pace {
  readonly rounds: number;
  /** Milliseconds of a turn, and of the warm-up before. */
  readonly turn: number;
  readonly warm: number;
  /** Milliseconds of rest before the rounds: V8 tiers kernels up in the background. */
  readonly settle: number;
  readonly clock: Clock;
}

/** For figures, and for a trial of the benchmarks themselves. */
export const paces = {
  full: { rounds: 7, turn: 60, warm: 150, settle: 250, clock: 'elapsed' },
  quick: { rounds: 3, turn: 15, warm: 60, settle: 200, clock: 'elapsed' },
} as const satisfies { [name: string]: Pace };

/** A subject that takes so many milliseconds a call takes part in the first three rounds only. */
const SLOW = 100;

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

export async function alternate(subjects: readonly Subject[], pace: Pace): Promise<Timed[]> {
  const slow = new Set<Subject>();
  for (const s of subjects) {
    const warm = await s.turn(pace.warm, s.copies, pace.clock);
    if (warm.at(-1)! > SLOW * 1000) slow.add(s);
  }
  await pause(pace.settle);
  const rounds = new Map<Subject, (readonly number[])[]>(subjects.map((s) => [s, []]));
  for (let round = 0; round < pace.rounds; round += 1)
    for (const s of round % 2 ? [...subjects].reverse() : subjects)
      if (round < 3 || !slow.has(s)) rounds.get(s)!.push(await s.turn(pace.turn, 1, pace.clock));
  return subjects.map((s) => {
    const { column, what, bytes, ops, error, tolerance } = s;
    const times = rounds.get(s)!;
    const all = times.flat();
    return {
      column,
      what,
      median: median(all),
      p20: quantile(all, 0.2),
      calls: all.length,
      rounds: times.map(median),
      bytes,
      ops,
      error,
      tolerance,
    };
  });
}

/** Reproducible numbers in [-1, 1). */
export function noise(length: number, seed = 1): Float32Array<ArrayBuffer> {
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
