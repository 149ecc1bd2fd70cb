// What statements are made of, and walks over all of it.
import type { Expr, Stmt } from './loops.ts';
import { operands } from './loops.ts';

/** What a statement computes besides the statements inside of it. */
export function expressionsOf(s: Stmt): readonly Expr[] {
  switch (s.kind) {
    case 'comment':
    case 'barrier':
    case 'arrive':
      return [];
    case 'let':
    case 'local':
    case 'set':
    case 'combine':
    case 'pack':
      return [s.value];
    case 'copy':
      return [s.at, s.index, ...(s.valid ? [s.valid] : [])];
    case 'store':
      return [s.index, s.value];
    case 'product':
      return [...s.a, s.b];
    case 'for':
      return [s.start, s.end];
    case 'while':
    case 'if':
      return [s.cond];
  }
}

/** The statement lists inside a statement. */
export function nested(s: Stmt): readonly (readonly Stmt[])[] {
  switch (s.kind) {
    case 'for':
      return [s.body];
    case 'while':
      return [s.header, s.body];
    case 'if':
      return [s.then, s.else];
    default:
      return [];
  }
}

/** All statements, each before those inside of it. */
export function eachStmt(list: readonly Stmt[], see: (s: Stmt) => void): void {
  for (const s of list) {
    see(s);
    for (const inner of nested(s)) eachStmt(inner, see);
  }
}

/** Shows each expression to `see` once, however often it is used: expressions share parts. */
export function onceEach(see: (e: Expr) => void): (e: Expr) => void {
  const seen = new Set<Expr>();
  const visit = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    see(e);
    operands(e).forEach(visit);
  };
  return visit;
}
