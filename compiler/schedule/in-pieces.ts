// Results that are finished piece by piece: a part of their rows by a part of their columns, of which a kernel that follows
// has whole units (followers.ts). A piece is made, then everything that follows runs over it. A worker takes pieces, so
// that it meets no other; the piece lies in scratch of its own where nobody else reads the result.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, gcd, lcm, Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Value } from '../ir/ir.ts';
import type { Buffer } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { blocksTogether } from './blocks.ts';
import { storedSize, strides } from './emitter.ts';
import { type Follower, type Followers, nameOfKernel } from './followers.ts';
import type { Lowering } from './lowering.ts';
import { type Piece, pieces } from './pieces.ts';
import { isOnly, loop, nest, type Range } from './nests.ts';
import { mapBody, storeElements, storeTensor } from './regions.ts';
import { soleMap } from './rules.ts';

/** Where the elements of a result go. */
export interface Target {
  readonly buffer: Buffer;
  readonly at: (index: readonly Poly[]) => Poly;
}

/** All of a result, row by row. */
export function wholeTarget(buffer: Buffer, shape: readonly Dim[]): Target {
  const step = strides(buffer.dtype, shape);
  const at = (index: readonly Poly[]): Poly =>
    index.reduce((sum, p, i) => sum.add(p.mul(step[i]!)), Poly.of(0));
  return { buffer, at };
}

/** A result that can be made in pieces. */
export interface Divided {
  /** Of the kernel's region. */
  readonly root: Value;
  readonly buffer: Buffer;
  /** The axis whose parts go to workers, and the other one of the matrix. */
  readonly panelled: number;
  readonly streamed: number;
  /** What parts of the panelled axis should have whole multiples of. */
  readonly grain: number;
}

/** How a result is divided. */
export interface Division {
  readonly of: Divided;
  readonly followers: Followers;
  readonly list: readonly Follower[];
  /** Elements of a piece along the panelled axis. */
  readonly span: number;
  /** What the length along the streamed axis is a multiple of, and the most it may be. */
  readonly step: number;
  readonly most: number;
  /** Whether one piece has all of the panelled axis, so that workers take parts of the other. */
  readonly isAlone: boolean;
}

/**
 * Elements of a piece along the panelled axis, at least and at most. Blocks come in fours then, and each of four streams of
 * weights goes on for 64 rows: with 32, one row of activations took 3 % longer on weights in the third-level cache, and with 256 5 %.
 */
const [leastSpan, mostSpan] = [256, 512];
const fewestPieces = 4;
/** Elements along the streamed axis, and where workers divide that one. */
const [mostStreamed, fewStreamed] = [192, 48];
/** Elements of a piece: they stay in the second-level cache beside the weights at hand. */
const mostElements = 2 ** 16;

/** How a result is divided for what follows; undefined where nothing can follow, which is noted. */
export function division(lo: Lowering, of: Divided): Division | undefined {
  const { followers } = lo;
  if (!followers) return undefined;
  followers.isAsked = true;
  let best: Division | undefined;
  for (const f of followers.list) {
    const made = divide(lo, followers, of, [...(best?.list ?? []), f]);
    if (typeof made !== 'string') best = made;
    else lo.note(`${nameOfKernel(f.op)} does not follow piece by piece: ${made}`);
  }
  if (!best) return undefined;
  followers.taken = best.list;
  const across = of.panelled === of.root.type.shape.length - 1 ? 'columns' : 'rows';
  const from = followers.isWanted(best.list) ? 'out of the result' : 'which lie in scratch';
  followers.pieces = `pieces of ${best.span} ${across}, ${from}`;
  return best;
}

function divide(
  lo: Lowering,
  followers: Followers,
  of: Divided,
  list: readonly Follower[],
): Division | string {
  const { shape } = of.root.type;
  const unitOf = (axis: number): number | 'all' => {
    const units = list.map((f) => f.units[axis]!);
    return units.reduce((a, b) => (a === 'all' || b === 'all' ? 'all' : lcm(a, b)), 1);
  };
  const others = shape.map((_, i) => i).filter((i) => i !== of.panelled && i !== of.streamed);
  if (others.some((i) => unitOf(i) !== 1)) return 'it reads several matrices at once';
  const [extent, length] = [shape[of.panelled]!, shape[of.streamed]!];
  const named = (axis: number): string => (axis === shape.length - 1 ? 'rows' : 'columns');
  let span = leastSpan;
  let isAlone = false;
  const unit = unitOf(of.panelled);
  if (unit === 'all') {
    if ((extent.constant ?? Infinity) > leastSpan)
      return `it needs whole ${named(of.panelled)} of ${lo.inSignature(extent)}, and a piece has ${leastSpan} elements of one`;
    span = extent.constant!;
    isAlone = true;
  } else {
    // Neighbouring pieces share no byte.
    const whole = 8 / gcd(8, dtypes[of.buffer.dtype].bits);
    const base = lcm(lcm(unit, of.grain), whole);
    // Of a short axis there are a few pieces too, for as many workers.
    const wanted = Math.min(leastSpan, Math.ceil((extent.constant ?? Infinity) / fewestPieces));
    span = base * Math.max(1, Math.ceil(wanted / base));
    if (span > mostSpan)
      return `pieces would have ${span} elements of its ${named(of.panelled)}, more than ${mostSpan}`;
    isAlone = extent.constant !== undefined && extent.constant <= span;
  }
  const most = Math.min(isAlone ? fewStreamed : mostStreamed, Math.floor(mostElements / span));
  const step = unitOf(of.streamed);
  if (step === 'all') {
    if ((length.constant ?? Infinity) > most)
      return `it needs whole ${named(of.streamed)} of ${lo.inSignature(length)}, and a piece has at most ${most} elements of one`;
    return { of, followers, list, span, step: length.constant!, most: length.constant!, isAlone };
  }
  if (step > most)
    return `its blocks go over ${step} ${named(of.panelled)}, and a piece has ${most}`;
  return { of, followers, list, span, step, most: most - (most % step), isAlone };
}

/** A part of a result. */
export interface PartOf {
  readonly panelled: Piece;
  readonly streamed: Piece;
  readonly target: Target;
}

/** Makes the result piece by piece, in matrix `ids` of a batch, and lets the followers have each. */
export function inPieces(
  lo: Lowering,
  d: Division,
  ids: readonly Poly[],
  make: (part: PartOf) => void,
): void {
  const { em } = lo;
  const { root, buffer, panelled, streamed } = d.of;
  const { shape, dtype } = root.type;
  const parallel = ids.every((i) => i.constant !== undefined);
  const chunk = chunks(shape[streamed]!, d);
  const isWanted = d.followers.isWanted(d.list);
  const isRowwise = panelled === shape.length - 1;
  const across = isRowwise ? Poly.of(d.span) : chunk.size;
  const down = isRowwise ? chunk.size : Poly.of(d.span);
  const scratch = isWanted
    ? buffer
    : em.newBuffer(buffer.name, dtype, 'temp', storedSize(dtype, [down, across]));
  pieces(lo, shape[panelled]!, d.span, parallel && !d.isAlone, 'piece', (p) =>
    chunkLoop(lo, shape[streamed]!, chunk, parallel && d.isAlone, (s) => {
      const local = wholeTarget(scratch, [down, across]);
      const [rows, cols] = isRowwise ? [s, p] : [p, s];
      const at = (index: readonly Poly[]): Poly =>
        local.at([index.at(-2)!.sub(rows.from), index.at(-1)!.sub(cols.from)]);
      const target = isWanted ? wholeTarget(buffer, shape) : { buffer: scratch, at };
      em.bufferDepth.set(scratch.id, em.depth);
      make({ panelled: p, streamed: s, target });
      em.bufferDepth.set(scratch.id, em.depth);
      const parts = shape.map((_, i): Piece => {
        if (i === panelled) return p;
        if (i === streamed) return s;
        return { from: ids[i]!, to: ids[i]!.add(1), length: Poly.of(1) };
      });
      follow(lo, d, target, parts);
    }),
  );
}

interface Chunks {
  readonly count: Poly;
  /** Elements of all but the last. */
  readonly size: Poly;
  /** What divides every one. */
  readonly unit: number;
}

/** The streamed axis in as few parts as are short enough, all of about the same length: scratch is for no more. */
function chunks(extent: Dim, { step, most }: Division): Chunks {
  const c = extent.constant;
  const unit = gcd(extent.multiple(), step) || 1;
  if (c !== undefined && c <= most) return { count: Poly.of(1), size: extent, unit };
  const count = floorDiv(extent, most).add(1);
  const steps = floorDiv(extent.add(step - 1), step);
  return { count, size: floorDiv(steps.add(count).sub(1), count).mul(step), unit };
}

function chunkLoop(
  lo: Lowering,
  extent: Dim,
  { count, size, unit }: Chunks,
  parallel: boolean,
  body: (p: Piece) => void,
): void {
  const { em } = lo;
  if (count.constant === 1) return body({ from: Poly.of(0), to: extent, length: extent });
  const each = (i: Poly): void => {
    const from = i.mul(size);
    const left = em.index(extent.sub(from).over(unit)!);
    // The last part of very many may be empty.
    const most = L.binary('min', em.index(size.over(unit)!), L.binary('max', left, L.i32(0)));
    const length = em.asIndex(em.bind(most, 'length')).mul(unit);
    body({ from, to: em.asIndex(em.index(from.add(length))), length });
  };
  loop(lo, count, 1, parallel, each, Poly.of(0), 'chunk');
}

/** Everything that follows, over one piece. */
function follow(lo: Lowering, d: Division, target: Target, parts: readonly Piece[]): void {
  const { storage } = lo;
  const { value } = d.followers;
  const before = storage.get(value);
  storage.set(value, { kind: 'place', buffer: target.buffer, at: target.at });
  for (const f of d.list) {
    const ranges = f.links.map((l): Range | undefined => {
      if (!l) return undefined;
      const { from, length } = parts[l.axis]!;
      const first = from.over(l.unit)!;
      const own = length.over(l.unit)!;
      return { from: first, to: first.add(own), length: own };
    });
    lo.noteFor(nameOfKernel(f.op), () => overPiece(lo, f, ranges));
  }
  if (before) storage.set(value, before);
  else storage.delete(value);
}

function overPiece(lo: Lowering, f: Follower, ranges: readonly (Range | undefined)[]): void {
  const region = f.op.regions[0]!;
  const map = soleMap(region);
  const root = region.yields[0]!;
  if (!map) {
    const [buffer] = f.out as [Buffer];
    const { dtype, shape } = root.type;
    if (shape.length === 0) return storeTensor(lo, root, buffer, [], shape, false);
    return storeElements(lo, root, dtype, buffer, [], shape, Poly.of(0), false, ranges);
  }
  const { dims } = map.attrs;
  // Where a piece has few blocks along one axis, four of the other go together.
  const order = innermostLast(f, ranges);
  const pick = <T>(list: readonly T[]): T[] => order.map((i) => list[i]!);
  const outer = new Set(lo.em.buffers);
  const body = (ids: readonly Poly[]): void =>
    mapBody(
      lo,
      map,
      dims.map((_, i) => ids[order.indexOf(i)]!),
      f.out,
    );
  nest(lo, pick(dims), body, false, undefined, pick(dims.map((_, i) => ranges[i])));
  const isLoop = (d: Dim, i: number): boolean => {
    const r = ranges[i];
    return d.constant !== 1 && !(r && isOnly(r.from, r.to, d));
  };
  blocksTogether(lo, dims.filter(isLoop).length, outer);
}

/** The axes of a follower in the order of its loops. */
function innermostLast(f: Follower, ranges: readonly (Range | undefined)[]): number[] {
  const all = f.links.map((_, i) => i);
  const length = (i: number): number => {
    const r = ranges[i];
    return r ? (r.to.sub(r.from).constant ?? Infinity) : Infinity;
  };
  const last = all.at(-1);
  if (last === undefined || length(last) >= 4) return all;
  const better = all.findLast((i) => ranges[i] && length(i) >= 4);
  return better === undefined ? all : [...all.filter((i) => i !== better), better];
}
