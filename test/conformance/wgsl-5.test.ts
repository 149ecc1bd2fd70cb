// A sixth of the conformance of WGSL.
import { wgslPart } from './wgsl.ts';

await wgslPart(4, 6);
