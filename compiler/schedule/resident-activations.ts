// What contractions with resident weights make of their activations before they begin, once for all that want the same:
// words of small integers, their sums, and factors of blocks.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, Poly } from '../ir/algebra.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Range } from '../loops/ranges.ts';
import { hoistedFactor } from './hoisted.ts';
import type { Lowering } from './lowering.ts';
import { loop, vectorLoop } from './nests.ts';
import { add, type Prepared, scaleIndex, startIndex, sumIndex, zeros } from './resident-dots.ts';
import { activations, type Plan, type Run, weights } from './resident-plan.ts';
import { tileSide } from './spans.ts';
import { structureOf } from './structure.ts';
import { factored, type WordRecipe } from './words.ts';

/**
 * The activations as a plan wants them: made once for all contractions of a function that want the same of the same
 * activations. Kernels run one after the other and branch alike, so what one has prepared is there for the next.
 */
export function preparedOnce(
  lo: Lowering,
  plan: Plan,
  shape: readonly [Dim, Dim],
  words: WordRecipe | undefined,
  when: string,
): Prepared {
  const { block, runs, starts, sums, flips, scaled, part, hoisted } = plan;
  const make = (): Prepared => prepare(lo, plan, shape, words);
  // Scales that the weights have a part in are the weights' own.
  if (hoisted?.hasScalars) return make();
  const wanted = runs.map(({ from, to, terms }) => [
    from,
    to,
    terms.map((t) => [t.start, t.sum, t.shift, t.flips]),
  ]);
  const by = hoisted?.literal;
  const recipe = { when, block, starts, sums, flips, scaled, wanted, words, by };
  const key = `${structureOf(lo, part.op.operands[0]!)} ${part.depth} ${shape[0]} ${JSON.stringify(recipe)}`;
  const known = lo.prepared.get(key);
  if (!known) {
    const made = make();
    lo.prepared.set(key, made);
    return made;
  }
  for (const b of Object.values(known) as (Buffer | undefined)[])
    if (b) lo.em.bufferDepth.set(b.id, lo.em.depth);
  lo.note('activations are prepared once for several contractions');
  return known;
}

/**
 * Per row of activations and block: the starts of the integer sums, and where weights are signed bytes, the
 * magnitudes and the sign masks.
 */
function prepare(
  lo: Lowering,
  plan: Plan,
  [columns, rows]: readonly [Dim, Dim],
  words: WordRecipe | undefined,
): Prepared {
  const { em } = lo;
  const { depth } = plan.part;
  const temp = (name: string, dtype: Buffer['dtype'], size: Dim, range?: Range): Buffer => {
    const b = em.newBuffer(name, dtype, 'temp', size);
    return range ? Object.assign(b, { range }) : b;
  };
  const blocks = depth.over(plan.block)!;
  const made: Prepared = {
    scales: plan.scaled
      ? temp('scales', 'f32', columns.mul(blocks).mul(plan.runs.length))
      : undefined,
    starts: plan.starts ? temp('starts', 'i32', columns.mul(blocks).mul(plan.starts)) : undefined,
    sums: plan.sums ? temp('sums', 'f32', columns.mul(blocks).mul(plan.sums)) : undefined,
    magnitudes: plan.flips ? temp('magnitudes', 'i8', columns.mul(depth), [0, 127]) : undefined,
    masks: plan.flips ? temp('signs', 'i8', columns.mul(depth), [-1, 0]) : undefined,
    factors: words ? temp('factors', 'i16', columns.mul(depth)) : undefined,
    words: words || lo.limits.relaxed ? undefined : temp('words', 'i16', columns.mul(depth)),
  };
  const unit = words?.unit ?? 1;
  if (!made.starts && !made.sums && !made.scales && !made.words) return made;
  const scaleOf = scaleIndex(plan);
  const startOf = startIndex(plan);
  const sumOf = sumIndex(plan);
  loop(lo, columns, 1, true, (s) => {
    blockLoop(lo, plan, (k) => {
      for (const run of plan.runs) {
        const { scale } = activations(lo, plan.part, s, k.add(tileSide * run.from));
        if (made.scales && scale) {
          const index = em.index(scaleOf(s, k, run));
          const by = hoistedBy(lo, plan, run, rows, k);
          const scaled = by ? L.binary('mul', scale, by) : scale;
          const value = unit === 1 ? scaled : L.binary('mul', scaled, L.constant(1 / unit, 'f32'));
          em.push({ kind: 'store', buffer: made.scales, index, value, align: 1 });
        }
        if (made.words)
          for (let v = run.from; v < run.to; v += 1)
            storeWords(lo, plan, made.words, s, k.add(tileSide * v));
        if (run.terms.every((t) => t.start === undefined && t.sum === undefined)) continue;
        const sum = em.newVar('sum', L.vtype('i32', tileSide));
        const flipped = em.newVar('flipped', L.vtype('i32', tileSide));
        const flips = run.terms.some((t) => t.flips);
        em.push({ kind: 'local', var: sum, value: zeros('i32') });
        if (flips) em.push({ kind: 'local', var: flipped, value: zeros('i32') });
        const xs: Expr[] = [];
        for (let v = run.from; v < run.to; v += 1) {
          const at = k.add(tileSide * v);
          const [x] = activations(lo, plan.part, s, at).ints as [Expr];
          const value = em.bind(x, 'x');
          xs.push(value);
          add(lo, sum, value);
          if (!made.magnitudes || !made.masks) continue;
          const mask = em.bind(L.binary('shr', value, L.constant(31, 'i32', tileSide)), 'mask');
          const magnitude = em.bind(L.unary('abs', value), 'magnitude');
          if (flips) add(lo, flipped, L.binary('and', magnitude, mask));
          const index = em.index(s.mul(depth).add(at));
          for (const [b, e] of [
            [made.magnitudes, magnitude],
            [made.masks, mask],
          ] as const)
            em.push({ kind: 'store', buffer: b, index, value: e, align: tileSide });
        }
        const total = em.bind(L.reduce('add', L.variable(sum)), 'sum');
        const more =
          words && made.factors
            ? storeFactors(
                lo,
                words,
                made.factors,
                s.mul(depth).add(k.add(tileSide * run.from)),
                xs,
              )
            : undefined;
        const negative = flips ? em.bind(L.reduce('add', L.variable(flipped)), 'flipped') : total;
        for (const t of run.terms) {
          if (t.sum !== undefined) {
            const index = em.index(sumOf(s, k, t.sum));
            const sum = L.convert(total, 'f32');
            const value = scale ? L.binary('mul', scale, sum) : sum;
            em.push({ kind: 'store', buffer: made.sums!, index, value, align: 1 });
          }
          if (t.start === undefined) continue;
          const times = t.shift * unit;
          const plain = times === 1 ? total : L.binary('mul', total, L.i32(times));
          const shifted = more ? L.binary('add', plain, more) : plain;
          em.push({
            kind: 'store',
            buffer: made.starts!,
            index: em.index(startOf(s, k, t.start)),
            value: t.flips ? L.binary('add', shifted, negative) : shifted,
            align: 1,
          });
        }
      }
    });
  });
  for (const b of Object.values(made) as (Buffer | undefined)[])
    if (b) em.bufferDepth.set(b.id, em.depth);
  return made;
}

/** What the scale of activations is multiplied by in place of the weights' (hoisted.ts); the same for all rows. */
function hoistedBy(lo: Lowering, plan: Plan, run: Run, rows: Dim, k: Poly): Expr | undefined {
  const { em } = lo;
  if (!plan.hoisted) return undefined;
  const { literal, hasScalars } = plan.hoisted;
  if (!hasScalars) return L.constant(literal, 'f32');
  const first = em.newVar('row', L.vtype('i32'));
  em.push({ kind: 'let', var: first, value: L.i32(0) });
  const group = Poly.atom(em.atom(first, floorDiv(rows, tileSide)));
  const at = k.add(tileSide * run.from);
  const [own] = weights(lo, plan.part, group.mul(tileSide), at);
  return hoistedFactor(lo, own!.scale!);
}

/** Stores four activations as words: the first and third, then the second and fourth. */
function storeWords(lo: Lowering, plan: Plan, target: Buffer, s: Poly, k: Poly): void {
  const { em } = lo;
  const x = em.bind(activations(lo, plan.part, s, k).ints[0]!, 'x');
  const index = em.index(s.mul(plan.part.depth).add(k));
  const value = L.build([0, 2, 1, 3].map((i) => L.extract(x, i)));
  em.push({ kind: 'store', buffer: target, index, value, align: tileSide });
}

/**
 * Stores the factors of a run of activations, four to a vector, from element `at` on; gives what the flipped bits of
 * the layout add to the sums of the run.
 */
function storeFactors(
  lo: Lowering,
  words: WordRecipe,
  target: Buffer,
  at: Poly,
  xs: readonly Expr[],
): Expr {
  const { em } = lo;
  const { plane, half, by } = words.more;
  const flipped: Expr[] = [];
  for (let v = 0; v < xs.length; v += words.planes) {
    const vector = xs.slice(v, v + words.planes);
    flipped.push(vector[plane]!);
    factored(words, vector).forEach((value, i) => {
      const index = em.index(at.add(tileSide * v + i));
      em.push({ kind: 'store', buffer: target, index, value, align: 1 });
    });
  }
  const sum = em.bind(
    flipped.reduce((a, b) => L.binary('add', a, b)),
    'flipped',
  );
  const both = L.binary('add', L.extract(sum, half), L.extract(sum, half + 2));
  return em.bind(L.binary('mul', both, L.i32(by * words.unit)), 'flipped');
}

/** Loops over blocks; super-blocks have a loop of their own where something belongs to them only. */
export function blockLoop(lo: Lowering, plan: Plan, body: (k: Poly) => void): void {
  const lane = Poly.atom(lo.lane(plan.block));
  vectorLoop(lo, plan.part.depth, plan.block, (k) => body(k.sub(lane)));
}
