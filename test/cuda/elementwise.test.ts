// CUDA text, run on the CPU, agrees with the interpreter: elementwise ops and casts of every dtype.
import { elementwiseCases } from '../conformance/elementwise.ts';
import { batches } from './batch.ts';

batches('CUDA on the host: elementwise', { 'every elementwise case agrees': elementwiseCases });
