// How things are written in CUDA C: types of values and of memory, literals, names.
import { type DType, dtypes, type Scalar } from '../../compiler/ir/dtype.ts';

export const valueType: { readonly [S in Scalar]: string } = {
  f32: 'float',
  i32: 'int',
  u32: 'unsigned',
  bool: 'bool',
};

/** Elements in memory. Those narrower than a byte are packed into bytes. */
export function memoryType(d: DType): string {
  const { bits, kind } = dtypes[d];
  if (d === 'f32') return 'float';
  if (d === 'f16') return '__half';
  if (bits === 32) return kind === 'uint' ? 'unsigned' : 'int';
  if (bits === 16) return kind === 'int' ? 'short' : 'unsigned short';
  return bits === 8 && kind === 'int' ? 'signed char' : 'unsigned char';
}

export const isPacked = (d: DType): boolean => dtypes[d].bits % 8 !== 0;

export function literal(value: number, scalar: Scalar): string {
  switch (scalar) {
    case 'bool':
      return value ? 'true' : 'false';
    case 'u32':
      return `${value >>> 0}u`;
    case 'i32':
      return value === -(2 ** 31) ? '(-2147483647 - 1)' : `${value | 0}`;
    case 'f32': {
      const x = Math.fround(value);
      if (Number.isNaN(x)) return '__int_as_float(0x7fc00000)';
      if (!Number.isFinite(x)) return `__int_as_float(${x < 0 ? '(int)0xff800000' : '0x7f800000'})`;
      if (Object.is(x, -0)) return '-0.0f';
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

const words =
  'alignas auto bool break case catch char class const continue default delete do double else enum extern false float for friend goto if ' +
  'inline int long namespace new operator private public register return short signed sizeof static struct switch template this throw true ' +
  'try typedef typename union unsigned using virtual void volatile while and or not xor l min max abs exp log sin cos tan pow round floor ceil ' +
  'copy bits put_bits blockIdx threadIdx blockDim gridDim warpSize half main signbit isnan isinf y0 y1 yn j0 j1 jn gamma index';

/** Gives each thing a C identifier of its own, close to its name. */
export class Names {
  readonly #taken = new Set(words.split(' '));
  readonly #names = new Map<unknown, string>();

  of(key: unknown, wish: string): string {
    let name = this.#names.get(key);
    if (name === undefined) {
      name = this.fresh(wish);
      this.#names.set(key, name);
    }
    return name;
  }

  fresh(wish: string): string {
    const clean = wish.replace(/\W+/g, '_').replace(/^_+|_+$/g, '') || 'x';
    const base = /^[A-Za-z]/.test(clean) ? clean : `x${clean}`;
    let name = base;
    for (let i = 1; this.#taken.has(name); i += 1) name = `${base}_${i}`;
    this.#taken.add(name);
    return name;
  }
}
