// Elementwise values whose elements lie side by side along another axis than the last, as those of a transpose do: a vector along the
// result's own last axis would be gathered. Some vectors along that other axis are computed in place of it, turned round in
// registers, and stored as vectors of the last axis.
import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Value } from '../ir/ir.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Lowering } from './lowering.ts';
import { loop, nest, restOf } from './nests.ts';
import { probeIndex, slowness } from './vector-widths.ts';

/** Elements along the axis that is read, few enough that their rows of the result share a set of the nearest cache. */
const across = 8;
/** Elements along the last axis: of a vector that is stored. */
const along = 4;

export interface Turned {
  readonly value: Value;
  readonly buffer: Buffer;
  /** Stores so many elements from an index on. */
  readonly store: (index: readonly Poly[], value: Expr, lanes: number) => void;
  /** Stores the row at an index of all axes but the last. */
  readonly row: (outer: readonly Poly[]) => void;
}

/** The axis along which all elements of a value are read side by side, where that is not the last. */
export function turnedAxis(lo: Lowering, v: Value, buffer: Buffer): number | undefined {
  const { shape } = v.type;
  if (lo.limits.gpu || lo.limits.vectorBits !== 128 || shape.length < 2) return undefined;
  if (dtypes[buffer.dtype].bits % 8 !== 0 || !isLong(shape.at(-1)!, along)) return undefined;
  const isSlow = (axis: number): boolean =>
    lo.em.trial((stmts) => {
      let e: Expr | undefined;
      const inner = lo.em.scope(() => {
        const index = shape.map((d, i) => probeIndex(lo, d, i === axis ? across : 1));
        e = lo.emit(v, index, across);
      });
      return e!.type.lanes === across && slowness([...stmts(), ...inner], [e!]) > 0;
    });
  if (!isLong(shape.at(-1)!, across) || !isSlow(shape.length - 1)) return undefined;
  for (let axis = shape.length - 2; axis >= 0; axis -= 1)
    if (isLong(shape[axis]!, across) && isVaried(lo, v, axis) && !isSlow(axis)) return axis;
  return undefined;
}

const isLong = (d: Dim, least: number): boolean => (d.constant ?? least) >= least;

/** Whether elements differ along an axis: what does not is no vector along it. */
function isVaried(lo: Lowering, v: Value, axis: number): boolean {
  return lo.em.trial(() => {
    let e: Expr | undefined;
    lo.em.scope(() => {
      const index = v.type.shape.map((d, i) => probeIndex(lo, d, i === axis ? across : 1));
      e = lo.emit(v, index, across);
    });
    return e!.type.lanes === across;
  });
}

/** Stores a value so. */
export function storeTurned(lo: Lowering, { value: v, store, row }: Turned, axis: number): void {
  const { shape } = v.type;
  const others = shape.slice(0, -1).filter((_, i) => i !== axis);
  const alone = others.every((d) => d.constant === 1);
  nest(
    lo,
    others,
    (ids) => {
      const outer = (at: Poly): Poly[] => [...ids.slice(0, axis), at, ...ids.slice(axis)];
      loop(lo, shape[axis]!, across, alone, (i) => strip(lo, v, outer(i), axis, store));
      if (shape[axis]!.multiple() % across === 0) return;
      const rest = restOf(lo, shape[axis]!, across);
      loop(lo, shape[axis]!, 1, false, (i) => row(outer(i)), rest);
    },
    true,
  );
}

/** Eight rows of the result. */
function strip(
  lo: Lowering,
  v: Value,
  outer: readonly Poly[],
  axis: number,
  store: Turned['store'],
): void {
  const { em } = lo;
  const last = v.type.shape.at(-1)!;
  const place = (i: number, k: Poly): Poly[] => [
    ...outer.map((p, at) => (at === axis ? p.add(i) : p)),
    k,
  ];
  const lanes = Poly.atom(lo.lane(across));
  const vectorAt = (k: Poly): Expr => {
    const index = [...outer.map((p, at) => (at === axis ? p.add(lanes) : p)), k];
    return em.bind(lo.emit(v, index, across), 'column');
  };
  const lane = Poly.atom(lo.lane(along));
  loop(lo, last, along, false, (k) => {
    const columns = Array.from({ length: along }, (_, i) => vectorAt(k.add(i)));
    turn(lo, columns as [Expr, Expr, Expr, Expr]).forEach((e, i) =>
      store(place(i, k.add(lane)), em.bind(e, 'row'), along),
    );
  });
  if (last.multiple() % along === 0) return;
  loop(
    lo,
    last,
    1,
    false,
    (k) => {
      const column = vectorAt(k);
      for (let i = 0; i < across; i += 1) store(place(i, k), L.extract(column, i), 1);
    },
    restOf(lo, last, along),
  );
}

/** Vectors of the i-th elements of four vectors. */
function turn(lo: Lowering, [a, b, c, d]: readonly [Expr, Expr, Expr, Expr]): readonly Expr[] {
  const half = along / 2;
  const pairs = (x: Expr, y: Expr, from: number): Expr =>
    lo.em.bind(L.zip(x, y, 1, from, along), 'pairs');
  return Array.from({ length: across / half }, (_, p) => half * p).flatMap((from) => {
    const [first, second] = [pairs(a, c, from), pairs(b, d, from)];
    return [0, half].map((at) => L.zip(first, second, 1, at, along));
  });
}
