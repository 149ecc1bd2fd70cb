// A pass with an online softmax over keys that lie channel by channel, so that a score is no sum along contiguous memory:
// lanes are keys then. Scores of a long block of keys are summed channel by channel (columns.ts), weights are made of them
// row by row, and the values are added by their weights, with lanes along the channels of the result.
import { type Dim, Poly } from '../ir/algebra.ts';
import type { Value } from '../ir/ir.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Online } from '../passes/online.ts';
import { addColumns, perElement, type Right } from './columns.ts';
import { reshapeIndex } from './elements.ts';
import type { Lowering } from './lowering.ts';
import { asFloat, indexOfRow, Running, type Strip } from './online-state.ts';
import { allOf, pieces } from './pieces.ts';
import { loop, vectorLoop } from './nests.ts';
import { contractionIndex } from './reductions.ts';
import { storeAt } from './regions.ts';

/** Keys of a block: 4 KiB of a channel in a row if they are f32, and scores of four rows in half of the nearest cache. */
const blockKeys = 1024;
/** Rows for which a block is decoded once. */
const groupRows = 16;

/**
 * How scores are summed. Lanes are keys where these lie side by side and the channels of a key do not; otherwise a score is
 * a sum along the channels, with a reason for `quern explain`.
 */
export function wayOfScores(
  lo: Lowering,
  { scores, z }: Online,
): { readonly byKeys: boolean; readonly reason: string } {
  if (!scores) return { byKeys: false, reason: 'scores are given' };
  if (lo.limits.vectorBits < 128)
    return { byKeys: false, reason: 'scores are summed one by one: there are no vectors' };
  const right = scores.operands[1]!;
  const [depth, keys] = right.type.shape.slice(-2) as [Dim, Dim];
  const [alongKeys, alongDepth] = lo.em.trial(() => {
    const any = (d: Dim): Poly => Poly.atom(lo.em.atom(lo.em.newVar('i', L.vtype('i32')), d));
    const outer = z.type.shape.slice(0, -1).map(any);
    const read = (d: Poly, j: Poly, n: number): Expr =>
      lo.emit(right, contractionIndex(scores, [...outer, j], d).b, n);
    return [
      perElement(lo, keys, (j, n) => read(any(depth), j, n)),
      perElement(lo, depth, (d, n) => read(d, any(keys), n)),
    ];
  });
  if (alongDepth === 0)
    return {
      byKeys: false,
      reason: 'each score is a sum along the channels of its key, which lie side by side',
    };
  return alongKeys < Math.min(1, alongDepth)
    ? {
        byKeys: true,
        reason: 'lanes are keys: these lie side by side, the channels of a key do not',
      }
    : {
        byKeys: false,
        reason: 'neither keys nor their channels lie side by side: scores are gathered',
      };
}

/** What is computed for one index of the axes along which keys or values differ. */
export function passByColumns(
  lo: Lowering,
  o: Online,
  out: Buffer,
  shared: readonly boolean[],
  outer: readonly Poly[],
  rows: readonly Dim[],
): void {
  const { em } = lo;
  const { contraction, z } = o;
  const scores = o.scores!;
  const keys = z.type.shape.at(-1)!;
  const [queries] = scores.operands as [Value, Value];
  const depth = queries.type.shape.at(-1)!;
  const count = rows.reduce((p, d) => p.mul(d), Poly.of(1));
  const [most, longest] = [count, keys].map((d, i) =>
    Math.min(d.constant ?? Infinity, [groupRows, blockKeys][i]!),
  ) as [number, number];
  const state = new Running(lo, o, Poly.of(most));
  const make = (name: string, size: Dim): Buffer => em.newBuffer(name, 'f32', 'temp', size);
  const query = make('query', depth.mul(most));
  const strips = make('scores', Poly.of(most * longest));
  const at = (row: Poly): Poly[] =>
    indexOfRow(shared, rows.length === 1 ? [row] : reshapeIndex(rows, [count], [row]), outer);
  const any = indexOfRow(
    shared,
    rows.map(() => Poly.of(0)),
    outer,
  );
  const side = (op: typeof scores, index: (d: Poly, x: Poly) => [Poly, Poly]): Right => {
    return (d, x, n) => {
      const [column, k] = index(d, x);
      return asFloat(lo.emit(op.operands[1]!, contractionIndex(op, [...any, column], k).b, n), n);
    };
  };
  const ofKeys = side(scores, (d, j) => [j, d]);
  const ofValues = side(contraction, (j, d) => [d, j]);
  const get = (b: Buffer, place: Poly): Expr => lo.load(b, [b.size], [place], 1);

  pieces(lo, count, most, false, 'rows', (group) => {
    const each = (body: (r: Poly, row: Poly) => void): void =>
      loop(
        lo,
        Poly.of(most),
        1,
        false,
        (r) => body(r, group.from.add(r)),
        undefined,
        'r',
        undefined,
        group.length,
      );
    each((r, row) => {
      state.start(r);
      vectorLoop(lo, depth, 1, (d) => {
        const e = lo.emit(queries, contractionIndex(scores, [...at(row), Poly.of(0)], d).a, 1);
        storeAt(lo, query, [query.size], [d.mul(most).add(r)], asFloat(e, 1), 1);
      });
    });
    pieces(lo, keys, longest, false, 'keys', (block) => {
      state.touch(query, strips);
      const strip = (r: Poly): Strip => ({
        buffer: strips,
        at: (j) => r.mul(longest).add(j),
      });
      each((r) =>
        vectorLoop(lo, block.length, 4, (j, n) =>
          storeAt(lo, strips, [strips.size], [strip(r).at(j)], L.constant(0, 'f32', n), n),
        ),
      );
      state.touch(strips);
      addColumns(lo, {
        rows: group.length,
        depth: allOf(depth),
        across: { extent: keys, ...block },
        most: Poly.of(longest),
        left: (r, d) => get(query, d.mul(most).add(r)),
        right: ofKeys,
        sums: strips,
        place: (r, j) => strip(r).at(j),
      });
      each((r, row) => {
        const own = strip(r);
        const s = { scores: own, z: own, weights: own };
        const fade = state.weigh(at(row), r, { from: block.from, n: block.length }, s);
        state.fade(r, fade);
      });
      state.touch(strips, state.totals);
      addColumns(lo, {
        rows: group.length,
        depth: { extent: keys, ...block },
        across: allOf(state.width),
        most: state.width,
        left: (r, j) => get(strips, strip(r).at(j)),
        right: ofValues,
        sums: state.totals,
        place: (r, d) => state.total(r, d),
      });
    });
    each((r, row) => state.finish(out, at(row), r));
  });
}
