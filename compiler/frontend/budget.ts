// What staging may spend on one file. Kernel files are untrusted: endless loops, runaway recursion and huge
// constants end with a diagnostic, in bounded time and memory, whatever the file says.
import { fail } from '../diagnostics/diagnostic.ts';
import type { Poly } from '../ir/algebra.ts';
import { Builder } from '../ir/builder.ts';
import type { Region, Value } from '../ir/ir.ts';
import type { OpAttrs, OpName } from '../ir/ops.ts';

const maxSteps = 500_000;
const maxOps = 20_000;
const maxDepth = 160;
const maxArray = 1_000_000;
const maxElements = 5_000_000;
const maxText = 100_000;
const maxRank = 16;
const maxTerms = 64;
const maxDegree = 16;
export const maxSourceLength = 2_000_000;

const count = (n: number, what: string): string => `${n.toLocaleString('en-US')} ${what}`;

export class Budget {
  #steps = 0;
  #ops = 0;
  #calls = 0;
  #elements = 0;

  /** One expression or statement is about to be staged. */
  step(): void {
    this.#steps += 1;
    if (this.#steps > maxSteps)
      fail('Q1006', {
        limit: count(maxSteps, 'steps'),
        hint: 'A constant loop or a recursion does not end, or unrolls too far; `for (const i of range(n))` loops when the kernel runs.',
      });
  }

  op(results: readonly Value[]): void {
    this.#ops += 1;
    if (this.#ops > maxOps)
      fail('Q1006', {
        limit: count(maxOps, 'operations'),
        hint: 'A loop over constants unrolls too far; `for (const i of range(n))` loops when the kernel runs.',
      });
    for (const v of results)
      if (v.type.shape.length > maxRank)
        fail('Q1006', { limit: count(maxRank, 'axes of a tensor'), hint: 'Use fewer axes.' });
  }

  call<T>(body: () => T): T {
    this.#calls += 1;
    try {
      if (this.#calls > maxDepth)
        fail('Q1006', {
          limit: count(maxDepth, 'nested calls'),
          hint: 'Recursion must end on values known at compile time.',
        });
      return body();
    } finally {
      this.#calls -= 1;
    }
  }

  /** An array of `n` elements is about to be made. */
  array(n: number): void {
    this.#elements += n;
    if (n > maxArray || this.#elements > maxElements)
      fail('Q1006', {
        limit:
          n > maxArray
            ? count(maxArray, 'elements of an array')
            : count(maxElements, 'elements of arrays'),
        hint: 'Use iota(), zeros() or full() for large tensors.',
      });
  }

  text(s: string): string {
    if (s.length > maxText)
      fail('Q1006', { limit: count(maxText, 'characters of text'), hint: 'Use shorter text.' });
    return s;
  }

  /** Dims may grow without bound under multiplication; what a kernel needs stays small. */
  poly(p: Poly): Poly {
    const terms = [...p.terms.values()];
    const isLarge =
      terms.length > maxTerms ||
      terms.some(
        (t) =>
          t.atoms.length > maxDegree || !Number.isSafeInteger(t.n) || !Number.isSafeInteger(t.d),
      );
    if (isLarge)
      fail('Q1006', { limit: 'the size of an expression of dims', hint: 'Use simpler shapes.' });
    return p;
  }
}

/** A builder that stops when a kernel has too many operations, and checks sizes on the way. */
export class BoundedBuilder extends Builder {
  readonly #budget: Budget;

  constructor(budget: Budget) {
    super();
    this.#budget = budget;
  }

  override op<K extends OpName>(
    name: K,
    operands: readonly Value[],
    attrs: OpAttrs[K],
    regions: readonly Region[] = [],
  ): readonly Value[] {
    const results = super.op(name, operands, attrs, regions);
    this.#budget.op(results);
    for (const v of results) for (const d of v.type.shape) this.#budget.poly(d);
    return results;
  }
}
