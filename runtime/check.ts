// `check: true`: results of a device against those of the reference interpreter, element by element.
import { isFloat } from '../compiler/ir/dtype.ts';
import type { HostArray } from './compiler-api.ts';
import { raise, shapeText } from './errors.ts';

export interface CheckOptions {
  /** Largest difference allowed in floats, relative to the largest magnitude of the result. */
  readonly tolerance: number;
}

interface Named {
  readonly name: string;
  readonly array: HostArray;
}

/** Throws with the worst element when a result differs by more than the tolerance; integers must be equal. */
export function compareResults(
  kernel: string,
  check: CheckOptions,
  found: readonly Named[],
  wanted: readonly HostArray[],
): void {
  found.forEach(({ name, array }, i) => {
    const want = wanted[i]!;
    let scale = 0;
    for (const x of want.data) if (Number.isFinite(x)) scale = Math.max(scale, Math.abs(x));
    const tolerance = isFloat(array.dtype) ? check.tolerance * scale : 0;
    let worst = -1;
    let most = tolerance;
    for (let k = 0; k < want.data.length; k++) {
      const d = distance(array.data[k]!, want.data[k]!);
      if (d > most) {
        most = d;
        worst = k;
      }
    }
    if (worst < 0) return;
    raise('Q5013', {
      kernel,
      result: name || 'the result',
      index: shapeText(unravel(worst, array.shape)),
      found: array.data[worst]!,
      expected: want.data[worst]!,
      difference: most,
      tolerance,
    });
  });
}

/** |a - b|, where equal infinities and two NaNs agree and any other mix of them is infinitely far apart. */
function distance(a: number, b: number): number {
  if (Object.is(a, b) || a === b) return 0;
  const d = Math.abs(a - b);
  return Number.isNaN(d) ? Infinity : d;
}

/** Index of a flat position in a shape. */
function unravel(flat: number, shape: readonly number[]): number[] {
  const out: number[] = [];
  for (let i = shape.length - 1; i >= 0; i--) {
    out.unshift(flat % shape[i]!);
    flat = Math.floor(flat / shape[i]!);
  }
  return out;
}
