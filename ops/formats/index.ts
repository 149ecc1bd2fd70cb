// The library of weight formats: `import { q4_0 } from 'quern/formats'`. One file a format.

export type { AwqOptions } from './awq.ts';
export { awq, awq_int4 } from './awq.ts';
export { bitnet } from './bitnet.ts';
export type { PackQuantizedOptions } from './compressed.ts';
export { ct_int4, ct_int8, intQuantized, packQuantized } from './compressed.ts';
export { dense_bf16, dense_f16, dense_f32 } from './dense.ts';
export type { GptqOptions } from './gptq.ts';
export { gptq, gptq_int4 } from './gptq.ts';
export { iq4_nl } from './iq4_nl.ts';
export type { MarlinOptions } from './marlin.ts';
export { marlin, marlin_int4 } from './marlin.ts';
export { mxfp4 } from './mxfp4.ts';
export { nf4, normalFloat4 } from './nf4.ts';
export { q4_0 } from './q4_0.ts';
export { q4_1 } from './q4_1.ts';
export { q4_K } from './q4_K.ts';
export { q6_K } from './q6_K.ts';
export { q8_0 } from './q8_0.ts';
export { tq2_0 } from './tq2_0.ts';
export type { UniformOptions } from './uniform.ts';
export { uniform } from './uniform.ts';
