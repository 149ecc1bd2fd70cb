// Which names a kernel's text can do without: integers computed from others that one statement of the same list uses,
// once. They stand where they are used, so that addresses read as one expression.
import { expressionsOf, nested } from '../../compiler/loops/walk.ts';
import { type Expr, operands, type Stmt } from '../../compiler/loops/loops.ts';

/** By variable, the value that is to stand in its place. */
export function usedOnce(body: readonly Stmt[]): ReadonlyMap<number, Expr> {
  const changing = new Set<number>();
  const uses = new Map<number, number>();
  const count = (e: Expr): void => {
    if (e.kind === 'var') uses.set(e.var.id, (uses.get(e.var.id) ?? 0) + 1);
    operands(e).forEach(count);
  };
  const found = new Map<number, Expr>();
  const visit = (list: readonly Stmt[]): void => {
    for (const s of list) {
      if (s.kind === 'set' || s.kind === 'local') changing.add(s.var.id);
      expressionsOf(s).forEach(count);
      nested(s).forEach(visit);
    }
  };
  visit(body);
  const isFixed = (e: Expr): boolean =>
    e.kind === 'const' ||
    e.kind === 'dim' ||
    (e.kind === 'var' && e.type.lanes === 1 && !changing.has(e.var.id)) ||
    (e.kind === 'binary' &&
      e.type.lanes === 1 &&
      e.type.scalar === 'i32' &&
      operands(e).every(isFixed));
  const choose = (list: readonly Stmt[]): void => {
    list.forEach((s, i) => {
      nested(s).forEach(choose);
      if (s.kind !== 'let' || uses.get(s.var.id) !== 1 || s.value.kind !== 'binary') return;
      if (!isFixed(s.value)) return;
      const here = (e: Expr): boolean =>
        (e.kind === 'var' && e.var.id === s.var.id) || operands(e).some(here);
      if (list.slice(i + 1).some((next) => expressionsOf(next).some(here)))
        found.set(s.var.id, s.value);
    });
  };
  choose(body);
  return found;
}
