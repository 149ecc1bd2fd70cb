// The contract between compiler and runtime: what a compiled kernel is, in plain JSON and bytes.
// Types only, so that the runtime may import them without pulling in any compiler code.
import type { DType } from './ir/dtype.ts';

/**
 * A symbolic integer in postfix form: numbers push, strings naming a dim push its value, and
 * '+', '*', '/', 'div' (floor) take two. `K / 32` is ['K', 32, '/'].
 */
export type PolyCode = readonly (number | string)[];

/** What kernels are compiled as. */
export type Target = 'wasm' | 'wgsl' | 'cuda' | 'gpujs';

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
  /** Of a result: the name of the result, a scalar, that says how many rows of it count. */
  readonly rows?: string;
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
  /** A temp of which every worker needs one, where several run the kernel. */
  readonly private?: boolean;
  /**
   * The first and the last kernel of the program, by number, that touch a temp. Temps that are not live in the same kernel may
   * lie in the same memory.
   */
  readonly live?: readonly [first: number, last: number];
}

/**
 * The memory through which the workers of one call meet: `bytes` of it, zero before the call. When a worker fails,
 * whoever notices stores 1 at `failed`, adds 1 at `round` and wakes those who wait there: nobody waits any more.
 */
export interface ThreadsInfo {
  /** An estimate of the operations that are shared out, on vectors of four: some 0.1 ns each. */
  readonly work: PolyCode;
  readonly bytes: number;
  readonly failed: number;
  readonly round: number;
}

/** One kernel of a GPU program as the driver starts it. The launches of a manifest run in order. */
export interface LaunchInfo {
  /** The symbol in the code. */
  readonly name: string;
  /** Groups along x, y and z; of a launch with none of them nothing is run. */
  readonly grid: readonly [PolyCode, PolyCode, PolyCode];
  /** Threads of a group. */
  readonly block: readonly [number, number, number];
  /** Bytes of memory that a group's threads share, asked for at the launch. */
  readonly shared: PolyCode;
  /** The launch is for sizes at which all of these are above 0. */
  readonly when: readonly PolyCode[];
  /**
   * Arguments, in order: addresses of buffers of the manifest by index, then values of dims by name, as i32. gpujs: the
   * last buffer is the one that is written, and no argument.
   */
  readonly buffers: readonly number[];
  readonly dims: readonly string[];
  /** wgsl: what the entry point binds in group 0; the arguments are the members of a uniform at 0, after a zero. */
  readonly bindings?: readonly BindingInfo[];
}

/**
 * A binding of storage. Several buffers in one lie behind each other, each from a multiple of 16 bytes; the words at
 * which they start follow the dims in the uniform, in the order of the bindings of the program.
 */
export interface BindingInfo {
  readonly number: number;
  /** Buffers of the manifest by index. */
  readonly buffers: readonly number[];
  readonly written: boolean;
  /** It holds this part of its one buffer, in bytes. */
  readonly window?: { readonly from: number; readonly bytes: number };
}

export interface Manifest {
  readonly version: 1;
  readonly name: string;
  readonly target: string;
  readonly compiler: string;
  readonly dims: readonly string[];
  readonly params: readonly ArgInfo[];
  /** Parts of a record or tuple, flattened; nested ones have dotted names. */
  readonly results: readonly ArgInfo[];
  /** How the results are put together: a lone one, a record by their names, or a list. */
  readonly returns: 'value' | 'record' | 'tuple';
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
  /** Targets that are launched kernel by kernel. */
  readonly launches?: readonly LaunchInfo[];
  readonly threads?: ThreadsInfo;
  /**
   * Results that start as what a param holds, by position among the flattened params and results: whoever calls gives
   * both the same memory, or copies the param there first.
   */
  readonly reuses?: readonly { readonly param: number; readonly result: number }[];
}

/**
 * A param buffer in a layout of the kernel's own. Whoever calls the kernel makes such a copy once, by `repack`: it
 * takes the buffers that it is made from as the signature has them, and the same dims, and gives the copy.
 */
export interface PackedInfo {
  /** Index into the manifest's buffers. */
  readonly buffer: number;
  /** Buffers that it is made from, in the order that `repack` takes them; `buffer` is one of them. */
  readonly sources: readonly number[];
  /** Equal names are equal layouts of equal fields: copies may be shared by kernels. */
  readonly layout: string;
  /** Those of half floats that must be zero or normal: others need the kernel compiled with wide scales. */
  readonly normal?: readonly number[];
  readonly repack: Artifact;
}

export interface Artifact {
  readonly manifest: Manifest;
  /** wasm: the module. It imports env.memory and exports `run(buffer addresses..., dims...)`. */
  readonly code: Uint8Array;
  /**
   * The same program for other ways of running it. wasm `threads`: imports a shared memory and exports
   * `run(worker, workers, sync address, buffer addresses..., dims...)`, to be called by all workers at once.
   */
  readonly variants?: { readonly threads?: Uint8Array };
  readonly packed?: readonly PackedInfo[];
  /** Initial bytes of the const buffers, by name. */
  readonly constants: { readonly [name: string]: Uint8Array };
}
