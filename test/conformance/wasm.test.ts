// The wasm target conforms.
import { conformance } from './suite.ts';
import { wasmRunner } from './wasm-runner.ts';

conformance(wasmRunner, import.meta.url);
