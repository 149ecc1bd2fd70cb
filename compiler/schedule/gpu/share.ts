// Work on tensors divided among threads: the elements of a tensor, or the iterations of a map, as one flat loop.
// The same loops serve the whole launch (on the grid) and the members of a team. Elements of a sub-byte type that
// share a byte always belong to one thread.

import type { Dim } from '../../ir/algebra.ts';
import { floorDiv, Poly, product } from '../../ir/algebra.ts';
import { dtypes } from '../../ir/dtype.ts';
import type { Op, Value } from '../../ir/ir.ts';
import { nested } from '../../loops/walk.ts';
import type { Buffer, Expr, Spread, Stmt } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import type { Lowering } from '../lowering.ts';
import { loop } from '../nests.ts';
import { chooseLanes } from '../vector-widths.ts';
import { mapBody, storeAt } from '../regions.ts';
import { meet } from './team.ts';

/** One loop over all index tuples of `dims`, the last running fastest. */
export function flat(
  lo: Lowering,
  dims: readonly Dim[],
  on: Spread,
  body: (ids: readonly Poly[]) => void,
): void {
  const parallel = on !== 'threads' && on !== 'lanes';
  loop(lo, product(dims), 1, parallel, (i) => body(indicesOf(lo, i, dims)), Poly.of(0), 'at', on);
}

/** The index tuple of an element of `dims`, given its number. */
export function indicesOf(lo: Lowering, number: Poly, dims: readonly Dim[]): Poly[] {
  const { em } = lo;
  const named = (p: Poly, extent: Dim, name: string): Poly => {
    const e = em.bind(em.index(p), name);
    if (e.kind === 'var') return Poly.atom(em.atom(e.var, extent));
    const v = em.newVar(name, L.vtype('i32'));
    em.push({ kind: 'let', var: v, value: e });
    return Poly.atom(em.atom(v, extent));
  };
  let rest = number;
  const ids: Poly[] = [];
  for (let a = dims.length - 1; a >= 0; a -= 1) {
    const d = dims[a]!;
    const first = dims.slice(0, a).every((x) => x.constant === 1);
    if (d.constant === 1) ids.unshift(Poly.of(0));
    else if (first) {
      ids.unshift(dims.length === 1 ? rest : named(rest, d, 'i'));
      rest = Poly.of(0);
    } else {
      const q = named(floorDiv(rest, d), product(dims.slice(0, a)), 'q');
      ids.unshift(named(rest.sub(d.mul(q)), d, 'i'));
      rest = q;
    }
  }
  return ids;
}

/** Runs `body` for eight neighbours, as many as there are. */
function eights(
  lo: Lowering,
  outer: readonly Dim[],
  last: Dim,
  on: Spread,
  body: (ids: readonly Poly[]) => void,
): void {
  const { em } = lo;
  flat(lo, [...outer, floorDiv(last.add(7), 8)], on, (ids) => {
    const from = ids.at(-1)!.mul(8);
    const limit = L.binary('min', L.binary('add', em.index(from), L.i32(8)), em.index(last));
    const end = em.newVar('end', L.vtype('i32'));
    em.push({ kind: 'let', var: end, value: limit });
    const v = em.newVar('k', L.vtype('i32'), em.depth + 1);
    const stmts = em.scope(() => body([...ids.slice(0, -1), Poly.atom(em.atom(v, last))]));
    em.push({
      kind: 'for',
      var: v,
      start: em.index(from),
      end: L.variable(end),
      step: 1,
      parallel: false,
      body: stmts,
    });
  });
}

/** Lanes of a store of 16 bytes, and fewer; of sub-byte types whole bytes. */
const widths = (bits: number): readonly number[] =>
  bits % 8 === 0 ? [16, 8, 4, 2].filter((n) => n * bits <= 128 && n <= 8) : [32, 16, 8];

/** Computes all elements of a tensor, divided among the threads of `on`. */
export function storeElements(
  lo: Lowering,
  v: Value,
  buffer: Buffer,
  prefix: readonly Poly[],
  fullShape: readonly Dim[],
  on: Spread,
): void {
  const { em } = lo;
  const { shape } = v.type;
  const put = (ids: readonly Poly[], lanes: number): void =>
    storeAt(lo, buffer, fullShape, [...prefix, ...ids], lo.emit(v, ids, lanes), lanes);
  if (shape.length === 0) return flat(lo, [Poly.of(1)], on, () => put([], 1));
  const last = shape.at(-1)!;
  const outer = shape.slice(0, -1);
  const { bits } = dtypes[buffer.dtype];
  const fit = widths(bits).filter((n) => last.multiple() % n === 0 && last.constant !== 0);
  const lanes = chooseLanes(lo, fit, (n) => {
    const ids = [...outer, last.over(n) ?? last].map((d) =>
      Poly.atom(em.atom(em.newVar('i', L.vtype('i32')), d)),
    );
    return lo.emit(
      v,
      [
        ...ids.slice(0, -1),
        ids
          .at(-1)!
          .mul(n)
          .add(Poly.atom(lo.lane(n))),
      ],
      n,
    );
  });
  if (lanes > 1)
    return flat(lo, [...outer, last.over(lanes)!], on, (ids) => {
      put(
        [
          ...ids.slice(0, -1),
          ids
            .at(-1)!
            .mul(lanes)
            .add(Poly.atom(lo.lane(lanes))),
        ],
        lanes,
      );
    });
  if (bits % 8 !== 0) return eights(lo, outer, last, on, (ids) => put(ids, 1));
  flat(lo, shape, on, (ids) => put(ids, 1));
}

/** Whether the members of the team combine values in these statements. */
export const combines = (list: readonly Stmt[]): boolean =>
  list.some((s) => s.kind === 'combine' || nested(s).some(combines));

/** All elements of a tensor, by the team. Rows one after another when they need reductions of their own. */
export function storeTogether(
  lo: Lowering,
  v: Value,
  buffer: Buffer,
  prefix: readonly Poly[],
  fullShape: readonly Dim[],
): void {
  const { em } = lo;
  const { level } = lo.team!;
  const { shape } = v.type;
  // What all members compute alike comes first: it may be a reduction that they share.
  const value = shape.length === 0 ? em.bind(lo.emit(v, [], 1), 'value') : undefined;
  meet(lo);
  if (value) flat(lo, [Poly.of(1)], level, () => storeAt(lo, buffer, fullShape, prefix, value, 1));
  else if (shape.length > 1 && em.trial(rowsCombine)) rows();
  else storeElements(lo, v, buffer, prefix, fullShape, level);
  meet(lo);

  function rowsCombine(stmts: () => readonly Stmt[]): boolean {
    rows();
    return combines(stmts());
  }

  function rows(): void {
    loop(lo, shape[0]!, 1, false, (i) => {
      storeRows(lo, v, buffer, prefix, fullShape, [i]);
    });
  }
}

/** Elements of `v` at fixed leading indices. */
function storeRows(
  lo: Lowering,
  v: Value,
  buffer: Buffer,
  prefix: readonly Poly[],
  fullShape: readonly Dim[],
  ids: readonly Poly[],
): void {
  const { shape } = v.type;
  if (ids.length < shape.length - 1)
    return loop(lo, shape[ids.length]!, 1, false, (i) =>
      storeRows(lo, v, buffer, prefix, fullShape, [...ids, i]),
    );
  storeRow(lo, v, buffer, prefix, fullShape, ids, lo.team!.level);
}

/** One row of `v`: its last axis is divided among the threads. */
export function storeRow(
  lo: Lowering,
  v: Value,
  buffer: Buffer,
  prefix: readonly Poly[],
  fullShape: readonly Dim[],
  ids: readonly Poly[],
  on: Spread,
): void {
  const { em } = lo;
  const last = v.type.shape.at(-1)!;
  const { bits } = dtypes[buffer.dtype];
  const put = (k: Poly, lanes: number): void =>
    storeAt(lo, buffer, fullShape, [...prefix, ...ids, k], lo.emit(v, [...ids, k], lanes), lanes);
  const fit = widths(bits).filter((n) => last.multiple() % n === 0 && last.constant !== 0);
  const lanes = chooseLanes(lo, fit, (n): Expr => {
    const k = Poly.atom(em.atom(em.newVar('k', L.vtype('i32')), last.over(n) ?? last));
    return lo.emit(v, [...ids, k.mul(n).add(Poly.atom(lo.lane(n)))], n);
  });
  if (lanes > 1)
    return loop(
      lo,
      last,
      lanes,
      false,
      (k) => put(k.add(Poly.atom(lo.lane(lanes))), lanes),
      Poly.of(0),
      'k',
      on,
    );
  if (bits % 8 !== 0) return eights(lo, [], last, on, ([k]) => put(k!, 1));
  loop(lo, last, 1, false, (k) => put(k, 1), Poly.of(0), 'k', on);
}

/** Whether neighbouring iterations of a map write into the same byte. */
export const sharesBytes = (op: Op<'map'>): boolean =>
  op.regions[0]!.yields.some(
    (y) => y.type.shape.length === 0 && dtypes[y.type.dtype].bits % 8 !== 0,
  );

/** The iterations of a map, an independent thread each. */
export function mapElements(
  lo: Lowering,
  op: Op<'map'>,
  buffers: readonly Buffer[],
  on: Spread,
): void {
  const { dims } = op.attrs;
  const body = (ids: readonly Poly[]): void => mapBody(lo, op, ids, buffers);
  if (sharesBytes(op)) eights(lo, dims.slice(0, -1), dims.at(-1)!, on, body);
  else flat(lo, dims, on, body);
}

/** A map within the work of a team: an iteration a thread, unless one takes much memory. */
export function mapTogether(lo: Lowering, op: Op<'map'>, buffers: readonly Buffer[]): void {
  const { em } = lo;
  const { level } = lo.team!;
  meet(lo);
  const known = em.buffers.length;
  const storage = [...lo.storage];
  const light = em.trial(() => {
    mapElements(lo, op, buffers, level);
    return em.buffers
      .slice(known)
      .every((b) => b.role !== 'temp' || (b.size.constant ?? Infinity) <= 1024);
  });
  // Where the trial put things is forgotten.
  lo.storage.clear();
  for (const [v, s] of storage) lo.storage.set(v, s);
  if (light) mapElements(lo, op, buffers, level);
  else one(0, []);
  meet(lo);

  function one(axis: number, ids: readonly Poly[]): void {
    if (axis === op.attrs.dims.length) mapBody(lo, op, ids, buffers);
    else loop(lo, op.attrs.dims[axis]!, 1, false, (i) => one(axis + 1, [...ids, i]));
  }
}

/** A buffer copied into another by the team. */
export function copyTogether(lo: Lowering, from: Buffer, to: Buffer, size: Dim): void {
  const lanes = size.multiple() % 8 === 0 ? 8 : 1;
  const { bits } = dtypes[to.dtype];
  const { level } = lo.team!;
  meet(lo);
  if (lanes === 1 && bits % 8 !== 0)
    eights(lo, [], size, level, ([k]) =>
      storeAt(lo, to, [size], [k!], lo.load(from, [size], [k!], 1), 1),
    );
  else
    loop(
      lo,
      size,
      lanes,
      false,
      (k) => {
        const at = lanes === 1 ? k : k.add(Poly.atom(lo.lane(lanes)));
        storeAt(lo, to, [size], [at], lo.load(from, [size], [at], lanes), lanes);
      },
      Poly.of(0),
      'k',
      level,
    );
  meet(lo);
}
