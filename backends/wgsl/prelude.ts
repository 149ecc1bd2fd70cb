// Functions that kernels call, printed in front of them, only those in use. WGSL has no generics, so there is one of
// each for scalars and for vectors of two and four. NaN and Inf are told by their bits: a driver may take for granted that
// there are none.
import { typeText } from './types.ts';

export interface Types {
  readonly f: string;
  readonly i: string;
  readonly u: string;
  readonly b: string;
}

interface Part {
  text(name: string, t: Types): string;
  readonly needs?: readonly string[];
  /** It reads `sizes.zero`. */
  readonly sizes?: true;
}

const extreme = (sign: '<' | '>', bit: '&' | '|'): Part => ({
  text: (name, t) =>
    `/* NaN if either is, and -0 is below 0. */
fn ${name}(a: ${t.f}, b: ${t.f}) -> ${t.f} {
  let same = bitcast<${t.f}>(bitcast<${t.u}>(a) ${bit} bitcast<${t.u}>(b));
  let one = select(select(b, a, (a ${sign} b)), same, (a == b));
  return select(one, a + b, ${named('is_nan', t)}(a) | ${named('is_nan', t)}(b));
}`,
  needs: ['is_nan'],
});

/** Integers in the order of floats, -0 below 0: of negative ones the bits are flipped. */
const keyed = (nan: string, where: string): Part => ({
  text: (name, t) =>
    `/* A whole number that is ordered as x is; that of a NaN is ${where} all others. */
fn ${name}(x: ${t.f}) -> ${t.i} {
  let bits = bitcast<${t.i}>(x);
  let key = bits ^ ((bits >> ${t.u}(31u)) & ${t.i}(0x7fffffff));
  return select(key, ${t.i}(${nan}), ${named('is_nan', t)}(x));
}`,
  needs: ['is_nan'],
});

export type PartName =
  | 'is_nan'
  | 'min_nan'
  | 'max_nan'
  | 'negate'
  | 'bit_count'
  | 'bit_count_u'
  | 'int_div'
  | 'int_rem'
  | 'int_div_u'
  | 'int_rem_u'
  | 'to_int'
  | 'to_uint'
  | 'float_of'
  | 'rounded'
  | 'half_of'
  | 'quarter_of'
  | 'is_set'
  | 'from_uint'
  | 'key_or_least'
  | 'key_or_most'
  | 'of_key';

const parts: { readonly [N in PartName]: Part } = {
  float_of: {
    text: (name, t) =>
      `/* A number that no literal can stand for, from its bits. */
fn ${name}(bits: ${t.u}) -> ${t.f} { return bitcast<${t.f}>(bits ^ ${t.u}(sizes.zero)); }`,
    sizes: true,
  },
  rounded: {
    text: (name, t) =>
      `/* A product or sum that must be rounded before it is used: a driver may not fuse it with what follows. */
fn ${name}(x: ${t.f}) -> ${t.f} { return bitcast<${t.f}>(bitcast<${t.u}>(x) ^ ${t.u}(sizes.zero)); }`,
    sizes: true,
  },
  is_nan: {
    text: (name, t) =>
      `fn ${name}(x: ${t.f}) -> ${t.b} { return (bitcast<${t.u}>(x) & ${t.u}(0x7fffffffu)) > ${t.u}(0x7f800000u); }`,
  },
  is_set: {
    text: (name, t) =>
      `fn ${name}(x: ${t.f}) -> ${t.b} { return (bitcast<${t.u}>(x) << ${t.u}(1u)) != ${t.u}(0u); }`,
  },
  from_uint: {
    text: (name, t) =>
      `/* Rounded once; a driver's own conversion may round twice. */
fn ${name}(x: ${t.u}) -> ${t.f} { return ${t.f}(x >> ${t.u}(16u)) * 65536.0f + ${t.f}(x & ${t.u}(65535u)); }`,
  },
  min_nan: extreme('<', '|'),
  max_nan: extreme('>', '&'),
  negate: {
    text: (name, t) => `fn ${name}(x: ${t.u}) -> ${t.u} { return ${t.u}(0u) - x; }`,
  },
  bit_count: {
    text: (name, t) => `fn ${name}(x: ${t.i}) -> ${t.i} { return countOneBits(x); }`,
  },
  bit_count_u: {
    text: (name, t) => `fn ${name}(x: ${t.u}) -> ${t.i} { return ${t.i}(countOneBits(x)); }`,
  },
  int_div: {
    text: (name, t) =>
      `/* Whole division that truncates; by 0 it gives 0. */
fn ${name}(a: ${t.i}, b: ${t.i}) -> ${t.i} {
  let none = (b == ${t.i}(0));
  return select(a / select(b, ${t.i}(1), none), ${t.i}(0), none);
}`,
  },
  int_rem: {
    text: (name, t) =>
      `/* Remainder with the sign of the dividend; by 0 it is 0. */
fn ${name}(a: ${t.i}, b: ${t.i}) -> ${t.i} {
  let none = (b == ${t.i}(0)) | (b == ${t.i}(-1));
  let divisor = select(b, ${t.i}(1), none);
  return select(a - a / divisor * divisor, ${t.i}(0), none);
}`,
  },
  int_div_u: {
    text: (name, t) =>
      `/* Whole division that truncates; by 0 it gives 0. */
fn ${name}(a: ${t.u}, b: ${t.u}) -> ${t.u} {
  let none = (b == ${t.u}(0u));
  return select(a / select(b, ${t.u}(1u), none), ${t.u}(0u), none);
}`,
  },
  int_rem_u: {
    text: (name, t) =>
      `/* Remainder; by 0 it is 0. */
fn ${name}(a: ${t.u}, b: ${t.u}) -> ${t.u} {
  let none = (b == ${t.u}(0u));
  return select(a % select(b, ${t.u}(1u), none), ${t.u}(0u), none);
}`,
  },
  to_int: {
    text: (name, t) =>
      `/* Truncates and saturates; NaN gives 0. */
fn ${name}(x: ${t.f}) -> ${t.i} {
  let inside = ${t.i}(clamp(x, ${t.f}(-2147483648.0f), ${t.f}(2147483520.0f)));
  let whole = select(inside, ${t.i}(2147483647), (x >= ${t.f}(2147483648.0f)));
  return select(whole, ${t.i}(0), ${named('is_nan', t)}(x));
}`,
    needs: ['is_nan'],
  },
  to_uint: {
    text: (name, t) =>
      `/* Truncates and saturates; NaN gives 0. */
fn ${name}(x: ${t.f}) -> ${t.u} {
  let inside = ${t.u}(clamp(x, ${t.f}(0.0f), ${t.f}(4294967040.0f)));
  let whole = select(inside, ${t.u}(4294967295u), (x >= ${t.f}(4294967296.0f)));
  return select(whole, ${t.u}(0u), ${named('is_nan', t)}(x));
}`,
    needs: ['is_nan'],
  },
  key_or_least: keyed('-2143289345', 'below'),
  key_or_most: keyed('0x7fc00000', 'above'),
  of_key: {
    text: (name, t) =>
      `fn ${name}(key: ${t.i}) -> ${t.f} { return bitcast<${t.f}>(key ^ ((key >> ${t.u}(31u)) & ${t.i}(0x7fffffff))); }`,
  },
  half_of: {
    text: (name, t) =>
      t.f === 'f32'
        ? `fn ${name}(bits: i32) -> f32 { return unpack2x16float(u32(bits)).x; }`
        : t.f === 'vec2f'
          ? `fn ${name}(bits: vec2i) -> vec2f { return unpack2x16float(u32(bits.x) | (u32(bits.y) << 16u)); }`
          : `fn ${name}(bits: vec4i) -> vec4f {
  return vec4f(unpack2x16float(u32(bits.x) | (u32(bits.y) << 16u)), unpack2x16float(u32(bits.z) | (u32(bits.w) << 16u)));
}`,
  },
  quarter_of: {
    text: (name, t) =>
      `/* f8e5m2 is the upper half of an f16. */
fn ${name}(bits: ${t.i}) -> ${t.f} { return ${named('half_of', t)}(bits << ${t.u}(8u)); }`,
    needs: ['half_of'],
  },
};

export const partNames: readonly string[] = Object.keys(parts).flatMap((n) => [
  n,
  `${n}_2`,
  `${n}_4`,
]);

const typesOf = (width: number): Types => ({
  f: typeText('f32', width),
  i: typeText('i32', width),
  u: typeText('u32', width),
  b: typeText('bool', width),
});
const named = (name: PartName, t: Types): string =>
  t.f === 'f32' ? name : `${name}_${t.f === 'vec2f' ? 2 : 4}`;

/** A part and the width of its operands. */
export type Use = `${PartName} ${1 | 2 | 4}`;
export const useOf = (name: PartName, width: number): Use => `${name} ${width as 1 | 2 | 4}`;
export const partName = (name: PartName, width: number): string =>
  width === 1 ? name : `${name}_${width}`;

/** The parts used and what they need, in the order of the table; and whether `sizes` is read. */
export function preludeText(used: ReadonlySet<Use>): { texts: string[]; sizes: boolean } {
  const all = new Set<Use>();
  const add = (u: Use): void => {
    if (all.has(u)) return;
    all.add(u);
    const [name, width] = u.split(' ') as [PartName, string];
    for (const n of parts[name].needs ?? []) add(useOf(n as PartName, Number(width)));
  };
  used.forEach(add);
  const texts: string[] = [];
  let sizes = false;
  for (const name of Object.keys(parts) as PartName[])
    for (const width of [1, 2, 4]) {
      if (!all.has(useOf(name, width))) continue;
      texts.push(parts[name].text(partName(name, width), typesOf(width)));
      sizes ||= parts[name].sizes === true;
    }
  return { texts, sizes };
}
