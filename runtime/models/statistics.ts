// What is counted of a tensor while its rows go by: a histogram whose range grows with the values, and how far two
// versions of it are apart, block by block.

/** Counts in equal bins over -range to range; `range` is a power of two above every magnitude seen. */
export class Histogram {
  readonly counts: Float64Array;
  range = 0;
  zeros = 0;
  nonfinite = 0;
  count = 0;
  #sum = 0;
  #squares = 0;
  min = Infinity;
  max = -Infinity;

  /** `bins` is a multiple of 4. */
  constructor(bins = 64) {
    this.counts = new Float64Array(bins);
  }

  get mean(): number {
    return this.#sum / Math.max(1, this.count);
  }
  get rms(): number {
    return Math.sqrt(this.#squares / Math.max(1, this.count));
  }

  add(values: Float32Array): void {
    const bins = this.counts.length;
    for (let i = 0; i < values.length; i++) {
      const x = values[i]!;
      if (!Number.isFinite(x)) {
        this.nonfinite++;
        continue;
      }
      const size = Math.abs(x);
      if (size >= this.range && size > 0) this.#widen(size);
      this.count++;
      this.#sum += x;
      this.#squares += x * x;
      if (x === 0) this.zeros++;
      if (x < this.min) this.min = x;
      if (x > this.max) this.max = x;
      // Exact, as the range is a power of two: the bins stay the same ones when it grows.
      const at = this.range ? Math.floor((x / this.range) * (bins / 2)) + bins / 2 : bins / 2;
      const bin = Math.min(bins - 1, at);
      this.counts[bin] = this.counts[bin]! + 1;
    }
  }

  /** Doubles the range until it is above `size`: two bins become one, around the middle. */
  #widen(size: number): void {
    if (this.range === 0) {
      this.range = 2 ** (Math.floor(Math.log2(size)) + 1);
      return;
    }
    const bins = this.counts.length;
    while (this.range <= size) {
      const old = this.counts.slice();
      this.counts.fill(0);
      for (let i = 0; i < bins; i++) {
        const to = bins / 4 + Math.floor(i / 2);
        this.counts[to] = this.counts[to]! + old[i]!;
      }
      this.range *= 2;
    }
  }

  /** The bins between which all values lie. */
  get span(): readonly [number, number] {
    const first = this.counts.findIndex((n) => n > 0);
    return first < 0 ? [0, 0] : [first, this.counts.findLastIndex((n) => n > 0) + 1];
  }
}

/** A stretch of a row and how far it is off. */
export interface WorstBlock {
  readonly row: number;
  readonly column: number;
  readonly columns: number;
  /** Root of the sum of squared differences, over that of the whole tensor's norm per block. */
  readonly error: number;
  readonly largest: number;
}

/** Two versions of a tensor, compared as their rows go by. */
export class Difference {
  squaredError = 0;
  squaredNorm = 0;
  largest = 0;
  readonly #columns: number;
  readonly #block: number;
  readonly #keep: number;
  #worst: WorstBlock[] = [];

  constructor(columns: number, block: number, keep: number) {
    this.#columns = columns;
    this.#block = Math.min(block, Math.max(1, columns));
    this.#keep = keep;
  }

  /** ||A - B|| / ||A||; ||A - B|| itself where A is zero. */
  get relativeError(): number {
    return Math.sqrt(this.squaredError / (this.squaredNorm || 1));
  }
  /** From the worst on, by the norm of the difference. */
  get worst(): readonly WorstBlock[] {
    return this.#worst;
  }

  add(firstRow: number, a: Float32Array, b: Float32Array): void {
    const columns = this.#columns;
    for (let start = 0; start < a.length; ) {
      const column = start % columns;
      const width = Math.min(this.#block, columns - column);
      let error = 0;
      let largest = 0;
      for (let i = start; i < start + width; i++) {
        const x = a[i]!;
        const y = b[i]!;
        // Two infinities of one sign, or two NaNs, are no difference.
        const d = Object.is(x, y) || x === y ? 0 : x - y;
        error += d * d;
        this.squaredNorm += x * x;
        // Written so that NaN counts as the largest.
        if (!(Math.abs(d) <= largest)) largest = Math.abs(d);
      }
      this.squaredError += error;
      if (!(largest <= this.largest)) this.largest = largest;
      const row = firstRow + Math.floor(start / columns);
      if (error !== 0)
        this.#rank({ row, column, columns: width, error: Math.sqrt(error), largest });
      start += width;
    }
  }

  #rank(block: WorstBlock): void {
    const worst = this.#worst;
    const size = (w: WorstBlock): number => (Number.isNaN(w.error) ? Infinity : w.error);
    if (worst.length === this.#keep && size(block) <= size(worst.at(-1)!)) return;
    // The first of equal blocks stays in front.
    const at = worst.findIndex((w) => size(w) < size(block));
    worst.splice(at < 0 ? worst.length : at, 0, block);
    if (worst.length > this.#keep) worst.pop();
  }
}

/** Cells of an error map, at most. */
const MAP_ROWS = 48;
const MAP_COLUMNS = 96;
/** Weights and decoded weights are counted as parts of the largest of so many neighbours. */
const NEIGHBOURS = 32;
const PARTS = 240;

/** What a report draws of a tensor. */
export class Picture {
  readonly #rows: number;
  readonly #columns: number;
  readonly mapRows: number;
  readonly mapColumns: number;
  readonly #error: Float64Array;
  readonly #norm: Float64Array;
  /** Over -1 to 1. */
  readonly weights = new Float64Array(PARTS);
  readonly levels = new Float64Array(PARTS);

  constructor(rows: number, columns: number) {
    this.#rows = rows;
    this.#columns = columns;
    this.mapRows = Math.min(MAP_ROWS, rows);
    this.mapColumns = Math.min(MAP_COLUMNS, Math.ceil(columns / NEIGHBOURS));
    this.#error = new Float64Array(this.mapRows * this.mapColumns);
    this.#norm = new Float64Array(this.mapRows * this.mapColumns);
  }

  /** Relative error of each cell, row by row. */
  get map(): number[] {
    return Array.from(this.#error, (e, i) => Math.sqrt(e / (this.#norm[i]! || 1)));
  }

  add(firstRow: number, before: Float32Array, after: Float32Array): void {
    const columns = this.#columns;
    const count = (into: Float64Array, part: number): void => {
      if (!(Math.abs(part) <= 1.25)) return;
      const bin = Math.max(0, Math.min(PARTS - 1, Math.floor(((part + 1) * PARTS) / 2)));
      into[bin] = into[bin]! + 1;
    };
    for (let start = 0; start < before.length; ) {
      const column = start % columns;
      const end = start + Math.min(NEIGHBOURS, columns - column);
      let top = 0;
      for (let i = start; i < end; i++) top = Math.max(top, Math.abs(before[i]!));
      const row = firstRow + Math.floor(start / columns);
      const y = Math.floor((row * this.mapRows) / this.#rows);
      const x = Math.floor((column * this.mapColumns) / columns);
      const cell = y * this.mapColumns + x;
      for (let i = start; i < end; i++) {
        const d = before[i]! - after[i]!;
        this.#error[cell] = this.#error[cell]! + d * d;
        this.#norm[cell] = this.#norm[cell]! + before[i]! * before[i]!;
        if (top > 0) {
          count(this.weights, before[i]! / top);
          count(this.levels, after[i]! / top);
        }
      }
      start = end;
    }
  }
}
