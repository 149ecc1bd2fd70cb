// What tensor cores can take of a contraction's operands. An element is scale * core + offset, scale and offset the same
// throughout a slice of the depth: the warps multiply the cores, and the sum of a slice gets the scales. Cores are integers
// of a byte, or numbers that f16 or bf16 holds as they are; f32 is the sum of three bf16, which lose nothing. Only tables
// of floats are rounded, to f16, and only where the other operand has been rounded to f16 by the author.

import type { Packed } from '../../loops/loops.ts';
import { type Expr, operands } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import { type Definition, intRange } from '../../loops/ranges.ts';
import { terms } from '../factor.ts';

/** An element as scale * core + offset. */
export interface Core {
  readonly core: Expr;
  readonly scale: Expr | undefined;
  readonly offset: Expr | undefined;
}

/** Undefined where an element is more than that. */
export function coreOf(e: Expr): Core | undefined {
  const list = terms(e) ?? [];
  const own = list.filter((t) => t.ints.length + t.floats.length === 1);
  const plain = list.filter((t) => t.ints.length + t.floats.length === 0);
  if (own.length !== 1 || own.length + plain.length !== list.length || plain.length > 1)
    return undefined;
  const [term] = own;
  const [offset] = plain;
  if ([term!.scale, offset?.scale].some((s) => s && s.type.lanes > 1)) return undefined;
  return { core: [...term!.ints, ...term!.floats][0]!, scale: term!.scale, offset: offset?.scale };
}

/** What a core may be packed as without loss; `f32`: as the sum of three bf16; `table`: as f16, rounded. */
export type Form = Packed | 'f32' | 'table';

export function formsOf({ core }: Core, defined: Definition): readonly Form[] {
  if (core.type.scalar === 'i32') {
    const [lo, hi] = intRange(core, defined);
    const forms: Form[] = [];
    if (lo >= -128 && hi <= 127) forms.push('i8');
    if (lo >= -2048 && hi <= 2048) forms.push('f16');
    if (lo >= -256 && hi <= 256) forms.push('bf16');
    return forms;
  }
  const held = (['f16', 'bf16'] as const).filter((d) => isHeld(core, d));
  if (held.length > 0) return held;
  const { data } = core.kind === 'gather' ? core.buffer : { data: undefined };
  return data?.every((x) => Math.abs(x) <= 65504) ? ['f32', 'table'] : ['f32'];
}

/** Whether the dtype holds every element as it is. */
const isHeld = (e: Expr, d: Packed): boolean =>
  ((e.kind === 'load' || e.kind === 'gather') && e.buffer.dtype === d) ||
  (e.kind === 'round' && e.dtype === d);

/** How the two operands meet. */
export interface Plan {
  readonly kind: Packed;
  /** Parts of an element of the streamed operand. */
  readonly planes: 1 | 3;
  /** Elements of the depth that have one scale. */
  readonly unit: 32 | 16;
}

/** The fastest first. */
export function planOf(
  stream: readonly Form[],
  panel: readonly Form[],
  unit: Plan['unit'],
): Plan | undefined {
  const both = (d: Packed): boolean => stream.includes(d) && panel.includes(d);
  if (unit === 32 && both('i8')) return { kind: 'i8', planes: 1, unit };
  if (both('f16')) return { kind: 'f16', planes: 1, unit };
  if (both('bf16')) return { kind: 'bf16', planes: 1, unit };
  if (stream.includes('f32') && panel.includes('bf16')) return { kind: 'bf16', planes: 3, unit };
  return stream.includes('f16') && panel.includes('table')
    ? { kind: 'f16', planes: 1, unit }
    : undefined;
}

/** The three bf16 that f32 numbers are the sum of: each takes the upper bits of what is left. */
export function planesOf(value: Expr, bind: (e: Expr) => Expr): readonly Expr[] {
  const { lanes } = value.type;
  const upper = (x: Expr): Expr =>
    bind(L.bits(L.binary('and', L.bits(x, 'u32'), L.constant(0xffff0000, 'u32', lanes)), 'f32'));
  const first = upper(value);
  // Nothing is left of what is infinite.
  const isInfinite = L.compare('eq', L.unary('abs', value), L.constant(Infinity, 'f32', lanes));
  const zero = L.constant(0, 'f32', lanes);
  const rest = bind(L.select(isInfinite, zero, L.binary('sub', value, first)));
  const second = upper(rest);
  return [first, second, bind(L.binary('sub', rest, second))];
}

/** The parts of an expression, names looked through; not those of the places in memory that it reads. */
export function partsOf(e: Expr, defined: Definition, out = new Set<Expr>()): ReadonlySet<Expr> {
  if (out.has(e)) return out;
  out.add(e);
  const value = e.kind === 'var' ? defined(e.var) : undefined;
  if (value) partsOf(value, defined, out);
  if (e.kind !== 'load') for (const o of operands(e)) partsOf(o, defined, out);
  return out;
}
