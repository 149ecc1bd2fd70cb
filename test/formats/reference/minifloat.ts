// Small floats by enumeration: every code of a type has a value by its definition, and a number becomes the code whose
// value is nearest. Slow and obvious; written apart from compiler/ir/dtype.ts, so that one checks the other.
export interface Definition {
  readonly exponent: number;
  readonly mantissa: number;
  readonly bias: number;
  /** IEEE: the top exponent is Inf and NaN. fn: all ones is NaN. finite: neither. */
  readonly special: 'ieee' | 'fn' | 'finite';
}
export type Rounding = 'even' | 'away' | 'zero';

export const definitions: Readonly<Record<string, Definition>> = {
  f16: { exponent: 5, mantissa: 10, bias: 15, special: 'ieee' },
  f8e4m3: { exponent: 4, mantissa: 3, bias: 7, special: 'fn' },
  f8e5m2: { exponent: 5, mantissa: 2, bias: 15, special: 'ieee' },
  f6e2m3: { exponent: 2, mantissa: 3, bias: 1, special: 'finite' },
  f6e3m2: { exponent: 3, mantissa: 2, bias: 3, special: 'finite' },
  f4e2m1: { exponent: 2, mantissa: 1, bias: 1, special: 'finite' },
};

/** Value of a code. */
export function codeValue(d: Definition, code: number): number {
  const fraction = code & ((1 << d.mantissa) - 1);
  const e = (code >> d.mantissa) & ((1 << d.exponent) - 1);
  const sign = code >> (d.mantissa + d.exponent) ? -1 : 1;
  const isTop = e === (1 << d.exponent) - 1;
  if (d.special === 'ieee' && isTop) return fraction ? NaN : sign * Infinity;
  if (d.special === 'fn' && isTop && fraction === (1 << d.mantissa) - 1) return NaN;
  const unit = 2 ** -d.mantissa;
  return e === 0
    ? sign * fraction * unit * 2 ** (1 - d.bias)
    : sign * (1 + fraction * unit) * 2 ** (e - d.bias);
}

/** The finite magnitudes in ascending order; the index is the code. */
const grids = new Map<Definition, number[]>();
export function magnitudes(d: Definition): number[] {
  let grid = grids.get(d);
  if (!grid) {
    const codes = 1 << (d.exponent + d.mantissa);
    grid = Array.from({ length: codes }, (_, c) => codeValue(d, c)).filter(Number.isFinite);
    grids.set(d, grid);
  }
  return grid;
}

/** Code of a finite number, saturating. The sign of a zero stays. */
export function encode(d: Definition, x: number, rounding: Rounding = 'even'): number {
  const grid = magnitudes(d);
  const a = Math.abs(x);
  const sign = x < 0 || Object.is(x, -0) ? 1 << (d.exponent + d.mantissa) : 0;
  let low = 0;
  let high = grid.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (grid[middle]! <= a) low = middle;
    else high = middle - 1;
  }
  const next = grid[low + 1];
  if (next === undefined || rounding === 'zero') return sign | low;
  // Both distances are exact: the numbers have few bits.
  const above = next - a;
  const below = a - grid[low]!;
  const isUp = above < below || (above === below && (rounding === 'away' || low % 2 === 1));
  return sign | (isUp ? low + 1 : low);
}

/** The code that a cast gives: Inf where the type has one, else the largest; NaN where it has one, else 0. */
export function cast(d: Definition, x: number): number {
  const codes = 1 << (d.exponent + d.mantissa);
  if (Number.isNaN(x))
    return d.special === 'fn'
      ? codes - 1
      : d.special === 'ieee'
        ? codes - (1 << (d.mantissa - 1))
        : 0;
  const grid = magnitudes(d);
  const sign = x < 0 || Object.is(x, -0) ? codes : 0;
  // What rounds to the number that would follow the largest overflows.
  const top = grid.at(-1)!;
  const limit = top + (top - grid.at(-2)!) / 2;
  if (d.special === 'ieee' && Math.abs(x) >= limit) return sign | grid.length;
  return encode(d, x);
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);
/** bfloat16: the upper half of an f32, ties to even; finite numbers. */
export function toBfloat(x: number): number {
  scratch[0] = x;
  const bits = scratchBits[0]!;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
export function fromBfloat(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratch[0]!;
}
export const bfloat = (x: number): number => fromBfloat(toBfloat(x));
