// Where a load or a store goes: a pointer and an immediate offset. The constant part of an index becomes part of
// the offset if the rest cannot be negative (an address must not wrap), and equal pointers are computed once
// in a straight run of statements.
import { dtypes } from '../../compiler/ir/dtype.ts';
import { type Buffer, binary, type Expr, type Var } from '../../compiler/loops/loops.ts';
import type { Ref } from './binaryen.ts';
import type { Frame } from './frame.ts';

export interface Place {
  readonly ptr: Ref;
  readonly offset: number;
}
export type EmitScalar = (e: Expr) => Ref;

/** The fewest elements that fill whole bytes, and those bytes. */
export function byteGroup(bits: number): { readonly elements: number; readonly bytes: number } {
  let elements = 1;
  while ((elements * bits) % 8 !== 0) elements *= 2;
  return { elements, bytes: (elements * bits) / 8 };
}

/** Address of element `index`, which starts on a byte. */
export function place(f: Frame, emit: EmitScalar, buffer: Buffer, index: Expr): Place {
  const { bits } = dtypes[buffer.dtype];
  const group = byteGroup(bits);
  const { rest, constant } = splitIndex(f, index, group.elements);
  const offset = (constant / group.elements) * group.bytes;
  if (!rest) return { ptr: f.base(buffer), offset };
  const parted = group.elements === 1 ? outerPart(f, rest) : undefined;
  const make = (): Ref => {
    if (parted) {
      // What the loop does not change is added in front of it, and the rest is shared by all buffers of this width.
      const { outer, inner } = parted;
      const start = f.inFront(`b${buffer.id}:${group.bytes}:${outer.id}`, () =>
        f.m.i32.add(f.base(buffer), scaleIndex(f, f.getVar(outer, 0), group.elements, group.bytes)),
      );
      const moved = f.address(`x${group.bytes}:${indexText(inner)}`, () =>
        scaleIndex(f, emit(inner), group.elements, group.bytes),
      );
      return f.m.i32.add(start, moved);
    }
    const scaled = scaleIndex(f, emit(rest), group.elements, group.bytes);
    return f.m.i32.add(f.base(buffer), scaled);
  };
  const text = indexText(rest);
  if (text === undefined)
    return { ptr: f.once(index, buffer.id * 64 + bits, f.types.i32, make), offset };
  return { ptr: f.address(`b${buffer.id}:${bits}:${text}`, make), offset };
}

/** An index as a variable bound in front of the innermost loop plus something else, names looked through. */
function outerPart(
  f: Frame,
  index: Expr,
): { readonly outer: Var; readonly inner: Expr } | undefined {
  const terms: Expr[] = [];
  const visit = (e: Expr, depth: number): void => {
    const value = e.kind === 'var' && !f.isOutside(e.var) && depth > 0 ? f.definition(e.var) : e;
    if (value?.kind === 'binary' && value.op === 'add') {
      visit(value.a, depth - 1);
      visit(value.b, depth - 1);
    } else terms.push(e);
  };
  visit(index, 2);
  const at = terms.findIndex((e) => e.kind === 'var' && f.isOutside(e.var));
  const outer = terms[at];
  if (outer?.kind !== 'var' || terms.length < 2) return undefined;
  const inner = terms.filter((_, i) => i !== at).reduce((a, b) => binary('add', a, b));
  return indexText(inner) === undefined ? undefined : { outer: outer.var, inner };
}

/** index / elements * bytes, for an index that `elements` (a power of two) divides. */
function scaleIndex(f: Frame, index: Ref, elements: number, bytes: number): Ref {
  const { m } = f;
  const whole = elements === 1 ? index : m.i32.shr_u(index, m.i32.const(Math.log2(elements)));
  if (bytes === 1) return whole;
  const power = Math.log2(bytes);
  if (Number.isInteger(power)) return m.i32.shl(whole, m.i32.const(power));
  return m.i32.mul(whole, m.i32.const(bytes));
}

function splitIndex(
  f: Frame,
  index: Expr,
  multiple: number,
): { readonly rest: Expr | undefined; readonly constant: number } {
  const terms: Expr[] = [];
  let constant = 0;
  const visit = (e: Expr): void => {
    if (e.kind === 'binary' && e.op === 'add') {
      visit(e.a);
      visit(e.b);
    } else if (e.kind === 'const') constant += e.value;
    else terms.push(e);
  };
  visit(index);
  if (terms.length === 0 && constant >= 0 && constant % multiple === 0)
    return { rest: undefined, constant };
  const folded = Math.floor(constant / multiple) * multiple;
  if (folded <= 0 || terms.length === 0 || !terms.every((t) => isNonNegative(f, t)))
    return { rest: index, constant: 0 };
  const sum = terms.reduce((a, b) => binary('add', a, b));
  const left = constant - folded;
  return {
    rest: left ? binary('add', sum, { kind: 'const', type: sum.type, value: left }) : sum,
    constant: folded,
  };
}

/** Whether an i32 scalar is >= 0 for certain, overflow aside: indices fit in 31 bits. */
export function isNonNegative(f: Frame, e: Expr): boolean {
  switch (e.kind) {
    case 'const':
      return e.value >= 0;
    case 'dim':
      return true;
    case 'var':
      return f.isNonNegative(e.var);
    case 'convert':
      return e.a.type.scalar === 'bool';
    case 'select':
      return isNonNegative(f, e.a) && isNonNegative(f, e.b);
    case 'binary': {
      const [a, b] = [isNonNegative(f, e.a), isNonNegative(f, e.b)];
      if (e.op === 'and' || e.op === 'max') return a || b;
      if (e.op === 'shr' || e.op === 'rem') return a;
      return (e.op === 'add' || e.op === 'mul' || e.op === 'min' || e.op === 'div') && a && b;
    }
    default:
      return false;
  }
}

/** A text that says what the value is while no variable in it is set; undefined if it reads memory. */
export function indexText(e: Expr): string | undefined {
  switch (e.kind) {
    case 'const':
      return `${e.value}`;
    case 'dim':
      return `d:${e.name};`;
    case 'var':
      return `v${e.var.id};`;
    case 'binary': {
      const [a, b] = [indexText(e.a), indexText(e.b)];
      return a === undefined || b === undefined ? undefined : `${e.op}(${a},${b})`;
    }
    default:
      return undefined;
  }
}
