// The one door to binaryen: loaded on first use (it takes half a second), and typed. What its
// wrappers lack (relaxed SIMD) is to be reached through its raw functions from here only.
import type binaryen from 'binaryen';

export type Binaryen = typeof binaryen;
export type Module = binaryen.Module;
/** A node of binaryen's expression tree. Each may be used once. */
export type Ref = binaryen.ExpressionRef;
export type WasmType = binaryen.Type;

let loaded: Promise<Binaryen> | undefined;
export function loadBinaryen(): Promise<Binaryen> {
  loaded ??= import('binaryen').then((m) => m.default);
  return loaded;
}

/** What every engine of today has: SIMD, bulk memory, saturating conversions, mutable globals. */
export const baseFeatures = (b: Binaryen, relaxed: boolean): number =>
  (relaxed ? b.Features.RelaxedSIMD : 0) |
  b.Features.SIMD128 |
  b.Features.BulkMemory |
  b.Features.NontrappingFPToInt |
  b.Features.MutableGlobals;
