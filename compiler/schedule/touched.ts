// What statements touch, and which of them may change places.
import type { Expr, Stmt } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { type Effects, effectsOf } from '../loops/parallel.ts';

/** Buffers and variables that a statement touches. */
export interface Touched {
  readonly effects: Effects;
  readonly uses: ReadonlySet<number>;
}

export function touchedBy(s: Stmt): Touched {
  const uses = new Set<number>();
  // Expressions share parts, so each is looked at once.
  const seen = new Set<Expr>();
  const expr = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    if (e.kind === 'var') uses.add(e.var.id);
    L.operands(e).forEach(expr);
  };
  const visit = (x: Stmt): void => {
    switch (x.kind) {
      case 'let':
      case 'local':
      case 'set':
      case 'combine':
      case 'pack':
        return expr(x.value);
      case 'store':
        expr(x.index);
        return expr(x.value);
      case 'for':
        expr(x.start);
        expr(x.end);
        return x.body.forEach(visit);
      case 'while':
        x.header.forEach(visit);
        expr(x.cond);
        return x.body.forEach(visit);
      case 'if':
        expr(x.cond);
        x.then.forEach(visit);
        return x.else.forEach(visit);
      case 'product':
        x.a.forEach(expr);
        return expr(x.b);
      case 'copy':
        expr(x.at);
        if (x.valid) expr(x.valid);
        return expr(x.index);
      case 'comment':
      case 'barrier':
      case 'arrive':
    }
  };
  visit(s);
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
