// Variables that are kept narrow: vectors of 16 integers of 8 bits that only `dot4` looks at, and of 8 of 16 bits that only
// `dot` looks at. One v128 each instead of four or two, and no widening on the way.
import {
  type Buffer,
  type Expr,
  type ExprOf,
  operands,
  type Program,
  type Stmt,
  type Var,
} from '../../compiler/loops/loops.ts';
import { dtypes } from '../../compiler/ir/dtype.ts';
import { expressionsOf, nested } from '../../compiler/loops/walk.ts';
import { type Definition, intRange } from '../../compiler/loops/ranges.ts';

/** Operations on bytes that give the low byte of what they give on wider integers. */
const byteOps: ReadonlySet<string> = new Set(['add', 'sub', 'and', 'or', 'xor', 'shl', 'shr']);

export interface NarrowVars {
  readonly vars: ReadonlySet<number>;
  /** Those that are kept as words. */
  readonly words: ReadonlySet<number>;
  /** Those kept as bytes that are shifted down and only looked at under masks, which take off what came from next to them. */
  readonly masked: ReadonlySet<number>;
  readonly definition: Definition;
}

/** What lanes of a vector are kept as. */
interface Width {
  readonly lanes: number;
  readonly fits: (e: Expr, definition: Definition) => boolean;
  /** Operations whose operands may be narrow where the result is. */
  readonly isOp: (e: Expr, definition: Definition) => boolean;
  /** The expression that multiplies them. */
  readonly product: Expr['kind'];
  readonly bits: number;
}
const byteWidth: Width = {
  lanes: 16,
  fits: isByte,
  isOp: (e, definition) => isByteOp(e, definition),
  product: 'dot4',
  bits: 8,
};
const wordWidth: Width = {
  lanes: 8,
  fits: isWord,
  isOp: (e, definition) => isWordOp(e, definition),
  product: 'dot',
  bits: 16,
};

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
  const varsOf = (width: Width): ReadonlySet<number> => {
    const fits = (e: Expr): boolean =>
      e.type.scalar === 'i32' && e.type.lanes === width.lanes && width.fits(e, definition);
    const vars = new Set([...bound].filter(([, e]) => fits(e)).map(([id]) => id));
    // Whoever is used in any other way is taken out, until nothing changes.
    for (let before = -1; before !== vars.size; ) {
      before = vars.size;
      for (const list of lists)
        for (const s of list)
          for (const { e, narrow } of looksOf(s, vars, definition, width))
            look(e, narrow, vars, definition, width);
    }
    return vars;
  };
  const vars = varsOf(byteWidth);
  const masked = maskedVars(lists.flat(), bound, vars);
  return { vars, words: varsOf(wordWidth), masked, definition };
}

function maskedVars(
  list: readonly Stmt[],
  bound: ReadonlyMap<number, Expr>,
  vars: ReadonlySet<number>,
): ReadonlySet<number> {
  const masked = new Set<number>();
  for (const id of vars) {
    const by = shiftOf(bound.get(id)!);
    if (by !== undefined && by <= 7) masked.add(id);
  }
  const visit = (e: Expr, mask: number): void => {
    if (e.kind === 'var') {
      if (masked.has(e.var.id) && mask > 255 >> shiftOf(bound.get(e.var.id)!)!)
        masked.delete(e.var.id);
      return;
    }
    const isMask = e.kind === 'binary' && e.op === 'and' && e.b.kind === 'const' && e.b.value >= 0;
    for (const o of operands(e))
      visit(o, isMask && o === e.a ? (e.b as ExprOf<'const'>).value : Number.POSITIVE_INFINITY);
  };
  if (masked.size > 0)
    for (const s of list) for (const e of expressionsOf(s)) visit(e, Number.POSITIVE_INFINITY);
  return masked;
}

/** How far an expression shifts down another one. */
const shiftOf = (e: Expr): number | undefined =>
  e.kind === 'binary' && e.op === 'shr' && e.b.kind === 'const' ? e.b.value : undefined;

/** The expressions of a statement, and whether narrow lanes are all that is wanted of them. */
function looksOf(
  s: Stmt,
  vars: ReadonlySet<number>,
  definition: Definition,
  width: Width,
): { e: Expr; narrow: boolean }[] {
  const plain = (...list: readonly Expr[]) => list.map((e) => ({ e, narrow: false }));
  switch (s.kind) {
    case 'let':
      return [{ e: s.value, narrow: vars.has(s.var.id) }];
    case 'local':
    case 'set':
    case 'combine':
      return plain(s.value);
    case 'store': {
      // What is stored in bytes loses its upper bits anyway.
      const narrow =
        width === byteWidth &&
        dtypes[s.buffer.dtype].bits === width.bits &&
        width.isOp(s.value, definition);
      return [{ e: s.value, narrow }, ...plain(s.index)];
    }
    case 'for':
      return plain(s.start, s.end);
    case 'while':
    case 'if':
      return plain(s.cond);
    case 'comment':
    case 'barrier':
    case 'product':
    case 'pack':
    case 'copy':
    case 'arrive':
      return [];
  }
}

function look(
  e: Expr,
  narrow: boolean,
  vars: Set<number>,
  definition: Definition,
  width: Width,
): void {
  if (e.kind === 'var') {
    if (!narrow) vars.delete(e.var.id);
    return;
  }
  const { lanes, product, isOp } = width;
  const keeps = e.kind === product || (narrow && e.type.lanes === lanes && isOp(e, definition));
  for (const o of operands(e)) look(o, keeps && o.type.lanes === lanes, vars, definition, width);
}

/** A table for a byte swizzle. */
export const isSmallTable = (b: Buffer): boolean =>
  b.role === 'const' &&
  b.data !== undefined &&
  b.data.length <= 16 &&
  (b.dtype === 'i8' || b.dtype === 'u8');

/** Whether every lane is a byte, with a sign or without. */
export function isByte(e: Expr, definition: Definition): boolean {
  const [lo, hi] = intRange(e, definition);
  return (lo >= -128 && hi <= 127) || (lo >= 0 && hi <= 255);
}

/** Whether every lane is a byte without a sign. */
export function isUnsignedByte(e: Expr, definition: Definition): boolean {
  const [lo, hi] = intRange(e, definition);
  return lo >= 0 && hi <= 255;
}

/** Whether the low bytes of operands give the low byte; shifts within the byte only, and down only of unsigned bytes. */
export function isByteOp(e: Expr, definition: Definition): boolean {
  if (e.kind === 'gather') return isSmallTable(e.buffer);
  if (e.kind === 'zip') return true;
  if (e.kind !== 'binary' || !byteOps.has(e.op)) return false;
  if (e.op !== 'shl' && e.op !== 'shr') return true;
  if (e.b.kind !== 'const' || e.b.value > 7) return false;
  return e.op === 'shl' || isUnsignedByte(e.a, definition);
}

/** Whether every lane fits 16 signed bits. */
function isWord(e: Expr, definition: Definition): boolean {
  const [lo, hi] = intRange(e, definition);
  return lo >= -(2 ** 15) && hi < 2 ** 15;
}

/** Operations whose operands and results all fit words, so that words are all they need. */
export function isWordOp(e: Expr, definition: Definition): boolean {
  if (e.kind === 'binary' && e.op === 'add' && isWordTest(e.b, definition))
    return isWord(e, definition) && isWord(e.a, definition);
  if (e.kind !== 'binary' || !isWord(e, definition)) return false;
  if (e.op === 'shr') return e.b.kind === 'const' && e.b.value < 16 && isWord(e.a, definition);
  return wordOps.has(e.op) && isWord(e.a, definition) && isWord(e.b, definition);
}
/** Whether an operation and those that it is made of can be done on words, as every value on the way fits them. */
export function isWordTree(e: Expr, definition: Definition): boolean {
  if (e.kind !== 'binary' || !isWordOp(e, definition)) return false;
  const fits = (x: Expr): boolean =>
    isWord(x, definition) && (x.kind !== 'binary' || isWordTree(x, definition));
  return fits(e.a) && (fits(e.b) || isWordTest(e.b, definition));
}

/** 1 or 0, by a comparison of words. */
export function isWordTest(
  e: Expr,
  definition: Definition,
): e is ExprOf<'convert'> & { readonly a: ExprOf<'compare'> } {
  if (e.kind !== 'convert' || e.type.scalar !== 'i32' || e.a.kind !== 'compare') return false;
  const { op, a, b } = e.a;
  return op === 'gt' && a.type.scalar === 'i32' && isWord(a, definition) && isWord(b, definition);
}
const wordOps: ReadonlySet<string> = new Set(['add', 'sub', 'mul', 'and', 'or', 'xor']);
