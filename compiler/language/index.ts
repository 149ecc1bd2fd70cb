// The language: everything a kernel file may import from 'quern'. Declarations only; no compiler code.
export * from './casts.ts';
export * from './contraction.ts';
export * from './control.ts';
export * from './elementwise.ts';
export * from './formats.ts';
export * from './ordered.ts';
export * from './reductions.ts';
export * from './shape.ts';
export type { Dim, DType, Encoded, Fields, Format, Scalar, Tensor } from './types.ts';
