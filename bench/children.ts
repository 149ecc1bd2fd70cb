// The parent's side: one child process a group of cases, one thread each, and a pair of them that takes turns where two versions of
// Node are compared.
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { plainName } from './cases/plain.ts';
import type { Answer, Job, Turn } from './child.ts';
import type { Mode } from './contest.ts';
import { alternate, type Pace, type Subject } from './measure.ts';
import type { NodeVersion } from './nodes.ts';
import type { Absent, CaseResult, Column } from './results.ts';

/** Minutes after which a child counts as hung. */
const PATIENCE = 10;

function start({ path }: NodeVersion): ChildProcess {
  return fork(fileURLToPath(new URL('child.ts', import.meta.url)), {
    execPath: path,
    execArgv: ['--import', new URL('../scripts/typescript.js', import.meta.url).href],
    env: { ...process.env, QUERN_THREADS: '1', QUERN_CACHE: 'off' },
    // What libraries print must not end up in the report.
    stdio: ['ignore', 2, 2, 'ipc'],
  });
}

/** Sends a message and hands on the answers until one of them ends the exchange. */
function ask(child: ChildProcess, message: Job | Turn, on: (a: Answer) => boolean): Promise<void> {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => end(new Error('no answer in ten minutes')), PATIENCE * 60_000);
    const end = (e?: Error): void => {
      clearTimeout(timer);
      child.off('message', hear).off('exit', gone);
      if (e) fail(e);
      else done();
    };
    const hear = (a: Answer): void => {
      if (a.kind === 'failed') end(new Error(a.reason));
      else if (on(a)) end();
    };
    const gone = (code: number | null, signal: string | null): void =>
      end(new Error(`the process ended early, ${signal ?? `exit code ${code}`}`));
    child.on('message', hear).on('exit', gone);
    child.send(message);
  });
}

/** Runs the cases `job.ids`. What a crash leaves undone is named as failed. */
export async function runGroup(
  node: NodeVersion,
  job: Job & { readonly kind: 'group' },
  report: (result: CaseResult) => void,
): Promise<void> {
  const left = new Set(job.ids);
  const child = start(node);
  try {
    await ask(child, job, (a) => {
      if (a.kind === 'result') {
        left.delete(a.result.id);
        report(a.result);
      }
      return a.kind === 'done';
    });
    if (left.size > 0) throw new Error('the case was not reported');
  } catch (e) {
    const reason = e instanceof Error ? e.message : String(e);
    for (const id of left) report(failed(id, 'quern', reason, true));
  } finally {
    child.kill();
  }
}

export const failed = (
  id: string,
  column: Column,
  reason: string,
  isFailure: boolean,
): CaseResult => ({ id, timed: [], absent: [{ column, reason, failed: isFailure }] });

/** The plain variant on the older Node against the variant that the newer one runs. */
export async function runPlain(
  newer: NodeVersion,
  older: NodeVersion | undefined,
  shape: readonly [number, number],
  modes: readonly Mode[],
  quick: boolean,
  pace: Pace,
  report: (result: CaseResult) => void,
): Promise<void> {
  const id = (mode: Mode): string => `${plainName(...shape)} ${mode}`;
  if (!older) {
    const reason = 'this Node has relaxed SIMD: run the benchmarks under Node 20 for this line';
    for (const m of modes) report(failed(id(m), 'plain', reason, false));
    return;
  }
  const children = [start(newer), start(older)] as const;
  try {
    const sides = await Promise.all(
      children.map(async (child) => {
        let side: (Answer & { kind: 'side' }) | undefined;
        await ask(child, { kind: 'plain', shape, quick }, (a) => {
          if (a.kind === 'side') side = a;
          return true;
        });
        return { child, ...side! };
      }),
    );
    const [fast, plain] = sides as [(typeof sides)[number], (typeof sides)[number]];
    for (const mode of modes) {
      const timed = await alternate(
        [
          remote(fast.child, 'quern', newer.version, mode, fast.copies),
          remote(plain.child, 'plain', older.version, mode, plain.copies),
        ],
        pace,
      );
      const absent: Absent[] = [];
      report({ id: id(mode), timed, absent, facts: { relaxed: fast.relaxed ? 1 : 0 } });
    }
  } catch (e) {
    for (const m of modes) report(failed(id(m), 'plain', String(e), true));
  } finally {
    for (const c of children) c.kill();
  }
}

/** A subject of another process. */
const remote = (
  child: ChildProcess,
  column: Column,
  what: string,
  mode: Mode,
  copies: number,
): Subject => ({
  column,
  what,
  copies: mode === 'hot' ? 1 : copies,
  turn: async (ms, calls, clock) => {
    let times: readonly number[] = [];
    await ask(child, { kind: 'turn', mode, ms, calls, clock }, (a) => {
      if (a.kind === 'times') times = a.times;
      return true;
    });
    return times;
  },
});
