// Contractions with few rows: a warp takes a few rows of the heavier operand, its lanes stride along k, each decoding
// its part of a block in registers, and the sums of the lanes are combined at the end. Several rows share what is
// read of the other operand.

import type { Dim } from '../../ir/algebra.ts';
import { floorDiv, Poly } from '../../ir/algebra.ts';
import type { Value } from '../../ir/ir.ts';
import type { Buffer, Expr, Var } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import { addSum, factoredSum } from '../factor.ts';
import { contractionsOf, isHeavier } from '../gemm.ts';
import type { Lowering } from '../lowering.ts';
import { loop } from '../nests.ts';
import { contractionIndex } from '../reductions.ts';
import { chooseLanes } from '../vector-widths.ts';
import { storeAt } from '../regions.ts';
import { productRoads } from './products.ts';
import { flat } from './share.ts';
import { TeamState, together } from './team.ts';
import type { Contraction, Part } from './tile.ts';
import { tileRoads } from './tiles.ts';
import { sharedVectors } from './vectors.ts';

/** Rows of the heavier operand that a warp works on at a time, for one row of the other. */
const rowsAtOnce = 4;
/** The same in tiles, and the rows of the other operand in them: a row is decoded once for all of these. */
const tileRows = 2;
const streamedAtOnce = 4;

/** A part, and the lanes of the vectors along its k. */
interface Term extends Part {
  readonly lanes: number;
}

interface Gemv extends Contraction {
  readonly parts: readonly Term[];
}

export function lowerGemv(lo: Lowering, root: Value, buffer: Buffer): boolean {
  const found = contractionsOf(root);
  const { shape } = root.type;
  if (found.length === 0 || shape.length < 2 || buffer.dtype !== 'f32') return false;
  if (found.some((op) => op.results[0]!.type.dtype !== 'f32')) return false;
  const parts = found.map((op): Part => ({ op, k: op.operands[0]!.type.shape.at(-1)! }));
  if (parts.some(({ k }) => (k.constant ?? 64) < 64)) return false;
  const [rows, cols] = [shape.at(-2)!, shape.at(-1)!];
  const heavier = found.map((op) => isHeavier(lo, op.operands[0]!, op.operands[1]!));
  const panelIsA = heavier[0]!;
  if (heavier.some((h) => h !== panelIsA)) return false;
  const [streamed, panelled] = panelIsA ? [cols, rows] : [rows, cols];
  const batch = shape.slice(0, -2);
  const base: Contraction = { parts, root, buffer, panelIsA, streamed, panelled };
  const { em } = lo;
  const terms = parts.map((part): Term => {
    const fit = (n: number): boolean => part.k.multiple() % n === 0 || n === 4;
    const wide = [16, 8, 32, 4].filter(fit);
    return { ...part, lanes: chooseLanes(lo, wide, (n) => elementOf(lo, base, part, n)) };
  });
  // Operands that do not lie along k are better read by neighbouring threads for neighbouring columns.
  const isAlong = (part: Term): boolean =>
    em.trial(() => {
      let e: Expr | undefined;
      em.scope(() => {
        e = elementOf(lo, base, part, part.lanes, 'panel');
      });
      return hasWideLoad(e!);
    });
  if (!terms.every((part) => part.lanes > 1 && isAlong(part))) return false;
  const g: Gemv = { ...base, parts: terms };
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
  // Several launches, of which the size chooses one: by the warp's products where the elements suit them; else a row, a
  // few at a time, tiles of f32 that a group decodes once.
  const products = productRoads(lo, base);
  const own: readonly Road[] =
    c !== undefined && c < streamedAtOnce
      ? [{ from: 0, emit: () => launch(c, c === 1 ? rowsAtOnce : tileRows) }]
      : [
          { from: 0, emit: () => launch(1, rowsAtOnce) },
          { from: streamedAtOnce, emit: () => launch(streamedAtOnce, tileRows) },
          ...tileRoads(lo, base),
        ];
  const [first] = products;
  const roads = first ? [...own.filter((r) => r.from < first.from).slice(0, 1), ...products] : own;
  if (c !== undefined) {
    roads.findLast((r) => r.from <= c)!.emit();
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

/** A way to compute the contraction, for `from` and more rows of the streamed operand. */
export interface Road {
  readonly from: number;
  readonly emit: () => void;
}

const place = (g: Contraction, ids: readonly Poly[], s: Poly, p: Poly): Poly[] =>
  g.panelIsA ? [...ids, p, s] : [...ids, s, p];

function read(
  lo: Lowering,
  g: Contraction,
  { op }: Part,
  which: 'panel' | 'stream',
  at: readonly Poly[],
  k: Poly,
  n: number,
): Expr {
  const i = contractionIndex(op, at, k);
  const [a, b] = op.operands as [Value, Value];
  const e = (which === 'panel') === g.panelIsA ? lo.emit(a, i.a, n) : lo.emit(b, i.b, n);
  return L.splat(e.type.scalar === 'f32' ? e : L.convert(e, 'f32'), n);
}

const hasWideLoad = (e: Expr): boolean =>
  (e.kind === 'load' && e.type.lanes > 1) || L.operands(e).some(hasWideLoad);

const hasDot = (e: Expr): boolean => e.kind === 'dot' || L.operands(e).some(hasDot);

/** One product of vectors, or one of its factors, to see how well a width suits. */
function elementOf(lo: Lowering, g: Contraction, part: Part, n: number, which?: 'panel'): Expr {
  const { em } = lo;
  const fake = (d: Dim): Poly => Poly.atom(em.atom(em.newVar('i', L.vtype('i32')), d));
  const at = g.root.type.shape.map(fake);
  const k = Poly.atom(em.atom(em.newVar('k', L.vtype('i32')), part.k.over(n) ?? undefined))
    .mul(n)
    .add(Poly.atom(lo.lane(n)));
  if (which) return read(lo, g, part, which, at, k, n);
  const x = read(lo, g, part, 'stream', at, k, n);
  return L.binary('mul', x, read(lo, g, part, 'panel', at, k, n));
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
  const sums = g.parts.map((part) => sumsOf(lo, g, part, ids, s0, rows, rowsOf));
  // One lane finishes and stores all points.
  flat(lo, [Poly.of(1)], 'lanes', () => {
    rowsOf.forEach((p, j) => {
      const finish = (): void => {
        for (let i = 0; i < rows; i += 1) {
          const where = place(g, ids, s0.add(i), p);
          g.parts.forEach(({ op }, t) => {
            lo.pin(op.results[0]!, where, sums[t]![i]![j]!);
          });
          storeAt(lo, g.buffer, g.root.type.shape, where, lo.emit(g.root, where, 1), 1);
        }
      };
      if (exact) return finish();
      const inside = L.compare('lt', em.index(p0.add(j)), em.index(g.panelled));
      em.push({ kind: 'if', cond: inside, then: em.scope(finish), else: [] });
    });
  });
}

/** The sums of one part at `rows` rows by those of the heavier operand, known to every lane. */
function sumsOf(
  lo: Lowering,
  g: Gemv,
  part: Term,
  ids: readonly Poly[],
  s0: Poly,
  rows: number,
  rowsOf: readonly Poly[],
): Expr[][] {
  const { em } = lo;
  const grid = <T>(make: (i: number, j: number) => T): T[][] =>
    Array.from({ length: rows }, (_, i) => rowsOf.map((__, j) => make(i, j)));
  const local = (lanes: number): Var => {
    const v = em.newVar('acc', L.vtype('f32', lanes));
    em.push({ kind: 'local', var: v, value: L.constant(0, 'f32', lanes) });
    return v;
  };
  // Block constants stay out of the lanes where there are any: then sums have four lanes.
  const zero = L.constant(0, 'f32', 4);
  let isDot = false;
  const factored =
    part.lanes >= 16 &&
    em.trial(() => {
      let found: Expr | undefined;
      em.scope(() => {
        found = factoredSum(zero, elementOf(lo, g, part, part.lanes), (x) => x, em.definition);
      });
      isDot = found !== undefined && hasDot(found);
      return found !== undefined;
    });
  const width = factored ? 4 : part.lanes;
  const accs = grid(() => local(width));
  const tails = part.k.multiple() % part.lanes === 0 ? undefined : grid(() => local(1));
  sharedVectors(
    lo,
    part.k,
    part.lanes,
    (k, n) => {
      // A vector with block constants in it has no name, so that they are seen where it is summed.
      const whole = factored && n === part.lanes;
      const w = rowsOf.map((p) => {
        const e = read(lo, g, part, 'panel', place(g, ids, Poly.of(0), p), k, n);
        return whole ? e : em.bind(e, 'w');
      });
      for (let i = 0; i < rows; i += 1) {
        // Of integers, only what has no name is seen to be some.
        const own = read(lo, g, part, 'stream', place(g, ids, s0.add(i), Poly.of(0)), k, n);
        const x = isDot && whole ? own : em.bind(own, 'x');
        rowsOf.forEach((_, j) => {
          const acc = (n === part.lanes ? accs : tails!)[i]![j]!;
          const product = L.binary('mul', x, w[j]!);
          const sum = whole
            ? addSum(L.variable(acc), product, (e) => em.bind(e, 's'), em.definition)
            : undefined;
          em.push({
            kind: 'set',
            var: acc,
            value: sum ?? L.binary('add', L.variable(acc), product),
          });
        });
      }
    },
    'lanes',
  );
  return accs.map((row, i) =>
    row.map((v, j) => {
      const own = L.reduce('add', L.variable(v));
      const all = tails ? L.binary('add', own, L.variable(tails[i]![j]!)) : own;
      return together(lo, 'add', all, 'lanes', 'sum');
    }),
  );
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
