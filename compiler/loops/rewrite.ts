// Rewrites the places that statements access, everything else kept: for passes that move memory.
import type { Buffer, Expr, Stmt } from './loops.ts';
import { operands } from './loops.ts';

export interface Rewrite {
  /** Where an access to element `index` of a buffer goes. */
  at(buffer: Buffer, index: Expr, align: number): { readonly index: Expr; readonly align: number };
  /** Statement lists inside of a statement. */
  nested(list: readonly Stmt[]): readonly Stmt[];
}

export function rewriteExpr(e: Expr, to: Rewrite): Expr {
  const x = (a: Expr): Expr => rewriteExpr(a, to);
  switch (e.kind) {
    case 'load': {
      const { index, align } = to.at(e.buffer, x(e.index), e.align);
      return { ...e, index, align };
    }
    case 'gather':
      return rewriteGather(e, x(e.index), to);
    default:
      return withOperands(e, x);
  }
}

/** The same of other operands, which must be of the same types. */
export function withOperands(e: Expr, x: (operand: Expr) => Expr): Expr {
  switch (e.kind) {
    case 'load':
    case 'gather':
      return { ...e, index: x(e.index) };
    case 'build':
      return { ...e, parts: e.parts.map(x) };
    case 'select':
      return { ...e, c: x(e.c), a: x(e.a), b: x(e.b) };
    case 'binary':
    case 'compare':
    case 'dot':
    case 'dot4':
    case 'zip':
      return { ...e, a: x(e.a), b: x(e.b) };
    case 'muladd':
      return { ...e, a: x(e.a), b: x(e.b), c: x(e.c) };
    case 'nearest':
      return { ...e, a: x(e.a), unit: x(e.unit) };
    default:
      return operands(e).length ? ({ ...e, a: x((e as { a: Expr }).a) } as Expr) : e;
  }
}

/** The offset of a scalar place, added to every lane. */
function rewriteGather(e: Extract<Expr, { kind: 'gather' }>, index: Expr, to: Rewrite): Expr {
  const zero: Expr = { kind: 'const', type: { scalar: 'i32', lanes: 1 }, value: 0 };
  const offset = to.at(e.buffer, zero, 1).index;
  if (offset === zero) return { ...e, index };
  const spread: Expr = { kind: 'splat', type: index.type, a: offset };
  return { ...e, index: { kind: 'binary', op: 'add', type: index.type, a: spread, b: index } };
}

export function rewriteStmts(list: readonly Stmt[], to: Rewrite): Stmt[] {
  const x = (e: Expr): Expr => rewriteExpr(e, to);
  const to_ = (b: Buffer, index: Expr): Expr => to.at(b, x(index), 1).index;
  return list.map((s): Stmt => {
    switch (s.kind) {
      case 'comment':
      case 'barrier':
        return s;
      case 'let':
      case 'local':
      case 'set':
      case 'combine':
        return { ...s, value: x(s.value) };
      case 'pack':
        return { ...s, value: x(s.value) };
      case 'product':
        return { ...s, a: [x(s.a[0]), x(s.a[1])], b: x(s.b) };
      case 'arrive':
        return s;
      case 'copy': {
        const [to, from] = [to_(s.to, s.at), to_(s.from, s.index)];
        const valid = s.valid ? { valid: x(s.valid) } : {};
        return { ...s, at: to, index: from, ...valid };
      }
      case 'for':
        return { ...s, start: x(s.start), end: x(s.end), body: to.nested(s.body) };
      case 'while':
        return { ...s, header: to.nested(s.header), cond: x(s.cond), body: to.nested(s.body) };
      case 'if':
        return { ...s, cond: x(s.cond), then: to.nested(s.then), else: to.nested(s.else) };
      case 'store': {
        const { index, align } = to.at(s.buffer, x(s.index), s.align);
        return { ...s, index, align, value: x(s.value) };
      }
    }
  });
}
