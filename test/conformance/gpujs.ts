// gpu.js against the interpreter, as plain JavaScript: the same functions that become shaders in a page. What it cannot
// express is pinned in a file, result by result, so that nothing is left out in silence.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GpujsDevice } from '../../runtime/devices/gpujs.ts';
import type { Case } from './case.ts';
import { chains } from './chains.ts';
import { contractions } from './contractions.ts';
import { cases, casesOf } from './coverage.ts';
import { gpujsRunner } from './gpujs-runner.ts';
import { keptRefusals } from './refusals.ts';
import { verdictsOf } from './verdicts.ts';

const runner = gpujsRunner(await GpujsDevice.open({ plain: true }));

/** What is refused of a case: `case | result | what`. Throws where a result is wrong. */
async function refusedOf(c: Case): Promise<readonly string[]> {
  const verdicts = Object.entries(await verdictsOf(runner, c));
  return verdicts.flatMap(([name, why]) => (why ? [`${c.name} | ${name} | ${why}`] : []));
}

/** The file's text: for update-checks. */
export async function refusals(): Promise<string> {
  const lines: string[] = [];
  for (const c of cases) lines.push(...(await refusedOf(c)));
  return `${lines.join('\n')}\n`;
}

/** The cases of a test file. */
export function gpujsPart(url: string): void {
  const { cases: own, part, parts } = casesOf(url);
  const test = suite(`conformance of gpujs, ${part + 1} of ${parts}`);
  const kept = keptRefusals();
  for (const c of own)
    test(c.name, async () => {
      const pinned = kept.filter((line) => line.startsWith(`${c.name} | `));
      assert.equal(await refusedOf(c), pinned, 'run npm run update-checks');
    });
  if (part === 0) {
    const random: { readonly [name: string]: fc.Arbitrary<Case> } = {
      'random chains of views, elementwise ops, reductions and maps': chains,
      'random contractions with what precedes and follows them': contractions,
    };
    for (const [name, arbitrary] of Object.entries(random))
      test(name, async () => {
        let agreed = 0;
        const one = async (c: Case): Promise<void> => {
          const verdicts = Object.values(await verdictsOf(runner, c));
          agreed += verdicts.filter((why) => why === '').length;
        };
        await fc.assert(fc.asyncProperty(arbitrary, one), { numRuns: 25 });
        assert.ok(agreed > 0);
      });
  }
  test.run();
}
