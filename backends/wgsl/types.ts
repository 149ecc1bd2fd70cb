// How things are written in WGSL: types of values, literals, names.
import type { Scalar } from '../../compiler/ir/dtype.ts';

/** The type of a value of 1, 2 or 4 lanes. */
export const typeText = (scalar: Scalar, width: number): string => {
  if (width === 1) return scalar;
  return scalar === 'bool' ? `vec${width}<bool>` : `vec${width}${scalar[0]}`;
};

/** Pieces that a vector is cut into: widths 1, 2 or 4. */
export const widthOf = (lanes: number): number => Math.min(lanes, 4);
export const piecesOf = (lanes: number): number => Math.ceil(lanes / 4);

/**
 * A literal; undefined where WGSL has none: a constant expression must be finite, and what is subnormal may be
 * flushed. Those are made of bits (see `float_of` of the prelude).
 */
export function literal(value: number, scalar: Scalar): string | undefined {
  switch (scalar) {
    case 'bool':
      return value ? 'true' : 'false';
    case 'u32':
      return `${value >>> 0}u`;
    case 'i32':
      return (value | 0) === -(2 ** 31) ? 'i32(-2147483648)' : `${value | 0}`;
    case 'f32': {
      const x = Math.fround(value);
      if (!Number.isFinite(x) || (x !== 0 && Math.abs(x) < 2 ** -126)) return undefined;
      if (Object.is(x, -0)) return undefined;
      const short = shortest(x);
      return `${/[.e]/.test(short) ? short : `${short}.0`}f`;
    }
  }
}

/** The shortest decimal that reads back as the same f32. */
function shortest(x: number): string {
  for (let digits = 1; digits <= 9; digits += 1) {
    const text = x.toPrecision(digits);
    if (Math.fround(Number(text)) === x) return `${Number(text)}`;
  }
  return `${x}`;
}

/** Keywords, reserved words, and what the language predeclares. */
const words =
  'alias break case const const_assert continue continuing default diagnostic discard else enable false fn for if let loop ' +
  'override requires return struct switch true var while NULL Self abstract active alignas alignof as asm asm_fragment async ' +
  'attribute auto await become cast catch class co_await co_return co_yield coherent column_major common compile ' +
  'compile_fragment concept const_cast consteval constexpr constinit crate debugger decltype delete demote ' +
  'demote_to_helper do dynamic_cast enum explicit export extends extern external fallthrough filter final finally friend ' +
  'from fxgroup get goto groupshared highp impl implements import inline instanceof interface layout lowp macro ' +
  'macro_rules match mediump meta mod module move mut mutable namespace new nil noexcept noinline nointerpolation ' +
  'non_coherent noncoherent noperspective null nullptr of operator package packoffset partition pass patch ' +
  'pixelfragment precise precision premerge priv protected pub public readonly ref regardless register ' +
  'reinterpret_cast require resource restrict self set shared sizeof smooth snorm static static_assert static_cast std ' +
  'subroutine super target template this thread_local throw trait try type typedef typeid typename typeof union unless ' +
  'unorm unsafe unsized use using varying virtual volatile wgsl where with writeonly yield bool f16 f32 i32 u32 vec2 ' +
  'vec3 vec4 vec2i vec3i vec4i vec2u vec3u vec4u vec2f vec3f vec4f vec2h vec3h vec4h array atomic ptr sampler bitcast ' +
  'all any select arrayLength abs acos asin atan ceil clamp cos cross exp exp2 floor fma fract log log2 max min pow ' +
  'round sign sin sqrt step tan tanh trunc dot countOneBits extractBits insertBits unpack2x16float pack2x16float ' +
  'function private workgroup uniform storage read write read_write member group_id groups group subgroup subgroups subgroupAdd subgroupMin subgroupMax subgroupAnd subgroupOr ' +
  'subgroupElect sizes main';

/** Gives each thing an identifier of its own, close to its name. A child knows the names of its parent. */
export class Names {
  readonly #taken: Set<string>;
  readonly #names: Map<unknown, string>;

  constructor(parent?: Names, reserved: Iterable<string> = []) {
    this.#taken = new Set(parent ? parent.#taken : words.split(' '));
    this.#names = new Map(parent ? parent.#names : []);
    for (const r of reserved) this.#taken.add(r);
  }

  of(key: unknown, wish: string): string {
    let name = this.#names.get(key);
    if (name === undefined) {
      name = this.fresh(wish);
      this.#names.set(key, name);
    }
    return name;
  }

  /** A name whose numbered pieces are free as well. */
  fresh(wish: string): string {
    const clean =
      wish
        .replace(/\W+/g, '_')
        .replace(/_+/g, '_')
        .replace(/^_+|_+$/g, '') || 'x';
    const base = /^[A-Za-z]/.test(clean) ? clean : `x${clean}`;
    let name = base;
    for (let i = 1; this.#taken.has(name) || this.#taken.has(`${name}_p0`); i += 1)
      name = `${base}_${i}`;
    this.#taken.add(name);
    return name;
  }
}
