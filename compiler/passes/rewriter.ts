// Copies a function op by op, letting the caller put something else in the place of an op: the
// ground that all passes stand on. Every pass gives a new function; values of the old one stay as
// they are.
import { Builder } from '../ir/builder.ts';
import type { Func, Op, Region, Signature, Value } from '../ir/ir.ts';

/** What a pass does with an op. Operands and regions of `op` are the old ones: see `to.value`. */
export interface Rewrite {
  /** The new values of the op's results; undefined copies the op, [] drops it. */
  op(op: Op, to: Rewriter): readonly Value[] | undefined;
  /** Called around the ops of each region, for passes that keep scopes. */
  enter?(): void;
  leave?(): void;
}

export class Rewriter {
  readonly builder = new Builder();
  readonly #rewrite: Rewrite;
  readonly #map = new Map<Value, Value>();

  constructor(rewrite: Rewrite) {
    this.#rewrite = rewrite;
  }

  /** The new value of an old one. */
  value(old: Value): Value {
    const v = this.#map.get(old);
    if (!v) throw new Error(`value ${old.name ?? old.id} was dropped, but is still used`);
    return v;
  }

  values(old: readonly Value[]): Value[] {
    return old.map((v) => this.value(v));
  }

  /** The author's name of the old value goes to the new one, unless that has its own. */
  set(old: Value, now: Value): void {
    this.#map.set(old, now);
    if (old.name && !now.name) now.name = old.name;
  }

  /** A new parameter in the place of an old one. */
  param(old: Value): Value {
    const now = this.builder.param(old.type, old.name);
    this.#map.set(old, now);
    return now;
  }

  /** A copy of a region, its ops rewritten. */
  region(old: Region): Region {
    const params = old.params.map((p) => this.param(p));
    return this.builder.region(params, () => this.#body(old));
  }

  /**
   * Puts the ops of a region where we stand, with `args` for its parameters; gives what it yields.
   */
  inline(old: Region, args: readonly Value[]): Value[] {
    old.params.forEach((p, i) => {
      this.set(p, args[i]!);
    });
    return this.#body(old);
  }

  /** Copies an op with the new values of its operands, and rewritten regions. */
  clone(op: Op): readonly Value[] {
    const regions = op.regions.map((r) => this.region(r));
    this.builder.span = op.span;
    return this.builder.op(op.name, this.values(op.operands), op.attrs, regions);
  }

  #body(old: Region): Value[] {
    this.#rewrite.enter?.();
    for (const op of old.ops) {
      this.builder.span = op.span;
      const results = this.#rewrite.op(op, this) ?? this.clone(op);
      op.results.forEach((v, i) => {
        const now = results[i];
        if (now) this.set(v, now);
      });
    }
    this.#rewrite.leave?.();
    return this.values(old.yields);
  }
}

export function rewriteFunc(func: Func, rewrite: Rewrite): Func {
  const to = new Rewriter(rewrite);
  const body = to.region(func.body);
  const moved = (s: Signature): Signature =>
    s.kind === 'tensor'
      ? { ...s, values: [to.value(s.values[0])] }
      : { ...s, values: to.values(s.values) };
  return { ...func, params: func.params.map(moved), results: func.results.map(moved), body };
}
