// Sums that count: how many entries of a constant table a value has reached, as encoders with a codebook find the
// nearest level. Such a sum is as good as an elementwise op: it has no loop.
import { dtypes, promote } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';

export interface Rank {
  readonly x: Value;
  readonly table: Op<'table'>;
  /** x > entry, not x >= entry. */
  readonly strict: boolean;
}

/** sum(x > table) or sum(x >= table) over the axis of a sorted table along which x does not vary. */
export function rankOf(op: Op): Rank | undefined {
  if (op.name !== 'sum') return undefined;
  const { axes } = (op as Op<'sum'>).attrs;
  const hits = op.operands[0]!;
  const compare = hits.def?.op;
  if (compare?.name !== 'gt' && compare?.name !== 'ge') return undefined;
  const [x, t] = compare.operands as [Value, Value];
  const table = t.def?.op;
  const rank = hits.type.shape.length;
  if (table?.name !== 'table' || axes.length !== 1 || axes[0] !== rank - 1) return undefined;
  const along = x.type.shape.length === rank && x.type.shape.at(-1)!.constant === 1;
  if (!along || t.type.shape.length !== 1 || promote(x.type.dtype, t.type.dtype) !== 'f32')
    return undefined;
  const { data } = (table as Op<'table'>).attrs;
  // Entries are compared as f32.
  const exact = dtypes[t.type.dtype].kind === 'float' || dtypes[t.type.dtype].bits <= 16;
  const sorted = data.every((v, i) => i === 0 || data[i - 1]! < v);
  if (!exact || !sorted || data.length > 255) return undefined;
  return { x, table: table as Op<'table'>, strict: compare.name === 'gt' };
}
