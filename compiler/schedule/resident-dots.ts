// The integer dot products of a tile of resident weights and activations, by the step: from registers or an unpacked
// panel, as bytes or as words of 16 bits, and the sums that their block constants are added up in.
import { Poly } from '../ir/algebra.ts';
import type { Buffer, Expr, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Term } from './factor.ts';
import { withoutHoisted } from './hoisted.ts';
import type { Adder } from './levels.ts';
import type { Lowering } from './lowering.ts';
import { loadWords, type PackedTile, takenBytes } from './packed.ts';
import type { Taking } from './packing.ts';
import { loop } from './nests.ts';
import {
  type TermPlan,
  type Run,
  type Plan,
  activations,
  weights,
  withoutConstant,
  table,
  shuffled,
  tileOf,
} from './resident-plan.ts';
import { tileLanes, tileSide } from './spans.ts';
import { partsOf, type WordRecipe } from './words.ts';

/** What resident.ts prepares the activations into before the loops. */
export interface Prepared {
  /** Scales as f32, one a run of a block. */
  readonly scales: Buffer | undefined;
  readonly starts: Buffer | undefined;
  /** Sums of the activations of a run, times their scale, for terms that are the same throughout it. */
  readonly sums: Buffer | undefined;
  readonly magnitudes: Buffer | undefined;
  readonly masks: Buffer | undefined;
  /** Activations as words, of each four the first and third in front: what the words of a panel meet. */
  readonly words: Buffer | undefined;
  /** What the parts of words are multiplied by: two numbers each, of a packed vector after the other. */
  readonly factors: Buffer | undefined;
}

export const zeros = (scalar: 'i32' | 'f32'): Expr => L.constant(0, scalar, tileSide);
export const add = (lo: Lowering, v: Var, e: Expr): void =>
  lo.em.push({ kind: 'set', var: v, value: L.binary('add', L.variable(v), e) });

export const startIndex =
  (plan: Plan) =>
  (s: Poly, k: Poly, i: number): Poly =>
    s.mul(plan.part.depth.over(plan.block)!).add(k.over(plan.block)!).mul(plan.starts).add(i);

export const sumIndex =
  (plan: Plan) =>
  (s: Poly, k: Poly, i: number): Poly =>
    s.mul(plan.part.depth.over(plan.block)!).add(k.over(plan.block)!).mul(plan.sums).add(i);

export const scaleIndex =
  (plan: Plan) =>
  (s: Poly, k: Poly, run: Run): Poly =>
    s
      .mul(plan.part.depth.over(plan.block)!)
      .add(k.over(plan.block)!)
      .mul(plan.runs.length)
      .add(plan.runs.indexOf(run));

export function declare(lo: Lowering, name: string, value: Expr): Var {
  const v = lo.em.newVar(name, value.type);
  lo.em.push({ kind: 'local', var: v, value });
  return v;
}

/** Where the weights of a tile come from. */
export interface WeightSource {
  /** Integers of group `j` in step `v` of the block at `k`, of one term. */
  readonly ints: (k: Poly, v: number, term: number, j: number) => Expr;
  /** Where the codes of a term are in the steps of a run, group after group; of weights that lie as they are stored. */
  readonly tiles?: (k: Poly, run: Run, term: number, groups: readonly number[]) => Tiles;
  /** The integers of a step as words, in two vectors of all rows: of even and of odd depth; of a panel of words. */
  readonly pairs?: (k: Poly, term: number, j: number) => readonly [Expr, Expr];
  /** Words of group `j` that start at depth `at`, of one term; of weights that lie as they are stored. */
  readonly words?: (at: Poly, term: number, j: number) => Expr;
  /** Scale of a term in a run of the block: one a row. */
  readonly scale: (k: Poly, run: Run, term: number, j: number) => Expr | undefined;
}

/** Weights as they are stored: unpacked each time they are wanted. */
export const inRegisters = (lo: Lowering, plan: Plan, groups: readonly Poly[]): WeightSource => ({
  ints: (k, v, term, j) => {
    const w = weights(lo, plan.part, groups[j]!, k.add(tileSide * v))[term]!;
    const run = plan.runs.find((r) => v >= r.from && v < r.to)!;
    return integers(lo, w, run.terms[term]!);
  },
  tiles: (k, run, term, chosen) =>
    lo.em.glance(() =>
      chosen.map((j) =>
        stepsOf(run).map((v) => {
          const list = weights(lo, plan.part, groups[j]!, k.add(tileSide * v));
          return tileOf(lo, list[term]!)!;
        }),
      ),
    ),
  words: (at, term, j) => {
    const tile = lo.em.glance(() => tileOf(lo, weights(lo, plan.part, groups[j]!, at)[term]!)!);
    return loadWords(lo, tile);
  },
  scale: (k, run, term, j) => {
    const w = weights(lo, plan.part, groups[j]!, k.add(tileSide * run.from))[term]!.scale;
    return w && plan.hoisted ? withoutHoisted(lo, w) : w;
  },
});

type Tiles = readonly (readonly PackedTile[])[];
const stepsOf = (run: Run): readonly number[] =>
  Array.from({ length: run.to - run.from }, (_, i) => run.from + i);

export interface Tile {
  readonly plan: Plan;
  readonly prepared: Prepared;
  readonly source: WeightSource;
  readonly columns: readonly Poly[];
  readonly sums: readonly (readonly Var[])[];
}

/** Integer sums, a group of rows by a row of activations. */
type Dots = readonly (readonly Var[])[];

/** Terms of the weights: those whose integers are multiplied, those that only want the sum of the activations. */
export type Which = 'all' | 'dots' | 'sums';

/** Terms that go through the blocks by themselves where each has sums of its own. */
export const passesOf = (plan: Plan): readonly Which[] =>
  plan.sums > 0 ? ['dots', 'sums'] : ['all'];

export function oneRun(
  lo: Lowering,
  tile: Tile,
  run: Run,
  k: Poly,
  addTo: Adder,
  which: Which,
): void {
  const { em } = lo;
  const { plan, prepared, source, columns, sums } = tile;
  const startOf = startIndex(plan);
  const scaleOf = scaleIndex(plan);
  const sumAt = sumIndex(plan);
  const scales = columns.map((s) =>
    prepared.scales ? L.load(prepared.scales, em.index(scaleOf(s, k, run)), 1, 1) : undefined,
  );
  run.terms.forEach((t, i) => {
    if (which !== 'all' && which !== (t.isDot ? 'dots' : 'sums')) return;
    const start = columns.map((s) =>
      t.start === undefined
        ? undefined
        : L.load(prepared.starts!, em.index(startOf(s, k, t.start)), 1, 1),
    );
    if (!t.isDot) {
      columns.forEach((s, column) => {
        const at = em.index(sumAt(s, k, t.sum!));
        const value = em.bind(L.load(prepared.sums!, at, 1, 1), 'sum');
        sums.forEach((_row, group) => {
          const w = source.scale(k, run, i, group);
          addTo({ term: i, group, column, value, x: undefined, w });
        });
      });
      return;
    }
    const takes = columns.length === 1 && source.tiles ? takingsOf(run, t) : undefined;
    const isWords = plan.words && prepared.factors && source.words;
    const atOnce = columns.length > 1 || isWords ? sums.length : groupsAtOnce(t, takes);
    // Sums of groups that are multiplied apart are added up before the next ones begin.
    for (const groups of apart(sums.length, atOnce)) {
      const dots = groups.map(() =>
        start.map((s) => declare(lo, 'dots', s ? L.splat(s, tileSide) : zeros('i32'))),
      );
      if (isWords) wordDots(lo, tile, plan.words!, run, i, k, dots);
      else if (source.pairs) pairDots(lo, tile, run, i, k, dots);
      else if (takes) takenDots(lo, tile, run, i, k, dots, groups);
      else if (columns.length > 1) manyDots(lo, tile, run, i, k, dots);
      else fewDots(lo, tile, run, i, k, dots, groups);
      const xs = scales.map((x) =>
        x && groups.length > 1 ? em.bind(L.splat(x, tileSide), 'scale') : x,
      );
      dots.forEach((row, n) => {
        const group = groups[n]!;
        const w = source.scale(k, run, i, group);
        row.forEach((dot, column) => {
          const value = L.convert(L.variable(dot), 'f32');
          addTo({ term: i, group, column, value, x: xs[column], w });
        });
      });
    }
  });
}

/**
 * How codes are taken from their bytes, where that pays: two sums a group of rows are more than registers hold beside those
 * of further integers, unless the codes would have to be joined for one sum first.
 */
function takingsOf(run: Run, t: TermPlan): TermPlan['takings'] {
  const joins = t.takings?.codes.some((c) => c.parts.length > 1);
  return run.terms.filter((other) => other.isDot).length === 1 || joins ? t.takings : undefined;
}

/**
 * Several rows of activations want the same weights, and several groups the same activations. Where masks take a register,
 * weights are read anew for each row: they lie in a panel in the nearest cache.
 */
function manyDots(lo: Lowering, tile: Tile, run: Run, term: number, k: Poly, dots: Dots): void {
  const { plan, prepared, source, columns } = tile;
  const t = run.terms[term]!;
  for (let v = run.from; v < run.to; v += 1) {
    const at = k.add(tileSide * v);
    const weight = (j: number): Expr => source.ints(k, v, term, j);
    const ws = t.flips ? [] : dots.map((_, j) => lo.em.bind(weight(j), 'w'));
    columns.forEach((s, c) => {
      const { x, mask } = stepActivations(lo, plan, prepared, t, s, at);
      dots.forEach((row, j) => {
        add(lo, row[c]!, L.dot4(mask ? L.binary('xor', weight(j), mask) : ws[j]!, x));
      });
    });
  }
}

/**
 * The same with panels of words, where bytes have no dot product of their own. A loop rather than a straight line, as in
 * {@link wordDots}.
 */
function pairDots(lo: Lowering, tile: Tile, run: Run, term: number, k: Poly, dots: Dots): void {
  const { em } = lo;
  const { plan, prepared, source, columns } = tile;
  const first = k.add(tileSide * run.from);
  const body = (v: Poly): void => {
    const at = first.add(v.mul(tileSide));
    const ws = dots.map((_, j) => source.pairs!(at, term, j).map((w) => em.bind(w, 'w')));
    columns.forEach((s, c) => {
      const index = s.mul(plan.part.depth).add(at);
      const xs = [0, 2].map((i) =>
        em.bind(L.tile(L.load(prepared.words!, em.index(index.add(i)), 2, 2), 2 * tileSide), 'x'),
      );
      dots.forEach((row, j) => {
        add(lo, row[c]!, sumOf(ws[j]!.map((w, i) => L.dot(w, xs[i]!))));
      });
    });
  };
  loop(lo, Poly.of(run.to - run.from), 1, false, body, Poly.of(0), 'v');
}

/**
 * One row of activations: a stored word of weights is used up before the next one is read. A loop where bytes have no dot
 * product of their own, as in {@link wordDots}.
 */
function fewDots(
  lo: Lowering,
  tile: Tile,
  run: Run,
  term: number,
  k: Poly,
  dots: Dots,
  groups: readonly number[],
): void {
  const { plan, prepared, source, columns } = tile;
  const t = run.terms[term]!;
  const ofStep = (at: Poly, v: number): Factor =>
    stepActivations(lo, plan, prepared, t, columns[0]!, at.add(tileSide * v));
  const multiply = (at: Poly, v: number, n: number, { x, mask }: Factor): void => {
    const w = source.ints(at, v, term, groups[n]!);
    add(lo, dots[n]![0]!, L.dot4(mask ? L.binary('xor', w, mask) : w, x));
  };
  const word = (at: Poly, from: number, to: number): void => {
    const steps = Array.from({ length: to - from }, (_, i) => from + i);
    // The words of a few groups take fewer registers than the activations of several steps.
    if (dots.length <= someGroups)
      for (const v of steps) {
        const x = ofStep(at, v);
        for (const n of dots.keys()) multiply(at, v, n, x);
      }
    else {
      const xs = steps.map((v) => ofStep(at, v));
      for (const n of dots.keys()) for (const [i, v] of steps.entries()) multiply(at, v, n, xs[i]!);
    }
  };
  const { perWord } = plan;
  const { from, to } = run;
  if (!lo.limits.relaxed && (to - from) % perWord === 0 && to - from > perWord) {
    const body = (i: Poly): void => word(k.add(i.mul(tileSide * perWord)), from, from + perWord);
    loop(lo, Poly.of((to - from) / perWord), 1, false, body, Poly.of(0), 'v');
  } else for (let v = from; v < to; v += perWord) word(k, v, Math.min(v + perWord, to));
}

const someGroups = 2;

/**
 * Groups of rows that are multiplied side by side: joining codes from several vectors leaves no registers for two; two sums
 * a group leave none for more, nor do masks.
 */
function groupsAtOnce(t: TermPlan, takes: TermPlan['takings']): number {
  if (takes?.codes.some((c) => c.parts.length > 1)) return 1;
  return takes || t.flips ? someGroups : Number.POSITIVE_INFINITY;
}

function apart(groups: number, atOnce: number): readonly (readonly number[])[] {
  const all = Array.from({ length: groups }, (_, j) => j);
  const size = Math.min(groups, atOnce);
  return all.filter((j) => j % size === 0).map((from) => all.slice(from, from + size));
}

/**
 * One row of activations, and codes that are taken from their bytes as far as need be: two sums a group of rows, of codes at
 * the end of their bytes and of those that count 2^exponent times too much.
 */
function takenDots(
  lo: Lowering,
  tile: Tile,
  run: Run,
  term: number,
  k: Poly,
  dots: Dots,
  groups: readonly number[],
): void {
  const { plan, prepared, source, columns } = tile;
  const t = run.terms[term]!;
  const { exponent, codes } = t.takings!;
  const sums = dots.map(([low]) => ({
    low: low!,
    high: exponent ? declare(lo, 'high', zeros('i32')) : low!,
  }));
  const tiles = source.tiles!(k, run, term, groups);
  for (const { v, taking } of inOrder(run, tiles[0]!, codes)) {
    const bytes = tiles.map((list) => (): Expr => takenBytes(lo, list[v - run.from]!, taking));
    // What takes many steps is ready before the activations take a register.
    const joined = bytes.map((of) => (taking.parts.length > 1 ? lo.em.bind(of(), 'w') : undefined));
    const { x } = stepActivations(lo, plan, prepared, t, columns[0]!, k.add(tileSide * v));
    sums.forEach(({ low, high }, i) => {
      add(lo, taking.exponent ? high : low, L.dot4(joined[i] ?? bytes[i]!(), x));
    });
  }
  if (!exponent) return;
  const by = L.constant(exponent, 'i32', tileSide);
  for (const { low, high } of sums) add(lo, low, L.binary('shr', L.variable(high), by));
}

/** Steps of a run and how their codes are taken, those of each unit in the order in which they want its vectors. */
function inOrder(
  run: Run,
  tiles: readonly PackedTile[],
  codes: readonly Taking[],
): readonly { readonly v: number; readonly taking: Taking }[] {
  const placed = stepsOf(run).map((v, i) => {
    const { code } = tiles[i]!;
    const place = codes.findIndex((t) => t.code === code);
    return { v, unit: v - code, place, taking: codes[place]! };
  });
  return placed.sort((a, b) => a.unit - b.unit || a.place - b.place);
}

/** Factors of words that are there at once. */
const atOnce = 4;

/**
 * The dot products of a run in words, some of their parts after the others. Loops rather than a straight line, even of one
 * iteration: older engines bring the loads of a straight line to its front, where there are not enough registers for them.
 */
function wordDots(
  lo: Lowering,
  tile: Tile,
  words: WordRecipe,
  run: Run,
  term: number,
  k: Poly,
  dots: Dots,
): void {
  const { em } = lo;
  const { plan, prepared, source, columns } = tile;
  const [s] = columns as [Poly];
  const vector = tileSide * words.planes;
  const first = k.add(tileSide * run.from);
  const count = (run.to - run.from) / words.planes;
  for (let from = 0; from < words.parts.length; from += atOnce) {
    const some = words.parts.slice(from, from + atOnce);
    const body = (v: Poly): void => {
      const at = first.add(v.mul(vector));
      const factors = some.map((_, i) => {
        const index = s
          .mul(plan.part.depth)
          .add(at)
          .add(2 * (from + i));
        const x = L.load(prepared.factors!, em.index(index), 2, 2);
        return em.bind(L.tile(x, 2 * tileSide), 'x');
      });
      dots.forEach((row, j) => {
        const w = em.bind(source.words!(at, term, j), 'words');
        const products = partsOf(lo, some, w).map((part, i) => L.dot(part(), factors[i]!));
        add(lo, row[0]!, sumOf(products));
      });
    };
    loop(lo, Poly.of(count), 1, false, body, Poly.of(0), 'v');
  }
}

/** A sum in pairs, so that only the last of its additions waits for what was summed before. */
const sumOf = (list: readonly Expr[]): Expr => {
  if (list.length === 1) return list[0]!;
  const half = list.length >> 1;
  return L.binary('add', sumOf(list.slice(0, half)), sumOf(list.slice(half)));
};

/** The integers of weights, lifted to be not negative where that makes them fit 7 bits. */
function integers(lo: Lowering, t: Term, plan: TermPlan): Expr {
  const { rest, shift } = withoutConstant(t.ints[0]!);
  const lift = shift - plan.shift;
  if (lift === 0) return rest;
  const data =
    rest.kind === 'gather' && rest.buffer.role === 'const' ? rest.buffer.data : undefined;
  if (rest.kind !== 'gather' || !data || data.length > shuffled)
    return L.binary('add', rest, L.constant(lift, 'i32', tileLanes));
  // Numbers from a table are lifted there.
  const lifted = table(lo, rest.buffer, `lifted by ${lift}`, (x) => x + lift);
  return L.gather(lifted, rest.index);
}

/** What weights are multiplied by, and what flips the bits of those that meet a negative activation. */
interface Factor {
  readonly x: Expr;
  readonly mask: Expr | undefined;
}

/** Four activations, the same for each of four rows. */
function stepActivations(
  lo: Lowering,
  plan: Plan,
  prepared: Prepared,
  t: TermPlan,
  s: Poly,
  k: Poly,
): Factor {
  const { em } = lo;
  const spread = (e: Expr, name: string): Expr => em.bind(L.tile(e, tileLanes), name);
  if (!t.flips)
    return { x: spread(activations(lo, plan.part, s, k).ints[0]!, 'x'), mask: undefined };
  const index = em.index(s.mul(plan.part.depth).add(k));
  const from = (b: Buffer): Expr => L.load(b, index, tileSide, tileSide);
  return {
    x: spread(from(prepared.magnitudes!), 'x'),
    mask: spread(from(prepared.masks!), 'mask'),
  };
}
