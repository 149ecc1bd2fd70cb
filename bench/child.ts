// A process of the benchmarks: runs one group of cases, or stands by as one side of the comparison of two versions of Node.
import { groups } from './cases/index.ts';
import { openPlain, type PlainSide } from './cases/plain.ts';
import type { Mode } from './contest.ts';
import { type Clock, paces } from './measure.ts';
import type { CaseResult } from './results.ts';

/** From the parent, once. */
export type Job =
  | {
      readonly kind: 'group';
      readonly group: string;
      readonly ids: readonly string[];
      readonly quick: boolean;
      readonly clock: Clock;
      readonly peers: boolean;
    }
  | {
      readonly kind: 'plain';
      readonly shape: readonly [number, number];
      readonly quick: boolean;
    };

/** From the parent, again and again to one side of a comparison. */
export interface Turn {
  readonly kind: 'turn';
  readonly mode: Mode;
  readonly ms: number;
  readonly calls: number;
  readonly clock: Clock;
}

export type Answer =
  | { readonly kind: 'result'; readonly result: CaseResult }
  | { readonly kind: 'side'; readonly copies: number; readonly relaxed: boolean }
  | { readonly kind: 'times'; readonly times: readonly number[] }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'done' };

/** Bytes that the copies of an operand take together in cold runs. */
const coldBytes = (quick: boolean): number => (quick ? 32e6 : 320e6);

const say = (answer: Answer): Promise<void> =>
  new Promise((done) => process.send!(answer, () => done()));

let side: PlainSide | undefined;

async function perform(message: Job | Turn): Promise<void> {
  if (message.kind === 'turn') {
    const { mode, ms, calls, clock } = message;
    return say({ kind: 'times', times: await side!.subjects[mode].turn(ms, calls, clock) });
  }
  const { quick } = message;
  if (message.kind === 'plain') {
    side = await openPlain(...message.shape, coldBytes(quick));
    return say({ kind: 'side', copies: side.copies, relaxed: side.relaxed });
  }
  const said: Promise<void>[] = [];
  const group = groups(quick).find((g) => g.name === message.group)!;
  await group.run({
    quick,
    pace: { ...(quick ? paces.quick : paces.full), clock: message.clock },
    coldBytes: coldBytes(quick),
    peers: message.peers,
    wants: (id) => message.ids.includes(id),
    report: (result) => said.push(say({ kind: 'result', result })),
  });
  await Promise.all(said);
  return say({ kind: 'done' });
}

process.on('message', (message: Job | Turn) => {
  perform(message).catch(async (e: unknown) => {
    await say({ kind: 'failed', reason: String(e instanceof Error ? (e.stack ?? e) : e) });
  });
});
