// The library of weight formats: `import { q4_0 } from 'quern/formats'`. One file a format.

export type { AwqOptions } from './awq.ts';
export { awq, awq_int4 } from './awq.ts';
export { bitnet } from './bitnet.ts';
export type { PackQuantizedOptions } from './compressed.ts';
export { ct_int4, ct_int8, intQuantized, packQuantized } from './compressed.ts';
export { dense_bf16, dense_f16, dense_f32 } from './dense.ts';
export { dynamic8, dynamicFloat8 } from './dynamic8.ts';
export { floatingPoint4, fp4 } from './fp4.ts';
export type { Float8Options } from './fp8.ts';
export { float8, fp8_row, fp8_tensor, fp8_tile } from './fp8.ts';
export type { GptqOptions } from './gptq.ts';
export { gptq, gptq_int4 } from './gptq.ts';
export { iq1_m } from './iq1_m.ts';
export { iq1_s } from './iq1_s.ts';
export { iq2_s } from './iq2_s.ts';
export { iq2_xs } from './iq2_xs.ts';
export { iq2_xxs } from './iq2_xxs.ts';
export { iq3_s } from './iq3_s.ts';
export { iq3_xxs } from './iq3_xxs.ts';
export type { HqqOptions } from './hqq.ts';
export { hqq, hqq_int4 } from './hqq.ts';
export { int8_rows } from './int8.ts';
export { iq4_nl } from './iq4_nl.ts';
export { iq4_xs } from './iq4_xs.ts';
export type { MarlinOptions } from './marlin.ts';
export { marlin, marlin_int4 } from './marlin.ts';
export type { MxOptions } from './mx.ts';
export {
  microscaling,
  mxfp6_e2m3,
  mxfp6_e3m2,
  mxfp8_e4m3,
  mxfp8_e5m2,
  mxint8,
} from './mx.ts';
export { mxfp4 } from './mxfp4.ts';
export type { NestedOptions } from './nested.ts';
export { nested, nf4_nested } from './nested.ts';
export { nf4, normalFloat4 } from './nf4.ts';
export { nvfp4 } from './nvfp4.ts';
export { nvfp4_ct, nvfp4_modelopt } from './nvfp4_checkpoint.ts';
export { q2_K } from './q2_K.ts';
export { q3_K } from './q3_K.ts';
export { q4_0 } from './q4_0.ts';
export { q4_1 } from './q4_1.ts';
export { q4_K } from './q4_K.ts';
export { q5_0 } from './q5_0.ts';
export { q5_1 } from './q5_1.ts';
export { q5_K } from './q5_K.ts';
export { q6_K } from './q6_K.ts';
export { q8_0 } from './q8_0.ts';
export { q8_1 } from './q8_1.ts';
export { q8_K } from './q8_K.ts';
export type { Sparse24Options } from './sparse24.ts';
export { ct_sparse24, sparse24 } from './sparse24.ts';
export { tq1_0 } from './tq1_0.ts';
export { tq2_0 } from './tq2_0.ts';
export type { UniformOptions } from './uniform.ts';
export { uniform } from './uniform.ts';
