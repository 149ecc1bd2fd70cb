// When an update may write into the array of its operand. Values never change for who looks at them; but a loop that
// sets one element a pass would copy the whole tensor each time. An array is owned when an update made it and no
// value but the newest can see it; the operand's value must also have no reader behind the update.
import type { Op, Region, Value } from '../ir/ir.ts';
import { walk } from '../ir/ir.ts';
import type { Concrete, Data } from './concrete.ts';

/** Updates of a region after which nobody in the region reads the operand. */
function lastReaders(region: Region, isHeader: boolean): ReadonlySet<Op> {
  const last = new Map<Value, Op | undefined>();
  const seen = (v: Value, op?: Op): void => {
    last.set(v, op);
  };
  const mine = new Set<Value>(isHeader ? [] : region.params);
  const out = new Set<Op>();
  for (const op of region.ops) {
    for (const v of op.operands) seen(v, op);
    for (const r of op.regions) {
      const captured = (v: Value): void => seen(v, op);
      walk(r, (o) => {
        o.operands.forEach(captured);
        for (const q of o.regions) q.yields.forEach(captured);
      });
      r.yields.forEach(captured);
    }
    for (const v of op.results) mine.add(v);
  }
  for (const v of region.yields) seen(v);
  for (const op of region.ops) {
    const [x, ...rest] = op.operands;
    if (op.name === 'set' && mine.has(x!) && last.get(x!) === op && !rest.includes(x!)) out.add(op);
  }
  return out;
}

export class Ownership {
  readonly #owned = new WeakSet<Data>();
  readonly #last = new WeakMap<Region, ReadonlySet<Op>>();
  readonly #inside = new WeakMap<Region, ReadonlySet<Value>>();
  /** Programs without updates pay nothing. */
  #isUsed = false;

  owns(x: Concrete): boolean {
    return this.#owned.has(x.data);
  }

  /** Marks what an update made. */
  own(x: Concrete): Concrete {
    this.#isUsed = true;
    this.#owned.add(x.data);
    return x;
  }

  disown(list: readonly Concrete[]): void {
    for (const x of list) this.#owned.delete(x.data);
  }

  /** Whether this update of a region may write into the array that its operand has now. */
  mayWrite(op: Op, x: Concrete, region: Region, isHeader: boolean): boolean {
    if (!this.#owned.has(x.data)) return false;
    let last = this.#last.get(region);
    if (!last) {
      last = lastReaders(region, isHeader);
      this.#last.set(region, last);
    }
    return last.has(op);
  }

  /** Results that are views of an operand: both are seen from now on. */
  shared(args: readonly Concrete[], results: readonly Concrete[]): void {
    if (!this.#isUsed) return;
    for (const x of args)
      if (this.#owned.has(x.data) && results.some((r) => r.data.buffer === x.data.buffer))
        this.#owned.delete(x.data);
  }

  /** What a region yields: a value from outside, or one that is yielded twice, is no longer owned. */
  yielded(region: Region, values: readonly Concrete[]): void {
    if (!this.#isUsed) return;
    let inside = this.#inside.get(region);
    if (!inside) {
      inside = new Set([...region.params, ...region.ops.flatMap((op) => op.results)]);
      this.#inside.set(region, inside);
    }
    values.forEach((x, i) => {
      const twice = values.some((y, j) => j !== i && y.data.buffer === x.data.buffer);
      if (twice || !inside!.has(region.yields[i]!)) this.#owned.delete(x.data);
    });
  }
}
