// Formats: how blocks of a tensor become fields, and back. A format is written once, as two functions; storage,
// fused kernels and byte layouts follow from it.
import { builtin } from './builtin.ts';
import type {
  Dim,
  DType,
  DTypeOf,
  Encoded,
  FieldRecord,
  Fields,
  Format,
  Operand,
  Tensor,
} from './types.ts';

/** Elements of the last axis, or of the last two. */
export type Block = number | readonly [number, number];
type BlockShape<B> = B extends number
  ? [B]
  : B extends readonly [infer P extends Dim, infer Q extends Dim]
    ? [P, Q]
    : readonly Dim[];

/** The dims of a matrix. */
type MatrixDims = readonly [n: number, k: number];
/** Where a block lies: its indices in the grid of blocks, known when the kernel runs, of what matrix. */
export interface Place {
  readonly index: readonly [row: Tensor<'i32', []>, column: Tensor<'i32', []>];
  readonly dims: MatrixDims;
}
interface Placed {
  readonly place: Place;
}
/** The fields as they are read back: what was stored, after its cast. */
type Stored<R> = { readonly [K in keyof R]: R[K] extends boolean ? boolean : R[K] };
/** What `pack` gives, seen from `unpack`: bytes, or a record of byte-exact arrays. */
type Packed<P> = P extends number ? Tensor<'u8'> : P;
/** The fields of a whole tensor: of the same dtypes, with the dims of the grid of blocks in front. */
type Whole<R> = { readonly [K in keyof R]: R[K] extends boolean ? boolean : Tensor<DTypeOf<R[K]>> };
type Unpacked<R> = { readonly [K in keyof NoInfer<R>]: number | boolean };

/** What one call of `pack` and `unpack` sees: a block, or the whole tensor. */
export type LayoutLevel = 'block' | 'tensor';

/**
 * Byte-exact arrays, for files of other engines. `L` is the level, `O` the fields of row and tensor, `F` those of the
 * block, `P` what `pack` gives.
 */
interface Layout<L extends LayoutLevel, O extends FieldRecord, F extends FieldRecord, P> {
  /** `'tensor'` for packings that interleave across blocks or rows; one call a block otherwise. */
  readonly of?: L;
  /**
   * The fields to bytes, or to a record of arrays. Of a block: its fields, to one struct. Of the tensor: the stored
   * fields of all levels, whole, to arrays of any shape; a field of the block is [N, K / block, ...], of the row
   * [N, ...].
   */
  pack(fields: L extends 'tensor' ? Whole<O & F> : Stored<O & F>): P;
  /** The inverse of `pack`. Of the tensor: all fields, for a tensor of the dims [n, k]. */
  unpack(
    bytes: Packed<P>,
    dims: L extends 'tensor' ? MatrixDims : never,
  ): Unpacked<L extends 'tensor' ? O & F : F>;
}

// The order of the members is the order in which tsc infers: outer levels first, then encode, then its readers.
export interface FormatSpec<
  B extends Block,
  T extends FieldRecord,
  R extends FieldRecord,
  F extends FieldRecord,
  P extends number | FieldRecord,
  L extends LayoutLevel,
> {
  /** How many elements are encoded together: of the last axis, or `[b0, b1]` of the last two. */
  readonly block: B;
  /** Fields stored once a tensor, such as a global scale. */
  tensor?(w: Tensor<'f32', readonly Dim[]>): T;
  /** Fields stored once a row; `outer` holds those of the tensor. */
  row?(r: Tensor<'f32', readonly Dim[]>, outer: Stored<T>): R;
  /**
   * One block to its fields, each with a storage dtype; `outer` holds the fields of row and tensor, and with the latter the
   * place of the block, to find its part of a field of the tensor. `weights` says how much each element counts, where the
   * caller gave importance weights; `weights === undefined` is known while compiling.
   */
  encode(
    x: Tensor<'f32', BlockShape<NoInfer<B>>>,
    outer: Stored<T & R> & Placed,
    weights: Tensor<'f32', BlockShape<NoInfer<B>>> | undefined,
  ): F;
  /** The weights that encode gets, made from a row and the weights that the caller gave for it; not stored. */
  weigh?(r: Tensor<'f32', readonly Dim[]>, weights: Tensor<'f32', readonly Dim[]>): Tensor;
  /** The stored fields of all levels, and the place of the block, back to the block. */
  decode(fields: Stored<T & R & F> & Placed): Tensor<DType, BlockShape<NoInfer<B>>>;
  /** Byte-exact structs or planes, for files of other engines. */
  readonly layout?: Layout<L, T & R, F, P>;
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
  L extends LayoutLevel = 'block',
>(spec: FormatSpec<B, T, R, F, P, L>): Format<B, T & R & F> {
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

/** What {@link factors} takes an encoded tensor [..., K] apart into; R elements follow each other with one scale. */
export interface Factors {
  /** [..., K / R, R]: the codes, or what tables make of them, minus an integer zero point. Not stored: computed where used. */
  readonly integers: Tensor<'i32', Any>;
  /** f32 [..., K / R]. */
  readonly scale: Tensor<'f32', Any>;
  /** f32 [..., K / R]; undefined where the format adds nothing. Which of the two is known while compiling. */
  readonly offset: Tensor<'f32', Any> | undefined;
}
/**
 * decode(w) as `scale * integers + offset`, found by following the format's decode, whatever the format: a program that
 * multiplies integers can put the scales elsewhere. Formats that are no such product (floats, lattices) are refused
 * with Q3011. `const { integers, scale, offset } = factors(w)`
 */
export const factors: (w: Encoded) => Factors = builtin('factors');

/** What {@link formatInfo} says of a format. */
export interface FormatInfo {
  readonly block: readonly number[];
  readonly fields: readonly {
    readonly name: string;
    readonly level: 'block' | 'row' | 'tensor';
    readonly dtype: (x: Operand) => Tensor;
  }[];
  /**
   * The field that holds one code of at most 8 bits an element, which alone decides that element, and all finite
   * values of its dtype. Absent for formats whose codes stand for several elements, such as lattices.
   */
  readonly codes:
    | {
        readonly name: string;
        readonly dtype: (x: Operand) => Tensor;
        readonly values: readonly number[];
      }
    | undefined;
}
/** Block, fields and codes of a format, known while compiling. */
export const formatInfo: (format: Format) => FormatInfo = builtin('formatInfo');
/**
 * An encoded tensor of the given logical shape, from fields as {@link fields} gives them, cast to their dtypes.
 * `assemble(q4_0, { d, q }, [n, k])`
 */
export const assemble: <F extends Format>(
  format: F,
  parts: { readonly [name: string]: Operand },
  shape: readonly Dim[],
) => Encoded<F, Any> = builtin('assemble');
