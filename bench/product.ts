// The operands of a matrix product: weights [N, K], activations [M, K], and the values that results must have. Random, the
// same for everybody: peers get the codes and scales that Quern's encoder made, so all multiply the same weights.
import type { Expected } from './contest.ts';
import { noise } from './measure.ts';

/** Weights that share a scale, in all formats that peers know. */
export const BLOCK = 32;

/** Weights in a format of 2, 4 or 8 bits with one scale a block, in parts that any engine's layout can be made of. */
export interface Codes {
  readonly n: number;
  readonly k: number;
  readonly bits: 2 | 4 | 8;
  /** Of each weight: 0 to 3 and 0 to 15 for -2 to 1 and -8 to 7, or -127 to 127 as they are. */
  readonly codes: ArrayLike<number>;
  /** One a block, and their f16 bits. */
  readonly scales: Float32Array<ArrayBuffer>;
  readonly halves: Uint16Array;
}

/** What the subjects of a case multiply. */
export interface Source {
  readonly product: Product;
  /** Copies to rotate over of weights that take so many bytes. */
  readonly copies: (bytes: number) => number;
  /** For weights as the format of the case stores them. */
  readonly expected: (m: number) => Promise<Expected>;
}

/** Most rows of activations of any case. */
export const mostRows = 128;

/** What the numbers of a result may be off, as a share of the root mean square of the exact ones. */
export const tolerances = {
  /** Sums of thousands of f32 products, in any order. */
  f32: 1e-4,
  /** Activations rounded to 8 bits, a scale for each 32 of them: an error of 0.4 % of the root mean square, the largest of 60. */
  q8: 0.03,
  /** One scale for a whole row of activations. */
  q8PerRow: 0.08,
} as const;

export class Product {
  readonly n: number;
  readonly k: number;
  readonly weights: Float32Array<ArrayBuffer>;
  readonly activations: Float32Array<ArrayBuffer>;
  #transposed: Float32Array<ArrayBuffer> | undefined;
  readonly #rows: readonly number[];

  constructor(n: number, k: number) {
    this.n = n;
    this.k = k;
    this.weights = noise(n * k);
    this.activations = noise(mostRows * k, 2);
    const spread = Array.from({ length: 24 }, (_, i) => (i * 2654435761) % n);
    this.#rows = [...new Set([0, 1, 2, 3, 5, (n >> 1) + 1, n - 2, n - 1, ...spread])];
  }

  /** The weights as most libraries want them: [K, N]. */
  get transposed(): Float32Array<ArrayBuffer> {
    this.#transposed ??= transpose(this.weights, this.n, this.k);
    return this.#transposed;
  }

  x(m: number): Float32Array<ArrayBuffer> {
    return this.activations.subarray(0, m * this.k);
  }

  /** Operations of the product: a multiplication and an addition for each weight and row. */
  ops(m: number): number {
    return 2 * m * this.n * this.k;
  }

  /** Of the first and the last row of x · wᵀ, for weights that mean `w`. */
  expected(m: number, w: ArrayLike<number>): Expected {
    const at: number[] = [];
    const values: number[] = [];
    for (const row of new Set([0, m - 1]))
      for (const n of this.#rows) {
        let sum = 0;
        for (let k = 0; k < this.k; k += 1)
          sum += this.activations[row * this.k + k]! * w[n * this.k + k]!;
        at.push(row * this.n + n);
        values.push(sum);
      }
    return { at, values };
  }
}

/** [rows, columns] to [columns, rows], in squares that stay in the cache. */
export function transpose<T extends Float32Array | Int8Array>(
  x: T,
  rows: number,
  columns: number,
): T {
  const out = new (x.constructor as new (length: number) => T)(rows * columns);
  const side = 32;
  for (let r0 = 0; r0 < rows; r0 += side)
    for (let c0 = 0; c0 < columns; c0 += side)
      for (let r = r0; r < Math.min(r0 + side, rows); r += 1)
        for (let c = c0; c < Math.min(c0 + side, columns); c += 1)
          out[c * rows + r] = x[r * columns + c]!;
  return out;
}

/** The product's weights in 8 bits with one scale an output, the classic form of int8 inference. */
export function perChannel(p: Product): { codes: Int8Array; scales: Float32Array<ArrayBuffer> } {
  const codes = new Int8Array(p.n * p.k);
  const scales = new Float32Array(p.n);
  for (let n = 0; n < p.n; n += 1) {
    const row = p.weights.subarray(n * p.k, (n + 1) * p.k);
    let top = 0;
    for (const w of row) top = Math.max(top, Math.abs(w));
    scales[n] = top / 127;
    for (let k = 0; k < p.k; k += 1) codes[n * p.k + k] = Math.round(row[k]! / scales[n]!);
  }
  return { codes, scales };
}
