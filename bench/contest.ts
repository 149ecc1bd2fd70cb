// One case: candidates are made, each result is held against a reference, and those that are right take turns. A candidate that
// cannot be made or is wrong is named with its reason, never left out in silence.
import { alternate, type Pace, type Subject, subject } from './measure.ts';
import type { Absent, CaseResult, Column, Timed } from './results.ts';

/** What this machine or this version does not have; anything else that is thrown counts as a failure. */
export class Missing extends Error {}

/** Values that a result must have: f64 arithmetic on the numbers that the operands mean. */
export interface Expected {
  /** Places in the result, which is flat. */
  readonly at: readonly number[];
  readonly values: readonly number[];
}

export interface Candidate {
  readonly what: string;
  readonly copies: number;
  readonly bytes?: number;
  readonly ops?: number;
  run(copy: number): unknown;
  /** Left out: nothing to check, such as a limit. */
  readonly check?: {
    /** Runs on the first copy. */
    result(): Promise<ArrayLike<number>>;
    readonly expected: Expected;
    readonly tolerance: number;
  };
  dispose(): void;
}

/** Cold: every copy in turn, together more than the caches. Hot: one copy again and again. */
export type Mode = 'cold' | 'hot';

export interface Entrant {
  readonly column: Column;
  /** The modes it takes part in; all of them if left out. */
  readonly modes?: readonly Mode[];
  make(): Promise<Candidate>;
}

export interface Context {
  readonly quick: boolean;
  readonly pace: Pace;
  /** Bytes that the copies of an operand take together, at least. */
  readonly coldBytes: number;
  /** Whether peers take part. */
  readonly peers: boolean;
  /** Whether the case is asked for. */
  wants(id: string): boolean;
  report(result: CaseResult): void;
}

/** Copies of an operand that are more than the caches hold. */
export const copiesFor = (context: Context, bytes: number): number =>
  Math.max(2, Math.ceil(context.coldBytes / bytes));

/** Largest difference over the root mean square of the reference; NaN where a value is none. */
export function errorOf(found: ArrayLike<number>, { at, values }: Expected): number {
  const rms = Math.sqrt(values.reduce((s, v) => s + v * v, 0) / values.length) || 1;
  return values.reduce((worst, v, j) => {
    const error = Math.abs(found[at[j]!]! - v) / rms;
    return error >= worst || Number.isNaN(error) ? error : worst;
  }, 0);
}

const reasonOf = (e: unknown): string => {
  const text = e instanceof Error ? e.message : String(e);
  return text.split('\n')[0]!.slice(0, 160);
};

/** Holds the result of a candidate against the reference. */
async function verified({ what, check }: Candidate): Promise<number | undefined> {
  if (!check) return undefined;
  const error = errorOf(await check.result(), check.expected);
  if (!(error <= check.tolerance))
    throw new Error(
      `wrong result of ${what}: off by ${error.toPrecision(3)} of the root mean square, allowed ${check.tolerance}`,
    );
  return error;
}

/** Times the entrants against each other, once a mode; the id of a case is `${name} ${mode}`, or the name alone. */
export async function contest(
  context: Context,
  name: string,
  entrants: readonly Entrant[],
  modes: readonly (Mode | '')[] = [''],
): Promise<void> {
  const wanted = modes.filter((m) => context.wants(idOf(name, m)));
  if (wanted.length === 0) return;
  const made: { entrant: Entrant; candidate: Candidate; error: number | undefined }[] = [];
  const absent: (Absent & { entrant: Entrant })[] = [];
  const takesPart = (e: Entrant, m: Mode | ''): boolean =>
    !e.modes || m === '' || e.modes.includes(m);
  try {
    for (const entrant of entrants.filter((e) => wanted.some((m) => takesPart(e, m)))) {
      let candidate: Candidate | undefined;
      try {
        candidate = await entrant.make();
        made.push({ entrant, candidate, error: await verified(candidate) });
      } catch (e) {
        candidate?.dispose();
        const failed = !(e instanceof Missing);
        absent.push({ entrant, column: entrant.column, reason: reasonOf(e), failed });
      }
    }
    for (const mode of wanted) {
      const subjects = made
        .filter(({ entrant }) => takesPart(entrant, mode))
        .map(({ entrant, candidate, error }) => asSubject(entrant, candidate, error, mode));
      const timed: Timed[] = await alternate(subjects, context.pace);
      const gone = absent.filter(({ entrant }) => takesPart(entrant, mode));
      context.report({
        id: idOf(name, mode),
        timed,
        absent: gone.map(({ column, reason, failed }) => ({ column, reason, failed })),
      });
    }
  } finally {
    for (const { candidate } of made) candidate.dispose();
  }
}

const idOf = (name: string, mode: Mode | ''): string => (mode ? `${name} ${mode}` : name);

const asSubject = (
  { column }: Entrant,
  { what, copies, bytes, ops, run, check }: Candidate,
  error: number | undefined,
  mode: Mode | '',
): Subject =>
  subject({
    column,
    what,
    bytes,
    ops,
    copies: mode === 'hot' ? 1 : copies,
    run,
    ...(error === undefined ? {} : { error, tolerance: check!.tolerance }),
  });
