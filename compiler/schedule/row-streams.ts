// Contractions with few rows of the streamed operand: what limits them is reading the panelled one, once. Four of its rows,
// far apart, are read side by side, so that each is a stream of its own for the prefetcher, and decoded in registers.
import { floorDiv, Poly } from '../ir/algebra.ts';
import type { Value } from '../ir/ir.ts';
import { wantedLets } from '../loops/late.ts';
import type { Expr, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { blockConstants } from './block-constants.ts';
import { explainSum, type Factored, factoredTerms, sameExpr } from './factor.ts';
import { any, asFloat, isParallel, type Part, type Tile } from './gemm-tiles.ts';
import type { Lowering } from './lowering.ts';
import { loop, vectorLoop } from './nests.ts';
import { contractionIndex } from './reductions.ts';
import { chooseLanes, laneCandidates, probeIndex } from './vector-widths.ts';
import { storeLinear } from './regions.ts';
import { restOf } from './pieces.ts';

/** Rows of the panelled operand that are walked at once. */
const streams = 4;
/** Vectors of sums that a tile has beside what it loads. */
const sumVectors = 8;
/** Vectors of a row that are taken a turn of the loop. */
const turnVectors = 4;

/** An element of a contraction before it is summed: its two factors. */
type Factors = (part: Part, where: readonly Poly[], k: Poly, n: number) => readonly [Expr, Expr];

/**
 * Emits the kernel. `plain`: the elements of the panelled operand are read by a load or two. Whether rows of the streamed
 * one are taken in pairs. `orNone`: where rows of the panelled operand do not come as vectors, nothing is emitted, and
 * undefined returned.
 */
export function rowStreams(
  lo: Lowering,
  t: Tile,
  plain: boolean,
  orNone = false,
): boolean | undefined {
  const { em } = lo;
  const at = (s: Poly, p: Poly): Poly[] => [...t.ids, ...(t.panelIsA ? [p, s] : [s, p])];
  const factors: Factors = ({ op }, where, k, n) => {
    const [a, b] = op.operands as [Value, Value];
    const i = contractionIndex(op, where, k);
    const x = asFloat(lo.emit(a, i.a, n), n);
    return [x, asFloat(lo.emit(b, i.b, n), n)];
  };
  const product = (part: Part, where: readonly Poly[], k: Poly, n: number): Expr =>
    L.binary('mul', ...factors(part, where, k, n));
  const widthsUpTo = (widest: number): number[] =>
    t.parts.map((part) =>
      chooseLanes(lo, laneCandidates(part.k, widest), (n) =>
        product(part, at(any(lo, t.streamed), any(lo, t.panelled)), probeIndex(lo, part.k, n), n),
      ),
    );
  const store = (where: readonly Poly[]): void =>
    storeLinear(lo, t.target.buffer, t.target.at(where), lo.emit(t.root, where, 1), 1);
  const { part } = t;
  const ends = part?.streamed ?? { from: Poly.of(0), to: t.streamed };
  /** Rows of the streamed operand, so many at a time; a single one is no loop. */
  const rowsBy = (step: number, from: Poly, body: (s: Poly) => void): void =>
    t.streamed.constant === 1
      ? body(Poly.of(0))
      : loop(lo, t.streamed, step, false, body, from, 'm', undefined, ends.to);
  const single = (from: Poly): void =>
    loop(
      lo,
      t.panelled,
      1,
      isParallel(t),
      (p) => rowsBy(1, ends.from, (s) => store(at(s, p))),
      from,
      'n',
      undefined,
      part?.panelled.to,
    );
  const { lanes } = t;
  const isVector = (): boolean => widthsUpTo(2 * lanes).every((n) => n >= lanes);
  const widths = widthsUpTo(32);
  const factored = t.parts.every((part, c) => isFactored(lo, part, widths[c]!, product, at, t));
  if (!factored && !(plain && isVector())) {
    if (orNone) return undefined;
    single(part?.panelled.from ?? Poly.of(0));
    return false;
  }

  const length = part?.panelled.length ?? t.panelled;
  const quarter = floorDiv(length, streams);
  /** The results of `count` rows of the streamed operand from `s` on, with four rows of the panelled one. */
  const tile = (p: Poly, s: Poly, count: number): void => {
    const rows = Array.from({ length: streams }, (_, j) => {
      const ahead = p.add(quarter.mul(j));
      const own = part ? em.asIndex(em.bind(em.index(ahead), 'n'), t.panelled) : ahead;
      return Array.from({ length: count }, (_n, i) => at(s.add(i), own));
    });
    t.parts.forEach((part, c) => {
      const sums = factored
        ? factoredSums(lo, part, rows.flat(), widths[c]!, product)
        : plainSums(lo, part, rows, lanes, factors);
      rows.flat().forEach((where, i) => {
        lo.pin(part.op.results[0]!, where, em.bind(sums[i]!, 'sum'));
      });
    });
    rows.flat().forEach(store);
  };
  const atOnce = (from: Poly, to: Poly): void =>
    loop(
      lo,
      part ? t.panelled : quarter,
      1,
      isParallel(t),
      (p) => {
        const most = factored ? 1 : Math.min(sumVectors / streams, t.streamed.constant ?? streams);
        const each = (step: number, from: Poly): void =>
          rowsBy(step, from, (s) => tile(p, s, step));
        if (most === 1) return each(1, ends.from);
        each(most, ends.from);
        if (ends.to.sub(ends.from).multiple() % most === 0) return;
        each(1, restOf(lo, ends.to, ends.from, most));
      },
      from,
      'n',
      undefined,
      to,
    );
  if (!part) {
    atOnce(Poly.of(0), quarter);
    const done = em.index(quarter.mul(streams));
    if (t.panelled.multiple() % streams !== 0) single(em.asIndex(done));
    return !factored;
  }
  const { from } = part.panelled;
  atOnce(from, from.add(quarter));
  if (length.multiple() % streams !== 0) single(from.add(quarter.mul(streams)));
  return !factored;
}

/** Whether block constants can be taken out of the sum in every lane. */
function isFactored(
  lo: Lowering,
  part: Part,
  width: number,
  product: (part: Part, where: readonly Poly[], k: Poly, n: number) => Expr,
  at: (s: Poly, p: Poly) => Poly[],
  t: Tile,
): boolean {
  const { em } = lo;
  if (part.k.multiple() % width !== 0) return false;
  return em.trial(() => {
    let found = false;
    em.scope(() => {
      const where = at(any(lo, t.streamed), any(lo, t.panelled));
      const e = product(part, where, probeIndex(lo, part.k, width), width);
      found = factoredTerms(e, em.definition) !== undefined;
    });
    return found;
  });
}

function zeroed(lo: Lowering, n: number): Var {
  const v = lo.em.newVar('acc', L.vtype('f32', n));
  lo.em.push({ kind: 'local', var: v, value: L.constant(0, 'f32', n) });
  return v;
}

/** Sums whose block constants are multiplied once a block; a register each. */
function factoredSums(
  lo: Lowering,
  part: Part,
  rows: readonly (readonly Poly[])[],
  width: number,
  product: (part: Part, where: readonly Poly[], k: Poly, n: number) => Expr,
): readonly Expr[] {
  const { em } = lo;
  const element = (j: number, k: Poly): Expr => product(part, rows[j]!, k, width);
  // Where products are added in the same operation, codes are best left where they are.
  const how = { fused: true, apart: lo.limits.relaxed === true };
  // An element whose place is known may leave nothing to take out.
  const termsOf = (e: Expr): readonly Factored[] =>
    factoredTerms(e, em.definition, how) ?? [{ scale: undefined, part: L.fold(e) }];
  const constants = blockConstants(lo, rows.length, part.k, width, element, termsOf);
  lo.note(em.trial(() => explainSum(element(0, probeIndex(lo, part.k, width)), em.definition)));
  const accs = rows.map(() => zeroed(lo, 4));
  const lane = Poly.atom(lo.lane(width));
  vectorLoop(lo, part.k, width, (k) => {
    const b = k.sub(lane).over(width)!;
    // Sums of what belongs to the streamed operand alone are those of all rows.
    const shared: { readonly of: Expr; readonly sums: Expr }[] = [];
    const list = rows.map((_, j) => termsOf(element(j, k)));
    const factors = list.map((own, j) =>
      own.map((term, t) => constants?.(j, t, b) ?? (term.scale && em.bind(term.scale, 's'))),
    );
    list.forEach((own, j) =>
      own.forEach(({ part: sums }, t) => {
        const isShared = list.some((o, i) => i > j && o[t] && sameExpr(o[t].part, sums));
        if (isShared && !shared.some((s) => sameExpr(s.of, sums)))
          shared.push({ of: sums, sums: em.bind(sums, 'sums') });
      }),
    );
    // Row after row of a term with nothing in between: a target may take what rows have in common once.
    const most = Math.max(...list.map((own) => own.length));
    for (let t = 0; t < most; t += 1)
      list.forEach((own, j) => {
        const term = own[t];
        if (!term) return;
        const by = factors[j]![t];
        const value = shared.find((s) => sameExpr(s.of, term.part))?.sums ?? term.part;
        const acc = L.variable(accs[j]!);
        const sum = by ? L.mulAdd(value, L.splat(by, 4), acc) : L.binary('add', acc, value);
        em.push({ kind: 'set', var: accs[j]!, value: sum });
      });
  });
  // The elements were emitted with their own constants, which nobody wants where these are in scratch.
  const { stmts } = em.scopes.at(-1)!;
  const last = stmts.at(-1);
  if (last?.kind === 'for') stmts.splice(-1, 1, { ...last, body: wantedLets(last.body) });
  return accs.map((v) => L.reduce('add', L.variable(v)));
}

/** Sums of products as they are, in so many vectors that multiplications need not wait for each other. */
function plainSums(
  lo: Lowering,
  part: Part,
  rows: readonly (readonly (readonly Poly[])[])[],
  lanes: number,
  factors: Factors,
): readonly Expr[] {
  const { em } = lo;
  const all = rows.flat();
  const width = (lanes * sumVectors) / all.length;
  lo.note(`${rows.length} far-apart rows at once, for ${rows[0]!.length} of the other operand`);
  const accs = all.map(() => zeroed(lo, width));
  const tails = part.k.multiple() % width === 0 ? undefined : all.map(() => zeroed(lo, 1));
  const step = (k: Poly, n: number): void => {
    const target = n === width ? accs : tails!;
    all.forEach((where, i) => {
      const [a, b] = factors(part, where, k, n);
      const acc = target[i]!;
      em.push({ kind: 'set', var: acc, value: L.mulAdd(a, b, L.variable(acc)) });
    });
  };
  // As much of each row a turn as with one row of the other operand.
  const turn = lanes * turnVectors;
  const lane = Poly.atom(lo.lane(width));
  const turns = floorDiv(part.k, turn).mul(turn);
  const vectors = Array.from({ length: turn / width }, (_, i) => width * i);
  const body = (k: Poly): void => vectors.forEach((i) => step(k.add(i).add(lane), width));
  loop(lo, part.k, turn, false, body, Poly.of(0), 'k');
  if (part.k.multiple() % turn !== 0) {
    const from = em.asIndex(em.index(turns));
    vectorLoop(lo, part.k, width, step, false, undefined, { from, to: part.k });
  }
  return accs.map((v, i) => {
    const sum = L.reduce('add', L.variable(v));
    return tails ? L.binary('add', sum, L.variable(tails[i]!)) : sum;
  });
}
