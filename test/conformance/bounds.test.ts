// The same cases through the evaluator of loop IR, which knows the size of every buffer: no schedule may read or
// write outside of one, nor claim an alignment that an access does not have.
import fc from 'fast-check';
import { suite } from 'uvu';
import { wasmBackend } from '../../backends/wasm/index.ts';
import { stage } from '../../compiler/frontend/entry.ts';
import { SourceFiles } from '../../compiler/frontend/modules.ts';
import { type Case, hostOf, requestOf, sourceOf } from './case.ts';
import { bodies } from './bodies.ts';
import { chains } from './chains.ts';
import { contractions } from './contractions.ts';
import { evaluated, lowered } from './lowered.ts';
import { agreeWithInterpreter, samples } from './programs.ts';
import { cases } from './coverage.ts';
import { compareCalls } from './suite.ts';

const test = suite('loop IR stays within its buffers');
const { limits } = wasmBackend;

async function check(c: Case): Promise<void> {
  const text = sourceOf(c);
  const { func } = stage(new SourceFiles(hostOf(text)), requestOf('kernel'));
  const program = lowered(func, limits);
  // Large calls say nothing more about bounds, and the evaluator is slow.
  const calls = c.calls.filter((inputs) => inputs.every((x) => x.data.length <= 1600)).slice(-6);
  await compareCalls({ ...c, calls }, text, async (inputs) => evaluated(program, inputs));
}

const isWanted = ({ name }: Case): boolean => !/^(unary|binary|casts|bitcasts)/.test(name);
for (const c of cases.filter(isWanted)) test(c.name, () => check(c));

test('random chains', () => fc.assert(fc.asyncProperty(chains, check), { numRuns: 100 }));

test('random control flow', () => fc.assert(fc.asyncProperty(bodies, check), { numRuns: 60 }));

test('random contractions', () =>
  fc.assert(fc.asyncProperty(contractions, check), { numRuns: 60 }));

test('random programs of tensor IR', () =>
  fc.assert(
    fc.property(samples, (s) =>
      agreeWithInterpreter(s, evaluated(lowered(s.func, limits), s.inputs)),
    ),
    { numRuns: 250 },
  ));

test.run();
