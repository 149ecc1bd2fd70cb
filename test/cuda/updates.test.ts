// CUDA text, run on the CPU, agrees with the interpreter: updates in place, sorting, and the library over them.
import { casesOf } from '../conformance/coverage.ts';
import { libraryCases } from '../conformance/library.ts';
import { batches } from './batch.ts';

batches('CUDA on the host: updates and the library', {
  'updates and sorting agree': casesOf(import.meta.url).cases,
  'random numbers, scans and linear algebra agree': libraryCases,
});
