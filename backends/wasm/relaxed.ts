// The instructions of relaxed SIMD that binaryen's wrappers lack, through its raw functions. What they compute where
// hosts may differ is never asked for: the runtime uses such code only after a test with numbers.
import type { Binaryen, Module, Ref } from './binaryen.ts';
import { raw as recorded } from './tree.ts';

/** What of relaxed SIMD a module may use. */
export interface Relaxed {
  readonly relaxed: boolean;
  /** The dot product takes unsigned bytes on its 7-bit side. */
  readonly unsignedDot: boolean;
}

/** binaryen's raw functions, which its types leave out. */
interface RawBinaryen {
  readonly _BinaryenSIMDTernary: (module: number, op: number, a: Ref, b: Ref, c: Ref) => Ref;
  readonly _BinaryenBinary: (module: number, op: number, a: Ref, b: Ref) => Ref;
  readonly _BinaryenUnary: (module: number, op: number, a: Ref) => Ref;
  readonly RelaxedDotI8x16I7x16AddSToVecI32x4: number;
  readonly RelaxedMaddVecF32x4: number;
  readonly RelaxedSwizzleVecI8x16: number;
  readonly RelaxedTruncSVecF32x4ToVecI32x4: number;
}

/** They are recorded, and made in `m` when the function is built. */
export function relaxedOps(b: Binaryen, m: Module) {
  const raw = b as unknown as RawBinaryen;
  const module = (m as unknown as { readonly ptr: number }).ptr;
  const ternary = (name: string, op: number) => {
    const make = (x: Ref, y: Ref, z: Ref): Ref => raw._BinaryenSIMDTernary(module, op, x, y, z);
    return (x: Ref, y: Ref, z: Ref): Ref => recorded(name, [x, y, z], make);
  };
  const trunc = (x: Ref): Ref => raw._BinaryenUnary(module, raw.RelaxedTruncSVecF32x4ToVecI32x4, x);
  const swizzle = (table: Ref, indices: Ref): Ref =>
    raw._BinaryenBinary(module, raw.RelaxedSwizzleVecI8x16, table, indices);
  return {
    /** Products of signed bytes with 7-bit ones, summed four by four on top of a sum. */
    dot: ternary('i32x4.relaxed_dot', raw.RelaxedDotI8x16I7x16AddSToVecI32x4),
    mulAdd: ternary('f32x4.relaxed_madd', raw.RelaxedMaddVecF32x4),
    /** Floats cut to integers; NaN and what is above them gives any of a few. */
    trunc: (x: Ref): Ref => recorded('i32x4.relaxed_trunc', [x], trunc),
    swizzle: (table: Ref, indices: Ref): Ref =>
      recorded('i8x16.relaxed_swizzle', [table, indices], swizzle),
  };
}
