// Contractions with few rows: a warp takes a few rows of the heavier operand, its lanes stride along k, each decoding
// its part of a block in registers, and the sums of the lanes are combined at the end. Several rows share what is
// read of the other operand.

import type { Dim } from '../../ir/algebra.ts';
import { floorDiv, Poly } from '../../ir/algebra.ts';
import type { Op, Value } from '../../ir/ir.ts';
import type { Buffer, Expr, Var } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import { addSum, factoredSum } from '../factor.ts';
import { contractionOf, weight } from '../gemm.ts';
import type { Lowering } from '../lowering.ts';
import { chooseLanes, contractionIndex, loop } from '../reductions.ts';
import { storeAt } from '../regions.ts';
import { productRoads } from './products.ts';
import { flat } from './share.ts';
import { TeamState, together } from './team.ts';
import type { Contraction } from './tile.ts';
import { tileRoads } from './tiles.ts';
import { sharedVectors } from './vectors.ts';

/** Rows of the heavier operand that a warp works on at a time, for one row of the other. */
const rowsAtOnce = 4;
/** The same in tiles, and the rows of the other operand in them: a row is decoded once for all of these. */
const tileRows = 2;
const streamedAtOnce = 4;

interface Gemv {
  readonly op: Op<'matmul'>;
  readonly root: Value;
  readonly buffer: Buffer;
  readonly panelIsA: boolean;
  readonly streamed: Dim;
  readonly panelled: Dim;
  readonly k: Dim;
  readonly lanes: number;
}

export function lowerGemv(lo: Lowering, root: Value, buffer: Buffer): boolean {
  const op = contractionOf(root);
  const { shape } = root.type;
  if (!op || shape.length < 2 || op.results[0]!.type.dtype !== 'f32' || buffer.dtype !== 'f32')
    return false;
  const k = op.operands[0]!.type.shape.at(-1)!;
  if ((k.constant ?? 64) < 64) return false;
  const [rows, cols] = [shape.at(-2)!, shape.at(-1)!];
  const panelIsA = weight(lo, op.operands[0]!) > weight(lo, op.operands[1]!);
  const [streamed, panelled] = panelIsA ? [cols, rows] : [rows, cols];
  const batch = shape.slice(0, -2);
  const wide = [16, 8, 32, 4].filter((n) => k.multiple() % n === 0 || (n <= 8 && n === 4));
  const base: Omit<Gemv, 'lanes'> = { op, root, buffer, panelIsA, streamed, panelled, k };
  const { em } = lo;
  const lanes = chooseLanes(lo, wide, (n) => elementOf(lo, base, n));
  // Operands that do not lie along k are better read by neighbouring threads for neighbouring columns.
  const isAlong = em.trial(() => {
    let e: Expr | undefined;
    em.scope(() => {
      e = elementOf(lo, base, lanes, 'panel');
    });
    return hasWideLoad(e!);
  });
  if (lanes === 1 || !isAlong) return false;
  const g: Gemv = { ...base, lanes };
  lo.team = new TeamState('lanes');
  // The last warp may have fewer rows: it reads the last one again, and leaves out what it would store for it.
  const launch = (atOnce: number, most: number): void => {
    const group = (panelled.constant ?? most) < most ? 1 : most;
    const strips =
      panelled.multiple() % group === 0
        ? floorDiv(panelled, group)
        : floorDiv(panelled.add(group - 1), group);
    flat(lo, [...batch, strips], 'warps', (ids) =>
      strip(lo, g, ids.slice(0, -1), ids.at(-1)!.mul(group), group, atOnce),
    );
  };
  const c = streamed.constant;
  // Several launches, of which the size chooses one: a row, a few at a time, tiles that a group decodes once.
  const roads: Road[] = [
    { from: 0, emit: () => launch(1, rowsAtOnce) },
    { from: streamedAtOnce, emit: () => launch(streamedAtOnce, tileRows) },
    ...manyRows(lo, { op, root, buffer, panelIsA, streamed, panelled, k }),
  ];
  if (c !== undefined) {
    if (c < streamedAtOnce) launch(c, c === 1 ? rowsAtOnce : tileRows);
    else roads.findLast((r) => r.from <= c)!.emit();
    return true;
  }
  const choose = (i: number): void => {
    const next = roads[i + 1];
    if (!next) return roads[i]!.emit();
    em.push({
      kind: 'if',
      cond: L.compare('lt', em.index(streamed), L.i32(next.from)),
      then: em.scope(() => roads[i]!.emit()),
      else: em.scope(() => choose(i + 1)),
    });
  };
  choose(0);
  return true;
}

/** By the warp's products where the elements suit them, else by tiles of f32. */
function manyRows(lo: Lowering, c: Contraction): readonly Road[] {
  const products = productRoads(lo, c);
  return products.length > 0 ? products : tileRoads(lo, c);
}

/** A way to compute the contraction, for `from` and more rows of the streamed operand. */
export interface Road {
  readonly from: number;
  readonly emit: () => void;
}

type Base = Omit<Gemv, 'lanes'>;
const place = (g: Base, ids: readonly Poly[], s: Poly, p: Poly): Poly[] =>
  g.panelIsA ? [...ids, p, s] : [...ids, s, p];

function read(
  lo: Lowering,
  g: Base,
  which: 'panel' | 'stream',
  at: readonly Poly[],
  k: Poly,
  n: number,
): Expr {
  const i = contractionIndex(g.op, at, k);
  const [a, b] = g.op.operands as [Value, Value];
  const e = (which === 'panel') === g.panelIsA ? lo.emit(a, i.a, n) : lo.emit(b, i.b, n);
  return L.splat(e.type.scalar === 'f32' ? e : L.convert(e, 'f32'), n);
}

const hasWideLoad = (e: Expr): boolean =>
  (e.kind === 'load' && e.type.lanes > 1) || L.operands(e).some(hasWideLoad);

const hasDot = (e: Expr): boolean => e.kind === 'dot' || L.operands(e).some(hasDot);

/** One product of vectors, or one of its factors, to see how well a width suits. */
function elementOf(lo: Lowering, g: Base, n: number, which?: 'panel'): Expr {
  const { em } = lo;
  const fake = (d: Dim): Poly => Poly.atom(em.atom(em.newVar('i', L.vtype('i32')), d));
  const at = g.root.type.shape.map(fake);
  const k = Poly.atom(em.atom(em.newVar('k', L.vtype('i32')), g.k.over(n) ?? undefined))
    .mul(n)
    .add(Poly.atom(lo.lane(n)));
  if (which) return read(lo, g, which, at, k, n);
  return L.binary('mul', read(lo, g, 'stream', at, k, n), read(lo, g, 'panel', at, k, n));
}

/** All of the result that `count` rows of the heavier operand take part in, `atOnce` rows of the other at a time. */
function strip(
  lo: Lowering,
  g: Gemv,
  ids: readonly Poly[],
  p0: Poly,
  count: number,
  atOnce: number,
): void {
  const tile = (s0: Poly, rows: number): void => points(lo, g, ids, s0, rows, p0, count);
  const { em } = lo;
  if (g.streamed.constant === atOnce) return tile(Poly.of(0), atOnce);
  loop(lo, g.streamed, atOnce, false, (s) => tile(s, atOnce), Poly.of(0), 'm');
  if (g.streamed.multiple() % atOnce === 0) return;
  const rest = em.bind(em.index(floorDiv(g.streamed, atOnce).mul(atOnce)), 'rest');
  const from =
    rest.kind === 'var' ? Poly.atom(em.atom(rest.var)) : Poly.of((rest as L.ExprOf<'const'>).value);
  loop(lo, g.streamed, 1, false, (s) => tile(s, 1), from, 'm');
}

function points(
  lo: Lowering,
  g: Gemv,
  ids: readonly Poly[],
  s0: Poly,
  rows: number,
  p0: Poly,
  count: number,
): void {
  const { em } = lo;
  const exact = g.panelled.multiple() % count === 0;
  const rowsOf = Array.from({ length: count }, (_, j) =>
    exact ? p0.add(j) : lastOf(lo, p0.add(j), g.panelled),
  );
  const grid = <T>(make: (i: number, j: number) => T): T[][] =>
    Array.from({ length: rows }, (_, i) => Array.from({ length: count }, (__, j) => make(i, j)));
  const local = (lanes: number): Var => {
    const v = em.newVar('acc', L.vtype('f32', lanes));
    em.push({ kind: 'local', var: v, value: L.constant(0, 'f32', lanes) });
    return v;
  };
  // Block constants stay out of the lanes where there are any: then sums have four lanes.
  const zero = L.constant(0, 'f32', 4);
  let isDot = false;
  const factored =
    g.lanes >= 16 &&
    em.trial(() => {
      let found: Expr | undefined;
      em.scope(() => {
        found = factoredSum(zero, elementOf(lo, g, g.lanes), (x) => x);
      });
      isDot = found !== undefined && hasDot(found);
      return found !== undefined;
    });
  const width = factored ? 4 : g.lanes;
  const accs = grid(() => local(width));
  const tails = g.k.multiple() % g.lanes === 0 ? undefined : grid(() => local(1));
  sharedVectors(
    lo,
    g.k,
    g.lanes,
    (k, n) => {
      // A vector with block constants in it has no name, so that they are seen where it is summed.
      const whole = factored && n === g.lanes;
      const w = Array.from({ length: count }, (_, j) => {
        const e = read(lo, g, 'panel', place(g, ids, Poly.of(0), rowsOf[j]!), k, n);
        return whole ? e : em.bind(e, 'w');
      });
      for (let i = 0; i < rows; i += 1) {
        // Of integers, only what has no name is seen to be some.
        const own = read(lo, g, 'stream', place(g, ids, s0.add(i), Poly.of(0)), k, n);
        const x = isDot && whole ? own : em.bind(own, 'x');
        for (let j = 0; j < count; j += 1) {
          const acc = (n === g.lanes ? accs : tails!)[i]![j]!;
          const product = L.binary('mul', x, w[j]!);
          const sum = whole ? addSum(L.variable(acc), product, (e) => em.bind(e, 's')) : undefined;
          em.push({
            kind: 'set',
            var: acc,
            value: sum ?? L.binary('add', L.variable(acc), product),
          });
        }
      }
    },
    'lanes',
  );
  const sums = accs.map((row, i) =>
    row.map((v, j) => {
      const own = L.reduce('add', L.variable(v));
      return together(
        lo,
        'add',
        tails ? L.binary('add', own, L.variable(tails[i]![j]!)) : own,
        'lanes',
        'sum',
      );
    }),
  );
  // One lane finishes and stores all points.
  flat(lo, [Poly.of(1)], 'lanes', () => {
    rowsOf.forEach((p, j) => {
      const finish = (): void =>
        sums.forEach((row, i) => {
          const where = place(g, ids, s0.add(i), p);
          lo.pin(g.op.results[0]!, where, row[j]!);
          storeAt(lo, g.buffer, g.root.type.shape, where, lo.emit(g.root, where, 1), 1);
        });
      if (exact) return finish();
      const inside = L.compare('lt', em.index(p0.add(j)), em.index(g.panelled));
      em.push({ kind: 'if', cond: inside, then: em.scope(finish), else: [] });
    });
  });
}

/** An index, or the last one that there is. */
function lastOf(lo: Lowering, p: Poly, size: Dim): Poly {
  const { em } = lo;
  const v = em.newVar('row', L.vtype('i32'), Math.max(em.polyDepth(p), lo.team!.floor));
  em.scopes[em.varDepth.get(v.id)!]!.stmts.push({
    kind: 'let',
    var: v,
    value: L.binary('min', em.index(p), em.index(size.sub(1))),
  });
  return Poly.atom(em.atom(v, size));
}
