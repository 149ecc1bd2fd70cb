// ggml's block structs on the interpreter.
import { suite } from 'uvu';
import { testStructs } from './structs.ts';

const test = suite('ggml structs on the interpreter');
testStructs(test, 'reference');
test.run();
