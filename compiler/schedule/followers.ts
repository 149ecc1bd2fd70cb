// Kernels that follow another one piece by piece: what they make of a piece of its result depends on nothing else of it, as
// blocks of an encoder do on columns of a product. Where the schedule of the first can finish its result in such pieces
// (in-pieces.ts), the others run over each piece while it is in the nearest caches, in the same loop: no worker waits, and
// the whole result need not exist. What of the result a follower reads is found by lowering it once, on trial, and looking
// at the indices: `32 * j + lane` along an axis are blocks of 32, and index j of the follower belongs to one piece.
import { type Atom, lcm, Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Func, Op, Region, Value } from '../ir/ir.ts';
import { walk } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';
import type { Buffer } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { strides } from './emitter.ts';
import { captured } from './inplace.ts';
import type { Lowering } from './lowering.ts';
import { mapBody } from './regions.ts';
import { isControl, soleMap } from './rules.ts';

/** Index j along an axis of a follower reads elements unit * j .. unit * (j + 1) - 1 along an axis of what it follows. */
export interface Link {
  readonly axis: number;
  readonly unit: number;
}

export interface Follower {
  readonly op: Op<'kernel'>;
  readonly out: readonly Buffer[];
  /** For each axis of its own, the one of the result that it moves along; none for those that a piece has all of. */
  readonly links: readonly (Link | undefined)[];
  /** For each axis of the result, what a piece must have whole multiples of. */
  readonly units: readonly (number | 'all')[];
}

/** The kernels that may follow the one being lowered. */
export interface Followers {
  /** The result of that kernel. */
  readonly value: Value;
  readonly list: readonly Follower[];
  /** Whether the result is read by anything else, so that it needs memory of its own. */
  readonly isWanted: (list: readonly Follower[]) => boolean;
  /** Those that the schedule let follow; whether it was one that could. */
  taken: readonly Follower[];
  isAsked: boolean;
  /** The pieces that they follow in, for `quern explain`. */
  pieces: string;
}

export const nameOfKernel = (op: Op<'kernel'>): string => op.attrs.name;

/** What a value of the function is another view of. */
function stored(v: Value): Value {
  let at = v;
  while (at.def?.op.name === 'reshape') at = at.def.op.operands[0]!;
  return at;
}

export interface Leader {
  readonly func: Func;
  readonly kernel: Op<'kernel'>;
  /** Whether a value has its memory before the kernel runs. */
  readonly isThere: (v: Value) => boolean;
  /** Whether a kernel may run earlier than it stands, as what it writes to holds nothing yet. */
  readonly isFree: (op: Op<'kernel'>) => boolean;
  readonly outOf: (op: Op<'kernel'>) => readonly Buffer[];
  readonly note: (text: string) => void;
}

/** The kernels that can follow another one, and a note for each reader of its result that cannot. */
export function followersOf(lo: Lowering, leader: Leader): Followers | undefined {
  const { func, kernel: k, isThere, isFree, outOf, note } = leader;
  const [value, ...others] = k.results;
  if (!value || others.length > 0) return undefined;
  const later = func.body.ops.slice(func.body.ops.indexOf(k) + 1);
  const reads = (op: Op): boolean => readsOf(op).some((v) => stored(v) === value);
  const readers = later.filter((op): op is Op<'kernel'> => op.name === 'kernel' && reads(op));
  const list: Follower[] = [];
  for (const op of readers) {
    const apart = (reason: string): void =>
      note(`${nameOfKernel(k)}: ${nameOfKernel(op)} does not follow piece by piece: ${reason}`);
    const late = readsOf(op).find((v) => stored(v) !== value && !isThere(stored(v)));
    if (lo.limits.gpu) apart('kernels of a GPU are launched one after the other');
    else if (late) apart('it reads what is made in between');
    else if (!isFree(op)) apart('its result lies where a parameter does');
    else {
      const found = needsOf(lo, op, value, outOf);
      if (typeof found === 'string') apart(found);
      else list.push(found);
    }
  }
  const inSignature = func.results.some((r) => r.values.some((v) => stored(v) === value));
  const isWanted = (taken: readonly Follower[]): boolean =>
    inSignature || readers.some((op) => taken.every((f) => f.op !== op));
  return list.length > 0
    ? { value, list, isWanted, taken: [], isAsked: false, pieces: '' }
    : undefined;
}

/** Values of the function that a kernel reads. */
function readsOf(op: Op): Value[] {
  const own = new Set<Value>();
  for (const r of op.regions)
    walk(r, (o) => {
      o.results.forEach((v) => own.add(v));
      o.regions.forEach((q) => q.params.forEach((v) => own.add(v)));
    });
  return captured(op).filter((v) => !own.has(v));
}

/** The schedule that a follower would have by itself. */
export const ruleOf = ({ op }: Follower): string => (soleMap(op.regions[0]!) ? 'map' : 'rows');

const contracts = (r: Region): boolean => {
  let found = false;
  walk(r, (o) => {
    if (ops[o.name].kind === 'contract') found = true;
  });
  return found;
};

/** What a kernel needs of `value`, or why it cannot follow it. */
function needsOf(
  lo: Lowering,
  op: Op<'kernel'>,
  value: Value,
  outOf: (op: Op<'kernel'>) => readonly Buffer[],
): Follower | string {
  const region = op.regions[0]!;
  if (contracts(region)) return 'it is a contraction, with pieces of its own';
  const map = soleMap(region);
  const root = region.yields[0]!;
  if (!map && (region.yields.length !== 1 || region.ops.some((o) => isControl(o))))
    return 'its statements run in order';
  const axes = map ? map.attrs.dims : root.type.shape;
  const { shape } = value.type;
  const { em } = lo;
  const out = outOf(op);
  const reads: (readonly Poly[])[] = [];
  const ids: (Atom | undefined)[] = [];
  const before = lo.storage.get(value);
  em.trial(() => {
    const buffer = em.newBuffer('piece', value.type.dtype, 'temp', Poly.of(1));
    const step = strides(value.type.dtype, shape);
    const at = (index: readonly Poly[]): Poly => {
      reads.push(index);
      return index.reduce((sum, p, i) => sum.add(p.mul(step[i]!)), Poly.of(0));
    };
    lo.storage.set(value, { kind: 'place', buffer, at });
    em.scope(() => {
      const index = axes.map((d) => {
        const v = d.constant === 1 ? undefined : em.newVar('i', L.vtype('i32'));
        ids.push(v && em.atom(v, d));
        return v ? Poly.atom(em.atom(v, d)) : Poly.of(0);
      });
      if (map) mapBody(lo, map, index, out);
      else lo.emit(root, index, 1);
    });
  });
  if (before) lo.storage.set(value, before);
  else lo.storage.delete(value);
  if (reads.length === 0) return 'it reads nothing of its elements';

  const links: (Link | undefined)[] = axes.map(() => undefined);
  const units: (number | 'all')[] = [];
  for (const [axis, dim] of shape.entries()) {
    if (dim.constant === 1) {
      units.push(1);
      continue;
    }
    const found = reads.map((index) => linkOf(index[axis]!, ids));
    const [first] = found;
    const same = found.every((l) => l && l.axis === first?.axis && l.unit === first.unit);
    if (!first || !same || !axes[first.axis]!.mul(first.unit).equals(dim)) {
      units.push('all');
      continue;
    }
    if (links[first.axis]) return 'it reads two axes by one index';
    links[first.axis] = { axis, unit: first.unit };
    units.push(first.unit * neighbours(region, map, first.axis));
  }
  return { op, out, links, units };
}

/** The index of the follower that an index of the result moves with, by whole units, and no further than one. */
function linkOf(p: Poly, ids: readonly (Atom | undefined)[]): Link | undefined {
  let best: Link | undefined;
  for (const [axis, id] of ids.entries()) {
    const unit = id && p.coefficient(id.key)?.constant;
    if (!id || !unit || unit < 0 || !Number.isInteger(unit)) continue;
    const [least, most] = p.sub(Poly.atom(id).mul(unit)).bounds();
    if (least >= 0 && most < unit && unit > (best?.unit ?? 0)) best = { axis, unit };
  }
  return best;
}

/** Elements along the last axis of a follower that vectors of a row start at multiples of. */
const rowStep = 32;

/** Indices along an axis of a follower that one piece has to have: of elements that share bytes, or go in vectors. */
function neighbours(region: Region, map: Op<'map'> | undefined, axis: number): number {
  if (!map) return axis === region.yields[0]!.type.shape.length - 1 ? rowStep : 1;
  if (axis !== map.attrs.dims.length - 1) return 1;
  const scalars = map.regions[0]!.yields.filter((y) => y.type.shape.length === 0);
  return scalars.reduce((n, y) => lcm(n, 8 / gcdOf8(dtypes[y.type.dtype].bits)), 1);
}
const gcdOf8 = (bits: number): number => [8, 4, 2].find((n) => bits % n === 0) ?? 1;
