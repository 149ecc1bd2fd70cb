// What an import of a kernel file gives once a plugin has compiled it, as types. TypeScript itself sees the author's
// functions, so the importer says which it means:
//   import * as source from './q4.kernel.ts';
//   const ops = source as unknown as Compiled<typeof source>;
import type { format, Kernel } from './module/define.ts';
import type { QuernError } from './module/errors.ts';
import type { GpuOptions } from './module/gpu-memory.ts';
import type { GpujsOptions } from './module/gpujs-load.ts';
import type { LoadOptions } from './module/load.ts';
import type { Encoded, HostTensor, Tensor, tensor, empty } from './module/tensor.ts';
import type { Threads } from './module/threads.ts';
import type { ScriptTarget } from './targets.ts';

/** On a GPU reading is asynchronous, and memory has no view. */
interface GpuTensor extends Omit<Tensor, 'data' | 'raw' | 'view'> {
  data(): Promise<ReturnType<Tensor['data']>>;
  raw(): Promise<Uint8Array>;
}
interface GpuEncoded extends Omit<Encoded, 'fields'> {
  readonly fields: { readonly [name: string]: GpuTensor };
}
interface GpuFormat {
  readonly name: string;
  ready(options?: object): Promise<void>;
  encode(x: HostTensor['data'] | GpuTensor, shape?: readonly number[]): Promise<GpuEncoded>;
  decode(w: GpuEncoded): Promise<GpuTensor>;
  pack: ReturnType<typeof format>['pack'];
  unpack(...args: Parameters<ReturnType<typeof format>['unpack']>): Promise<GpuEncoded>;
  fromRaw(...args: Parameters<ReturnType<typeof format>['fromRaw']>): GpuEncoded;
}

/** What kernels of a target take and give. */
interface Types {
  readonly wasm: Host & { options: LoadOptions & { readonly threads?: number | 'auto' } };
  readonly gpujs: Host & { options: GpujsOptions };
  readonly wgsl: {
    tensor: GpuTensor;
    encoded: GpuEncoded;
    format: GpuFormat;
    make: (...args: Parameters<typeof tensor>) => GpuTensor;
    empty: (...args: Parameters<typeof empty>) => GpuTensor;
    options: GpuOptions;
  };
}
interface Host {
  tensor: Tensor;
  encoded: Encoded;
  format: ReturnType<typeof format>;
  make: typeof tensor;
  empty: typeof empty;
}

/** Types of the language without named parts are encoded tensors: their brand is a symbol. */
type Nameless<T> = [Extract<keyof T, string>] extends [never] ? true : false;
type Param<P, T extends ScriptTarget> = P extends number
  ? number | HostTensor | Types[T]['tensor']
  : Types[T]['encoded'];
type Result<R, T extends ScriptTarget> = [R] extends [number | boolean]
  ? Types[T]['tensor']
  : R extends readonly unknown[]
    ? { [I in keyof R]: Result<R[I], T> }
    : Nameless<R> extends true
      ? Types[T]['encoded']
      : { [K in keyof R]: Result<R[K], T> };
type Params<P extends readonly unknown[], T extends ScriptTarget> = {
  [I in keyof P]: Param<P[I], T>;
};

interface FormatLike {
  readonly kind: 'format';
}
type IsKernel<F> = F extends (...args: never) => infer R
  ? R extends FormatLike
    ? false
    : true
  : false;

type Asynchronous<F, T extends ScriptTarget> = F extends (...args: infer P) => infer R
  ? ((...args: Params<P, T>) => Promise<Result<R, T>>) &
      (<O>(...args: [...Params<P, T>, out: O]) => Promise<O>) &
      Pick<Kernel, 'ready' | 'variant'>
  : never;
type Synchronous<F, T extends ScriptTarget> = F extends (...args: infer P) => infer R
  ? ((...args: Params<P, T>) => Result<R, T>) & (<O>(...args: [...Params<P, T>, out: O]) => O)
  : never;

type Exports<M, T extends ScriptTarget> = {
  readonly [K in keyof M as IsKernel<M[K]> extends true ? K : never]: Asynchronous<M[K], T>;
} & {
  readonly [K in keyof M as T extends 'wgsl'
    ? never
    : IsKernel<M[K]> extends true
      ? `${K & string}Sync`
      : never]: Synchronous<M[K], T>;
} & {
  readonly [K in keyof M as M[K] extends FormatLike ? K : never]: Types[T]['format'];
} & { readonly tensor: Types[T]['make']; readonly empty: Types[T]['empty'] };

/**
 * The exports of `typeof import('./q4.kernel.ts')`, compiled; `T` is the target that the plugin was given. Kernels that take
 * constants are exported through the options of the plugin, under names that this type does not know.
 */
export type Compiled<M, T extends ScriptTarget = 'wasm'> = Exports<M, T> & {
  readonly init: (
    options?: Types[T]['options'],
  ) => Promise<Exports<M, T> & (T extends 'wasm' ? { readonly threads: Threads } : object)>;
  readonly QuernError: typeof QuernError;
  readonly memoryUsed: () => number;
};
