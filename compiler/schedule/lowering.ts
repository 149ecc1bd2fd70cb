// Demand-driven lowering: `emit(value, index, lanes)` gives the expression of one element, or of `lanes`
// elements along the axis that the lane atom moves through. Values without storage are recomputed from their
// operands, which is what fusion means here; stored values become loads.

import type { Dim } from '../ir/algebra.ts';
import { type Atom, Poly, provablyBelow } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Op, Region, Value } from '../ir/ir.ts';
import { walk } from '../ir/ir.ts';
import type { Limits } from '../limits.ts';
import type { Buffer, Expr, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { intRange } from '../loops/ranges.ts';
import { boundsOf } from './bounds.ts';
import type { Site } from './derived.ts';
import { inSignatureDims, type QuotientDims } from './dims.ts';
import { elements } from './elements.ts';
import { Emitter, strides } from './emitter.ts';
import type { Followers } from './followers.ts';
import type { TeamState } from './gpu/team.ts';
import type { OpenRegion, RegionKind } from './inplace.ts';
import { loadPacked, type PackedField, type PackedTile } from './packed.ts';
import type { Prepared } from './resident-dots.ts';
import { depthLane, joinSpans, NoTile, rowLane, type Span, spanLanes, tileLanes } from './spans.ts';

/** Where a value lives when it is not recomputed. */
export type Storage =
  | { readonly kind: 'buffer'; readonly buffer: Buffer; readonly shape: readonly Dim[] }
  /** A field of resident weights, in the layout of the kernel. */
  | { readonly kind: 'packed'; readonly field: PackedField }
  | { readonly kind: 'local'; readonly var: Var }
  /** Some of its elements, at places of their own. */
  | {
      readonly kind: 'place';
      readonly buffer: Buffer;
      readonly at: (index: readonly Poly[]) => Poly;
    }
  /** A loop index. */
  | { readonly kind: 'index'; readonly poly: Poly };

/** One instance of a map whose body is inlined at given indices. */
interface Frame {
  readonly key: string;
  readonly indices: readonly Poly[];
  /** How the indices of this map and of the maps around it move with the lanes. */
  readonly span: Span;
}

export class Lowering {
  readonly em: Emitter;
  /** A size in the dims that the author knows. */
  readonly inSignature: (d: Dim) => Dim;
  readonly storage = new Map<Value, Storage>();
  readonly limits: Limits;
  /** The map in whose body a value is defined. */
  readonly owner = new Map<Value, Op>();
  readonly frames = new Map<Op, Frame>();
  /** What was decided and why, for `quern explain`. */
  readonly notes = new Set<string>();
  /** Constant buffers of table ops. */
  readonly tables = new Map<string, Buffer>();
  /** Regions whose ops are being lowered, outermost first. */
  readonly open: OpenRegion[] = [];
  /** Buffers of the caller that values of this kernel should be made in, and those that hold one. */
  readonly targets = new Map<Value, Buffer>();
  readonly taken = new Set<Buffer>();
  /** Params that the caller gives up, in the buffers of the results that are made in their place. */
  readonly given = new Map<Value, Buffer>();
  /** Whether half floats of resident weights are laid out as f32. */
  wideRows = false;
  /** How the fields of resident weights lie, for `quern explain`. */
  readonly layoutNotes: string[] = [];
  /** Elements of resident fields, one a row, by the expressions that read them. */
  readonly sites = new WeakMap<Expr, Site>();
  /** Fields of resident weights. */
  readonly packed: { readonly value: Value; readonly field: PackedField }[] = [];
  /** Codes of tiles that are those of one field as they are. */
  readonly tiles = new WeakMap<Expr, PackedTile>();
  /** What contractions with resident weights have made of their activations, by what it is. */
  readonly prepared = new Map<string, Prepared>();
  /** Kernels that may run over each piece of what this one makes: see followers.ts. */
  followers: Followers | undefined = undefined;
  /** On a GPU: who runs the code together. */
  team: TeamState | undefined = undefined;

  constructor(limits: Limits, body: Region, quotients: QuotientDims) {
    this.limits = limits;
    this.em = new Emitter(quotients);
    this.inSignature = (d) => inSignatureDims(d, quotients);
    walk(body, (op) => {
      if (op.name !== 'map') return;
      for (const p of op.regions[0]!.params) this.owner.set(p, op);
      this.#own(op.regions[0]!, op);
    });
  }

  #own(r: Region, map: Op): void {
    for (const op of r.ops) {
      for (const v of op.results) this.owner.set(v, map);
      for (const inner of op.regions) {
        for (const p of inner.params) this.owner.set(p, map);
        this.#own(inner, map);
      }
    }
  }

  openRegion(region: Region, kind: RegionKind, stored: ReadonlySet<Value>): OpenRegion {
    const open: OpenRegion = { region, kind, stored, fixed: [], at: -1 };
    this.open.push(open);
    return open;
  }

  note(text: string): void {
    if (!this.em.inTrial) this.notes.add(text);
  }
  /** Runs something whose notes are about another kernel than the one at hand. */
  noteFor(name: string, body: () => void): void {
    const before = [...this.notes];
    this.notes.clear();
    body();
    const made = [...this.notes].map((text) => `${name}: ${text}`);
    this.notes.clear();
    for (const text of [...before, ...made]) this.notes.add(text);
  }

  /** The atom that numbers the lanes of a vector. */
  lane(lanes: number): Atom {
    return { key: `lane${lanes}`, kind: 'lane', extent: Poly.of(lanes) };
  }

  /** Vectors of indices that move with an axis of a tile. */
  readonly #vectorSpans = new Map<string, Span>();

  /** How an index moves with the lanes. */
  spanOf(p: Poly): Span {
    let span: Span = 'none';
    for (const a of p.leaves()) {
      if (a.key === rowLane.key) span = joinSpans(span, 'rows');
      else if (a.key === depthLane.key) span = joinSpans(span, 'depth');
      else if (a.kind === 'lane') span = joinSpans(span, 'flat');
      else if (this.em.isVector(a)) span = joinSpans(span, this.#vectorSpans.get(a.key) ?? 'flat');
    }
    return span;
  }

  /** How an element of `v` at an index moves with the lanes. */
  #spanAt(v: Value, index: readonly Poly[]): Span {
    const owner = this.owner.get(v);
    const here: Span = (owner && this.frames.get(owner)?.span) ?? 'none';
    return index.reduce<Span>((s, p) => joinSpans(s, this.spanOf(p)), here);
  }

  isUniform(p: Poly): boolean {
    return !p.leaves().some((a) => a.kind === 'lane' || this.em.isVector(a));
  }

  /**
   * Element of `v` at `index`. When an index moves with the lane atom the result has `lanes` lanes; otherwise
   * it is a scalar.
   */
  emit(v: Value, index: readonly Poly[], lanes: number): Expr {
    const stored = this.storage.get(v);
    if (stored?.kind === 'index') return this.polyValue(stored.poly, lanes);
    if (stored?.kind === 'local') return L.variable(stored.var);
    const span = this.#spanAt(v, index);
    const width = spanLanes(span, lanes);
    const owner = this.owner.get(v);
    const frame = (owner && this.frames.get(owner)?.key) ?? '';
    const key = `${v.id}@${frame}[${index.join(';')}]${width}`;
    const known = this.em.recall(key);
    if (known) return spreadTo(known, span, lanes);
    const e = stored ? this.#loadStored(stored, index, width) : this.#compute(v, index, width);
    // Scalars are cheap to name and often shared; vectors are named when they can leave the current loop or
    // have several readers.
    // What belongs to the rows of a tile serves its whole depth; what moves with the depth is taken apart.
    const named =
      e.type.lanes === 1 ||
      span === 'rows' ||
      this.em.depthOf(e) < this.em.depth ||
      (this.isShared(v) && span !== 'depth' && span !== 'tile');
    const out = named ? this.em.remember(key, this.em.bind(e, nameOf(v))) : e;
    return spreadTo(out, span, lanes);
  }

  /** Elements of a value that lives in memory. */
  #loadStored(
    s: Exclude<Storage, { kind: 'index' | 'local' }>,
    index: readonly Poly[],
    lanes: number,
  ): Expr {
    switch (s.kind) {
      case 'packed':
        return loadPacked(this, s.field, index, lanes);
      case 'place':
        return this.load(s.buffer, [s.buffer.size], [s.at(index)], lanes);
      case 'buffer':
        return this.load(s.buffer, s.shape, index, lanes);
    }
  }

  /** Fixes the value of one element, or of the lanes of one vector, computed elsewhere: a point of a register tile. */
  pin(v: Value, index: readonly Poly[], e: Expr): void {
    const owner = this.owner.get(v);
    const frame = owner ? (this.frames.get(owner)?.key ?? '') : '';
    this.em.remember(`${v.id}@${frame}[${index.join(';')}]${e.type.lanes}`, e);
  }

  readonly #shared = new Map<Value, number>();
  countUses(region: Region): void {
    const add = (v: Value): void => {
      this.#shared.set(v, (this.#shared.get(v) ?? 0) + 1);
    };
    walk(region, (op) => {
      op.operands.forEach(add);
      for (const r of op.regions) r.yields.forEach(add);
    });
    region.yields.forEach(add);
  }
  isShared(v: Value): boolean {
    return (this.#shared.get(v) ?? 0) > 1;
  }

  #compute(v: Value, index: readonly Poly[], lanes: number): Expr {
    const op = v.def?.op;
    if (!op) throw new Error(`value ${v.name ?? v.id} has no definition in this kernel`);
    const rule = elements[op.name] as (
      lo: Lowering,
      op: Op,
      index: readonly Poly[],
      lanes: number,
    ) => Expr;
    return rule(this, op, index, lanes);
  }

  /** Enters the body of a map at given indices. */
  inside<T>(map: Op, indices: readonly Poly[], body: () => T): T {
    const before = this.frames.get(map);
    const params = map.regions[0]!.params;
    const old = params.map((p) => this.storage.get(p));
    const parent = this.owner.get(map.results[0]!);
    const outer = parent ? this.frames.get(parent) : undefined;
    this.frames.set(map, {
      key: `${outer?.key ?? ''}${map.results[0]!.id}(${indices.join(';')})`,
      indices,
      span: indices.reduce<Span>((s, p) => joinSpans(s, this.spanOf(p)), outer?.span ?? 'none'),
    });
    params.forEach((p, i) => {
      this.storage.set(p, { kind: 'index', poly: indices[i]! });
    });
    try {
      return body();
    } finally {
      if (before) this.frames.set(map, before);
      else this.frames.delete(map);
      params.forEach((p, i) => {
        const o = old[i];
        if (o) this.storage.set(p, o);
        else this.storage.delete(p);
      });
    }
  }

  /** The integer value of an index polynomial, scalar or one a lane. */
  polyValue(p: Poly, lanes: number): Expr {
    if (this.isUniform(p)) return this.em.index(p);
    if (this.spanOf(p) === 'tile' && p.leaves().some((a) => a.kind === 'lane'))
      throw new NoTile(`the index ${p}`);
    const lane = p.atoms().find((a) => a.kind === 'lane');
    const vectors = p.leaves().filter((a) => this.em.isVector(a));
    if (lane && vectors.length === 0) {
      const step = p.coefficient(lane.key);
      if (step && this.isUniform(step)) {
        const rest = p.sub(step.mul(Poly.atom(lane)));
        if (this.isUniform(rest)) {
          const ids = L.laneIds(lanes);
          const scaled =
            step.constant === 1 ? ids : L.binary('mul', L.splat(this.em.index(step), lanes), ids);
          return rest.constant === 0
            ? scaled
            : L.binary('add', L.splat(this.em.index(rest), lanes), scaled);
        }
      }
    }
    const [v] = vectors;
    if (v && vectors.length === 1 && !lane) {
      const step = p.coefficient(v.key);
      if (step && this.isUniform(step)) {
        const rest = p.sub(step.mul(Poly.atom(v)));
        if (this.isUniform(rest)) {
          const x = this.em.vectorOf(v);
          const scaled =
            step.constant === 1 ? x : L.binary('mul', L.splat(this.em.index(step), lanes), x);
          return rest.constant === 0
            ? scaled
            : L.binary('add', L.splat(this.em.index(rest), lanes), scaled);
        }
      }
    }
    return L.build(Array.from({ length: lanes }, (_, j) => this.em.index(this.atLane(p, j))));
  }

  /** An index polynomial with the lane number fixed. */
  atLane(p: Poly, j: number): Poly {
    const span = this.spanOf(p);
    if (span !== 'none' && span !== 'flat') throw new NoTile(`one lane of ${p}`);
    return p.substitute((a) => {
      if (a.kind === 'lane') return Poly.of(j);
      if (!this.em.isVector(a)) return undefined;
      const x = this.em.bind(L.extract(L.variable(this.em.varOf(a)!), j), 'i');
      if (x.kind === 'const') return Poly.of(x.value);
      return x.kind === 'var' ? Poly.atom(this.em.atom(x.var, a.extent)) : undefined;
    });
  }

  /** A vector put together from its elements: always possible, never fast. */
  perLane(lanes: number, element: (lane: (p: Poly) => Poly) => Expr): Expr {
    const moving = [...this.frames].filter(([, f]) => f.indices.some((p) => !this.isUniform(p)));
    return L.build(
      Array.from({ length: lanes }, (_, j) => {
        const at = (p: Poly): Poly => this.atLane(p, j);
        // Maps whose indices move with the lanes are entered again, one lane at a time.
        return moving.reduce<() => Expr>(
          (inner, [map, f]) =>
            () =>
              this.inside(map, f.indices.map(at), inner),
          () => element(at),
        )();
      }),
    );
  }

  /** Loads from storage, contiguous along the lanes where the layout allows it. */
  load(buffer: Buffer, shape: readonly Dim[], index: readonly Poly[], lanes: number): Expr {
    const step = strides(buffer.dtype, shape);
    const linear = index.reduce((sum, p, i) => sum.add(p.mul(step[i]!)), Poly.of(0));
    if (this.isUniform(linear)) return L.load(buffer, this.em.index(linear), 1, 1);
    const lane = linear.atoms().find((a) => a.kind === 'lane');
    const stride = lane && linear.coefficient(lane.key);
    if (stride?.constant === 1) {
      const base = linear.sub(Poly.atom(lane!));
      if (this.isUniform(base)) {
        const align = alignment(base, lanes);
        const { bits } = dtypes[buffer.dtype];
        if (bits % 8 === 0 || ((align * bits) % 8 === 0 && (lanes * bits) % 8 === 0))
          return L.load(buffer, this.em.index(base), lanes, align);
      }
    }
    return L.gather(buffer, this.polyValue(linear, lanes));
  }

  /** A run-time integer as an index, clamped into [0, size). */
  indexOf(v: Value, at: readonly Poly[], size: Dim, lanes: number): Poly {
    const known = this.staticIndex(v);
    if (known && at.length === 0) {
      const [lo, hi] = known.bounds();
      const top = size.constant;
      if (lo >= 0 && ((top !== undefined && hi < top) || provablyBelow(known, size))) return known;
      if (top === undefined && known.constant === 0) return known;
    }
    let e = this.emit(v, at, spanLanes(this.#spanAt(v, at), lanes));
    if (e.type.scalar !== 'i32')
      e = e.type.scalar === 'u32' ? L.bits(e, 'i32') : L.convert(e, 'i32');
    const bound = size.constant;
    // What its ops say, and what it became.
    const [bounds, range] = [boundsOf(v), intRange(e, this.em.definition)];
    const [least, most] = [Math.max(bounds[0], range[0]), Math.min(bounds[1], range[1])];
    const inside = bound !== undefined && least >= 0 && most < bound;
    const named = (a: Atom): Poly => {
      const span = this.#spanAt(v, at);
      if (span !== 'none' && span !== 'flat') this.#vectorSpans.set(a.key, span);
      return Poly.atom(a);
    };
    if (inside && e.type.lanes > 1) return named(this.em.vectorAtom(e, size));
    if (inside) {
      const x = this.em.bind(e, nameOf(v));
      if (x.kind === 'const') return Poly.of(x.value);
      if (x.kind === 'var') return Poly.atom(this.em.atom(x.var, size));
    }
    const zero = L.constant(0, 'i32', e.type.lanes);
    const top = L.splat(this.em.index(size.sub(1)), e.type.lanes);
    e = this.em.bind(L.binary('max', zero, L.binary('min', e, top)), `${v.name ?? 'i'}`);
    if (e.kind === 'const') return Poly.of(e.value);
    if (e.kind !== 'var') throw new Error('an index is not bound');
    return named(this.em.atom(e.var, size));
  }

  /** The value as a polynomial of loop indices, if it is one. */
  staticIndex(v: Value): Poly | undefined {
    const s = this.storage.get(v);
    if (s) return s.kind === 'index' ? s.poly : undefined;
    const op = v.def?.op;
    if (!op || v.type.shape.length) return undefined;
    const operand = (i: number): Poly | undefined => this.staticIndex(op.operands[i]!);
    const both = (f: (a: Poly, b: Poly) => Poly): Poly | undefined => {
      const a = operand(0);
      const b = operand(1);
      return a && b ? f(a, b) : undefined;
    };
    if (v.type.dtype !== 'i32') return undefined;
    switch (op.name) {
      case 'const':
        return Poly.of((op as Op<'const'>).attrs.value);
      case 'dim':
        return (op as Op<'dim'>).attrs.dim;
      case 'add':
        return both((a, b) => a.add(b));
      case 'sub':
        return both((a, b) => a.sub(b));
      case 'mul':
        return both((a, b) => a.mul(b));
      case 'cast':
        return op.operands[0]!.type.dtype === 'i32' ? operand(0) : undefined;
      default:
        return undefined;
    }
  }
}

/** Fills a tile with what moves along one of its axes. */
const spreadTo = (e: Expr, span: Span, lanes: number): Expr => {
  if (lanes !== tileLanes || e.type.lanes === 1) return e;
  if (span === 'rows') return L.repeat(e, lanes / e.type.lanes);
  return span === 'depth' ? L.tile(e, lanes) : e;
};

/** Largest power of two (up to the lanes wanted, at least) that divides a base index for certain. */
export function alignment(base: Poly, lanes: number): number {
  const m = base.multiple();
  if (m === 0) return Math.max(lanes, 8);
  let a = 1;
  while (a < 256 && m % (a * 2) === 0) a *= 2;
  return a;
}

export const nameOf = (v: Value): string => (v.name ?? 't').replace(/[^\w.]+/g, '_');
