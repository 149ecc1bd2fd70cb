// What oracles of several ggml types share: packed scales and a codebook.

/** Scale j and minimum j of the 12 packed bytes. */
export function sixBits(bytes: Uint8Array, base: number, j: number): [number, number] {
  const at = (i: number): number => bytes[base + i]!;
  if (j < 4) return [at(j) & 63, at(j + 4) & 63];
  return [(at(j + 4) & 15) + 16 * (at(j - 4) >> 6), (at(j + 4) >> 4) + 16 * (at(j) >> 6)];
}

/** The levels of iq4_nl and iq4_xs. */
export const iq4Values = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
