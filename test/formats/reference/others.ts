// Oracles of the formats without a ggml struct: nf4, the uniform grids, bitnet.
import { f, fromHalf, roundEven, toHalf } from './half.ts';

export const nf4Codebook = Float32Array.of(
  -1,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1,
);

/** The decision tree, three comparisons to a pair of codes and one more to the code. NaN falls to 0. */
export function nf4Code(v: number): number {
  const above = (t: number): boolean => v > f(t);
  if (above(0.03979014977812767)) {
    if (above(0.3893125355243683)) {
      if (above(0.6427869200706482)) return above(0.8614784181118011) ? 15 : 14;
      return above(0.5016634166240692) ? 13 : 12;
    }
    if (above(0.2035212516784668)) return above(0.2920137718319893) ? 11 : 10;
    return above(0.1202552504837513) ? 9 : 8;
  }
  if (above(-0.33967943489551544)) {
    if (above(-0.13791173323988914)) return above(-0.045525018125772476) ? 7 : 6;
    return above(-0.23460740596055984) ? 5 : 4;
  }
  if (above(-0.6106329262256622)) return above(-0.4599952697753906) ? 3 : 2;
  return above(-0.8480964004993439) ? 1 : 0;
}

export function nf4Quantize(
  x: Float32Array,
  block = 64,
): { packed: Uint8Array; absmax: Float32Array } {
  const packed = new Uint8Array(x.length / 2);
  const absmax = new Float32Array(x.length / block);
  for (let b = 0; b < absmax.length; b++) {
    for (let i = 0; i < block; i++) absmax[b] = Math.max(absmax[b]!, Math.abs(x[b * block + i]!));
    const inverse = f(1 / absmax[b]!);
    for (let i = 0; i < block; i++) {
      const at = b * block + i;
      packed[at >> 1]! |= nf4Code(f(x[at]! * inverse)) << (at % 2 ? 0 : 4);
    }
  }
  return { packed, absmax };
}

export function nf4Dequantize(packed: Uint8Array, absmax: Float32Array, block = 64): Float32Array {
  return Float32Array.from({ length: packed.length * 2 }, (_, i) => {
    const code = i % 2 ? packed[i >> 1]! & 15 : packed[i >> 1]! >> 4;
    return nf4Codebook[code]! * absmax[Math.floor(i / block)]!;
  });
}

/** Quantizes and decodes at once: the grid has no byte format of its own. */
export function uniformRoundTrip(
  x: Float32Array,
  { bits, group, symmetric }: { bits: number; group: number; symmetric: boolean },
): Float32Array {
  const y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += group) {
    const part = x.subarray(start, start + group);
    let low = 0;
    let high = 0;
    for (const v of part) {
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
    const top = symmetric ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
    const bottom = symmetric ? -top - 1 : 0;
    const reach = symmetric ? Math.max(-low, high) : f(high - low);
    const scale = fromHalf(toHalf(f(reach / top)));
    const step = scale || 1;
    const zero = symmetric ? 0 : Math.min(Math.max(roundEven(f(-low / step)), 0), top);
    part.forEach((v, i) => {
      const q = Math.min(Math.max(roundEven(f(v / step)) + zero, bottom), top);
      y[start + i] = (q - zero) * scale;
    });
  }
  return y;
}

/** Scale (in double, rounded once) and codes of BitNet b1.58. */
export function bitnetQuantize(w: Float32Array): { scale: number; codes: Int8Array } {
  let total = 0;
  for (const v of w) total += Math.abs(v);
  const scale = f(total / w.length);
  return { scale, codes: bitnetCodes(w, scale) };
}
export function bitnetCodes(w: Float32Array, scale: number): Int8Array {
  const divisor = f(scale + f(1e-5));
  return Int8Array.from(w, (v) => roundEven(Math.min(Math.max(f(v / divisor), -1), 1)));
}
