// Half of the conformance of gpu.js.
import { gpujsPart } from './gpujs.ts';

gpujsPart(import.meta.url);
