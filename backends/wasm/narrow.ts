// Variables that are kept as bytes: vectors of 16 small integers that only `dot4` looks at. One v128 each instead of
// four, and no widening on the way.
import {
  type Buffer,
  type Expr,
  operands,
  type Program,
  type Stmt,
  type Var,
} from '../../compiler/loops/loops.ts';
import { dtypes } from '../../compiler/ir/dtype.ts';
import { type Definition, intRange } from '../../compiler/loops/ranges.ts';

/** Operations on bytes that give the low byte of what they give on wider integers. */
const byteOps: ReadonlySet<string> = new Set(['add', 'sub', 'and', 'or', 'xor', 'shl', 'shr']);

export interface NarrowVars {
  readonly vars: ReadonlySet<number>;
  readonly definition: Definition;
}

/** The variables of a program that can be bytes, and what they were bound to. */
export function narrowVars(program: Program): NarrowVars {
  const bound = new Map<number, Expr>();
  const lists: (readonly Stmt[])[] = [];
  const gather = (list: readonly Stmt[]): void => {
    lists.push(list);
    for (const s of list) {
      if (s.kind === 'let') bound.set(s.var.id, s.value);
      for (const inner of nested(s)) gather(inner);
    }
  };
  for (const k of program.kernels) gather(k.body);
  const definition: Definition = (v: Var) => bound.get(v.id);
  const vars = new Set([...bound].filter(([, e]) => isByteVector(e, definition)).map(([id]) => id));
  // Whoever is used in any other way is taken out, until nothing changes.
  for (let before = -1; before !== vars.size; ) {
    before = vars.size;
    for (const list of lists)
      for (const s of list)
        for (const { e, bytes } of looksOf(s, vars, definition)) look(e, bytes, vars, definition);
  }
  return { vars, definition };
}

function isByteVector(e: Expr, definition: Definition): boolean {
  if (e.type.scalar !== 'i32' || e.type.lanes !== 16) return false;
  const [lo, hi] = intRange(e, definition);
  return lo >= -128 && hi <= 255 && hi - lo <= 255;
}

const nested = (s: Stmt): readonly (readonly Stmt[])[] => {
  if (s.kind === 'for') return [s.body];
  if (s.kind === 'while') return [s.header, s.body];
  return s.kind === 'if' ? [s.then, s.else] : [];
};

/** The expressions of a statement, and whether bytes are all that is wanted of them. */
function looksOf(
  s: Stmt,
  vars: ReadonlySet<number>,
  definition: Definition,
): { e: Expr; bytes: boolean }[] {
  const plain = (...list: readonly Expr[]) => list.map((e) => ({ e, bytes: false }));
  switch (s.kind) {
    case 'let':
      return [{ e: s.value, bytes: vars.has(s.var.id) }];
    case 'local':
    case 'set':
    case 'combine':
      return plain(s.value);
    case 'store': {
      // What is stored in bytes loses its upper bits anyway.
      const bytes = dtypes[s.buffer.dtype].bits === 8 && isByteOp(s.value, definition);
      return [{ e: s.value, bytes }, ...plain(s.index)];
    }
    case 'for':
      return plain(s.start, s.end);
    case 'while':
    case 'if':
      return plain(s.cond);
    case 'comment':
    case 'barrier':
    case 'product':
      return [];
  }
}

function look(e: Expr, bytes: boolean, vars: Set<number>, definition: Definition): void {
  if (e.kind === 'var') {
    if (!bytes) vars.delete(e.var.id);
    return;
  }
  const keeps = e.kind === 'dot4' || (bytes && e.type.lanes === 16 && isByteOp(e, definition));
  for (const o of operands(e)) look(o, keeps && o.type.lanes === 16, vars, definition);
}

/** A table for a byte swizzle. */
export const isSmallTable = (b: Buffer): boolean =>
  b.role === 'const' &&
  b.data !== undefined &&
  b.data.length <= 16 &&
  (b.dtype === 'i8' || b.dtype === 'u8');

/** Whether the low bytes of operands give the low byte; shifts within the byte only, and down only without a sign. */
export function isByteOp(e: Expr, definition: Definition): boolean {
  if (e.kind === 'gather') return isSmallTable(e.buffer);
  if (e.kind !== 'binary' || !byteOps.has(e.op)) return false;
  if (e.op !== 'shl' && e.op !== 'shr') return true;
  if (e.b.kind !== 'const' || e.b.value > 7) return false;
  return e.op === 'shl' || intRange(e.a, definition)[0] >= 0;
}
