// A loop that moves the elements of a row to consecutive places of a row of another tensor, which is what `setSlice`
// along the last axis is: in vectors where all of them fall inside of the axis, else one by one.
import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Lowering } from './lowering.ts';
import { vectorLoop } from './nests.ts';
import { chooseLanes, probeIndex } from './vector-widths.ts';
import { storeAt, storeLanes } from './regions.ts';

export interface Window {
  /** The tensor whose elements [...row, i] are moved, and how many they are. */
  readonly from: Value;
  readonly row: readonly Value[];
  readonly extent: Dim;
  /** They go to [...into, start + i] of a tensor of this shape. */
  readonly into: readonly Value[];
  readonly start: Value;
  readonly shape: readonly Dim[];
}

/** The loop as a window, if it is one. */
export function windowOf(op: Op<'for'>): Window | undefined {
  const { extent } = op.attrs;
  const body = op.regions[0]!;
  const [index, carried] = body.params;
  const update = body.yields[0]?.def?.op;
  if (!extent || body.yields.length !== 1 || update?.name !== 'set') return undefined;
  const [x, value, ...ids] = update.operands as [Value, Value, ...Value[]];
  const place = ids.at(-1)!;
  const outside = (v: Value): boolean =>
    v !== index && v !== carried && (!v.def || !body.ops.includes(v.def.op));
  const sum = place.def?.op;
  const read = value.def?.op;
  if (x !== carried || value.type.shape.length > 0 || sum?.name !== 'add' || read?.name !== 'at')
    return undefined;
  const start = sum.operands.find((v) => v !== index);
  const [from, ...row] = read.operands as [Value, ...Value[]];
  if (!start || !sum.operands.includes(index!) || row.pop() !== index) return undefined;
  if (![start, from, ...row, ...ids.slice(0, -1)].every(outside)) return undefined;
  if (from.type.dtype !== x.type.dtype || dtypes[x.type.dtype].bits % 8 !== 0) return undefined;
  return { from, row, extent, into: ids.slice(0, -1), start, shape: x.type.shape };
}

/** Moves the window at once where it is inside of every axis; `otherwise` does it in any case. */
export function storeWindow(
  lo: Lowering,
  { from, row, extent, into, start, shape }: Window,
  buffer: Buffer,
  otherwise: () => void,
): void {
  const { em } = lo;
  const conditions: Expr[] = [];
  /** A place whose distance to the end of its axis is at least `room`, where the conditions hold. */
  const place = (v: Value, size: Dim, room: Dim): Poly => {
    const e = lo.emit(v, [], 1);
    const i = em.bind(e.type.scalar === 'i32' ? e : L.bits(e, 'i32'), 'place');
    conditions.push(L.compare('ge', i, L.i32(0)), L.compare('le', i, em.index(size.sub(room))));
    return em.asIndex(i);
  };
  const places = into.map((v, i) => place(v, shape[i]!, Poly.of(1)));
  const first = place(start, shape.at(-1)!, extent);
  const inside = em.bind(
    conditions.reduce((a, b) => L.binary('and', a, b)),
    'inside',
  );
  const source = row.map((v, i) => lo.indexOf(v, [], from.type.shape[i]!, 1));
  const element = (k: Poly, lanes: number): Expr => lo.emit(from, [...source, k], lanes);
  const together = em.scope(() => {
    const lanes = chooseLanes(lo, storeLanes(buffer.dtype, extent), (n) =>
      element(probeIndex(lo, extent, n), n),
    );
    vectorLoop(lo, extent, lanes, (k, n) =>
      storeAt(lo, buffer, shape, [...places, first.add(k)], element(k, n), n),
    );
  });
  em.push({ kind: 'if', cond: inside, then: together, else: em.scope(otherwise) });
}
