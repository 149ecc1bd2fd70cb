// Contractions: which kernels are one, and their two roads. With many rows of the operand that is cheaper to read they go
// in tiles (gemm-tiles.ts); with few rows the same kernel takes the row-by-row road, which decodes in registers, so that
// one compiled kernel is right for every size.

import type { Op, Value } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';
import { expands } from '../passes/operands.ts';
import type { Buffer, Stmt } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { type Part, panelRows, type Tile, tiles } from './gemm-tiles.ts';
import { type Division, division, inPieces, wholeTarget } from './in-pieces.ts';
import type { Lowering } from './lowering.ts';
import { nest } from './nests.ts';
import { rowStreams } from './row-streams.ts';

/** Rows of the streamed operand from which on tiles pay; pairs of rows share what is read of plain numbers. */
const tileRows = 4;
const plainTileRows = 6;
/** Rows of the panelled operand in a piece: whole numbers for each of four streams. */
const grain = 4;

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
  if (heavier.some((h) => h !== heavier[0])) return false;
  // A matrix times a vector reads the matrix, whichever side it is on.
  const panelIsA = heavier[0]! || (cols.constant === 1 && rows.constant !== 1);
  const [streamed, panelled] = panelIsA ? [cols, rows] : [rows, cols];
  if ((panelled.constant ?? 64) < panelRows) return false;
  const lanes = lo.limits.vectorBits / 32;
  if (parts.some(({ k }) => (k.constant ?? lanes) < lanes)) return false;
  const batch = shape.slice(0, -2);
  const { em } = lo;
  const plain = found.every((op) => weight(lo, op.operands[panelIsA ? 0 : 1]!) <= light);
  const target = wholeTarget(buffer, shape);
  const whole = { parts, root, target, panelIsA, streamed, panelled, lanes };
  const over = (body: (t: Tile) => void): Stmt[] =>
    em.scope(() => nest(lo, batch, (ids) => body({ ...whole, ids }), true));
  const { stmts } = em.scopes.at(-1)!;
  const isFew = (streamed.constant ?? 64) < tileRows;
  const [panelAxis, streamAxis] = panelIsA
    ? [batch.length, batch.length + 1]
    : [batch.length + 1, batch.length];
  const divided = division(lo, { root, buffer, panelled: panelAxis, streamed: streamAxis, grain });
  const divide = (d: Division, make: (t: Tile) => void): Stmt[] =>
    over((t) => inPieces(lo, d, t.ids, ({ target, ...part }) => make({ ...t, target, part })));
  if (isFew) {
    let done: boolean | undefined;
    const few = (t: Tile): void => {
      done = rowStreams(lo, t, plain, true);
    };
    const buffers = em.buffers.length;
    const made = divided ? divide(divided, few) : over(few);
    if (done !== undefined) stmts.push(...made);
    else em.buffers.length = buffers;
    return done !== undefined;
  }
  const many = (t: Tile): void => tiles(lo, t);
  if (streamed.constant !== undefined) {
    stmts.push(...(divided ? divide(divided, many) : over(many)));
    return true;
  }
  let inPairs = false;
  const few = (t: Tile): void => {
    inPairs = rowStreams(lo, t, plain)!;
  };
  const either = (then: Stmt[], other: Stmt[]): void => {
    const least = L.i32(inPairs ? plainTileRows : tileRows);
    const cond = L.compare('ge', em.index(streamed), least);
    em.push({ kind: 'if', cond, then, else: other });
  };
  if (divided) {
    // What follows is there once, whichever way a piece is made.
    const made = divide(divided, (t) => {
      const then = em.scope(() => many(t));
      either(
        then,
        em.scope(() => few(t)),
      );
    });
    stmts.push(...made);
    return true;
  }
  const tiled = over(many);
  either(tiled, over(few));
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
