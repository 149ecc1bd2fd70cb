// Block constants level by level: what belongs to a super-block, such as the scale of the scales of a K-quant or the one
// scale of 128 weights, multiplies the sum over its blocks once, in place of each block's. The blocks' loop then needs
// neither the instructions nor the registers for it.
import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import type { Expr, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { sameExpr, times } from './factor.ts';
import type { Lowering } from './lowering.ts';
import { loop, outerBlock } from './nests.ts';
import { tileSide } from './spans.ts';
import { straight } from './unroll.ts';

/** One product of a block that is to be added up: integers' sums, times a number of the activations, times the weights'. */
export interface Product {
  /** Term of the weights, group of rows, row of activations. */
  readonly term: number;
  readonly group: number;
  readonly column: number;
  /** Four lanes, or a scalar where it is the same for all rows. */
  readonly value: Expr;
  readonly x: Expr | undefined;
  readonly w: Expr | undefined;
}

export type Adder = (product: Product) => void;

interface Split {
  readonly outer: Expr | undefined;
  readonly inner: Expr | undefined;
}

/** What is asked of a contraction: its extent, and the scales of its weights in a block. */
export interface Levels {
  readonly depth: Dim;
  readonly block: number;
  readonly sums: readonly (readonly Var[])[];
  /** Scales of all runs of the block at `k`: [term][group][run]; empty where a term has none. */
  readonly scales: (k: Poly) => readonly (readonly (readonly (Expr | undefined)[])[])[];
}

/** `sum + value * x * w`, in four lanes. */
export function addProduct(lo: Lowering, sum: Var, value: Expr, by: Expr | undefined): void {
  const four = L.splat(value, tileSide);
  const next = by
    ? L.mulAdd(four, L.splat(by, tileSide), L.variable(sum))
    : L.binary('add', four, L.variable(sum));
  lo.em.push({ kind: 'set', var: sum, value: next });
}

/** Some of the terms of the weights. */
export interface Pass {
  /** Emits what a block adds. */
  readonly block: (k: Poly, add: Adder) => void;
  /** It is so little that a straight line is better than a loop. */
  readonly isShort: boolean;
}

/**
 * Emits the loops over super-blocks and their blocks, if constants of super-blocks can be taken out of the loop over
 * blocks; otherwise nothing, and false. Each pass has a loop over the blocks of its own, so that the sums of one need no
 * registers while another runs.
 */
export function superBlocks(lo: Lowering, levels: Levels, passes: readonly Pass[]): boolean {
  const { depth, block } = levels;
  const size = outerBlock(depth, block);
  if (!hasSuperBlocks(lo, levels)) return false;
  lo.note(`what belongs to ${size} weights multiplies the sum over them`);
  superLoop(lo, depth, size, (k) => {
    const outerDepth = lo.em.depth;
    for (const pass of passes) {
      const parts: Parts = new Map();
      const add = adder(lo, levels, parts, outerDepth);
      const at = (j: Poly): void => pass.block(k.add(j.mul(block)), add);
      loop(lo, Poly.of(size / block), 1, false, at, Poly.of(0), 'j');
      if (pass.isShort) straighten(lo);
      for (const [key, { sum, outer }] of parts) {
        const [, group, column] = key.split(' ').map(Number) as [number, number, number];
        addProduct(lo, levels.sums[group]![column]!, L.variable(sum), outer);
      }
    }
  });
  return true;
}

/** Takes the loop that was emitted last for all of its iterations. */
function straighten({ em }: Lowering): void {
  const { stmts } = em.scopes.at(-1)!;
  const last = stmts.pop();
  if (last?.kind !== 'for') throw new Error('no loop was emitted');
  stmts.push(...straight(last, (name, type) => em.newVar(name, type)));
}

/** Sums over the blocks of a super-block, by term, group and column, and what multiplies them. */
type Parts = Map<string, { readonly sum: Var; readonly outer: Expr }>;

/** Adds products up in sums of their own, which are declared at `depth`, where a super-block has a factor of its own. */
function adder(lo: Lowering, levels: Levels, parts: Parts, depth: number): Adder {
  const declare = (lanes: number): Var => {
    const v = lo.em.newVar('part', L.vtype('f32', lanes), depth);
    const zero = L.constant(0, 'f32', lanes);
    lo.em.scopes[depth]!.stmts.push({ kind: 'local', var: v, value: zero });
    return v;
  };
  return ({ term, group, column, value, x, w }) => {
    const { outer, inner } = splitScale(lo, w, depth);
    const by = times(x, inner);
    if (!outer) return addProduct(lo, levels.sums[group]![column]!, value, by);
    // What is the same for all rows is added up once.
    const isScalar = value.type.lanes === 1 && (inner === undefined || inner.type.lanes === 1);
    const key = `${term} ${group} ${column}`;
    const shared = isScalar ? parts.get(`${term} 0 ${column}`)?.sum : undefined;
    const sum = parts.get(key)?.sum ?? shared ?? declare(isScalar ? 1 : tileSide);
    if (!parts.has(key)) parts.set(key, { sum, outer });
    if (!isScalar) return addProduct(lo, sum, value, by);
    if (group > 0) return;
    const next = by ? L.binary('mul', value, by) : value;
    lo.em.push({ kind: 'set', var: sum, value: L.binary('add', L.variable(sum), next) });
  };
}

/** Whether constants of super-blocks can be taken out of the loop over blocks. */
export function hasSuperBlocks(lo: Lowering, levels: Omit<Levels, 'sums'>): boolean {
  const size = outerBlock(levels.depth, levels.block);
  return size !== levels.block && lo.em.trial(() => takesApart(lo, levels, size));
}

const superLoop = (lo: Lowering, depth: Dim, size: number, body: (k: Poly) => void): void =>
  loop(lo, depth, size, false, body, Poly.of(0), 'k');

/** Whether a constant that belongs to super-blocks, and to nothing larger, is a factor; the same in all runs. */
function takesApart(
  lo: Lowering,
  { depth, block, scales }: Omit<Levels, 'sums'>,
  size: number,
): boolean {
  let found = false;
  superLoop(lo, depth, size, (k) => {
    const outerDepth = lo.em.depth;
    loop(lo, Poly.of(size / block), 1, false, (j) => {
      const all = scales(k.add(j.mul(block)));
      const splits = all.map((groups) =>
        groups.map((runs) => runs.map((w) => splitScale(lo, w, outerDepth))),
      );
      const isAlike = splits.every((groups) =>
        groups.every(([first, ...rest]) => rest.every((s) => isSame(first!.outer, s.outer))),
      );
      found =
        isAlike && splits.flat(2).some(({ outer }) => outer && lo.em.depthOf(outer) === outerDepth);
    });
  });
  return found;
}

const isSame = (a: Expr | undefined, b: Expr | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && sameExpr(a, b));

/** A scale as a product of what is known at a depth of loops and of the rest. */
function splitScale(lo: Lowering, w: Expr | undefined, depth: number): Split {
  const factors = w ? factorsOf(lo, w, depth) : [];
  const of = (isOuter: boolean): Expr | undefined =>
    factors
      .filter((f) => lo.em.depthOf(f) <= depth === isOuter)
      .reduce<Expr | undefined>((a, b) => times(a, b), undefined);
  return { outer: of(true), inner: of(false) };
}

function factorsOf(lo: Lowering, e: Expr, depth: number): readonly Expr[] {
  if (lo.em.depthOf(e) <= depth) return [e];
  if (e.kind === 'binary' && e.op === 'mul')
    return [...factorsOf(lo, e.a, depth), ...factorsOf(lo, e.b, depth)];
  const value = e.kind === 'var' ? lo.em.definition(e.var) : undefined;
  return value?.kind === 'binary' && value.op === 'mul' ? factorsOf(lo, value, depth) : [e];
}
