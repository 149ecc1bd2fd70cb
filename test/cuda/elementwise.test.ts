// CUDA text, run on the CPU, agrees with the interpreter: elementwise ops and casts of every dtype.
import { casesOf } from '../conformance/coverage.ts';
import { batches } from './batch.ts';

const { cases } = casesOf(import.meta.url);
batches('CUDA on the host: elementwise', { 'every elementwise case agrees': cases });
