// What statements touch, and which of them may change places.
import type { Stmt } from '../loops/loops.ts';
import { type Effects, effectsOf } from '../loops/parallel.ts';
import { eachStmt, expressionsOf, onceEach } from '../loops/walk.ts';

/** Buffers and variables that a statement touches. */
export interface Touched {
  readonly effects: Effects;
  readonly uses: ReadonlySet<number>;
}

export function touchedBy(s: Stmt): Touched {
  const uses = new Set<number>();
  const expr = onceEach((e) => {
    if (e.kind === 'var') uses.add(e.var.id);
  });
  eachStmt([s], (x) => expressionsOf(x).forEach(expr));
  return { effects: effectsOf([s]), uses };
}

/** Whether `b`, which comes later, must stay behind `a`. */
export function clash(a: Touched, b: Touched): boolean {
  const meet = (x: ReadonlySet<number>, y: ReadonlySet<number>): boolean => {
    for (const v of x) if (y.has(v)) return true;
    return false;
  };
  const [p, q] = [a.effects, b.effects];
  return (
    meet(p.declares, b.uses) ||
    meet(p.declares, q.sets) ||
    meet(p.sets, b.uses) ||
    meet(p.sets, q.sets) ||
    meet(a.uses, q.sets) ||
    meet(p.writes, q.reads) ||
    meet(p.writes, q.writes) ||
    meet(p.reads, q.writes)
  );
}
