// Whether and how a contraction over resident weights takes the road of integers: what is constant in each block, what
// the integer sums start with, and how wide the integers are. Decides the layouts of packed fields; resident.ts emits.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, Poly } from '../ir/algebra.ts';
import type { Op, Value } from '../ir/ir.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { intRange, type Range } from '../loops/ranges.ts';
import { withDerived } from './derived.ts';
import { sameExpr, type Term, terms, times } from './factor.ts';
import type { Lowering } from './lowering.ts';
import { type Hoisted, hoistedOf } from './hoisted.ts';
import { hasSuperBlocks } from './levels.ts';
import { chooseWords, type PackedTile } from './packed.ts';
import { takingsOf } from './packing.ts';
import { contractionIndex } from './reductions.ts';
import { depthLane, NoTile, rowLane, tileLanes, tileSide } from './spans.ts';
import { fitsWords, recipeOf, type WordRecipe } from './words.ts';

/** One contraction of the root, its weights on the right. */
export interface ResidentPart {
  readonly op: Op<'matmul'>;
  readonly depth: Dim;
}

/** How one term of the weights meets the activations within a run of steps. */
export interface TermPlan {
  /** Weights are integers here; otherwise only the sum of the activations counts. */
  readonly isDot: boolean;
  /** What is added to the integers of the weights, so that they are not negative or small. */
  readonly shift: number;
  /** Bounds of the integers, shifted so. */
  readonly range: Range;
  /** The activations come as magnitudes, the weights with the bits of negative ones flipped. */
  readonly flips: boolean;
  /** Place among the starts of a block, where it needs one. */
  readonly start: number | undefined;
  /** Where weights are no integers: place among the sums of the activations of a block. */
  readonly sum: number | undefined;
  /** How the codes of a unit are multiplied where they are in their bytes, if they are. */
  readonly takings: ReturnType<typeof takingsOf> | undefined;
}

/** Steps of four elements in a row with the same block constants. */
export interface Run {
  readonly from: number;
  readonly to: number;
  readonly terms: readonly TermPlan[];
}

export interface Plan {
  readonly part: ResidentPart;
  /** Elements of depth that one pass of the inner loop takes. */
  readonly block: number;
  readonly runs: readonly Run[];
  /** Steps whose weights share a stored word. */
  readonly perWord: number;
  /** So many of a block. */
  readonly starts: number;
  readonly sums: number;
  readonly flips: boolean;
  /** Whether the activations have a scale. */
  readonly scaled: boolean;
  /** What the scales of the activations are multiplied by, in place of the weights'. */
  readonly hoisted: Hoisted | undefined;
  /** With few rows of activations, the codes are multiplied as words. */
  readonly words: WordRecipe | undefined;
}

/** Whether the contractions can take the road; the reason where they cannot. Decides layouts of packed fields. */
export function planResident(
  lo: Lowering,
  root: Value,
  parts: readonly ResidentPart[],
): { readonly plans: readonly Plan[] } | { readonly reason: string } {
  const { shape } = root.type;
  if (shape.length !== 2) return { reason: 'the result is no matrix' };
  try {
    return { plans: parts.map((part) => planPart(lo, part, shape)) };
  } catch (e) {
    if (e instanceof NoTile) return { reason: e.message };
    throw e;
  }
}

const anyIndex = (lo: Lowering, d: Dim): Poly =>
  Poly.atom(lo.em.atom(lo.em.newVar('i', L.vtype('i32')), d));

function planPart(lo: Lowering, part: ResidentPart, shape: readonly Dim[]): Plan {
  let first: NoTile | undefined;
  for (const block of [32, 16, 8]) {
    if (part.depth.multiple() % block !== 0 || part.depth.constant === 0) continue;
    try {
      return lo.em.trial(() => {
        let plan: Plan | undefined;
        lo.em.scope(() => {
          const rows = anyIndex(lo, floorDiv(shape[1]!, tileSide)).mul(tileSide);
          const k = anyIndex(lo, part.depth.over(block)!).mul(block);
          plan = planBlock(lo, part, block, anyIndex(lo, shape[0]!), rows, k);
        });
        return plan!;
      });
    } catch (e) {
      if (!(e instanceof NoTile)) throw e;
      first ??= e;
    }
  }
  throw first ?? new NoTile('the depth is no multiple of 8');
}

/** The integers and the scale of activations s at k .. k + 3: four lanes. */
export function activations(lo: Lowering, { op }: ResidentPart, s: Poly, k: Poly): Term {
  const at = contractionIndex(op, [s, Poly.of(0)], k.add(Poly.atom(depthLane))).a;
  const e = lo.emit(op.operands[0]!, at, tileSide);
  const list = terms(asFloat(L.splat(e, tileSide)), lo.em.definition);
  const [t] = list ?? [];
  if (!t || list!.length !== 1 || t.floats.length || t.ints.length !== 1)
    throw new NoTile('the activations are not encoded as integers');
  return t;
}

/** The terms of the weights of rows n .. n + 3 at k .. k + 3. */
export function weights(lo: Lowering, { op }: ResidentPart, n: Poly, k: Poly): readonly Term[] {
  const where = [Poly.of(0), n.add(Poly.atom(rowLane))];
  const at = contractionIndex(op, where, k.add(Poly.atom(depthLane))).b;
  const e = asFloat(L.splat(lo.emit(op.operands[1]!, at, tileLanes), tileLanes));
  const list = terms(e, lo.em.definition)?.map((t) => integerTable(lo, t));
  if (!list || list.some((t) => t.floats.length || t.ints.length > 1))
    throw new NoTile('the weights are no integers times block constants');
  return list.map((t) => (t.scale ? { ...t, scale: withDerived(lo, t.scale) } : t));
}

/** Numbers of a table that a byte shuffle looks up. */
export const shuffled = 16;
/** The largest magnitude of integers that stand for the entries of a table. */
const largest = 127;

/**
 * A look-up in a table of whole numbers up to a power of two is one in a table of integers. Any other table is rounded
 * to 8 bits: its entries become multiples of a unit that suits them best, so that each is off by at most 1 / 254 of the
 * largest magnitude, as activations in 8 bits are. Other terms stay as they are.
 */
function integerTable(lo: Lowering, t: Term): Term {
  const [look] = t.floats;
  if (t.floats.length !== 1 || t.ints.length || look?.kind !== 'gather') return t;
  const { data, role } = look.buffer;
  if (role !== 'const' || !data || data.length > shuffled || !data.every(Number.isFinite)) return t;
  const whole = [1, 2, 4, 8, 16].find((n) =>
    data.every((x) => Number.isInteger(x * n) && Math.abs(x * n) <= largest),
  );
  const unit = whole === undefined ? bestUnit(data) : 1 / whole;
  const ints = table(lo, look.buffer, `in ${unit}`, (x) => Math.round(x / unit) + 0);
  if (whole === undefined) {
    const top = Math.max(...data.map(Math.abs));
    const share = (worstOf(data, unit) / top).toPrecision(2);
    lo.note(
      `a table of ${data.length} numbers is rounded to 8 bits: off by ${share} of the largest`,
    );
  }
  const scale = unit === 1 ? t.scale : times(t.scale, L.constant(unit, 'f32'));
  return { scale, ints: [L.gather(ints, look.index)], floats: [] };
}

const worstOf = (data: readonly number[], unit: number): number =>
  Math.max(...data.map((x) => Math.abs(x - Math.round(x / unit) * unit)));

/** The unit whose multiples come closest to all entries, with none beyond the largest integer. */
function bestUnit(data: readonly number[]): number {
  const top = Math.max(...data.map(Math.abs)) || 1;
  const units = Array.from({ length: 512 }, (_, i) => top / (largest - i / 16));
  return units.reduce((a, b) => (worstOf(data, b) < worstOf(data, a) ? b : a));
}

const asFloat = (e: Expr): Expr => (e.type.scalar === 'f32' ? e : L.convert(e, 'f32'));

/** Takes constants off an integer expression: e = rest + shift. */
export function withoutConstant(e: Expr): { readonly rest: Expr; readonly shift: number } {
  if (e.kind === 'binary' && (e.op === 'add' || e.op === 'sub') && e.b.kind === 'const') {
    const inner = withoutConstant(e.a);
    return { rest: inner.rest, shift: inner.shift + (e.op === 'add' ? e.b.value : -e.b.value) };
  }
  return { rest: e, shift: 0 };
}

const holds = (r: Range, min: number, max: number): boolean => r[0] >= min && r[1] <= max;

function planBlock(
  lo: Lowering,
  part: ResidentPart,
  block: number,
  s: Poly,
  n: Poly,
  k: Poly,
): Plan {
  const steps = block / tileSide;
  const all = Array.from({ length: steps }, (_, v) => ({
    x: activations(lo, part, s, k.add(tileSide * v)),
    w: weights(lo, part, n, k.add(tileSide * v)),
  }));
  const runs: Run[] = [];
  let starts = 0;
  let sums = 0;
  let anyFlips = false;
  for (let from = 0; from < steps; ) {
    const first = all[from]!;
    let to = from + 1;
    while (to < steps && sameConstants(first, all[to]!)) to += 1;
    const xRange = intRange(first.x.ints[0]!, lo.em.definition);
    const plans = first.w.map((t, i): TermPlan => {
      const [int] = t.ints;
      if (!int) return { ...noDot, sum: sums++ };
      const { rest, shift } = withoutConstant(int);
      const range = intRange(rest, lo.em.definition);
      if (!(holds(range, -128, 127) || holds(range, 0, 255)) || !holds(xRange, -128, 127))
        throw new NoTile('weights or activations of more than 8 bits');
      // A 7-bit operand makes the dot product of most engines one instruction; of some, any unsigned byte.
      const most = mostOf(lo);
      const lift = holds(range, 0, most) || range[1] - range[0] > most ? 0 : -range[0];
      const flips =
        lo.limits.relaxed === true &&
        !holds([range[0] + lift, range[1] + lift], 0, most) &&
        lift === 0 &&
        !holds(range, 0, 127) &&
        holds(range, -128, 127) &&
        holds(xRange, -127, 127);
      anyFlips ||= flips;
      const needs = shift - lift !== 0 || flips;
      const start = needs ? starts++ : undefined;
      const bounds: Range = [range[0] + lift, range[1] + lift];
      const takings = lift === 0 ? takingsOfRun(lo, all.slice(from, to), i) : undefined;
      return {
        isDot: true,
        shift: shift - lift,
        range: bounds,
        flips,
        start,
        sum: undefined,
        takings,
      };
    });
    const dots = plans.filter((t) => t.isDot).map((t) => t.range);
    if (dots.some(([lo]) => lo < 0) && dots.some(([, hi]) => hi > 127))
      throw new NoTile('signed and unsigned bytes in one panel');
    runs.push({ from, to, terms: plans });
    from = to;
  }
  const perWord = stepsOfWord(
    lo,
    all[0]!.w.flatMap((t) => t.ints),
  );
  const scaled = all[0]!.x.scale !== undefined;
  const words = lo.limits.relaxed ? undefined : planWords(lo, all, runs);
  const hoisted = planHoisted(lo, part, block, runs, n, all);
  if (!words)
    return { part, block, runs, perWord, starts, sums, flips: anyFlips, scaled, hoisted, words };
  // What the layout has flipped is added to the starts.
  const started = runs.map((r) => ({
    ...r,
    terms: r.terms.map((t) => (t.isDot && t.start === undefined ? { ...t, start: starts++ } : t)),
  }));
  return {
    part,
    block,
    runs: started,
    perWord,
    starts,
    sums,
    flips: false,
    scaled,
    hoisted,
    words,
  };
}

/**
 * Factors that all scales of the weights share, where they meet those of the activations before anything else does: not
 * where what is multiplied first is a sum, nor where the weights' scales wait for that of a super-block.
 */
function planHoisted(
  lo: Lowering,
  part: ResidentPart,
  block: number,
  runs: readonly Run[],
  n: Poly,
  steps: readonly Step[],
): Hoisted | undefined {
  if (runs.some((r) => r.terms.length !== 1 || !r.terms[0]!.isDot)) return undefined;
  const scale = (k: Poly, run: Run): Expr | undefined =>
    weights(lo, part, n, k.add(tileSide * run.from))[0]!.scale;
  const levels = {
    depth: part.depth,
    block,
    scales: (k: Poly) => [[runs.map((r) => scale(k, r))]],
  };
  if (hasSuperBlocks(lo, levels)) return undefined;
  const scales = runs.map((r) => steps[r.from]!.w[0]!.scale);
  return hoistedOf(lo, scales, steps[0]!.x.scale);
}

const noDot = {
  isDot: false,
  shift: 0,
  range: [0, 0],
  flips: false,
  start: undefined,
  takings: undefined,
} as const;

/** The largest byte that the dot product of the target takes on its unsigned side. */
export const mostOf = (lo: Lowering): number => (lo.limits.unsignedDot ? 255 : 127);

/** How the codes of a term are taken in all steps of a run; undefined where that is no better than one by one. */
function takingsOfRun(
  lo: Lowering,
  steps: readonly Step[],
  term: number,
): ReturnType<typeof takingsOf> | undefined {
  if (!lo.limits.relaxed) return undefined;
  const tiles = steps.map(({ w }) => tileOf(lo, w[term]!));
  const [first] = tiles;
  if (!first || !tiles.every((t) => t?.field === first.field)) return undefined;
  const { packing } = first.field;
  const takings = takingsOf(packing, mostOf(lo));
  return takings.exponent > 0 || packing.vectors > 1 ? takings : undefined;
}

/** Where the codes of a term come from, if they are those of a field as they are. */
export function tileOf(lo: Lowering, t: Term): PackedTile | undefined {
  let e: Expr | undefined = t.ints[0] && withoutConstant(t.ints[0]).rest;
  while (e && !lo.tiles.has(e)) e = e.kind === 'var' ? lo.em.definition(e.var) : undefined;
  return e && lo.tiles.get(e);
}

/**
 * How the codes of all terms are multiplied as words, if they can be, and gives their fields the layout for it. Targets
 * without a dot product of bytes would take the bytes apart first.
 */
function planWords(
  lo: Lowering,
  steps: readonly Step[],
  runs: readonly Run[],
): WordRecipe | undefined {
  const fields = new Set<PackedTile['field']>();
  let recipe: WordRecipe | undefined;
  for (const { from, to, terms: plans } of runs)
    for (const [i, plan] of plans.entries()) {
      if (!plan.isDot) continue;
      for (let v = from; v < to; v += 1) {
        const tile = tileOf(lo, steps[v]!.w[i]!);
        const own = tile && recipeOf(tile.field);
        if (!own || (recipe && own.unit !== recipe.unit)) return undefined;
        recipe ??= own;
        const whole = (to - from) % own.planes === 0 && tile.code === (v - from) % own.planes;
        const { rest, shift } = withoutConstant(steps[v]!.w[i]!.ints[0]!);
        const codes = intRange(rest, lo.em.definition);
        const x = intRange(steps[v]!.x.ints[0]!, lo.em.definition);
        const wide: Range = [codes[0] - Math.abs(shift), codes[1] + Math.abs(shift)];
        if (!whole || shift !== plan.shift || !fitsWords(own, wide, x, tileSide * (to - from)))
          return undefined;
        fields.add(tile.field);
      }
    }
  for (const f of fields) chooseWords(f);
  return recipe;
}

/** As many steps as the fewest that a word of any of the fields holds, of those that hold several. */
function stepsOfWord(lo: Lowering, ints: readonly Expr[]): number {
  const buffers = new Set<Buffer>();
  const look = (e: Expr): void => {
    if (e.kind === 'load') buffers.add(e.buffer);
    const value = e.kind === 'var' ? lo.em.definition(e.var) : undefined;
    for (const o of value ? [value] : L.operands(e)) look(o);
  };
  ints.forEach(look);
  const counts = lo.packed
    .filter(({ field }) => buffers.has(field.buffer))
    .map(({ field }) => field.packing.steps)
    .filter((count) => count > 1);
  return counts.length ? Math.min(...counts) : 1;
}

interface Step {
  readonly x: Term;
  readonly w: readonly Term[];
}
const sameScale = (a: Expr | undefined, b: Expr | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && sameExpr(a, b));
function sameConstants(a: Step, b: Step): boolean {
  const shiftOf = (t: Term): number | undefined => t.ints[0] && withoutConstant(t.ints[0]).shift;
  return (
    sameScale(a.x.scale, b.x.scale) &&
    a.w.length === b.w.length &&
    a.w.every((t, i) => {
      const u = b.w[i]!;
      return sameScale(t.scale, u.scale) && shiftOf(t) === shiftOf(u);
    })
  );
}

/** A table of bytes made from another one, once a kernel. */
export function table(lo: Lowering, from: Buffer, what: string, of: (x: number) => number): Buffer {
  const key = `${from.id} ${what}`;
  let buffer = lo.tables.get(key);
  if (!buffer || !lo.em.buffers.includes(buffer)) {
    const data = from.data!.map(of);
    const dtype = data.some((x) => x > 127) ? 'u8' : 'i8';
    buffer = lo.em.newBuffer(from.name, dtype, 'const', Poly.of(data.length), data);
    lo.tables.set(key, buffer);
  }
  return buffer;
}
