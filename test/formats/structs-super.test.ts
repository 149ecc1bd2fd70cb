// ggml's super-blocks of 256 values on WASM.
import { suite } from 'uvu';
import { testStructs } from './structs.ts';

const test = suite('ggml super-blocks');
testStructs(test, 'wasm', (values) => values === 256);
test.run();
