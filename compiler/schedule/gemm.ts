// Contractions: which kernels are one, and their two roads. With many rows of the operand that is cheaper to read they go
// in tiles (gemm-tiles.ts); with few rows the same kernel takes the row-by-row road, which decodes in registers, so that
// one compiled kernel is right for every size.

import { floorDiv, Poly } from '../ir/algebra.ts';
import type { Op, Value } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';
import { expands } from '../passes/operands.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { addSum, explainSum, factoredSum } from './factor.ts';
import { any, asFloat, isParallel, type Part, panelRows, type Tile, tiles } from './gemm-tiles.ts';
import type { Lowering } from './lowering.ts';
import {
  chooseLanes,
  contractionIndex,
  laneCandidates,
  loop,
  nest,
  probeIndex,
  vectorLoop,
} from './reductions.ts';
import { storeAt } from './regions.ts';

/** Rows of the streamed operand from which on tiles pay. */
const tileRows = 4;

/** The contractions that `root` is an elementwise function of; empty when it is anything else. */
export function contractionsOf(root: Value): readonly Op<'matmul'>[] {
  const found = new Set<Op<'matmul'>>();
  // Values are shared: each is looked at once.
  const seen = new Set<Value>();
  const visit = (v: Value): boolean => {
    const op = v.def?.op;
    if (!op || seen.has(v)) return true;
    seen.add(v);
    if (op.name === 'matmul') {
      found.add(op as Op<'matmul'>);
      const { shape } = root.type;
      return (
        v.type.shape.length === shape.length && v.type.shape.every((d, i) => d.equals(shape[i]!))
      );
    }
    const { kind } = ops[op.name];
    if (kind === 'unary' || kind === 'binary' || kind === 'compare' || kind === 'elementwise')
      return op.operands.every(visit);
    // Other inputs of the epilogue (a bias, a residual) may be anything without a contraction of its own.
    return !reaches(v);
  };
  return visit(root) ? [...found] : [];
}
function reaches(v: Value, seen = new Set<Value>()): boolean {
  const op = v.def?.op;
  if (!op || seen.has(v)) return false;
  seen.add(v);
  return op.name === 'matmul' || op.operands.some((o) => reaches(o, seen));
}

/** Tries the tiled schedule; false when the iteration space does not suit it. */
export function lowerGemm(lo: Lowering, root: Value, buffer: Buffer): boolean {
  const found = contractionsOf(root);
  const { shape } = root.type;
  if (
    found.length === 0 ||
    shape.length < 2 ||
    found.some((op) => op.results[0]!.type.dtype !== 'f32')
  )
    return false;
  const [rows, cols] = [shape.at(-2)!, shape.at(-1)!];
  const parts = found.map((op): Part => ({ op, k: op.operands[0]!.type.shape.at(-1)! }));
  const heavier = found.map((op) => isHeavier(lo, op.operands[0]!, op.operands[1]!));
  const panelIsA = heavier[0]!;
  if (heavier.some((h) => h !== panelIsA)) return false;
  const [streamed, panelled] = panelIsA ? [cols, rows] : [rows, cols];
  if ((streamed.constant ?? 64) < tileRows || (panelled.constant ?? 64) < panelRows) return false;
  const lanes = lo.limits.vectorBits / 32;
  if (parts.some(({ k }) => (k.constant ?? lanes) < lanes)) return false;
  const batch = shape.slice(0, -2);
  const { em } = lo;
  const m = em.index(streamed);
  const enough = L.compare('ge', m, L.i32(tileRows));
  const tiled = em.scope(() =>
    nest(
      lo,
      batch,
      (ids) => tiles(lo, { parts, root, buffer, ids, panelIsA, streamed, panelled, lanes }),
      true,
    ),
  );
  if (streamed.constant !== undefined) {
    em.scopes.at(-1)!.stmts.push(...tiled);
    return true;
  }
  const few = em.scope(() =>
    nest(
      lo,
      batch,
      (ids) => rowStreams(lo, { parts, root, buffer, ids, panelIsA, streamed, panelled, lanes }),
      true,
    ),
  );
  em.push({ kind: 'if', cond: enough, then: tiled, else: few });
  return true;
}

/** Work to read an element that is no more than a load or two, however often it is done. */
const light = 4;

/** Whether `a` rather than `b` is decoded once a panel: what is larger than its sources, or else takes more work. */
export function isHeavier(lo: Lowering, a: Value, b: Value): boolean {
  const larger = [expands(a, lo.storage), expands(b, lo.storage)];
  if (larger[0] !== larger[1]) return larger[0]!;
  const work = weight(lo, a);
  return work > light && work > weight(lo, b);
}

/** Work to produce one element without storage: who is heavier is decoded once a panel. */
function weight(lo: Lowering, v: Value, seen = new Set<Value>()): number {
  if (lo.storage.has(v) || !v.def || seen.has(v)) return 0;
  seen.add(v);
  const { op } = v.def;
  const inner = op.regions.reduce(
    (n, r) => n + r.ops.reduce((s, o) => s + Math.min(ops[o.name].cost, 20), 0),
    0,
  );
  return (
    inner +
    Math.min(ops[op.name].cost, 20) +
    op.operands.reduce((s, o) => s + weight(lo, o, seen), 0)
  );
}

/** Rows of the panelled operand that are walked at once when the streamed one has few: far apart, so that each
 * is a stream of its own for the prefetcher. */
const streams = 4;

/**
 * Few streamed rows: every element of the panelled operand is used at once and decoded in registers. Several of
 * its rows run side by side where their sums take one register each.
 */
function rowStreams(lo: Lowering, t: Tile): void {
  const { em } = lo;
  const at = (s: Poly, p: Poly): Poly[] => [...t.ids, ...(t.panelIsA ? [p, s] : [s, p])];
  const product = ({ op }: Part, where: readonly Poly[], k: Poly, n: number): Expr => {
    const [a, b] = op.operands as [Value, Value];
    const i = contractionIndex(op, where, k);
    const x = asFloat(lo.emit(a, i.a, n), n);
    return L.binary('mul', x, asFloat(lo.emit(b, i.b, n), n));
  };
  const probe = (): Poly[] => at(any(lo, t.streamed), any(lo, t.panelled));
  const widths = t.parts.map((part) =>
    chooseLanes(lo, laneCandidates(part.k, 32), (n) =>
      product(part, probe(), probeIndex(lo, part.k, n), n),
    ),
  );
  const factors = t.parts.every(
    (part, c) =>
      part.k.multiple() % widths[c]! === 0 &&
      em.trial(() => {
        let found = false;
        em.scope(() => {
          const e = product(part, probe(), probeIndex(lo, part.k, widths[c]!), widths[c]!);
          found = factoredSum(L.constant(0, 'f32', 4), e, (x) => x, em.definition) !== undefined;
        });
        return found;
      }),
  );
  const store = (where: readonly Poly[]): void =>
    storeAt(lo, t.buffer, t.root.type.shape, where, lo.emit(t.root, where, 1), 1);
  const single = (from: Poly): void =>
    loop(
      lo,
      t.panelled,
      1,
      isParallel(t),
      (p) => loop(lo, t.streamed, 1, false, (s) => store(at(s, p)), Poly.of(0), 'm'),
      from,
      'n',
    );
  if (!factors) return single(Poly.of(0));
  const quarter = floorDiv(t.panelled, streams);
  loop(
    lo,
    quarter,
    1,
    isParallel(t),
    (p) => {
      loop(
        lo,
        t.streamed,
        1,
        false,
        (s) => {
          const rows = Array.from({ length: streams }, (_, j) => at(s, p.add(quarter.mul(j))));
          t.parts.forEach((part, c) => {
            const accs = rows.map(() => {
              const v = em.newVar('acc', L.vtype('f32', 4));
              em.push({ kind: 'local', var: v, value: L.constant(0, 'f32', 4) });
              return v;
            });
            vectorLoop(lo, part.k, widths[c]!, (k, n) => {
              rows.forEach((where, j) => {
                const acc = L.variable(accs[j]!);
                const e = product(part, where, k, n);
                if (j === 0) lo.note(explainSum(e, em.definition));
                em.push({
                  kind: 'set',
                  var: accs[j]!,
                  value: addSum(acc, e, (x) => em.bind(x, 's'), em.definition),
                });
              });
            });
            rows.forEach((where, j) => {
              lo.pin(
                part.op.results[0]!,
                where,
                em.bind(L.reduce('add', L.variable(accs[j]!)), 'sum'),
              );
            });
          });
          rows.forEach(store);
        },
        Poly.of(0),
        'm',
      );
    },
    Poly.of(0),
    'n',
  );
  const done = em.index(quarter.mul(streams));
  if (t.panelled.multiple() % streams !== 0) single(em.asIndex(done));
}
