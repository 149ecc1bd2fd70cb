// Sums that count: how many entries of a constant table a value has reached, as encoders with a codebook find the
// nearest level, and minima that find the nearest one. Such a reduction is as good as an elementwise op: it has no loop.
import { dtypes, promote, scalarOf } from '../ir/dtype.ts';
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

export interface Nearest {
  readonly x: Value;
  readonly table: Op<'table'>;
  /** What the entries are multiplied by. */
  readonly unit?: Value;
}

/** Entries beyond which going through them one by one is too much code. */
const mostEntries = 32;

/** argmin(abs(table - x)) or argmin(abs(table * unit - x)) over the axis of a sorted table along which the others do not vary. */
export function nearestOf(op: Op): Nearest | undefined {
  if (op.name !== 'argmin') return undefined;
  const { axes } = (op as Op<'argmin'>).attrs;
  const distance = op.operands[0]!;
  const axis = distance.type.shape.length - 1;
  const difference =
    distance.def?.op.name === 'abs' ? distance.def.op.operands[0]!.def?.op : undefined;
  if (difference?.name !== 'sub' || axes.length !== 1 || axes[0] !== axis) return undefined;
  // Small floats are numbers of f32 as well, but not the products and differences that are rounded to them.
  if (distance.type.dtype !== 'f32') return undefined;
  const isFixed = (v: Value): boolean =>
    scalarOf(v.type.dtype) === 'f32' && (v.type.shape.at(-1)?.constant ?? 1) === 1;
  for (const [entries, x] of pairs(difference)) {
    const product = entries.def?.op.name === 'mul' ? entries.def.op : undefined;
    for (const [t, unit] of product ? pairs(product) : [[entries, undefined] as const]) {
      const table = t.def?.op.name === 'table' ? (t.def.op as Op<'table'>) : undefined;
      if (!table || t.type.dtype !== 'f32' || t.type.shape.length !== 1) continue;
      if (entries.type.dtype !== 'f32') continue;
      if (!isFixed(x) || (unit && !isFixed(unit))) continue;
      const data = table.attrs.data.map(Math.fround);
      const sorted = data.every((v, i) => Number.isFinite(v) && (i === 0 || data[i - 1]! < v));
      if (!sorted || data.length === 0 || data.length > mostEntries) continue;
      return { x, table, ...(unit ? { unit } : {}) };
    }
  }
  return undefined;
}

/** Both orders of two operands: of a difference, of which only the magnitude counts, and of a product. */
const pairs = ({ operands: [a, b] }: Op): readonly (readonly [Value, Value])[] => [
  [a!, b!],
  [b!, a!],
];
