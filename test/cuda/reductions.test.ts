// CUDA text, run on the CPU, agrees with the interpreter: sums, extremes, contractions, views and control flow, with
// threads in another order each time.
import fc from 'fast-check';
import { chains } from '../conformance/chains.ts';
import { contractions } from '../conformance/contractions.ts';
import { casesOf } from '../conformance/coverage.ts';
import { bodies } from '../conformance/bodies.ts';
import { batches } from './batch.ts';

const seed = Number(process.env.QUERN_SEED ?? (Date.now() % 1e6) + 1);
console.log(`seed ${seed} (QUERN_SEED repeats it)`);
const random = <T>(from: fc.Arbitrary<T>, count: number): T[] =>
  fc.sample(from, { seed, numRuns: count });

batches(
  'CUDA on the host: reductions, views and control flow',
  {
    'every reduction, contraction, view and loop agrees': casesOf(import.meta.url).cases,
    'random chains, loops and contractions agree': [
      ...random(chains, 60),
      ...random(bodies, 40),
      ...random(contractions, 40),
    ].map((c, i) => ({ ...c, name: `random ${i}: ${c.name}` })),
  },
  seed,
);
