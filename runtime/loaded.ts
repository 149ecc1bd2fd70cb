// What load() gives, as types: the exports of a kernel file with tensors of the device in place of the numbers
// that TypeScript takes the author's tensors for.
import type { Json } from '../compiler/artifact.ts';
import type { Argument } from './arguments.ts';
import type { Plan } from './dispatch.ts';
import type { FormatHandle } from './formats.ts';
import type { Results } from './results.ts';
import type { DeviceTensor, EncodedTensor, Given, HostTensor } from './tensor.ts';

/** Types of the language with no named parts are encoded tensors: their brand is a symbol. */
type Nameless<T> = [Extract<keyof T, string>] extends [never] ? true : false;

/** A parameter: the author's tensors are numbers, flags and names are themselves, the rest is encoded. */
export type LoadedParam<P> = P extends undefined
  ? undefined
  : P extends number
    ? number | HostTensor | DeviceTensor | Given
    : P extends boolean | string | readonly unknown[]
      ? P
      : P extends FormatLike
        ? FormatHandle
        : Nameless<P> extends true
          ? EncodedTensor
          : P;

/** A result: a tensor (of numbers, or a mask), a list or record of results, or an encoded tensor. */
export type LoadedResult<R> = [R] extends [number | boolean]
  ? DeviceTensor
  : R extends readonly unknown[]
    ? { [I in keyof R]: LoadedResult<R[I]> }
    : Nameless<R> extends true
      ? EncodedTensor
      : { [K in keyof R]: LoadedResult<R[K]> };

/** A kernel of a loaded file. */
export interface KernelFunction<P extends readonly unknown[] = readonly unknown[], R = unknown> {
  (...args: P): Promise<R>;
  /** Compiles for arguments of these kinds without running. `run` of the plan is the shortest way to call. */
  prepare(...args: P): Promise<Plan>;
}

type Params<P extends readonly unknown[]> = { [I in keyof P]: LoadedParam<P[I]> };

interface FormatLike {
  readonly kind: 'format';
}
type LoadedExport<T> = T extends (...args: infer P) => infer R
  ? KernelFunction<Params<P>, LoadedResult<R>>
  : FormatHandle;

/** Constants and factories of formats are no members: see `format`. */
type Hidden<T> = T extends (...args: never) => infer R
  ? R extends FormatLike
    ? true
    : false
  : T extends FormatLike
    ? false
    : true;

/** Without a type: every name is a kernel, called with what Plan.run takes. */
export interface AnyLoaded {
  readonly [name: string]: KernelFunction<readonly (Argument | Json | undefined)[], Results>;
}

interface Factories {
  /** A format by name, with the options of its factory if it is one. */
  format(name: string, args?: readonly Json[]): FormatHandle;
}

/** The exports of `typeof import('./kernels.ts')` as functions on a device. */
export type Loaded<M = unknown> = unknown extends M
  ? AnyLoaded & Factories
  : {
      readonly [K in keyof M as Hidden<M[K]> extends true ? never : K]: LoadedExport<M[K]>;
    } & Factories;
