// The contract between compiler and runtime: what a compiled kernel is, in plain JSON and bytes.
// Types only, so that the runtime may import them without pulling in any compiler code.
import type { DType } from './ir/dtype.ts';

/**
 * A symbolic integer in postfix form: numbers push, strings naming a dim push its value, and
 * '+', '*', '/', 'div' (floor) take two. `K / 32` is ['K', 32, '/'].
 */
export type PolyCode = readonly (number | string)[];

/** Where a format comes from: an export of a kernel file, called with `args` if it is a factory. */
export interface FormatRef {
  /** Absolute path of the kernel file, or 'quern/formats'. */
  readonly file: string;
  readonly name: string;
  readonly args?: readonly Json[];
}
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [k: string]: Json };

export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly PolyCode[];
  /** The shape as the author wrote it, e.g. `[N, K / 32]`. */
  readonly text: string;
}

export interface FieldInfo extends TensorInfo {
  /** How often the field occurs: once a block, a row or a tensor. */
  readonly level: 'block' | 'row' | 'tensor';
}

export type ArgInfo =
  | ({ readonly kind: 'tensor' } & TensorInfo)
  | {
      readonly kind: 'encoded';
      readonly name: string;
      readonly format: FormatRef;
      readonly shape: readonly PolyCode[];
      readonly text: string;
      readonly fields: readonly FieldInfo[];
    };

/** A buffer that the kernel program reads or writes. */
export interface BufferInfo {
  readonly name: string;
  readonly role: 'param' | 'result' | 'temp' | 'const';
  readonly dtype: DType;
  readonly bytes: PolyCode;
}

export interface Manifest {
  readonly version: 1;
  readonly name: string;
  readonly target: string;
  readonly compiler: string;
  readonly dims: readonly string[];
  readonly params: readonly ArgInfo[];
  readonly results: readonly ArgInfo[];
  readonly constraints: readonly {
    readonly poly: PolyCode;
    readonly modulus: number;
    readonly text: string;
    readonly reason: string;
  }[];
  /** In the order that the entry point takes them; params (fields flattened), results, temps, consts. */
  readonly buffers: readonly BufferInfo[];
  /** Names and schedules of the kernels, in order. */
  readonly kernels: readonly { readonly name: string; readonly schedule: string }[];
}

export interface Artifact {
  readonly manifest: Manifest;
  /** wasm: the module. It imports env.memory and exports `run(buffer addresses..., dims...)`. */
  readonly code: Uint8Array;
  /** Initial bytes of the const buffers, by name. */
  readonly constants: { readonly [name: string]: Uint8Array };
}
