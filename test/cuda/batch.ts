// Conformance on the host, in batches: all cases compile first, make one program, and are compared afterwards.
import { suite } from 'uvu';
import { compile } from '../../compiler/index.ts';
import { type Case, hostOf, requestOf, sourceOf } from '../conformance/case.ts';
import { compareCalls } from '../conformance/suite.ts';
import { skip } from '../support/skip.ts';
import { hasCompiler, type Job, limitsFor, runOnHost } from './host.ts';

interface Compiled {
  readonly c: Case;
  readonly jobs: readonly Job[];
}

async function compiled(c: Case): Promise<Compiled> {
  const { artifact } = await compile(
    { ...requestOf('kernel'), ...limitsFor(c.calls), target: 'cuda' },
    hostOf(sourceOf(c)),
  );
  return {
    c,
    jobs: c.calls.map((inputs, i) => ({ name: `${c.name}, call ${i}`, artifact, inputs })),
  };
}

/** Throws at the first case that does not agree with the interpreter. */
export async function checkBatch(cases: readonly Case[], seed: number): Promise<void> {
  const all: Compiled[] = [];
  for (const c of cases) all.push(await compiled(c));
  const results = await runOnHost(
    all.flatMap((x) => x.jobs),
    seed,
  );
  let next = 0;
  for (const { c, jobs } of all) {
    const mine = results.slice(next, next + jobs.length);
    next += jobs.length;
    let call = 0;
    try {
      await compareCalls(c, sourceOf(c), () => Promise.resolve(mine[call++]!));
    } catch (e) {
      throw new Error(`${c.name}: ${(e as Error).message}`, { cause: e });
    }
  }
}

/** A suite of named batches; without g++ it says so and passes. */
export function batches(
  title: string,
  groups: Readonly<Record<string, readonly Case[]>>,
  seed = 1,
): void {
  const test = suite(title);
  if (!hasCompiler('g++')) skip(title, 'no g++ at hand');
  else
    for (const [name, cases] of Object.entries(groups)) test(name, () => checkBatch(cases, seed));
  test.run();
}
