// The part of index.d.ts that is the same in every package. Arguments are compared through a method, which
// TypeScript checks in both directions: a shape that is known only when the program runs fits a literal one.
import type { ScriptTarget } from './targets.ts';

const preamble = `// Made by quern build. Shapes are tuples of literal numbers where they are known: tensor(data, [1, 256]).

export type DType =
  | 'f32' | 'f16' | 'bf16' | 'f8e4m3' | 'f8e5m2' | 'f6e2m3' | 'f6e3m2' | 'f4e2m1' | 'e8m0'
  | 'i2' | 'i3' | 'i4' | 'i5' | 'i6' | 'i7' | 'i8' | 'i16' | 'i32'
  | 'u1' | 'u2' | 'u3' | 'u4' | 'u5' | 'u6' | 'u7' | 'u8' | 'u16' | 'u32' | 'bool';
export type Shape = readonly number[];
export type TypedArray =
  | Float32Array | Float64Array | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array
  | Int32Array | Uint32Array;
export type NumberArray = TypedArray | readonly number[];

/** The typed array that data() gives: the narrowest that holds every value of the dtype. */
export type DataOf<D extends DType> = D extends 'i2' | 'i3' | 'i4' | 'i5' | 'i6' | 'i7' | 'i8'
  ? Int8Array
  : D extends 'u1' | 'u2' | 'u3' | 'u4' | 'u5' | 'u6' | 'u7' | 'u8' | 'bool'
    ? Uint8Array
    : D extends 'i16'
      ? Int16Array
      : D extends 'u16'
        ? Uint16Array
        : D extends 'i32'
          ? Int32Array
          : D extends 'u32'
            ? Uint32Array
            : Float32Array;

export declare class QuernError extends Error {
  /** Stable: Q50 calls, Q51 memory and loading. */
  readonly code: string;
}

interface TensorLike<D extends DType, S extends Shape> {
  readonly dtype: D;
  ' shape'(shape: Readonly<S>): void;
}
interface EncodedLike<F extends string, S extends Shape> {
  readonly format: F;
  ' shape'(shape: Readonly<S>): void;
}

/** A tensor in the memory of the package. */
export interface Tensor<D extends DType = DType, S extends Shape = Shape> extends TensorLike<D, S> {
  readonly shape: S;
  /** Bytes in storage. */
  readonly bytes: number;
  readonly disposed: boolean;
  /** Values, one entry an element; a copy. */
  data(): DataOf<D>;
  /** The memory itself, for dtypes stored as typed arrays hold them. Valid until the next call or allocation. */
  view(): DataOf<D>;
  /** Storage bytes; a copy. */
  raw(): Uint8Array;
  /** Replaces all values. */
  set(data: NumberArray): this;
  /** Replaces the storage bytes. */
  writeRaw(bytes: Uint8Array): void;
  dispose(): void;
}
export declare const Tensor: { new (...args: never): Tensor };

/** A tensor stored in the format \`F\`, of logical shape \`S\`. It stays in memory until dispose(). */
export interface Encoded<
  F extends string = string,
  S extends Shape = Shape,
  R extends { readonly [field: string]: DType } = { readonly [field: string]: DType },
> extends EncodedLike<F, S> {
  readonly shape: S;
  readonly fields: { readonly [N in keyof R]: Tensor<R[N]> };
  readonly bytes: number;
  readonly bitsPerWeight: number;
  readonly disposed: boolean;
  dispose(): void;
}
export declare const Encoded: { new (...args: never): Encoded };

/** Data of the caller with a shape: uploaded for one call. */
export interface HostTensor<S extends Shape = Shape, A = NumberArray> {
  readonly data: A;
  readonly shape: Readonly<S>;
}

export type Input<D extends DType, S extends Shape> =
  | TensorLike<D, S>
  | (HostTensor<S> & { readonly dtype?: never })
  | (S extends readonly [] ? number : never);
export type Output<D extends DType, S extends Shape> =
  | TensorLike<D, S>
  | (HostTensor<S, DataOf<D>> & { readonly dtype?: never });
export type EncodedInput<F extends string, S extends Shape> = EncodedLike<F, S>;

/** In place of a .wasm file: bytes, a WebAssembly.Module, or where to read it. */
export type Source = Uint8Array | ArrayBuffer | string | { readonly href: string } | object;
export interface LoadOptions {
  /** Called with the name of a .wasm file; undefined means the file beside the module. */
  readonly source?: (file: string) => Source | undefined | Promise<Source | undefined>;
}
export interface InitOptions extends LoadOptions {
  /**
   * Threads that kernels may run on: a number, or 'auto' for one a core, at most 8. One unless given. It takes shared memory: Node,
   * or a page that is cross-origin isolated; elsewhere it stays one, and \`threads.reason\` of the result says why. To be said
   * before the first tensor is made and the first kernel loaded. Where the thread that calls may not wait (a page's main
   * thread), asynchronous forms run on the others, synchronous ones on one.
   */
  readonly threads?: number | 'auto';
}
export interface Threads {
  readonly count: number;
  readonly reason?: string;
}
export interface Loadable {
  /** Loads the code; the first call does so otherwise. */
  ready(options?: LoadOptions): Promise<void>;
  /** The variant that runs, once it is loaded: 'unsigned' (relaxed SIMD, dot products of whole bytes), 'relaxed' or 'plain'. */
  variant(): string | undefined;
}

type Matrix = readonly [number, number];
type Mutable<S extends Shape> = { -readonly [I in keyof S]: S[I] };
type RawOf<R> = { readonly [N in keyof R]: Uint8Array };

/** A format: \`F\` its name, \`R\` the dtypes of its fields, \`P\` the bytes of its layout. */
export interface Format<F extends string, R extends { readonly [field: string]: DType }, P> {
  readonly name: F;
  ready(options?: LoadOptions): Promise<void>;
  encode<const S extends Matrix>(data: NumberArray, shape: S): Promise<Encoded<F, Mutable<S>, R>>;
  encode<S extends Matrix>(x: Tensor<'f32', S>): Promise<Encoded<F, S, R>>;
  encodeSync<const S extends Matrix>(data: NumberArray, shape: S): Encoded<F, Mutable<S>, R>;
  encodeSync<S extends Matrix>(x: Tensor<'f32', S>): Encoded<F, S, R>;
  decode<S extends Matrix>(w: Encoded<F, S, R>): Promise<Tensor<'f32', S>>;
  decodeSync<S extends Matrix>(w: Encoded<F, S, R>): Tensor<'f32', S>;
  /** The bytes of the format's own layout, as other engines store it. */
  pack(w: Encoded<F, Shape, R>): Promise<P>;
  packSync(w: Encoded<F, Shape, R>): P;
  unpack<const S extends Matrix>(packed: P, shape: S): Promise<Encoded<F, Mutable<S>, R>>;
  unpackSync<const S extends Matrix>(packed: P, shape: S): Encoded<F, Mutable<S>, R>;
  /** From the storage bytes of the fields, as raw() gives them. */
  fromRaw<const S extends Matrix>(shape: S, raw: RawOf<R>): Encoded<F, Mutable<S>, R>;
}

type DTypeOf<A> = A extends Int32Array ? 'i32' : A extends Uint32Array ? 'u32' : A extends Int8Array ? 'i8'
  : A extends Uint8Array | Uint8ClampedArray ? 'u8' : A extends Int16Array ? 'i16' : A extends Uint16Array ? 'u16' : 'f32';

/** A tensor from values; its dtype is that of the array unless it is given. */
export declare function tensor<A extends NumberArray, const S extends Shape>(
  data: A,
  shape: S,
): Tensor<DTypeOf<A>, Mutable<S>>;
export declare function tensor<const S extends Shape, D extends DType>(
  data: NumberArray,
  shape: S,
  dtype: D,
): Tensor<D, Mutable<S>>;
/** An uninitialised tensor, for results. */
export declare function empty<const S extends Shape>(shape: S): Tensor<'f32', Mutable<S>>;
export declare function empty<const S extends Shape, D extends DType>(shape: S, dtype: D): Tensor<D, Mutable<S>>;
/** Bytes in live tensors. */
export declare function memoryUsed(): number;
`;

type Change = readonly [find: string | RegExp, put: string];

const threadsOption =
  / {2}\/\*\*\n {3}\* Threads that kernels may run on[\s\S]*?readonly threads\?.*\n/;
const threadsType: Change = [/export interface Threads \{[\s\S]*?\n\}\n/, ''];
const variantNames = "'unsigned' (relaxed SIMD, dot products of whole bytes), 'relaxed' or 'plain'";

/** What is different where tensors lie on a GPU: reading takes a promise, and nothing is synchronous. */
const onGpu: readonly Change[] = [
  ['  data(): DataOf<D>;', '  data(): Promise<DataOf<D>>;'],
  ['  raw(): Uint8Array;', '  raw(): Promise<Uint8Array>;'],
  [/ {2}\/\*\* The memory itself.*\n {2}view\(\).*\n/, ''],
  [/^ {2}\w+Sync(?:<|\().*\n/gm, ''],
  ['/** A tensor in the memory of the package. */', '/** A tensor on the GPU. */'],
  [
    /\/\*\* In place of a \.wasm file.*\n.*\n/,
    'export type Source = Uint8Array | { readonly href: string };\n',
  ],
  ['with the name of a .wasm file', 'with the name of a .wgsl file'],
  [
    threadsOption,
    `  /** Where WebGPU comes from; \`navigator.gpu\` by default. In Node: \`create([])\` of the npm package webgpu. */
  readonly gpu?: object;
  /** A GPUDevice of yours in place of one that is asked for. */
  readonly device?: object;
`,
  ],
  threadsType,
  [variantNames, "'packed' (integer dot products) or 'plain'"],
];

/** What is different where kernels are functions of JavaScript, or shaders that gpu.js makes of them. */
const onGpujs: readonly Change[] = [
  [/\/\*\* In place of a \.wasm file.*\n.*\n/, ''],
  [/ {2}\/\*\* Called with the name of a \.wasm file[\s\S]*?\n {2}readonly source\?.*\n/, ''],
  ['export interface LoadOptions {\n}\n', 'export type LoadOptions = object;\n'],
  ['export interface InitOptions extends LoadOptions {', 'export interface InitOptions {'],
  [
    threadsOption,
    `  /**
   * The class GPU of gpu.js (or what \`import\` of it gives): kernels run as shaders of WebGL2. Without it, and without \`gpu\`, they run
   * as JavaScript. To be said before the first kernel is loaded.
   */
  readonly GPU?: object;
  /** An instance of that class, in any of its modes: \`new GPU()\`. */
  readonly gpu?: object;
`,
  ],
  threadsType,
  ['The variant that runs', 'What runs'],
  [variantNames, "'javascript', or the mode of the GPU object, such as 'webgl2'"],
];

const changes: { readonly [T in ScriptTarget]: readonly Change[] } = {
  wasm: [],
  wgsl: onGpu,
  gpujs: onGpujs,
};

export const preambleOf = (target: ScriptTarget): string =>
  changes[target].reduce((text, [find, put]) => {
    const next = text.replace(find, put);
    if (next === text) throw new Error(`the declarations have no ${find}`);
    return next;
  }, preamble);
