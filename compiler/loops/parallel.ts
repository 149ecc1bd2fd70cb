// What a target may split over workers: the parallel loops that no other loop surrounds, and the buffers that
// each worker then needs a copy of. Derived from the statements, so that it holds whatever schedule made them.
import { type Expr, operands, type Program, type Stmt } from './loops.ts';

export type ForLoop = Extract<Stmt, { readonly kind: 'for' }>;

/** Parallel loops outside of all loops, in order. Branches around them are no hindrance. */
export function splitLoops(list: readonly Stmt[]): ForLoop[] {
  return list.flatMap((s) => {
    if (s.kind === 'for') return s.parallel ? [s] : [];
    return s.kind === 'if' ? [...splitLoops(s.then), ...splitLoops(s.else)] : [];
  });
}

/** What statements touch: ids of buffers and of variables. */
export interface Effects {
  readonly reads: Set<number>;
  readonly writes: Set<number>;
  /** Variables that are assigned after their declaration, and those declared here. */
  readonly sets: Set<number>;
  readonly declares: Set<number>;
}

export function effectsOf(list: readonly Stmt[], values: readonly Expr[] = []): Effects {
  const out: Effects = {
    reads: new Set(),
    writes: new Set(),
    sets: new Set(),
    declares: new Set(),
  };
  // Expressions share parts, so each is looked at once.
  const seen = new Set<Expr>();
  const expr = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    if (e.kind === 'load' || e.kind === 'gather') out.reads.add(e.buffer.id);
    operands(e).forEach(expr);
  };
  const visit = (s: Stmt): void => {
    switch (s.kind) {
      case 'comment':
      case 'barrier':
        return;
      case 'arrive':
        return;
      case 'product':
        out.sets.add(s.var.id);
        s.a.forEach(expr);
        return expr(s.b);
      case 'copy':
        out.reads.add(s.from.id);
        out.writes.add(s.to.id);
        expr(s.at);
        if (s.valid) expr(s.valid);
        return expr(s.index);
      case 'pack':
      case 'combine':
      case 'let':
      case 'local':
        out.declares.add(s.var.id);
        return expr(s.value);
      case 'set':
        out.sets.add(s.var.id);
        return expr(s.value);
      case 'store':
        out.writes.add(s.buffer.id);
        expr(s.index);
        return expr(s.value);
      case 'for':
        out.declares.add(s.var.id);
        expr(s.start);
        expr(s.end);
        return s.body.forEach(visit);
      case 'while':
        s.header.forEach(visit);
        expr(s.cond);
        return s.body.forEach(visit);
      case 'if':
        expr(s.cond);
        s.then.forEach(visit);
        s.else.forEach(visit);
    }
  };
  list.forEach(visit);
  values.forEach(expr);
  return out;
}

/** Variables of the surroundings that statements assign. */
export const outerSets = (e: Effects): number[] => [...e.sets].filter((id) => !e.declares.has(id));

/**
 * Temporaries that only one split loop touches. Its iterations are independent, so none reads there what another
 * wrote: each may have a copy of its own, and workers need one.
 */
export function privateBuffers(program: Program): Set<number> {
  const owner = new Map<number, ForLoop | 'shared'>();
  const touch = (e: Effects, by: ForLoop | 'shared'): void => {
    for (const id of [...e.reads, ...e.writes]) {
      const known = owner.get(id);
      owner.set(id, known === undefined || known === by ? by : 'shared');
    }
  };
  const visit = (list: readonly Stmt[]): void => {
    for (const s of list) {
      if (s.kind === 'for' && s.parallel) {
        touch(effectsOf(s.body), s);
        touch(effectsOf([], [s.start, s.end]), 'shared');
      } else if (s.kind === 'if' && splitLoops([s]).length > 0) {
        touch(effectsOf([], [s.cond]), 'shared');
        visit(s.then);
        visit(s.else);
      } else touch(effectsOf([s]), 'shared');
    }
  };
  for (const k of program.kernels) visit(k.body);
  const temps = program.buffers.filter((b) => b.role === 'temp');
  return new Set(temps.map((b) => b.id).filter((id) => (owner.get(id) ?? 'shared') !== 'shared'));
}
