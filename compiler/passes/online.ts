// Online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867; FlashAttention, Dao et al. 2022, arXiv 2205.14135):
// a contraction over an axis whose left side is exp(z - amax(z)) can be computed in one pass over that axis, because
// exp(z - m) = exp(z - n) exp(n - m): sums taken with an earlier maximum n are rescaled when a larger m comes. Found
// by what the ops do: masks, scales and biases in z, and whatever makes the right side, may be anything.
import { Poly } from '../ir/algebra.ts';
import type { Op, Value } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';

export interface Online {
  /** What is computed: elementwise from the contraction and the sums. */
  readonly root: Value;
  /** exp(z - top) by the right side, summed over the axis. */
  readonly contraction: Op<'matmul'>;
  /** The left side is already divided by its sum. */
  readonly divided: boolean;
  readonly weights: Value;
  readonly z: Value;
  readonly top: Value;
  /** Sums of the weights over the axis. */
  readonly sums: readonly Value[];
  /** The contraction that z is an elementwise function of, if it is of any. */
  readonly scores: Op<'matmul'> | undefined;
  /** Values that need no storage of their own. */
  readonly inside: ReadonlySet<Value>;
}

const isElementwise = (op: Op): boolean => {
  const { kind } = ops[op.name];
  return kind === 'unary' || kind === 'binary' || kind === 'compare' || kind === 'elementwise';
};

/** A reduction of `of` over its last axis, which stays as an axis of 1. */
function reducesLast(v: Value | undefined, name: 'amax' | 'sum', of: Value): boolean {
  const op = v?.def?.op;
  if (op?.name !== name || op.operands[0] !== of) return false;
  const { axes, keepdims } = (op as Op<'sum'>).attrs;
  return keepdims && axes.length === 1 && axes[0] === of.type.shape.length - 1;
}

/** exp(z - amax(z)), over the last axis. */
function shiftedExp(v: Value): { z: Value; top: Value } | undefined {
  const op = v.def?.op;
  const shifted = op?.name === 'exp' ? op.operands[0]!.def?.op : undefined;
  if (shifted?.name !== 'sub' || v.type.dtype !== 'f32') return undefined;
  const [z, top] = shifted.operands as [Value, Value];
  return reducesLast(top, 'amax', z) && z.type.dtype === 'f32' ? { z, top } : undefined;
}

/** Whether what `root` is made of can be computed in one pass over the axis of its one contraction. */
export function findOnline(root: Value): Online | undefined {
  const reductions = new Set<Op>();
  const seen = new Set<Value>();
  const visit = (v: Value): void => {
    const op = v.def?.op;
    if (!op || seen.has(v)) return;
    seen.add(v);
    if (ops[op.name].kind === 'contract' || ops[op.name].kind === 'reduce') reductions.add(op);
    else if (isElementwise(op)) op.operands.forEach(visit);
  };
  visit(root);
  const contractions = [...reductions].filter((op) => op.name === 'matmul');
  const [contraction] = contractions as Op<'matmul'>[];
  if (!contraction || contractions.length > 1) return undefined;
  const { shape } = contraction.results[0]!.type;
  const same = (v: Value): boolean =>
    v.type.shape.length === shape.length && v.type.shape.every((d, i) => d.equals(shape[i]!));
  if (!same(root) || contraction.results[0]!.type.dtype !== 'f32') return undefined;

  const left = contraction.operands[0]!;
  const quotient = left.def?.op.name === 'div' ? left.def.op.operands : undefined;
  const divided = quotient !== undefined && reducesLast(quotient[1], 'sum', quotient[0]!);
  const weights = divided ? quotient[0]! : left;
  const found = shiftedExp(weights);
  if (!found) return undefined;
  const { z, top } = found;
  // Rows of z are those of the result: a broadcast z would be computed again and again.
  const rank = shape.length;
  const aligned = z.type.shape.length === rank && rank >= 2;
  if (!aligned || z.type.shape.slice(0, -1).some((d, i) => !d.equals(shape[i]!))) return undefined;
  if ((z.type.shape.at(-1)!.constant ?? Infinity) < 8) return undefined;
  const sums: Value[] = divided ? [quotient[1]!] : [];
  for (const op of reductions) {
    if (op === contraction) continue;
    const [v] = op.results;
    if (reducesLast(v, 'sum', weights)) sums.push(v!);
    else if (dependsOn(v!, weights)) return undefined;
  }
  if (dependsOn(contraction.operands[1]!, weights)) return undefined;
  const scores = contractionsOf(z);
  if (!scores || scores.length > 1) return undefined;
  const inside = new Set<Value>();
  for (const v of [contraction.results[0]!, ...sums]) between(root, v, inside);
  for (const op of [contraction, weights.def!.op, top.def!.op, ...sums.map((s) => s.def!.op)])
    for (const v of [...op.results, ...op.operands.slice(0, 1)]) if (v.def) inside.add(v);
  scores.forEach((op) => {
    inside.add(op.results[0]!);
    between(z, op.results[0]!, inside);
  });
  const [only] = scores;
  return { root, contraction, divided, weights, z, top, sums, scores: only, inside };
}

/** Contractions that z is an elementwise function of, point by point; undefined when there is one further in. */
function contractionsOf(z: Value): Op<'matmul'>[] | undefined {
  const found = new Set<Op<'matmul'>>();
  const seen = new Set<Value>();
  const visit = (v: Value): boolean => {
    const op = v.def?.op;
    if (!op || seen.has(v)) return true;
    seen.add(v);
    if (op.name === 'matmul') {
      found.add(op as Op<'matmul'>);
      const { shape } = v.type;
      return (
        shape.length === z.type.shape.length && shape.every((d, i) => d.equals(z.type.shape[i]!))
      );
    }
    return isElementwise(op) ? op.operands.every(visit) : !reaches(v);
  };
  return visit(z) ? [...found] : undefined;
}
function reaches(v: Value, seen = new Set<Value>()): boolean {
  const op = v.def?.op;
  if (!op || seen.has(v)) return false;
  seen.add(v);
  return op.name === 'matmul' || op.operands.some((o) => reaches(o, seen));
}

function dependsOn(v: Value, on: Value, seen = new Set<Value>()): boolean {
  if (v === on) return true;
  if (seen.has(v)) return false;
  seen.add(v);
  return v.def?.op.operands.some((o) => dependsOn(o, on, seen)) ?? false;
}

/** Adds every value on a way from `to` up to `v`. */
function between(v: Value, to: Value, out: Set<Value>, known = new Map<Value, boolean>()): boolean {
  if (v === to) return true;
  const op = v.def?.op;
  if (!op || !isElementwise(op)) return false;
  let on = known.get(v);
  if (on === undefined) {
    on = op.operands.map((o) => between(o, to, out, known)).includes(true);
    known.set(v, on);
    if (on) out.add(v);
  }
  return on;
}

/**
 * The axes of the result, its last one aside, along which neither the right side nor that of the scores varies: rows
 * that read the same keys. The others are computed one after the other.
 */
export function sharedAxes({ contraction, scores }: Online): readonly boolean[] {
  const { shape } = contraction.results[0]!.type;
  const sides = [contraction, ...(scores ? [scores] : [])].map((op) => op.operands[1]!);
  const batch = shape.length - 2;
  return shape.slice(0, -1).map((_, i) => {
    if (i === batch) return true;
    return sides.every((v) => {
      const at = i - (shape.length - v.type.shape.length);
      return at < 0 || v.type.shape[at]!.equals(Poly.of(1));
    });
  });
}
