// The element types of ggml (enum ggml_type in ggml.h, block sizes from ggml-common.h): the number in the file, how
// many elements a block has and how many bytes it takes, and which format of the language it is.
import type { DType } from '../../../compiler/ir/dtype.ts';

export interface GgmlType {
  /** As ggml prints it. */
  readonly name: string;
  readonly block: number;
  readonly bytes: number;
  /** Plain numbers of the language. */
  readonly dtype?: DType;
  /** Export of `quern/formats` whose `layout` is this block. */
  readonly format?: string;
}

const plain = (name: string, bytes: number, dtype?: DType): GgmlType => ({
  name,
  block: 1,
  bytes,
  ...(dtype ? { dtype } : {}),
});
const blocks = (name: string, block: number, bytes: number): GgmlType => ({
  name,
  block,
  bytes,
  format: name,
});

/** Numbers 4, 5, 31 to 33 and 36 to 38 were types that ggml has removed. */
export const ggmlTypes: { readonly [id: number]: GgmlType } = {
  0: plain('f32', 4, 'f32'),
  1: plain('f16', 2, 'f16'),
  2: blocks('q4_0', 32, 18),
  3: blocks('q4_1', 32, 20),
  6: blocks('q5_0', 32, 22),
  7: blocks('q5_1', 32, 24),
  8: blocks('q8_0', 32, 34),
  9: blocks('q8_1', 32, 36),
  10: blocks('q2_K', 256, 84),
  11: blocks('q3_K', 256, 110),
  12: blocks('q4_K', 256, 144),
  13: blocks('q5_K', 256, 176),
  14: blocks('q6_K', 256, 210),
  15: blocks('q8_K', 256, 292),
  16: blocks('iq2_xxs', 256, 66),
  17: blocks('iq2_xs', 256, 74),
  18: blocks('iq3_xxs', 256, 98),
  19: blocks('iq1_s', 256, 50),
  20: blocks('iq4_nl', 32, 18),
  21: blocks('iq3_s', 256, 110),
  22: blocks('iq2_s', 256, 82),
  23: blocks('iq4_xs', 256, 136),
  24: plain('i8', 1, 'i8'),
  25: plain('i16', 2, 'i16'),
  26: plain('i32', 4, 'i32'),
  27: plain('i64', 8),
  28: plain('f64', 8),
  29: blocks('iq1_m', 256, 56),
  30: plain('bf16', 2, 'bf16'),
  34: blocks('tq1_0', 256, 54),
  35: blocks('tq2_0', 256, 66),
  39: blocks('mxfp4', 32, 17),
  40: blocks('nvfp4', 64, 36),
};

const numbers = new Map(Object.entries(ggmlTypes).map(([id, t]) => [t.name, Number(id)]));

/** Number of a type by its name. */
export const ggmlTypeOf = (name: string): number | undefined => numbers.get(name);

/** Bytes of a tensor; its first dim must be a multiple of the block. */
export const ggmlBytes = (type: GgmlType, elements: number): number =>
  (elements / type.block) * type.bytes;
