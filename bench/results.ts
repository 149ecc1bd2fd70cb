// What a run of the benchmarks leaves behind, as plain JSON: children send it to the parent, and the report and the goals are
// computed from nothing else.

import type { Clock } from './measure.ts';

/** Whose time it is. The two roads of a product: activations rounded to 8 bits inside of the kernel, or f32 throughout. */
export const columns = {
  quern: 'Quern',
  q8: 'Quern, 8-bit activations',
  f32: 'Quern, f32 activations',
  own: 'own q4_0',
  apart: 'decode, then f32',
  dense: 'own f32',
  single: 'one thread',
  plain: 'plain SIMD128',
  jit: 'JIT',
  hand: 'hand-written',
  ortWeb: 'ort-web',
  ortWeb8: 'ort-web int8',
  ortNode: 'ort-node',
  jax: 'jax-js',
  tfjs: 'tfjs-wasm',
  gpujs: 'gpu.js',
  dot: 'dot peak',
  madd: 'f32 peak',
  read: 'stream read',
  copy: 'stream copy',
  reader: 'one thread that only reads',
} as const;
export type Column = keyof typeof columns;

/** Microseconds of one subject in one case. */
export interface Timed {
  readonly column: Column;
  /** What ran, e.g. the operator of a peer; where the column alone does not say it. */
  readonly what: string;
  /** Of all calls. */
  readonly median: number;
  readonly p20: number;
  readonly calls: number;
  /** The median of each round: ratios are taken round by round. */
  readonly rounds: readonly number[];
  /** Bytes of weights (or of input) a call reads, and operations it does. */
  readonly bytes?: number;
  readonly ops?: number;
  /** Largest difference from the reference over the reference's root mean square, and what its precision allows. */
  readonly error?: number;
  readonly tolerance?: number;
}

/** Why a column of a case has no figure. */
export interface Absent {
  readonly column: Column;
  readonly reason: string;
  /** A wrong result or a crash, which fails the run; else something that this machine or version does not have. */
  readonly failed: boolean;
}

export interface CaseResult {
  /** Words apart by spaces, e.g. `gemv q4_0 4096x4096 cold`; `--only` picks by them. */
  readonly id: string;
  readonly timed: readonly Timed[];
  readonly absent: readonly Absent[];
  /** Figures that are no times of a subject, by name: milliseconds, ratios. */
  readonly facts?: { readonly [name: string]: number };
  /** What else was seen of the machine meanwhile, as lines of text. */
  readonly notes?: readonly string[];
}

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  /** One-minute load average before the first case: of other people's work. */
  readonly load: number;
}

export interface Run {
  readonly date: string;
  readonly commit: string;
  readonly machine: Machine;
  /** Engines and peers, by name. */
  readonly versions: { readonly [name: string]: string };
  /** Short turns and the first shape only: a trial of the benchmarks, no measurement. */
  readonly quick: boolean;
  readonly clock: Clock;
  readonly only: readonly string[];
  readonly seconds: number;
  readonly cases: readonly CaseResult[];
}

export const median = (xs: readonly number[]): number => quantile(xs, 0.5);

/** The value that the share `q` of the sorted numbers lies below. */
export function quantile(xs: readonly number[], q: number): number {
  const sorted = [...xs].sort((a, b) => a - b);
  const last = sorted.length - 1;
  const at = q * last;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** How many times longer `slow` took than `fast`: the median over the rounds that both took part in. */
export function ratio(slow: Timed, fast: Timed): number {
  const rounds = Math.min(slow.rounds.length, fast.rounds.length);
  return median(Array.from({ length: rounds }, (_, r) => slow.rounds[r]! / fast.rounds[r]!));
}

export const find = (c: CaseResult | undefined, column: Column): Timed | undefined =>
  c?.timed.find((t) => t.column === column);

/** Quern's subject of a case: the faster of its roads. */
export function quern(c: CaseResult | undefined): Timed | undefined {
  const roads = [find(c, 'quern'), find(c, 'q8'), find(c, 'f32')].filter((t) => t !== undefined);
  return roads.sort((a, b) => a.median - b.median)[0];
}
