// What a target may split over workers: the parallel loops that no other loop surrounds, and the buffers that
// each worker then needs a copy of. Derived from the statements, so that it holds whatever schedule made them.
import type { Expr, Program, Stmt } from './loops.ts';
import { eachStmt, expressionsOf, onceEach } from './walk.ts';

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
  const expr = onceEach((e) => {
    if (e.kind === 'load' || e.kind === 'gather') out.reads.add(e.buffer.id);
  });
  eachStmt(list, (s) => {
    if (s.kind === 'store') out.writes.add(s.buffer.id);
    if (s.kind === 'copy') {
      out.reads.add(s.from.id);
      out.writes.add(s.to.id);
    }
    if ('var' in s) out[assigns(s) ? 'sets' : 'declares'].add(s.var.id);
    expressionsOf(s).forEach(expr);
  });
  values.forEach(expr);
  return out;
}

/** Whether the variable of a statement was declared before. */
const assigns = (s: Stmt): boolean => s.kind === 'set' || s.kind === 'product';

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
