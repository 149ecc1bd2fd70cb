// Seeded inputs of the format tests. Only exact arithmetic, so that the same seed gives the same
// bytes anywhere.

/** 32-bit integers from a seed (mulberry32). */
export function integers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

export function randomBytes(seed: number, count: number): Uint8Array {
  const next = integers(seed);
  return Uint8Array.from({ length: count }, () => next() >>> 24);
}

/** Bell-shaped weights (sum of four uniforms), scaled by 2^-4. */
export function weights(seed: number, count: number): Float32Array {
  const next = integers(seed);
  const uniform = (): number => next() / 2 ** 32 - 0.5;
  return Float32Array.from(
    { length: count },
    () => (uniform() + uniform() + uniform() + uniform()) / 16,
  );
}

type Fill = (i: number, next: () => number) => number;
const unit = (n: number): number => n / 2 ** 31 - 1;
/** One rule a block. None gives NaN, Inf or a scale whose inverse overflows. */
const rules: readonly Fill[] = [
  () => 0,
  () => -0,
  (i) => (i % 2 ? 0 : -0),
  (i) => (i % 2 ? -0 : 0),
  (i) => (i === 5 ? 1.25 : 0),
  (i) => (i === 5 ? -1.25 : 0),
  () => 0.3,
  () => -0.3,
  // Equal magnitudes of both signs: the first one is the peak.
  (i) => (i % 2 ? 1 : -1),
  (i) => (i % 2 ? -1 : 1),
  // Values on and beside the midpoints of grids.
  (i) => (i - 16) / 2,
  (i) => (i === 0 ? 127 : (i - 16) / 2),
  (i) => (i === 0 ? -127 : 0.49999997 + i),
  (i) => (i === 0 ? 8 : [0.5, 1.5, 2.5, 3.5, 5, 7, 10, -0.5, -1.5, -2.5, -5, -7][i % 12]! / 2),
  (i) => (i === 0 ? -2 : i % 2 ? 0.5 : -0.5),
  (i) => (i === 0 ? 226 : [-231, -187, -148, -114, -84, -57, -32, -9, 14, 38, 63, 91][i % 12]! / 2),
  // Negative peak, positive peak, one-sided.
  (i, next) => unit(next()) - (i === 7 ? 3 : 0),
  (i, next) => unit(next()) + (i === 7 ? 3 : 0),
  (_, next) => Math.abs(unit(next())) + 1,
  (_, next) => -Math.abs(unit(next())) - 1,
  // Small: f16 scales turn subnormal, then 0; then f32 subnormals, though not as the peak.
  (_, next) => unit(next()) * 2 ** -14,
  (_, next) => unit(next()) * 2 ** -20,
  (_, next) => unit(next()) * 2 ** -40,
  (_, next) => unit(next()) * 2 ** -52,
  (_, next) => unit(next()) * 2 ** -110,
  // Large: f16 scales overflow to Inf.
  (_, next) => unit(next()) * 2 ** 15,
  (_, next) => unit(next()) * 2 ** 18,
  // One outlier among small values.
  (i, next) => (i === 11 ? 1000 : unit(next()) * 0.01),
  // Powers of two and their neighbours below.
  (i) => (i === 0 ? 1 : 2 ** -(i % 20)),
  (i) => (i === 0 ? 1023.99994 : i),
  (i) => (i === 0 ? 0.0624999963 : i / 1024),
  (i) => (i === 0 ? 15.9999981 : i / 4),
];

/**
 * Where least-squares sums leave the range of f32: no search is meaningful, closed forms still are.
 */
const extremes: readonly Fill[] = [
  (i, next) => (i === 3 ? 2 ** -100 : unit(next()) * 2 ** -130),
  (_, next) => unit(next()) * 2 ** 60,
  (_, next) => unit(next()) * 2 ** 125,
];

/** Blocks that meet the edges of the quantizers, `repeats` of each rule with different numbers. */
export function adversarial(
  seed: number,
  block: number,
  options: { extreme?: boolean; repeats?: number } = {},
): Float32Array {
  const { extreme = false, repeats = 4 } = options;
  const used = extreme ? [...rules, ...extremes] : rules;
  const next = integers(seed);
  const out = new Float32Array(used.length * repeats * block);
  for (let b = 0; b < used.length * repeats; b++)
    for (let i = 0; i < block; i++)
      // A long block repeats the rule every 32, 64, 96 or 128 elements, with other random numbers.
      out[b * block + i] = used[b % used.length]!(
        block === 32 ? i : i % (32 * (1 + (b & 3))),
        next,
      );
  return out;
}

/** One array after the other. */
export function join(...parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

/** Importance of columns: squares of uniform numbers, none of them 0. */
export function importance(seed: number, count: number): Float32Array {
  const next = integers(seed);
  return Float32Array.from({ length: count }, () => {
    const u = next() / 2 ** 32;
    return u * u * 4 + 2 ** -10;
  });
}
