// What an oracle of a checkpoint format is: named arrays of bytes for a matrix, made by plain loops.
import { integers } from '../samples.ts';

export type Planes = Record<string, Uint8Array>;

export interface PlaneReference {
  /** The planes of random fields. `special`: scales sweep all patterns, Inf and NaN too, whose bits a copy may change. */
  random(n: number, k: number, seed: number, special: boolean): Planes;
  /** The planes of the quantized matrix; none where the format has a search instead of a closed form. */
  encode?(x: Float32Array, n: number, k: number): Planes;
  decode(planes: Planes, n: number, k: number): Float32Array;
}

type Typed = Float32Array | Int32Array | Uint32Array | Uint16Array | Int8Array | Uint8Array;
export const bytes = (x: Typed): Uint8Array => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
const whole = (b: Uint8Array): ArrayBuffer => b.slice().buffer as ArrayBuffer;
export const floats = (b: Uint8Array): Float32Array => new Float32Array(whole(b));
export const words = (b: Uint8Array): Int32Array => new Int32Array(whole(b));
export const halves = (b: Uint8Array): Uint16Array => new Uint16Array(whole(b));
export const signed = (b: Uint8Array): Int8Array => new Int8Array(whole(b));

/** The smallest and the largest of some numbers. */
export function rangeOf(x: Float32Array): { low: number; high: number; peak: number } {
  let low = Infinity;
  let high = -Infinity;
  let peak = 0;
  for (const v of x) {
    low = Math.min(low, v);
    high = Math.max(high, v);
    peak = Math.max(peak, Math.abs(v));
  }
  return { low, high, peak };
}
export const limit = (x: number, low: number, high: number): number =>
  Math.min(Math.max(x, low), high);

/** Patterns of f16 or bf16 numbers; NaN and Inf become small where they are not wanted. */
export function randomHalves(seed: number, count: number, special: boolean): Uint16Array {
  const next = integers(seed);
  return Uint16Array.from({ length: count }, () => {
    const bits = next() & 0xffff;
    return !special && (bits & 0x7c00) === 0x7c00 ? bits & 0x83ff : bits;
  });
}
/** Patterns of f32 numbers likewise. */
export function randomFloats(seed: number, count: number, special: boolean): Float32Array {
  const next = integers(seed);
  const bits = Uint32Array.from({ length: count }, () => {
    const word = next();
    return !special && (word & 0x7f800000) === 0x7f800000 ? word & 0x807fffff : word;
  });
  return new Float32Array(bits.buffer);
}
export function randomCodes(seed: number, count: number, bits: number): Uint8Array {
  const next = integers(seed);
  return Uint8Array.from({ length: count }, () => next() >>> (32 - bits));
}
