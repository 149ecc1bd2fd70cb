// Formats: how blocks of a tensor become fields, and back. A format is written once, as two functions; storage,
// fused kernels and byte layouts follow from it.
import { builtin } from './builtin.ts';
import type { Dim, DType, Encoded, FieldRecord, Fields, Format, Operand, Tensor } from './types.ts';

/** Elements of the last axis, or of the last two. */
export type Block = number | readonly [number, number];
type BlockShape<B> = B extends number
  ? [B]
  : B extends readonly [infer P extends Dim, infer Q extends Dim]
    ? [P, Q]
    : readonly Dim[];

/** The fields as they are read back: what was stored, after its cast. */
type Stored<R> = { readonly [K in keyof R]: R[K] extends boolean ? boolean : R[K] };
/** What `pack` gives, seen from `unpack`: bytes, or a record of byte-exact arrays. */
type Packed<P> = P extends number ? Tensor<'u8'> : P;

// The order of the members is the order in which tsc infers: outer levels first, then encode, then its readers.
export interface FormatSpec<
  B extends Block,
  T extends FieldRecord,
  R extends FieldRecord,
  F extends FieldRecord,
  P extends number | FieldRecord,
> {
  /** How many elements are encoded together: of the last axis, or `[b0, b1]` of the last two. */
  readonly block: B;
  /** Fields stored once a tensor, such as a global scale. */
  tensor?(w: Tensor<'f32', readonly Dim[]>): T;
  /** Fields stored once a row; `outer` holds those of the tensor. */
  row?(r: Tensor<'f32', readonly Dim[]>, outer: Stored<T>): R;
  /**
   * One block to its fields, each with a storage dtype; `outer` holds the fields of row and tensor. `weights` says how much
   * each element counts, where the caller gave importance weights; `weights === undefined` is known while compiling.
   */
  encode(
    x: Tensor<'f32', BlockShape<NoInfer<B>>>,
    outer: Stored<T & R>,
    weights: Tensor<'f32', BlockShape<NoInfer<B>>> | undefined,
  ): F;
  /** The weights that encode gets, made from a row and the weights that the caller gave for it; not stored. */
  weigh?(r: Tensor<'f32', readonly Dim[]>, weights: Tensor<'f32', readonly Dim[]>): Tensor;
  /** The stored fields of all levels back to the block. */
  decode(fields: Stored<T & R & F>): Tensor<DType, BlockShape<NoInfer<B>>>;
  /** Byte-exact struct of one block, for files of other engines. */
  readonly layout?: {
    /** The fields to bytes, or to a record of byte-exact arrays. */
    pack(fields: Stored<T & R & F>): P;
    /** The inverse of `pack`. */
    unpack(bytes: Packed<P>): { readonly [K in keyof NoInfer<F>]: number | boolean };
  };
}

type NoFields = Readonly<Record<never, never>>;

/**
 * Declares a format. Storage is planar: each field is a tensor with the block's field shape last.
 *
 * `format({ block: 32, encode(x: Tensor<f32, [32]>) { const d = amax(abs(x)) / 127; return { d: f16(d),
 * q: i8(round(x / d)) }; }, decode: ({ d, q }) => q * d })`
 */
export function format<
  const B extends Block,
  T extends FieldRecord = NoFields,
  R extends FieldRecord = NoFields,
  F extends FieldRecord = NoFields,
  P extends number | FieldRecord = number,
>(spec: FormatSpec<B, T, R, F, P>): Format<B, T & R & F> {
  // A marker: kernel files are parsed, so nobody ever reads the functions from here.
  const missing = (['block', 'encode', 'decode'] as const).find((k) => spec[k] === undefined);
  if (missing) throw new TypeError(`format() needs \`${missing}\``);
  return Object.freeze({ kind: 'format' });
}

// biome-ignore lint/suspicious/noExplicitAny: what tsc does not know fits everywhere
type Any = any;

export interface EncodeOptions {
  /** Importance weights that broadcast to the shape of x, such as one a column: how much each element counts. */
  readonly weights?: Tensor;
}
/**
 * x in a format: a kernel may return it. The blocked dims must be multiples of the block. `encode(q4_0, x)`,
 * `encode(q4_K, x, { weights })` for formats whose encode takes importance weights.
 */
export const encode: <F extends Format, S extends readonly Dim[] = Any>(
  format: F,
  x: Operand<DType, S>,
  options?: EncodeOptions,
) => Encoded<F, S> = builtin('encode');
/** The values of an encoded tensor as f32, of its logical shape. `matmul(x, transpose(decode(w)))` */
export const decode: <F extends Format, S extends readonly Dim[]>(
  w: Encoded<F, S>,
) => Tensor<'f32', S> = builtin('decode');
/** The stored field tensors: q of block [32] in a [N, K] tensor is [N, K / 32, 32]. `const { d, q } = fields(w)` */
export const fields: <F extends Format, S extends readonly Dim[]>(w: Encoded<F, S>) => Fields<F> =
  builtin('fields');
