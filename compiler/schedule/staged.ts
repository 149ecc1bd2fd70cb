// What a row of a result needs more than once and is dear to compute waits in the row of the result itself: the powers of a
// softmax are summed and then divided, and each is computed once. A row is overwritten element by element, so its
// readers may want of such a value nothing but the element that they make, and what reductions along the row made of it before.
import type { Dim } from '../ir/algebra.ts';
import type { DType } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';
import type { Lowering } from './lowering.ts';

/** What computing an element must cost, above which it is stored and loaded instead of computed again. */
const dear = 8;

/** The values that are kept so on the way to `v`, a tensor with rows, in the order of their making. */
export function stagedValues(lo: Lowering, v: Value, dtype: DType): readonly Value[] {
  if (lo.limits.gpu || dtype !== 'f32' || v.type.shape.length === 0) return [];
  const order: Value[] = [];
  const readers = new Map<Value, Op[]>();
  const visit = (x: Value): void => {
    const op = x.def?.op;
    if (!op || lo.storage.has(x) || order.includes(x)) return;
    for (const o of op.operands) {
      const list = readers.get(o);
      if (list) list.push(op);
      else readers.set(o, [op]);
      visit(o);
    }
    order.push(x);
  };
  visit(v);
  const cost = new Map<Value, number>();
  const costOf = (x: Value): number => {
    const op = x.def?.op;
    if (!op || lo.storage.has(x) || x.type.shape.length === 0) return 1;
    let price = cost.get(x);
    if (price === undefined) {
      // What a reduction gives is computed once a row.
      price =
        ops[op.name].kind === 'reduce'
          ? 0
          : op.operands.reduce((sum, o) => sum + costOf(o), ops[op.name].cost);
      cost.set(x, price);
    }
    return price;
  };
  const kept: Value[] = [];
  for (const x of order) {
    const list = readers.get(x) ?? [];
    if (x === v || list.length < 2 || x.type.dtype !== dtype || !sameShape(x, v)) continue;
    if (costOf(x) < dear || !list.every((op) => readsAlongRow(op, x) && isRowwise(op, v, readers)))
      continue;
    kept.push(x);
    cost.set(x, 1);
  }
  return kept;
}

const sameShape = (a: Value, b: Value): boolean =>
  a.type.shape.length === b.type.shape.length &&
  a.type.shape.every((d: Dim, i) => d.equals(b.type.shape[i]!));

/** Whether an op reads of `x` its own element, or a whole row. */
function readsAlongRow(op: Op, x: Value): boolean {
  const { kind } = ops[op.name];
  if (kind === 'reduce') {
    const { axes } = op.attrs as { readonly axes: readonly number[] };
    return axes.length === 1 && axes[0] === x.type.shape.length - 1;
  }
  return kind === 'unary' || kind === 'binary' || kind === 'compare' || kind === 'elementwise';
}

/** Whether all that is made of an op's result, up to `v`, belongs to the row or the element that it is made for. */
function isRowwise(op: Op, v: Value, readers: ReadonlyMap<Value, readonly Op[]>): boolean {
  const [result] = op.results as [Value];
  if (result === v) return true;
  return (readers.get(result) ?? []).every(
    (next) =>
      (ops[next.name].kind === 'reduce'
        ? readsAlongRow(next, result)
        : readsAlongRow(next, result) || isRowView(next)) && isRowwise(next, v, readers),
  );
}

/** A reduced row with its axis back. */
const isRowView = (op: Op): boolean => {
  if (op.name !== 'reshape') return false;
  const [from, to] = [op.operands[0]!.type.shape, op.results[0]!.type.shape];
  const [long, short] = from.length > to.length ? [from, to] : [to, from];
  return (
    long.length === short.length + 1 &&
    long.at(-1)!.constant === 1 &&
    short.every((d, i) => d.equals(long[i]!))
  );
};
