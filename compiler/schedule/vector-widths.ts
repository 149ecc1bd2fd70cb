// How wide the vectors of a loop are: the width whose code goes least element by element.
import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import type { Expr, Stmt } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { eachStmt, expressionsOf } from '../loops/walk.ts';
import type { Lowering } from './lowering.ts';

/** Sixteen codes find their entries in a small table at once. */
export const isLookup = (e: L.ExprOf<'gather'>): boolean =>
  e.buffer.role === 'const' && (e.buffer.data?.length ?? 17) <= 16 && e.type.lanes >= 16;

/** How much of the code goes element by element: what a schedule wants to keep low. */
export function slowness(stmts: readonly Stmt[], extra: readonly Expr[] = []): number {
  let n = 0;
  const expr = (e: Expr): void => {
    if (e.kind === 'build' || (e.kind === 'gather' && !isLookup(e))) n += e.type.lanes;
    for (const o of L.operands(e)) expr(o);
  };
  eachStmt(stmts, (s) => expressionsOf(s).forEach(expr));
  extra.forEach(expr);
  return n;
}

/** Vector widths to try, widest first. Longer than 8 lanes only without a tail. */
export function laneCandidates(extent: Dim, widest: number): number[] {
  const c = extent.constant;
  return [64, 32, 16, 8, 4].filter((n) => {
    if (n > widest) return false;
    if (extent.multiple() % n === 0 && c !== 0) return true;
    return n <= 8 && (c === undefined || c >= n);
  });
}

/** The width whose code goes least element by element; wider wins a tie. 1 when vectors do not pay. */
export function chooseLanes(
  lo: Lowering,
  candidates: readonly number[],
  attempt: (lanes: number) => Expr,
): number {
  let best = 1;
  let bestCost = Infinity;
  // The registers hold one number.
  if (lo.limits.vectorBits <= 32) return 1;
  for (const n of candidates) {
    const cost = lo.em.trial((stmts) => {
      let e: Expr | undefined;
      const inner = lo.em.scope(() => {
        e = attempt(n);
      });
      return slowness([...stmts(), ...inner], [e!]) / n;
    });
    if (cost < bestCost - 1e-9) {
      best = n;
      bestCost = cost;
    }
    if (cost === 0) break;
  }
  return bestCost >= 4 ? 1 : best;
}

/** The index that vectors of `n` lanes have in a loop over `extent`: for trials, where no loop is open. */
export function probeIndex(lo: Lowering, extent: Dim, n: number): Poly {
  const { em } = lo;
  const lane = Poly.atom(lo.lane(n));
  if (extent.constant === n) return n === 1 ? Poly.of(0) : lane;
  const i = em.atom(em.newVar('k', L.vtype('i32')), extent.over(n) ?? undefined);
  const base = Poly.atom(i).mul(n);
  return n === 1 ? base : base.add(lane);
}
