// An eighth of the conformance of WGSL.
import { wgslPart } from './wgsl.ts';

await wgslPart(import.meta.url);
