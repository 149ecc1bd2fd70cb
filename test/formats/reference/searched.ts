// Oracles of ggml types whose encoder searches: q4_K, q6_K and iq4_nl. Scalar, with f32 sums in
// element order.
import { f, getHalf, putHalf, roundEven } from './half.ts';
import { iq4Values, sixBits } from './places.ts';
import type { BlockReference } from './reference.ts';

const clip = (low: number, high: number, x: number): number => Math.min(Math.max(x, low), high);

interface Fit {
  scale: number;
  /** Subtracted; at least 0. */
  offset: number;
  /** What the search ended with: stays where the rounded scale is 0. */
  codes: number[];
}

/** Fit of one group of 32 values. */
function affineFit(x: Float32Array): Fit {
  const n = x.length;
  let squares = 0;
  for (const v of x) squares = f(squares + f(v * v));
  const rms = f(Math.sqrt(f(squares / 32)));
  const w = x.map((v) => f(rms + Math.abs(v)));
  let low = x[0]!;
  let high = x[0]!;
  let sumW = 0;
  let sumX = 0;
  for (let i = 0; i < n; i++) {
    low = Math.min(low, x[i]!);
    high = Math.max(high, x[i]!);
    sumW = f(sumW + w[i]!);
    sumX = f(sumX + f(w[i]! * x[i]!));
  }
  if (low > 0) low = 0;
  if (high === low) return { scale: 0, offset: -low, codes: Array(n).fill(0) };
  const codesAt = (density: number): number[] =>
    Array.from(x, (v) => clip(0, 15, roundEven(f(density * f(v - low)))));
  const errorOf = (codes: number[], scale: number, at: number): number => {
    let error = 0;
    for (let i = 0; i < n; i++) {
      const off = f(f(f(scale * codes[i]!) + at) - x[i]!);
      error = f(error + f(w[i]! * f(off * off)));
    }
    return error;
  };
  const plain = f(15 / f(high - low));
  let scale = f(1 / plain);
  let kept = codesAt(plain);
  let best = errorOf(kept, scale, low);
  for (let step = 0; step <= 20; step++) {
    const codes = codesAt(f(f(f(-1 + f(f(0.1) * step)) + 15) / f(high - low)));
    let sumL = 0;
    let sumLL = 0;
    let sumXL = 0;
    for (let i = 0; i < n; i++) {
      const wl = f(w[i]! * codes[i]!);
      sumL = f(sumL + wl);
      sumLL = f(sumLL + f(wl * codes[i]!));
      sumXL = f(sumXL + f(wl * x[i]!));
    }
    const det = f(f(sumW * sumLL) - f(sumL * sumL));
    if (!(det > 0)) continue;
    let newScale = f(f(f(sumW * sumXL) - f(sumX * sumL)) / det);
    let newLow = f(f(f(sumLL * sumX) - f(sumL * sumXL)) / det);
    if (newLow > 0) {
      newLow = 0;
      newScale = f(sumXL / sumLL);
    }
    const error = errorOf(codes, newScale, newLow);
    if (error < best) {
      best = error;
      scale = newScale;
      low = newLow;
      kept = codes;
    }
  }
  return { scale, offset: -low, codes: kept };
}

export const q4_K: BlockReference = {
  values: 256,
  bytes: 144,
  halves: [0, 2],
  encodeBlock(x, out) {
    out.fill(0);
    const fits = Array.from({ length: 8 }, (_, j) => affineFit(x.subarray(32 * j, 32 * j + 32)));
    const topScale = fits.reduce((m, g) => Math.max(m, g.scale), 0);
    const topOffset = fits.reduce((m, g) => Math.max(m, g.offset), 0);
    const toScale = topScale > 0 ? f(63 / topScale) : 0;
    const toOffset = topOffset > 0 ? f(63 / topOffset) : 0;
    putHalf(out, 0, f(topScale / 63));
    putHalf(out, 2, f(topOffset / 63));
    fits.forEach((g, j) => {
      const s = Math.min(63, roundEven(f(toScale * g.scale)));
      const m = Math.min(63, roundEven(f(toOffset * g.offset)));
      if (j < 4) {
        out[4 + j]! |= s;
        out[8 + j]! |= m;
      } else {
        out[8 + j] = (s & 15) | ((m & 15) << 4);
        out[j]! |= (s >> 4) << 6;
        out[4 + j]! |= (m >> 4) << 6;
      }
    });
    const d = getHalf(out, 0);
    const dmin = getHalf(out, 2);
    for (let i = 0; i < 256; i++) {
      const j = i >> 5;
      const [s, m] = sixBits(out, 4, j);
      const unit = f(d * s);
      const code = unit
        ? clip(0, 15, roundEven(f(f(x[i]! + f(dmin * m)) / unit)))
        : fits[j]!.codes[i & 31]!;
      out[16 + 32 * (j >> 1) + (i & 31)]! |= code << (4 * (j & 1));
    }
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 0);
    const dmin = getHalf(bytes, 2);
    for (let i = 0; i < 256; i++) {
      const j = i >> 5;
      const [s, m] = sixBits(bytes, 4, j);
      const code = (bytes[16 + 32 * (j >> 1) + (i & 31)]! >> (4 * (j & 1))) & 15;
      y[i] = f(f(f(d * s) * code) - f(dmin * m));
    }
  },
};

/** The value of largest magnitude, the first of equals. */
function peakOf(x: Float32Array): number {
  let peak = 0;
  for (const v of x) if (Math.abs(v) > Math.abs(peak)) peak = v;
  return peak;
}

interface Moments {
  dot: number;
  norm: number;
}
/** Least-squares moments of x against the values q of its codes, weights x * x. */
function moments(x: Float32Array, q: readonly number[], codeFirst: boolean): Moments {
  let dot = 0;
  let norm = 0;
  x.forEach((v, i) => {
    const w = f(v * v);
    dot = f(dot + (codeFirst ? f(f(w * q[i]!) * v) : f(f(w * v) * q[i]!)));
    norm = f(norm + f(f(w * q[i]!) * q[i]!));
  });
  return { dot, norm };
}

/** Scale and levels of one group of 16 values. */
function signedFit(x: Float32Array): { scale: number; levels: number[] } {
  const peak = peakOf(x);
  if (Math.abs(peak) < f(1e-15)) return { scale: 0, levels: Array(16).fill(-32) };
  const levelsAt = (inverse: number): number[] =>
    Array.from(x, (v) => clip(-32, 31, roundEven(f(inverse * v))));
  let levels = levelsAt(f(-32 / peak));
  const first = moments(x, levels, false);
  let scale = first.norm ? f(first.dot / first.norm) : 0;
  let best = f(scale * first.dot);
  for (let step = -9; step <= 9; step++) {
    if (step === 0) continue;
    const tried = levelsAt(f(-f(32 + f(f(0.1) * step)) / peak));
    const { dot, norm } = moments(x, tried, false);
    if (norm > 0 && f(dot * dot) > f(best * norm)) {
      scale = f(dot / norm);
      best = f(scale * dot);
      levels = tried;
    }
  }
  return { scale, levels };
}

/** Where element i lives: its low nibble and its two high bits. */
function q6Place(i: number): { low: number; lowShift: number; high: number; highShift: number } {
  const half = i >> 7;
  const quarter = (i >> 5) & 3;
  const l = i & 31;
  return {
    low: 64 * half + 32 * (quarter & 1) + l,
    lowShift: quarter < 2 ? 0 : 4,
    high: 128 + 32 * half + l,
    highShift: 2 * quarter,
  };
}

export const q6_K: BlockReference = {
  values: 256,
  bytes: 210,
  halves: [208],
  encodeBlock(x, out) {
    out.fill(0);
    const fits = Array.from({ length: 16 }, (_, j) => signedFit(x.subarray(16 * j, 16 * j + 16)));
    const top = peakOf(Float32Array.from(fits, (g) => g.scale));
    if (Math.abs(top) < f(1e-15)) return;
    const inverse = f(-128 / top);
    putHalf(out, 208, f(1 / inverse));
    const d = getHalf(out, 208);
    for (let i = 0; i < 256; i++) {
      const j = i >> 4;
      const s = Math.min(127, roundEven(f(inverse * fits[j]!.scale)));
      out[192 + j] = s & 255;
      const unit = f(d * s);
      const level = unit ? clip(-32, 31, roundEven(f(x[i]! / unit))) : fits[j]!.levels[i & 15]!;
      const code = level + 32;
      const p = q6Place(i);
      out[p.low]! |= (code & 15) << p.lowShift;
      out[p.high]! |= (code >> 4) << p.highShift;
    }
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 208);
    for (let i = 0; i < 256; i++) {
      const s = (bytes[192 + (i >> 4)]! << 24) >> 24;
      const p = q6Place(i);
      const low = (bytes[p.low]! >> p.lowShift) & 15;
      const high = (bytes[p.high]! >> p.highShift) & 3;
      y[i] = f(f(d * s) * (low + 16 * high - 32));
    }
  },
};

/** Code of the nearest value; the upper one half way. */
function iq4Nearest(v: number): number {
  let code = 0;
  while (code < 15 && f(v + v) >= iq4Values[code]! + iq4Values[code + 1]!) code++;
  return code;
}

export const iq4_nl: BlockReference = {
  values: 32,
  bytes: 18,
  halves: [0],
  encodeBlock(x, out) {
    const peak = peakOf(x);
    let d = 0;
    if (Math.abs(peak) >= f(1e-15)) {
      const tryScale = (inverse: number): Moments =>
        moments(
          x,
          Array.from(x, (v) => iq4Values[iq4Nearest(f(inverse * v))]!),
          true,
        );
      const first = tryScale(f(1 / f(-peak / -127)));
      d = first.norm > 0 ? f(first.dot / first.norm) : 0;
      let best = f(d * first.dot);
      for (let step = -7; step <= 7; step++) {
        const { dot, norm } = tryScale(f((step - 127) / peak));
        if (norm > 0 && f(dot * dot) > f(best * norm)) {
          d = f(dot / norm);
          best = f(d * dot);
        }
      }
    }
    putHalf(out, 0, d);
    const id = d ? f(1 / d) : 0;
    for (let j = 0; j < 16; j++)
      out[2 + j] = iq4Nearest(f(id * x[j]!)) | (iq4Nearest(f(id * x[j + 16]!)) << 4);
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 0);
    for (let j = 0; j < 16; j++) {
      y[j] = iq4Values[bytes[2 + j]! & 15]! * d;
      y[j + 16] = iq4Values[bytes[2 + j]! >> 4]! * d;
    }
  },
};
