// Oracles of the small-float formats: MX, FP8 with scales, NVFP4. Elements by enumeration (minifloat.ts), scales by loops
// over exponents.
import { f, fromHalf, roundAway, roundEven } from './half.ts';
import {
  bfloat,
  type Definition,
  definitions,
  encode,
  fromBfloat,
  type Rounding,
  toBfloat,
  codeValue,
} from './minifloat.ts';
import {
  bytes,
  floats,
  halves,
  limit,
  type PlaneReference,
  type Planes,
  randomCodes,
  randomFloats,
  randomHalves,
  rangeOf,
} from './planes.ts';

export type ScaleRule = 'floor' | 'ceil' | 'even' | 'rceil';
export interface MxOptions {
  readonly element: string;
  readonly rounding?: Rounding;
  readonly scale?: ScaleRule;
}

const names: Readonly<Record<string, string>> = {
  e4m3: 'f8e4m3',
  e5m2: 'f8e5m2',
  e2m3: 'f6e2m3',
  e3m2: 'f6e3m2',
  e2m1: 'f4e2m1',
};

/** Random bytes as 8-bit codes. A copy of a NaN may have other bits, so they are left out where these matter. */
function randomElements(d: Definition | undefined, seed: number, count: number, special: boolean) {
  const codes = randomCodes(seed, count, 8);
  if (special || !d || d.special === 'finite') return codes;
  return codes.map((c) => (Number.isNaN(codeValue(d, c)) ? c & 0xf8 : c));
}

/** The exponent of the largest power of two that is at most a, by trial. */
function floorLog2(a: number): number {
  let e = 127;
  while (2 ** e > a) e--;
  return e;
}
const ceilLog2 = (a: number): number => (2 ** floorLog2(a) === a ? floorLog2(a) : floorLog2(a) + 1);

/** Codes of a few bits, least significant bit first. */
function packBits(codes: ArrayLike<number>, bits: number): Uint8Array {
  const out = new Uint8Array((codes.length * bits) / 8);
  for (let i = 0; i < codes.length; i++)
    for (let b = 0; b < bits; b++)
      out[(i * bits + b) >> 3]! |= ((codes[i]! >> b) & 1) << ((i * bits + b) & 7);
  return out;
}
function unpackBits(from: Uint8Array, bits: number): Uint8Array {
  return Uint8Array.from({ length: (from.length * 8) / bits }, (_, i) => {
    let code = 0;
    for (let b = 0; b < bits; b++)
      code |= ((from[(i * bits + b) >> 3]! >> ((i * bits + b) & 7)) & 1) << b;
    return code;
  });
}

export function mx({
  element,
  rounding = 'even',
  scale: rule = 'floor',
}: MxOptions): PlaneReference {
  const d = definitions[names[element] ?? ''];
  const bits = d ? d.exponent + d.mantissa + 1 : 8;
  const mantissa = d ? d.mantissa : 6;
  const top = d ? floorLog2(Math.max(...magnitudesOf(element))) : 0;
  const largest = d ? Math.max(...magnitudesOf(element)) : 127 / 64;
  const exponentFor = (peak: number): number => {
    if (peak === 0) return -127;
    if (rule === 'floor') return floorLog2(peak) - top;
    if (rule === 'ceil') return ceilLog2(peak) - top;
    if (rule === 'rceil') return ceilLog2(f(peak / largest) || 2 ** -149);
    // Rounded to the mantissa of the element, ties up: from a half step below the next power of two.
    const e = Math.max(floorLog2(peak), -126);
    return (peak >= 2 ** (e + 1) * (1 - 2 ** -(mantissa + 2)) ? e + 1 : floorLog2(peak)) - top;
  };
  const rounders = { even: roundEven, away: roundAway, zero: Math.trunc };
  return {
    random: (n, k, seed, special) => ({
      elements: randomElements(d, seed, (n * k * bits) / 8, special),
      scales: Uint8Array.from({ length: (n * k) / 32 }, (_, i) =>
        special ? i & 255 : (i & 255) % 255,
      ),
    }),
    encode(x, n, k) {
      const scales = new Uint8Array((n * k) / 32);
      const codes = new Uint8Array(n * k);
      for (let b = 0; b < scales.length; b++) {
        const part = x.subarray(32 * b, 32 * b + 32);
        const bad = part.some((v) => !Number.isFinite(v));
        const e = limit(exponentFor(rangeOf(part).peak), -127, 127);
        scales[b] = bad ? 255 : e + 127;
        part.forEach((v, i) => {
          const y = bad ? 0 : f(v / 2 ** e);
          codes[32 * b + i] = d
            ? encode(d, y, rounding)
            : limit(rounders[rounding](f(y * 64)), -127, 127) & 255;
        });
      }
      return { elements: packBits(codes, bits), scales };
    },
    decode({ elements, scales }, n, k) {
      const codes = unpackBits(elements!, bits);
      return Float32Array.from({ length: n * k }, (_, i) => {
        const e = scales![i >> 5]!;
        const scale = e === 255 ? NaN : 2 ** (e - 127);
        const code = codes[i]!;
        return d ? f(codeValue(d, code) * scale) : f(f(((code << 24) >> 24) * scale) / 64);
      });
    },
  };
}
const magnitudesOf = (element: string): number[] => {
  const d = definitions[names[element]!]!;
  const codes = 1 << (d.exponent + d.mantissa);
  return Array.from({ length: codes }, (_, c) => codeValue(d, c)).filter(Number.isFinite);
};

export interface Float8Options {
  readonly per: 'tensor' | 'row' | 'tile';
  readonly element?: 'e4m3' | 'e5m2';
  readonly scale?: 'f32' | 'bf16';
}

export function float8({
  per,
  element = 'e4m3',
  scale: dtype = 'f32',
}: Float8Options): PlaneReference {
  const d = definitions[names[element]!]!;
  const largest = Math.max(...magnitudesOf(element));
  const store = (x: Float32Array): Uint8Array =>
    dtype === 'f32' ? bytes(x) : bytes(Uint16Array.from(x, toBfloat));
  const load = (b: Uint8Array): Float32Array =>
    dtype === 'f32' ? floats(b) : Float32Array.from(halves(b), fromBfloat);
  const plane = per === 'tile' ? 'weight_scale_inv' : 'weight_scale';
  const columns = (k: number): number => (per === 'tile' ? k / 128 : 1);
  const scalesOf = (n: number, k: number): number =>
    per === 'tensor' ? 1 : per === 'row' ? n : Math.ceil(n / 128) * columns(k);
  const groupOf = (at: number, k: number): number => {
    const r = Math.floor(at / k);
    return per === 'tensor' ? 0 : per === 'row' ? r : (r >> 7) * columns(k) + ((at % k) >> 7);
  };
  return {
    random: (n, k, seed, special) => ({
      weight: randomElements(d, seed, n * k, special),
      [plane]:
        dtype === 'f32'
          ? bytes(randomFloats(seed + 1, scalesOf(n, k), special))
          : bytes(
              randomHalves(seed + 1, scalesOf(n, k), special).map((v) =>
                special ? v : v & 0xbfff,
              ),
            ),
    }),
    encode(x, n, k) {
      const peaks = new Float32Array(scalesOf(n, k));
      x.forEach((v, at) => {
        peaks[groupOf(at, k)] = Math.max(peaks[groupOf(at, k)]!, Math.abs(v));
      });
      const round = dtype === 'f32' ? f : bfloat;
      const scales = peaks.map((p) => round(f(p / largest)) || 1);
      const weight = Uint8Array.from(x, (v, at) => encode(d, f(v / scales[groupOf(at, k)]!)));
      return { weight, [plane]: store(scales) };
    },
    decode(planes: Planes, n, k) {
      const scales = load(planes[plane]!);
      return Float32Array.from({ length: n * k }, (_, at) =>
        f(codeValue(d, planes.weight![at]!) * scales[groupOf(at, k)]!),
      );
    },
  };
}

const e4m3 = definitions.f8e4m3!;
const e2m1 = definitions.f4e2m1!;

/** NVFP4 of Model Optimizer, or of compressed-tensors, whose tensor scale is the inverse. */
export function nvfp4(writer: 'modelopt' | 'compressed-tensors'): PlaneReference {
  const isInverse = writer === 'compressed-tensors';
  const names = isInverse
    ? ['weight_packed', 'weight_scale', 'weight_global_scale']
    : ['weight', 'weight_scale', 'weight_scale_2'];
  const made = (codes: Uint8Array, scales: Uint8Array, whole: number): Planes => ({
    [names[0]!]: packBits(codes, 4),
    [names[1]!]: scales,
    [names[2]!]: bytes(Float32Array.of(whole)),
  });
  const combined = (scale: number, whole: number): number =>
    isInverse ? f(scale / whole) : f(scale * whole);
  return {
    random: (n, k, seed, special) =>
      made(
        randomCodes(seed, n * k, 4),
        Uint8Array.from({ length: (n * k) / 16 }, (_, i) =>
          special || (i & 127) !== 127 ? i & 255 : 0,
        ),
        randomFloats(seed + 1, 1, false)[0]!,
      ),
    encode(x, n, k) {
      const { peak } = rangeOf(x);
      const whole = isInverse ? f(2688 / peak) : f(peak / 2688);
      const scales = new Uint8Array((n * k) / 16);
      const codes = new Uint8Array(n * k);
      for (let b = 0; b < scales.length; b++) {
        const part = x.subarray(16 * b, 16 * b + 16);
        const most = rangeOf(part).peak;
        if (isInverse) {
          const code = encode(e4m3, f(whole * f(most / 6)));
          scales[b] = code === 0 ? encode(e4m3, 0.125) : code;
        } else {
          const exact = f(most / f(6 * whole));
          scales[b] = encode(e4m3, exact > 0 ? limit(exact, 2 ** -9, 448) : 1);
        }
        const step = combined(codeValue(e4m3, scales[b]!), whole);
        part.forEach((v, i) => {
          const y = f(v / step);
          codes[16 * b + i] = y === 0 ? 0 : encode(e2m1, y);
        });
      }
      return made(codes, scales, whole);
    },
    decode(planes, n, k) {
      const codes = unpackBits(planes[names[0]!]!, 4);
      const scales = planes[names[1]!]!;
      const whole = floats(planes[names[2]!]!)[0]!;
      return Float32Array.from({ length: n * k }, (_, i) =>
        f(codeValue(e2m1, codes[i]!) * combined(codeValue(e4m3, scales[i >> 4]!), whole)),
      );
    },
  };
}

const casts = {
  f32: { width: 4, to: f, from: (b: Uint8Array) => floats(b) },
  bf16: {
    width: 2,
    to: toBfloat,
    from: (b: Uint8Array) => Float32Array.from(halves(b), fromBfloat),
  },
  f16: {
    width: 2,
    to: (x: number) => encode(definitions.f16!, x),
    from: (b: Uint8Array) => Float32Array.from(halves(b), fromHalf),
  },
};

/** 2:4 sparsity with a bit mask. */
export function sparse24(value: 'f32' | 'bf16' | 'f16'): PlaneReference {
  const { to, from, width } = casts[value];
  return {
    random(n, k, seed) {
      const next = randomCodes(seed, (n * k) / 4, 8);
      const pairs = [3, 5, 6, 9, 10, 12];
      const masks = Array.from(next, (v) => pairs[v % 6]!);
      const kept = randomFloats(seed + 1, (n * k) / 2, false).map((v) =>
        width === 4 ? v : v % 60000,
      );
      return { compressed: stored(kept), bitmask: packBits(masks, 4) };
    },
    encode(x, n, k) {
      const kept: number[] = [];
      const masks: number[] = [];
      for (let at = 0; at < n * k; at += 4) {
        const order = [0, 1, 2, 3].sort(
          (a, b) => Math.abs(x[at + b]!) - Math.abs(x[at + a]!) || a - b,
        );
        const chosen = order.slice(0, 2).sort();
        masks.push(chosen.reduce((m, i) => m | (1 << i), 0));
        kept.push(...chosen.map((i) => x[at + i]!));
      }
      return { compressed: stored(Float32Array.from(kept)), bitmask: packBits(masks, 4) };
    },
    decode({ compressed, bitmask }, n, k) {
      const kept = from(compressed!);
      const masks = unpackBits(bitmask!, 4);
      const out = new Float32Array(n * k);
      let next = 0;
      for (let at = 0; at < n * k; at++)
        if ((masks[at >> 2]! >> (at & 3)) & 1) out[at] = kept[next++]!;
      return out;
    },
  };
  function stored(x: Float32Array): Uint8Array {
    return width === 4 ? bytes(x) : bytes(Uint16Array.from(x, to));
  }
}
