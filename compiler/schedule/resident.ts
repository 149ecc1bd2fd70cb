// Contractions with resident weights in small integers, in the layout where lanes are rows (packed.ts), and
// activations that are small integers too, because the author encoded them. A vector of weights holds four rows by
// four elements of depth, so that `dot4` needs no sum across lanes; block constants are taken out of the sum as
// factor.ts says, zero points included: what they add is known once the activations are, and starts the sums.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, Poly } from '../ir/algebra.ts';
import type { Value } from '../ir/ir.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Range } from '../loops/ranges.ts';
import { times } from './factor.ts';
import { type Adder, addProduct, type Levels, type Pass, superBlocks } from './levels.ts';
import { division, inPieces, type PartOf, type Target, wholeTarget } from './in-pieces.ts';
import type { Lowering } from './lowering.ts';
import { restOf } from './pieces.ts';
import { loop, type Range as Ends } from './nests.ts';
import { rowLane, tileLanes, tileSide } from './spans.ts';
import { blockLoop, preparedOnce } from './resident-activations.ts';
import type { Run, Plan } from './resident-plan.ts';
import {
  declare,
  inRegisters,
  oneRun,
  passesOf,
  type Prepared,
  type Tile,
  type WeightSource,
  type Which,
  zeros,
} from './resident-dots.ts';
import { explainWords } from './words.ts';

const one = L.constant(1, 'f32');

/** Groups of four rows that a vector walks at once where activations have few rows: streams far apart in memory. */
const streams = 4;

interface Job {
  readonly root: Value;
  readonly target: Target;
  readonly rows: Dim;
  readonly columns: Dim;
  readonly plans: readonly Plan[];
  readonly prepared: readonly Prepared[];
}

/** Emits the kernel: once for few rows of activations, once for many. */
export function emitResident(
  lo: Lowering,
  root: Value,
  buffer: Buffer,
  plans: readonly Plan[],
): void {
  const [columns, rows] = root.type.shape as [Dim, Dim];
  /** `when`: by how many rows of activations the code is reached. */
  const jobOf = (words: boolean, when: 'few' | 'many' | 'any'): Job => {
    const prepared = plans.map((p) =>
      preparedOnce(lo, p, [columns, rows], words ? p.words : undefined, when),
    );
    return { root, target: wholeTarget(buffer, root.type.shape), rows, columns, plans, prepared };
  };
  const { em } = lo;
  const grain = tileSide * streams;
  const divided = division(lo, { root, buffer, panelled: 1, streamed: 0, grain });
  for (const { words } of plans)
    if (words) lo.note(`few rows of activations meet words of 16 bits: ${explainWords(words)}`);
  for (const { hoisted } of plans)
    if (hoisted)
      lo.note(`scales of activations are multiplied by ${hoisted.text}, in place of the weights'`);
  const least = panelColumns + 1;
  if (!lo.limits.relaxed && (columns.constant ?? least) >= least)
    lo.note(
      'many rows of activations meet panels of words of 16 bits: there is no dot product of bytes',
    );
  const known = columns.constant;
  if (known !== undefined) {
    const [job, isFew] = [jobOf(known < least, 'any'), known < least];
    if (!divided) return isFew ? fewColumns(lo, job) : manyColumns(lo, job);
    return inPieces(lo, divided, [], (part) =>
      isFew ? fewInPiece(lo, job, part) : manyInPiece(lo, job, part),
    );
  }
  const shared = plans.some((p) => p.words) ? undefined : jobOf(false, 'any');
  const cond = (): Expr => L.compare('ge', em.index(columns), L.i32(least));
  const branch = (many: () => void, few: () => void): void => {
    const then = em.scope(many);
    em.push({ kind: 'if', cond: cond(), then, else: em.scope(few) });
  };
  const jobs: Job[] = [];
  const prepared = (): void => {
    const depth = em.depth;
    for (const j of jobs)
      for (const p of j.prepared)
        for (const b of Object.values(p) as (Buffer | undefined)[])
          if (b) em.bufferDepth.set(b.id, depth);
  };
  if (!divided)
    return branch(
      () => manyColumns(lo, shared ?? jobOf(false, 'many')),
      () => fewColumns(lo, shared ?? jobOf(true, 'few')),
    );
  // What follows is there once, whichever way a piece is made.
  if (shared) jobs.push(shared, shared);
  else
    branch(
      () => jobs.push(jobOf(false, 'many')),
      () => jobs.push(jobOf(true, 'few')),
    );
  prepared();
  inPieces(lo, divided, [], (part) =>
    branch(
      () => manyInPiece(lo, jobs[0]!, part),
      () => fewInPiece(lo, jobs[1]!, part),
    ),
  );
}

/** Few rows of activations: weights are unpacked in registers, four far-apart groups of rows side by side. */
function fewColumns(lo: Lowering, job: Job): void {
  const { em } = lo;
  const whole = floorDiv(job.rows, tileSide);
  const quarter = floorDiv(whole, streams);
  loop(
    lo,
    quarter,
    1,
    true,
    (g) => {
      loop(
        lo,
        job.columns,
        1,
        false,
        (s) => {
          const groups = Array.from({ length: streams }, (_, j) =>
            rowsOf(lo, job, staggered(lo, g, quarter, j)),
          );
          contract(lo, job, groups, [s]);
          for (const n of groups) store(lo, job, s, n);
        },
        Poly.of(0),
        'm',
      );
    },
    Poly.of(0),
    'n',
  );
  // Groups that are left, the last of which may have rows that do not exist.
  if (job.rows.multiple() % (tileSide * streams) === 0) return;
  const from = em.asIndex(em.index(quarter.mul(streams)));
  const groups = floorDiv(job.rows.add(tileSide - 1), tileSide);
  loop(
    lo,
    groups,
    1,
    true,
    (g) => {
      loop(
        lo,
        job.columns,
        1,
        false,
        (s) => {
          const n = rowsOf(lo, job, g);
          contract(lo, job, [n], [s]);
          storeSome(lo, job, s, n);
        },
        Poly.of(0),
        'm',
      );
    },
    from,
    'n',
  );
}

/**
 * A piece of the result with few rows of activations: four groups side by side, each from a quarter of it. They are in step
 * here: streams that are staggered break off once more a piece, which costs more (9 %) than it spares.
 */
function fewInPiece(lo: Lowering, all: Job, part: PartOf): void {
  const job = { ...all, target: part.target };
  const { panelled: cols, streamed: rows } = part;
  const quarter = floorDiv(cols.length, tileSide * streams);
  const first = cols.from.over(tileSide)!;
  const rowLoop = (body: (s: Poly) => void): void =>
    job.columns.constant === 1
      ? body(Poly.of(0))
      : loop(lo, job.columns, 1, false, body, rows.from, 'm', undefined, rows.to);
  loop(
    lo,
    quarter,
    1,
    false,
    (g) =>
      rowLoop((s) => {
        const list = Array.from({ length: streams }, (_, j) =>
          rowsOf(lo, job, first.add(g).add(quarter.mul(j))),
        );
        contract(lo, job, list, [s]);
        for (const n of list) store(lo, job, s, n);
      }),
    Poly.of(0),
    'n',
  );
  if (cols.length.multiple() % (tileSide * streams) === 0) return;
  loop(
    lo,
    floorDiv(job.rows.add(tileSide - 1), tileSide),
    1,
    false,
    (g) =>
      rowLoop((s) => {
        const n = rowsOf(lo, job, g);
        contract(lo, job, [n], [s]);
        storeRows(lo, job, s, n);
      }),
    first.add(quarter.mul(streams)),
    'n',
    undefined,
    floorDiv(cols.to.add(tileSide - 1), tileSide),
  );
}

/**
 * The group that stream j walks in iteration g of its quarter: j groups ahead, and around its end. Quarters are often
 * multiples of pages, and streams in step would meet in the same sets of caches and banks of memory.
 */
function staggered(lo: Lowering, g: Poly, quarter: Dim, j: number): Poly {
  if (j === 0) return g;
  const { em } = lo;
  const ahead = em.bind(em.index(g.add(j)), 'ahead');
  const end = em.index(quarter);
  const around = L.binary('rem', ahead, end);
  return em.asIndex(around, quarter).add(quarter.mul(j));
}

/**
 * First row of a group. The rows of the last group that do not exist are there in memory: none of them is stored,
 * and no index needs a clamp.
 */
const rowsOf = (lo: Lowering, job: Job, group: Poly): Poly =>
  lo.em.asIndex(lo.em.index(group), floorDiv(job.rows, tileSide)).mul(tileSide);

/** The contractions of groups of four rows with rows of activations; their sums are pinned. */
function contract(
  lo: Lowering,
  job: Job,
  groups: readonly Poly[],
  columns: readonly Poly[],
  panels?: readonly WeightSource[],
): void {
  const { em } = lo;
  job.plans.forEach((plan, p) => {
    const source = panels?.[p] ?? inRegisters(lo, plan, groups);
    const sums = groups.map(() => columns.map(() => declare(lo, 'acc', zeros('f32'))));
    const tile: Tile = { plan, prepared: job.prepared[p]!, source, columns, sums };
    const block = (which: Which, k: Poly, add: Adder): void => {
      for (const run of plan.runs) oneRun(lo, tile, run, k, add, which);
    };
    const levels: Levels = {
      depth: plan.part.depth,
      block: plan.block,
      sums,
      scales: (k) =>
        plan.runs[0]!.terms.map((_, i) =>
          groups.map((_g, j) => plan.runs.map((run) => source.scale(k, run, i, j))),
        ),
    };
    const add: Adder = ({ group, column, value, x, w }) =>
      addProduct(lo, sums[group]![column]!, value, times(x, w));
    // Panels hold the scales of each block, all levels multiplied.
    const passes = passesOf(plan).map(
      (which): Pass => ({ block: (k, add) => block(which, k, add), isShort: which === 'sums' }),
    );
    if (panels || !superBlocks(lo, levels, passes))
      blockLoop(lo, plan, (k) => block('all', k, add));
    groups.forEach((n, j) => {
      columns.forEach((s, c) => {
        lo.pin(
          plan.part.op.results[0]!,
          [s, n.add(Poly.atom(rowLane))],
          em.bind(L.variable(sums[j]![c]!), 'sum'),
        );
      });
    });
  });
}

// ---- many rows of activations ----

/** Groups of rows whose weights are unpacked together, and rows of activations that meet them at once. */
const panelGroups = 2;
const panelColumns = 3;

/**
 * Many rows of activations: the weights of eight rows are unpacked once into scratch, a byte each (a word where bytes have no
 * dot product), and meet three
 * rows of activations at a time, with 6 integer sums, 6 float sums, 2 vectors of weights and one of activations.
 */
function manyColumns(lo: Lowering, job: Job): void {
  const pairs = floorDiv(floorDiv(job.rows.add(tileSide - 1), tileSide).add(1), panelGroups);
  const all: Ends = { from: Poly.of(0), to: job.columns };
  loop(lo, pairs, 1, true, (g) => pairOfGroups(lo, job, g, all), Poly.of(0), 'n');
}

/** Eight rows of weights with a range of the rows of activations. */
function pairOfGroups(lo: Lowering, job: Job, g: Poly, { from, to }: Ends): void {
  const { em } = lo;
  // The second group of the last pair may not exist: then the first is taken twice.
  const last = L.binary('sub', em.index(floorDiv(job.rows.add(tileSide - 1), tileSide)), L.i32(1));
  const groups = Array.from({ length: panelGroups }, (_, j) => {
    const at = em.index(g.mul(panelGroups).add(j));
    const index = j === 0 ? at : em.bind(L.binary('min', at, em.bind(last, 'last')), 'group');
    return em.asIndex(index, floorDiv(job.rows, tileSide)).mul(tileSide);
  });
  const panels = job.plans.map((plan) => unpackPanel(lo, plan, groups));
  const points = (s0: Poly, count: number): void => {
    const columns = Array.from({ length: count }, (_, c) => s0.add(c));
    contract(lo, job, groups, columns, panels);
    for (const s of columns) for (const n of groups) storeRows(lo, job, s, n);
  };
  const step = panelColumns;
  loop(lo, job.columns, step, false, (s) => points(s, step), from, 'm', undefined, to);
  if (to.sub(from).multiple() % step === 0) return;
  loop(
    lo,
    job.columns,
    1,
    false,
    (s) => points(s, 1),
    restOf(lo, to, from, step),
    'm',
    undefined,
    to,
  );
}

/** A piece of the result with many rows of activations. */
function manyInPiece(lo: Lowering, whole: Job, part: PartOf): void {
  const job = { ...whole, target: part.target };
  const { panelled: cols, streamed: rows } = part;
  const pair = tileSide * panelGroups;
  loop(
    lo,
    floorDiv(job.rows.add(pair - 1), pair),
    1,
    false,
    (g) => pairOfGroups(lo, job, g, rows),
    cols.from.over(pair)!,
    'n',
    undefined,
    floorDiv(cols.to.add(pair - 1), pair),
  );
}

/** Unpacks the weights of some groups of rows into scratch, their scales beside. */
function unpackPanel(lo: Lowering, plan: Plan, groups: readonly Poly[]): WeightSource {
  const { em } = lo;
  const { depth } = plan.part;
  const source = inRegisters(lo, plan, groups);
  const dotTerms = plan.runs[0]!.terms.flatMap((t, i) => (t.isDot ? [i] : []));
  const terms = plan.runs[0]!.terms.length;
  const n = groups.length;
  const ranges = plan.runs.flatMap((r) => r.terms.flatMap((t) => (t.isDot ? [t.range] : [])));
  const range: Range = [
    Math.min(...ranges.map(([lo]) => lo)),
    Math.max(...ranges.map(([, hi]) => hi)),
  ];
  // Without a dot product of bytes a panel holds words, taken apart a block at a time.
  const asWords = !lo.limits.relaxed;
  const taken = asWords ? Poly.of(plan.block) : depth;
  const perDepth = tileSide * n * dotTerms.length;
  const codes = em.newBuffer('panel', range[0] < 0 ? 'i8' : 'u8', 'temp', taken.mul(perDepth));
  Object.assign(codes, { range });
  const panel = asWords ? em.newBuffer('words', 'i16', 'temp', depth.mul(perDepth)) : codes;
  const perBlock = plan.runs.length * terms * n * tileSide;
  const scales = em.newBuffer('scales', 'f32', 'temp', depth.over(plan.block)!.mul(perBlock));
  const codeAt = (k: Poly, v: number, term: number, j: number): Poly =>
    k
      .over(tileSide)!
      .add(v)
      .mul(dotTerms.length)
      .add(dotTerms.indexOf(term))
      .mul(n)
      .add(j)
      .mul(tileLanes);
  const scaleAt = (k: Poly, run: Run, term: number, j: number): Poly =>
    k
      .over(plan.block)!
      .mul(perBlock)
      .add(((plan.runs.indexOf(run) * terms + term) * n + j) * tileSide);
  blockLoop(lo, plan, (k) => {
    for (const run of plan.runs)
      run.terms.forEach((t, i) => {
        groups.forEach((_, j) => {
          const scale = L.splat(source.scale(k, run, i, j) ?? one, tileSide);
          const index = em.index(scaleAt(k, run, i, j));
          em.push({ kind: 'store', buffer: scales, index, value: scale, align: tileSide });
          if (!t.isDot) return;
          for (let v = run.from; v < run.to; v += 1) {
            const at = codeAt(asWords ? Poly.of(0) : k, v, i, j);
            const value = source.ints(k, v, i, j);
            em.push({ kind: 'store', buffer: codes, index: em.index(at), value, align: tileLanes });
            if (asWords) partWords(lo, codes, at, panel, codeAt(k, v, i, j));
          }
        });
      });
  });
  for (const b of [codes, panel, scales]) em.bufferDepth.set(b.id, em.depth);
  const half = 2 * tileSide;
  return {
    ...(asWords
      ? {
          pairs: (k, term, j) => {
            const at = codeAt(k, 0, term, j);
            const from = (i: number): Expr => L.load(panel, em.index(at.add(i)), half, half);
            return [from(0), from(half)] as const;
          },
        }
      : {}),
    ints: (k, v, term, j) => L.load(codes, em.index(codeAt(k, v, term, j)), tileLanes, tileLanes),
    scale: (k, run, term, j) =>
      L.load(scales, em.index(scaleAt(k, run, term, j)), tileSide, tileSide),
  };
}

/** Bytes of a tile as words: those of even depth, then those of odd depth. */
function partWords(lo: Lowering, bytes: Buffer, at: Poly, target: Buffer, to: Poly): void {
  const { em } = lo;
  const { range: _, ...plain } = bytes;
  const n = 2 * tileSide;
  const i32s = (x: number): Expr => L.constant(x, 'i32', n);
  const pairs = L.load({ ...plain, dtype: 'i16' }, em.index(at.over(2)!), n, n);
  const low = L.binary('and', pairs, i32s(255));
  const high = L.binary('shr', pairs, i32s(8));
  const isSigned = bytes.dtype === 'i8';
  const even = isSigned ? L.binary('sub', L.binary('xor', low, i32s(128)), i32s(128)) : low;
  const odd = isSigned ? high : L.binary('and', high, i32s(255));
  [even, odd].forEach((value, i) =>
    em.push({ kind: 'store', buffer: target, index: em.index(to.add(n * i)), value, align: n }),
  );
}

/** The elementwise rest of four rows, of which some may not exist. */
const storeRows = (lo: Lowering, job: Job, s: Poly, n: Poly): void =>
  job.rows.multiple() % tileSide === 0 ? store(lo, job, s, n) : storeSome(lo, job, s, n);

/** The elementwise rest of four rows. */
function store(lo: Lowering, job: Job, s: Poly, n: Poly): void {
  const where = [s, n.add(Poly.atom(rowLane))];
  const { buffer, at } = job.target;
  lo.em.push({
    kind: 'store',
    buffer,
    index: lo.em.index(at([s, n])),
    value: L.splat(lo.emit(job.root, where, tileSide), tileSide),
    align: 1,
  });
}

/** As {@link store}, for rows of which some may not exist. */
function storeSome(lo: Lowering, job: Job, s: Poly, n: Poly): void {
  const { em } = lo;
  for (let r = 0; r < tileSide; r += 1) {
    // What is read for the row is read where there is one: reads leave the branch.
    const top = L.binary('sub', em.index(job.rows), L.i32(1));
    const inside = L.binary('min', em.index(n.add(r)), em.bind(top, 'last'));
    const row = em.asIndex(em.bind(inside, 'row'), job.rows);
    const body = em.scope(() => {
      for (const { part } of job.plans) {
        const [v] = part.op.results as [Value];
        const lanes = lo.emit(v, [s, n.add(Poly.atom(rowLane))], tileSide);
        lo.pin(v, [s, row], em.bind(L.extract(lanes, r), 'sum'));
      }
      em.push({
        kind: 'store',
        buffer: job.target.buffer,
        index: em.index(job.target.at([s, row])),
        value: lo.emit(job.root, [s, row], 1),
        align: 1,
      });
    });
    const exists = L.compare('lt', em.index(n.add(r)), em.index(job.rows));
    em.push({ kind: 'if', cond: exists, then: body, else: [] });
  }
}
