// What a backend must do, whatever it is: every case compiles for its target and agrees with the interpreter.
import fc from 'fast-check';
import { suite } from 'uvu';
import type { Artifact } from '../../compiler/artifact.ts';
import { compile, type HostArray, interpret } from '../../compiler/index.ts';
import { bodies } from './bodies.ts';
import { type Case, checkOf, hostOf, type Runner, requestOf, sourceOf } from './case.ts';
import { chains } from './chains.ts';
import { agree, withoutSubnormals } from './compare.ts';
import { contractions } from './contractions.ts';
import { casesOf } from './coverage.ts';
import { artifactOf, lowered } from './lowered.ts';
import { agreeWithInterpreter, samples } from './programs.ts';

/** One case: compiled once, every call compared. */
export async function check(runner: Runner, c: Case): Promise<void> {
  const text = sourceOf(c);
  const host = hostOf(text);
  const { target, limits } = runner;
  const request = { ...requestOf('kernel'), target, ...(limits ? { limits } : {}) };
  const { artifact } = await compile(request, host);
  const run = (inputs: readonly HostArray[]) => runner.run(artifact as Artifact, inputs);
  await compareCalls(c, text, run, runner);
}

/** Holds `run` against the interpreter on every call of a case. */
export async function compareCalls(
  c: Case,
  text: string,
  run: (inputs: readonly HostArray[]) => Promise<readonly HostArray[]>,
  { flushes, adapt = (x) => x }: Pick<Runner, 'flushes' | 'adapt'> = {},
): Promise<void> {
  const host = hostOf(text);
  const names = Object.keys(c.results);
  const scaled = names.filter((n) => {
    const rule = checkOf(c.results[n]!);
    return typeof rule === 'object' && 'scale' in rule;
  });
  for (const [i, call] of c.calls.entries()) {
    const inputs = (flushes ? call.map(withoutSubnormals) : call).map(adapt);
    const want = (await interpret(requestOf('kernel'), inputs, host)).results;
    const scales = scaled.length
      ? (await interpret(requestOf('bounds'), inputs, host)).results
      : [];
    const got = await run(inputs);
    names.forEach((name, r) => {
      const what = `call ${i}: ${name} = ${typeof c.results[name] === 'string' ? c.results[name] : c.results[name]![0]}: ${name}`;
      const scale = scales[scaled.indexOf(name)];
      agree(what, got[r]!, want[r]!, checkOf(c.results[name]!), scale, flushes);
    });
  }
}

/** How much of the suite runs. */
export interface Extent {
  /** Random programs of each sort. */
  readonly chains: number;
  readonly bodies: number;
  readonly contractions: number;
  readonly programs: number;
}
const thorough: Extent = { chains: 150, bodies: 100, contractions: 100, programs: 250 };

/** The cases of a test file; random programs go with the last of a backend's files. */
export function conformance(runner: Runner, url: string, extent: Extent = thorough): void {
  const { cases, part, parts } = casesOf(url);
  const test = suite(
    `conformance of ${runner.name}${parts > 1 ? `, ${part + 1} of ${parts}` : ''}`,
  );
  for (const c of cases) test(c.name, () => check(runner, c));
  if (part < parts - 1) return test.run();
  // Where results may be flushed, a random program may well amplify it: those that are known not to are kept.
  const settings = (numRuns: number) => ({ numRuns, ...(runner.flushes ? { seed: 7 } : {}) });
  test('random chains of views, elementwise ops, reductions and maps', () =>
    fc.assert(
      fc.asyncProperty(chains, (c) => check(runner, c)),
      settings(extent.chains),
    ));
  test('random control flow', () =>
    fc.assert(
      fc.asyncProperty(bodies, (c) => check(runner, c)),
      settings(extent.bodies),
    ));
  test('random contractions with what precedes and follows them', () =>
    fc.assert(
      fc.asyncProperty(contractions, (c) => check(runner, c)),
      settings(extent.contractions),
    ));
  test('random programs of tensor IR', () =>
    fc.assert(
      fc.asyncProperty(samples, async (s) => {
        const given = runner.flushes ? { ...s, inputs: s.inputs.map(withoutSubnormals) } : s;
        const artifact = await artifactOf(lowered(s.func, runner.backend.limits), runner.backend);
        agreeWithInterpreter(given, await runner.run(artifact, given.inputs), runner.flushes);
      }),
      settings(extent.programs),
    ));
  return test.run();
}
