// binary16 by bit manipulation, and little helpers of C arithmetic. Written apart from compiler/ir/dtype.ts, so
// that one checks the other.

const scratch = new DataView(new ArrayBuffer(4));
export const f = Math.fround;

export function floatBits(x: number): number {
  scratch.setFloat32(0, x);
  return scratch.getUint32(0);
}
export function bitsFloat(bits: number): number {
  scratch.setUint32(0, bits);
  return scratch.getFloat32(0);
}

/** binary32 to binary16, ties to even, overflow to Inf, NaN quiet. */
export function toHalf(x: number): number {
  const bits = floatBits(x);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal: the value in units of 2^-24. Below half a unit it is 0.
    const exponent = magnitude >>> 23;
    if (exponent < 102) return sign;
    const mantissa = (magnitude & 0x7fffff) | 0x800000;
    const shift = 126 - exponent;
    const half = 1 << (shift - 1);
    const rest = mantissa & ((1 << shift) - 1);
    const whole = mantissa >>> shift;
    return sign | (rest > half || (rest === half && whole & 1) ? whole + 1 : whole);
  }
  const rebased = magnitude - 0x38000000;
  const rest = rebased & 0x1fff;
  const whole = rebased >>> 13;
  return sign | (rest > 0x1000 || (rest === 0x1000 && whole & 1) ? whole + 1 : whole);
}

export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** C's (int) of a float where it is defined; beyond, saturated, and 0 for NaN. */
export function truncateTo(low: number, high: number, x: number): number {
  if (Number.isNaN(x)) return 0;
  if (x <= low) return low;
  if (x >= high) return high;
  return Math.trunc(x) + 0;
}

/** roundf: half away from zero. */
export function roundAway(x: number): number {
  if (!Number.isFinite(x)) return x;
  const whole = Math.trunc(x);
  const rest = Math.abs(x - whole);
  return rest >= 0.5 ? whole + (x < 0 ? -1 : 1) : whole;
}

/** rintf: half to even. */
export function roundEven(x: number): number {
  if (!Number.isFinite(x)) return x;
  const below = Math.floor(x);
  const rest = x - below;
  if (rest < 0.5) return below;
  if (rest > 0.5) return below + 1;
  return below % 2 === 0 ? below : below + 1;
}

export function putHalf(bytes: Uint8Array, at: number, x: number): void {
  const bits = toHalf(x);
  bytes[at] = bits & 255;
  bytes[at + 1] = bits >>> 8;
}
export function getHalf(bytes: Uint8Array, at: number): number {
  return fromHalf(bytes[at]! | (bytes[at + 1]! << 8));
}
