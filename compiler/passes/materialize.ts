// Decides, by meaning and cost, which values of a region are stored and which are recomputed where they are
// used. Views and elementwise ops fold into their consumers; a reduction folds into a consumer that runs over
// its own axes first; what would be recomputed many times at a price is stored. No op or format is named.
import type { Dim } from '../ir/algebra.ts';
import type { Op, Region, Value } from '../ir/ir.ts';
import { startOf, walk } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';
import { findOnline, type Online } from './online.ts';
import { expands, isDecoded, reachesReduction } from './operands.ts';
import { rankOf } from './rank.ts';

/** Inline cost above which an operand that is read again and again is stored instead. */
const reuseLimit = 4;
/** What storing a value and loading it costs, beside computing it once. */
const storeCost = 2;
/** Rows of the other operand that use an element of a contraction's operand before it is read again. */
const readRows = 64;
/** Inline cost above which a value with several readers is stored instead. */
const shareLimit = 40;
/** The same inside a block, where scratch memory is in the nearest cache. */
const shareLimitInside = 8;

/** Inline cost from which a value is stored that a consumer would compute again along an axis that it does not vary along. */
const repeatLimit = 12;
/** Extent of an axis of which nothing is known. */
const someExtent = 8;

/** What it costs to count the entries of a table that a value has reached. */
const rankCost = 12;

export interface Plan {
  /** Values that get storage of their own. */
  readonly stored: ReadonlySet<Value>;
  /** Why, for `quern explain`. */
  readonly reasons: ReadonlyMap<Value, string>;
}

interface Use {
  readonly op: Op;
  readonly operand: number;
  /** The use is inside a region of `op`. */
  readonly captured: boolean;
}

/** A map with one result whose body is index arithmetic and elementwise ops: as good as an elementwise op. */
export function isInjectiveMap(op: Op): boolean {
  if (op.name !== 'map' || op.results.length !== 1) return false;
  let ok = true;
  walk(op.regions[0]!, (o) => {
    const { kind } = ops[o.name];
    if (
      kind === 'reduce' ||
      kind === 'contract' ||
      !(kind === 'region' ? isInjectiveMap(o) : isInlineable(o))
    )
      ok = false;
  });
  return ok;
}

export const isInlineable = (op: Op): boolean =>
  ops[op.name].kind !== 'stored' && (ops[op.name].kind !== 'region' || isInjectiveMap(op));
const isReduction = (op: Op): boolean =>
  ops[op.name].kind === 'reduce' || ops[op.name].kind === 'contract';

/**
 * `inner`: the region of a map or loop, whose scalars live in locals and are never stored. `cpu`: the target is no GPU, so
 * that it has a schedule for contractions weighted by exp(z - max z), counts without a loop and shares vectors. `single`:
 * each element is computed on its own.
 */
export function planRegion(region: Region, inner: boolean, cpu = false, single = false): Plan {
  const uses = collectUses(region);
  const isCount = (op: Op): boolean => cpu && rankOf(op) !== undefined;
  const passes = cpu && !inner ? onePasses(region, uses) : [];
  const inside = new Set(passes.flatMap((p) => [...p.inside]));
  const once = readOnce(passes);
  const stored = new Set<Value>();
  const reasons = new Map<Value, string>();
  const cost = new Map<Value, number>();
  const store = (v: Value, why: string): void => {
    if (inner && v.type.shape.length === 0) return;
    stored.add(v);
    if (!reasons.has(v)) reasons.set(v, why);
  };
  const own = new Set(region.ops);
  const costOf = (v: Value): number => {
    if (stored.has(v) || !v.def) return v.type.shape.length ? 1 : 0;
    const known = cost.get(v);
    if (known !== undefined) return known;
    // The other operand of a contraction may come later than the one in question.
    const price = own.has(v.def.op) ? priceOf(v.def.op) : 1;
    cost.set(v, price);
    return price;
  };
  const priceOf = (op: Op): number => {
    if (isReduction(op) && !isCount(op)) return 1;
    const price =
      op.name === 'map' ? bodyCost(op.regions[0]!) : isCount(op) ? rankCost : ops[op.name].cost;
    return op.operands.reduce((sum, v) => sum + (v.type.shape.length ? costOf(v) : 0), price);
  };

  /** Whether a contraction decodes this operand tile by tile, and reads the other one once a tile. */
  const decodes = (op: Op, operand: number): boolean => {
    const is = (f: (v: Value, stored: ReadonlySet<Value>) => boolean): readonly boolean[] =>
      op.operands.map((v) => f(v, stored));
    // What takes more memory than it is made from is not written out for good; what was computed just now may be.
    const [larger, made] = [is(expands), is(reachesReduction)];
    if (larger[0] !== larger[1]) return larger[operand]!;
    if (made[0] !== made[1]) return !made[operand]!;
    const [own, other] = [costOf(op.operands[operand]!), costOf(op.operands[1 - operand]!)];
    return own > other || (own === other && operand === 1);
  };

  for (const v of region.yields) if (v.def && region.ops.includes(v.def.op)) store(v, 'a result');
  for (const op of region.ops)
    if (!isInlineable(op) && (inner || !continues(op, uses, region)))
      for (const v of op.results) store(v, `made by a ${op.name}`);

  for (const op of region.ops)
    if (op.name === 'materialize') for (const v of op.results) store(v, 'asked for');

  for (const { root } of passes) {
    inside.delete(root);
    store(root, 'an online softmax: one pass, sums rescaled when the maximum grows');
  }
  // Costs run forward; each decision needs the costs before it and the uses after it.
  for (const op of region.ops) {
    for (const v of op.results) {
      cost.set(v, priceOf(op));
      if (stored.has(v) || inside.has(v) || ops[op.name].kind === 'leaf') continue;
      const why =
        isReduction(op) && !isCount(op)
          ? foldingOf(v, region, uses, stored, single).reason
          : (sharedReason(v, costOf(v), uses, decodes, inner, once, inner && cpu) ??
            (cpu && !inner ? repeatReason(v, costOf(v), uses.get(v) ?? [], stored) : undefined));
      if (why) store(v, why);
    }
  }
  return { stored, reasons };
}

/** Whether only one update or loop goes on with what this one makes: then it runs in the same kernel, in place. */
function continues(op: Op, uses: Map<Value, Use[]>, region: Region): boolean {
  if (op.name !== 'set' && op.name !== 'for' && op.name !== 'while') return false;
  const next = new Set<Op>();
  for (const v of op.results) {
    if (region.yields.includes(v)) return false;
    for (const u of uses.get(v) ?? []) {
      const goesOn = u.op.results.some((_, i) => startOf(u.op, i) === v);
      if (u.captured || !goesOn || u.op.operands.filter((o) => o === v).length > 1) return false;
      next.add(u.op);
    }
  }
  return next.size === 1;
}

function collectUses(region: Region): Map<Value, Use[]> {
  const uses = new Map<Value, Use[]>();
  const add = (v: Value, use: Use): void => {
    const list = uses.get(v);
    if (list) list.push(use);
    else uses.set(v, [use]);
  };
  for (const op of region.ops) {
    op.operands.forEach((v, operand) => add(v, { op, operand, captured: false }));
    for (const r of op.regions) {
      const captured = (v: Value): void => add(v, { op, operand: -1, captured: true });
      walk(r, (o) => o.operands.forEach(captured));
      walk(r, (o) => o.regions.forEach((q) => q.yields.forEach(captured)));
      r.yields.forEach(captured);
    }
  }
  return uses;
}

const bodyCost = (r: Region): number =>
  r.ops.reduce((sum, o) => sum + Math.min(ops[o.name].cost, 20), 1);

/** Why a cheap-to-inline value is stored all the same; undefined when it folds into its consumers. */
function sharedReason(
  v: Value,
  cost: number,
  uses: Map<Value, Use[]>,
  decodes: (op: Op, operand: number) => boolean,
  inner: boolean,
  once: ReadonlyMap<Op, readonly number[]>,
  vectors: boolean,
): string | undefined {
  const list = uses.get(v) ?? [];
  for (const u of list) {
    if (u.captured && cost > reuseLimit && !isInjectiveMap(u.op))
      return `read again and again inside a ${u.op.name}`;
    if (u.op.name !== 'matmul' || once.get(u.op)?.includes(u.operand)) continue;
    if (cost <= reuseLimit || decodes(u.op, u.operand)) continue;
    const times = readings(u.op, u.operand);
    if ((cost - 1) * times > cost + storeCost)
      return `an operand that each tile of a contraction reads again: ${cost} a reading, where a load is 1`;
  }
  if (vectors && isVector(v.type.shape) && list.every((u) => !u.captured)) return undefined;
  if (inner && list.length > 1 && movesLastAxis(v)) return 'read several times across its rows';
  if (list.length > 1 && cost > (inner ? shareLimitInside : shareLimit))
    return `${list.length} consumers, and dear to recompute`;
  return undefined;
}

/** Why a value is stored that its consumers would compute again along their outer axes, unless it is what codes stand for. */
function repeatReason(
  v: Value,
  cost: number,
  list: readonly Use[],
  stored: ReadonlySet<Value>,
): string | undefined {
  if (cost < repeatLimit) return undefined;
  const again = list.find((u) => (cost - 1) * repetitions(v, u) > cost + storeCost);
  return again && !isDecoded(v, stored)
    ? `${again.op.name} would compute it again along an axis that it does not vary along, at ${cost} an element`
    : undefined;
}

/**
 * How often an elementwise consumer computes an element of a value, going through its own axes from the first to the last: what
 * does not vary along the inner ones is computed once in front of their loops, what does not vary along an outer one again and again.
 */
function repetitions(v: Value, { op, captured }: Use): number {
  const { kind } = ops[op.name];
  const isElementwise = kind === 'binary' || kind === 'compare' || kind === 'elementwise';
  if (captured || !(isElementwise || op.name === 'broadcast')) return 1;
  const { shape } = op.results[0]!.type;
  const shift = shape.length - v.type.shape.length;
  const varies = shape.map((_, i) => i >= shift && v.type.shape[i - shift]!.constant !== 1);
  const last = varies.lastIndexOf(true);
  return shape
    .slice(0, Math.max(last, 0))
    .reduce((n, d, i) => (varies[i] ? n : n * (d.constant ?? someExtent)), 1);
}

/** How often a contraction reads an element of its operand that is not decoded tile by tile. */
function readings(op: Op, operand: number): number {
  const rows = op.results[0]!.type.shape.at(operand === 0 ? -1 : -2)?.constant;
  return rows === undefined ? readRows : Math.ceil(rows / readRows);
}

/** What can be done in one pass: nothing inside of it is wanted anywhere else. */
function onePasses(region: Region, uses: Map<Value, Use[]>): Online[] {
  const own = new Set(region.ops);
  const yielded = new Set(region.yields);
  const isOnly = (p: Online): boolean => {
    const within = (v: Value): boolean => v === p.root || p.inside.has(v);
    return [...p.inside].every(
      (v) =>
        v === p.root ||
        (own.has(v.def!.op) &&
          !yielded.has(v) &&
          (uses.get(v) ?? []).every((u) => !u.captured && u.op.results.every(within))),
    );
  };
  return region.ops.flatMap((op) => {
    if (op.name !== 'matmul') return [];
    // The largest elementwise function of the contraction for which that holds.
    let best: Online | undefined;
    for (let v: Value | undefined = op.results[0]!; v; ) {
      const found = findOnline(v);
      if (found && isOnly(found)) best = found;
      const [use, ...others]: Use[] = uses.get(v) ?? [];
      v = use && others.length === 0 && !use.captured ? use.op.results[0] : undefined;
    }
    return best ? [best] : [];
  });
}

/** Operands that a pass reads once, so that they need not be cheap: the right side, and the keys of the scores. */
function readOnce(passes: readonly Online[]): ReadonlyMap<Op, readonly number[]> {
  const out = new Map<Op, readonly number[]>();
  for (const p of passes) {
    out.set(p.contraction, [0, 1]);
    if (p.scores) out.set(p.scores, [1]);
  }
  return out;
}

/** A row that statements hold as one vector: its readers share it as they are. */
const isVector = (shape: readonly Dim[]): boolean =>
  shape.length === 1 && [4, 8, 16, 32, 64].includes(shape[0]!.constant ?? 0);

/** A transpose whose rows are columns of what it reads: each reading goes element by element. */
function movesLastAxis(v: Value): boolean {
  const op = v.def?.op;
  if (op?.name !== 'transpose') return false;
  const { perm } = (op as Op<'transpose'>).attrs;
  return perm.at(-1) !== perm.length - 1;
}

/** Why a reduction is stored, or else the stored value that it is a part of. */
interface Folding {
  readonly reason?: string;
  readonly root?: Value;
}

/** A reduction folds into its only consumer when that runs over the reduction's axes outermost. */
function foldingOf(
  v: Value,
  region: Region,
  uses: Map<Value, Use[]>,
  stored: ReadonlySet<Value>,
  single: boolean,
): Folding {
  const roots = new Set<Value>();
  let bad: string | undefined;
  const visit = (value: Value, axes: readonly boolean[]): void => {
    for (const u of uses.get(value) ?? []) {
      if (u.captured) {
        bad = `used inside a ${u.op.name}`;
        return;
      }
      const next = follow(u.op, value, axes);
      if (!next) {
        bad = `consumed by ${u.op.name}, which would recompute it`;
        return;
      }
      const out = u.op.results[0]!;
      if (isReduction(u.op)) {
        // Inside another reduction's loop: fine only when it does not vary along the reduced axes.
        visit(out, next);
      } else if (stored.has(out)) {
        roots.add(out);
        if (!isPrefix(next, out.type.shape))
          bad = 'its axes are not the outer axes of its consumer';
        if (single && next.some((varies, i) => !varies && out.type.shape[i]!.constant !== 1))
          bad = 'several elements of its consumer need it, and each is computed on its own';
      } else visit(out, next);
    }
    if (region.yields.includes(value)) roots.add(value);
  };
  visit(
    v,
    v.type.shape.map((d) => d.constant !== 1),
  );
  if (bad) return { reason: bad };
  if (roots.size > 1) return { reason: 'more than one consumer' };
  if (v.type.shape.length === 0) return { reason: 'a single value for the whole tensor' };
  const [root] = roots;
  return root ? { root } : {};
}

/**
 * Takes back the storage of reductions whose only consumer came to be stored later on, behind what would have
 * recomputed them. A contraction joins a consumer that has none yet: two of them in one kernel were found no faster,
 * and slower with resident weights and one row.
 */
export function foldStored(region: Region, stored: Set<Value>, single = false): void {
  const uses = collectUses(region);
  const folding = (v: Value): Folding => foldingOf(v, region, uses, stored, single);
  const contractions = region.ops.filter((op) => ops[op.name].kind === 'contract');
  const taken = new Set<Value>();
  for (const [v] of contractions.map((op) => op.results))
    if (v && !stored.has(v)) taken.add(folding(v).root ?? v);
  for (const op of region.ops) {
    const v = op.results[0];
    if (!v || !stored.has(v) || !isReduction(op) || region.yields.includes(v)) continue;
    stored.delete(v);
    const { reason, root } = folding(v);
    const joins = root !== undefined && contractions.includes(op);
    if (reason !== undefined || (joins && taken.has(root))) stored.add(v);
    else if (joins) taken.add(root);
  }
}

/** Which axes of an op's result a value with these axes varies along; undefined when it cannot be followed. */
function follow(op: Op, v: Value, axes: readonly boolean[]): readonly boolean[] | undefined {
  if (op.name === 'materialize') return axes;
  const { kind } = ops[op.name];
  if (kind === 'unary' || kind === 'binary' || kind === 'compare' || kind === 'elementwise') {
    const rank = op.results[0]!.type.shape.length;
    const shift = rank - v.type.shape.length;
    return op.results[0]!.type.shape.map((_, i) => i >= shift && axes[i - shift]!);
  }
  if (kind === 'reduce') {
    const { axes: reduced, keepdims } = op.attrs as { axes: readonly number[]; keepdims: boolean };
    if (axes.some((a, i) => a && reduced.includes(i))) return undefined;
    return keepdims ? axes : axes.filter((_, i) => !reduced.includes(i));
  }
  return undefined;
}

/** Whether the marked axes come first, unit axes aside. */
function isPrefix(axes: readonly boolean[], shape: readonly Dim[]): boolean {
  let open = true;
  for (let i = 0; i < axes.length; i += 1) {
    if (shape[i]!.constant === 1) continue;
    if (axes[i] && !open) return false;
    if (!axes[i]) open = false;
  }
  return true;
}
