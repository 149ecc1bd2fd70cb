// The language: everything a kernel file may import from 'quern'. Declarations only; no compiler code.
export * from './casts.ts';
export * from './contraction.ts';
export * from './control.ts';
export * from './elementwise.ts';
export * from './formats.ts';
export * from './reductions.ts';
export * from './shape.ts';
export type { DType, Dim, Encoded, Fields, Format, Scalar, Tensor } from './types.ts';
