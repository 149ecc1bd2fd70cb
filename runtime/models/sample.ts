// Choosing the next token. Temperature 0 takes the most likely one; otherwise the draw is seeded, so that a run
// can be repeated.

/** A small counter-based generator: the draw depends on seed and step alone. Uniform in [0, 1). */
export function uniformDraw(seed: number, step: number): number {
  let x = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) + Math.imul(step + 1, 0xc2b2ae35)) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32;
}

/** A token drawn from softmax(logits / temperature); `u` is uniform in [0, 1). */
export function sampleToken(logits: ArrayLike<number>, temperature: number, u: number): number {
  let top = -Infinity;
  for (let i = 0; i < logits.length; i += 1) top = Math.max(top, logits[i]!);
  const weights = Float64Array.from(logits, (x) => Math.exp((x - top) / temperature));
  let left = u * weights.reduce((a, b) => a + b, 0);
  for (let i = 0; i < weights.length; i += 1) {
    left -= weights[i]!;
    if (left < 0) return i;
  }
  return weights.length - 1;
}
