// The types of the language, as stock TypeScript sees them: a tensor is a number with an optional phantom
// brand of dtype and shape. The operators then type-check and mean the elementwise operation; their results
// are plain numbers, which fit everywhere, so tsc flags only what it can know: dtypes and shapes of named
// tensors. What it cannot know (shapes through operators, divisibility) is left to Quern's own checker.

/** Name of an element type. Each name is also a type, `Tensor<f32, [M, K]>`, and a cast, `f16(x)`. */
export type DType = FloatDType | IntDType | UintDType | 'bool';
export type FloatDType =
  | 'f32'
  | 'f16'
  | 'bf16'
  | 'f8e4m3'
  | 'f8e5m2'
  | 'f6e2m3'
  | 'f6e3m2'
  | 'f4e2m1'
  | 'e8m0';
export type IntDType = 'i2' | 'i3' | 'i4' | 'i5' | 'i6' | 'i7' | 'i8' | 'i16' | 'i32';
export type UintDType = 'u1' | 'u2' | 'u3' | 'u4' | 'u5' | 'u6' | 'u7' | 'u8' | 'u16' | 'u32';

/** A dimension: a literal such as `32`, or a type parameter `M extends Dim` that a call settles. */
export type Dim = number;

declare const brand: unique symbol;
declare const formatBrand: unique symbol;
declare const encodedBrand: unique symbol;

// The defaults are `any` on purpose: an operand whose dtype or shape tsc has lost must fit everywhere.
// biome-ignore lint/suspicious/noExplicitAny: see above
type Unknown = any;

/**
 * A tensor of dtype `D` and shape `S`: `Tensor<f32, [M, K]>`. To TypeScript it is a number, so that
 * `x * 2 + y` is written as in the paper; a plain number is accepted wherever a tensor is.
 */
export type Tensor<D extends DType = Unknown, S extends readonly Dim[] = Unknown> = number & {
  readonly [brand]?: { d: D; s: S };
};

/** A single f32 that is known when the kernel runs. (A parameter of type `number` is a constant.) */
export type Scalar = Tensor<'f32', []>;

/**
 * An operand that may also be a mask, which is what comparisons give and what TypeScript takes for a boolean:
 * `any(x > 0)`, `sum(x > 0)`, `f32(x > 0)`. `bool(x > 0)` makes it a Tensor<bool>.
 */
export type Operand<D extends DType = Unknown, S extends readonly Dim[] = Unknown> =
  | Tensor<D, S>
  | boolean;

/** A record of field tensors, as `encode` returns it. */
export type FieldRecord = { readonly [name: string]: number | boolean };

/** A number format, made by {@link format}. `B` is its block, `R` the record of its fields. */
export interface Format<B = Unknown, R = Unknown> {
  readonly kind: 'format';
  readonly [formatBrand]?: { b: B; r: R };
}

/** A tensor of logical shape `S`, stored in the format `F`: `Encoded<F, [N, K]>`, `Encoded<typeof q4_0, [N, K]>`. */
export interface Encoded<F extends Format = Unknown, S extends readonly Dim[] = Unknown> {
  readonly [encodedBrand]: { f: F; s: S };
}

/** The stored fields of a whole tensor in the format `F`, as {@link fields} gives them. */
export type Fields<F extends Format = Unknown> =
  IsAny<F> extends true
    ? { readonly [name: string]: Tensor }
    : F extends Format<Unknown, infer R>
      ? { readonly [K in keyof R]: R[K] extends number ? Tensor<DTypeOf<R[K]>> : Tensor<'bool'> }
      : never;

export type IsAny<T> = 0 extends 1 & T ? true : false;

/** Whether a dtype is lost to tsc: `any`, or the union that a plain number leaves. */
type IsUnknown<D> = [DType] extends [D] ? true : false;

/** The dtype of a tensor; unknown for a plain number. */
export type DTypeOf<T> =
  T extends Tensor<infer D> ? (IsUnknown<D> extends true ? Unknown : D) : never;

/** What arithmetic sees of a dtype: small floats are f32, integers below 32 bits are i32. */
export type Widened<D> =
  IsUnknown<D> extends true
    ? Unknown
    : D extends FloatDType
      ? 'f32'
      : D extends 'u32'
        ? 'u32'
        : 'i32';

/** The dtype of arithmetic on two operands. */
export type Promoted<A, B> = true extends IsUnknown<A> | IsUnknown<B>
  ? Unknown
  : 'f32' extends Widened<A> | Widened<B>
    ? 'f32'
    : 'u32' extends Widened<A> | Widened<B>
      ? 'u32'
      : 'i32';

/** `S`, unless one of the dims is unknown to tsc: then the whole shape is unknown. */
export type Known<S extends readonly Dim[]> = true extends { [I in keyof S]: IsAny<S[I]> }[number]
  ? Unknown
  : S;

/** A shape read as numbers: `[M, 32]` gives `[number, number]`. */
export type Sizes<S extends readonly Dim[]> =
  IsAny<S> extends true ? readonly number[] : { readonly [I in keyof S]: number };
