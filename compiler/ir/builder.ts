// Builds tensor IR: applies the type rule of each op, keeps spans, and nests regions.
import { noSpan, type Span } from '../diagnostics/diagnostic.ts';
import { type Dim, Poly } from './algebra.ts';
import type { DType } from './dtype.ts';
import type { Op, Region, TensorType, Value } from './ir.ts';
import { type OpAttrs, type OpName, ops, type TypeRule } from './ops.ts';

export class Builder {
  #nextId: number;
  #open: Op[][] = [[]];
  /** Attached to every op built while it is set. */
  span: Span = noSpan;

  constructor(firstId = 0) {
    this.#nextId = firstId;
  }

  /** A value without an op: a parameter of the function or of a region. */
  param(type: TensorType, name?: string): Value {
    return { id: this.#nextId++, type, ...(name ? { name } : {}) };
  }

  op<K extends OpName>(
    name: K,
    operands: readonly Value[],
    attrs: OpAttrs[K],
    regions: readonly Region[] = [],
  ): readonly Value[] {
    const rule = ops[name].type as TypeRule<K>;
    const types = rule(
      operands.map((v) => v.type),
      attrs,
      regions,
    );
    const results: Value[] = types.map((type) => ({ id: this.#nextId++, type }));
    const op: Op = { name, operands, attrs, regions, results, span: this.span } as Op;
    results.forEach((v, index) => {
      v.def = { op, index };
    });
    this.#open.at(-1)!.push(op);
    return results;
  }

  /** An op with a single result. */
  one<K extends OpName>(
    name: K,
    operands: readonly Value[],
    attrs: OpAttrs[K],
    regions: readonly Region[] = [],
  ): Value {
    return this.op(name, operands, attrs, regions)[0]!;
  }

  const(value: number, dtype: DType): Value {
    return this.one('const', [], { value, dtype });
  }

  dim(dim: Dim): Value {
    return dim.constant === undefined
      ? this.one('dim', [], { dim })
      : this.const(dim.constant, 'i32');
  }

  /** Runs `body` with a fresh list of ops and returns them as a region. */
  region(params: readonly Value[], body: () => readonly Value[]): Region {
    this.#open.push([]);
    try {
      const yields = body();
      return { params, ops: this.#open.at(-1)!, yields };
    } finally {
      this.#open.pop();
    }
  }

  /** Like {@link region}, but the ops are thrown away: to learn the types that a body yields. */
  dryRun<T>(body: () => T): T {
    this.#open.push([]);
    try {
      return body();
    } finally {
      this.#open.pop();
    }
  }

  /** Ops built outside of any region: constants of a kernel file. */
  get prelude(): readonly Op[] {
    return this.#open[0]!;
  }

  /** Puts ready-made ops at the end of the open region: for passes that move ops. */
  append(op: Op): void {
    this.#open.at(-1)!.push(op);
  }

  scalar(dtype: DType, name?: string): Value {
    return this.param({ dtype, shape: [] }, name);
  }
}

export const one = Poly.of(1);
