// Loop IR: loops, buffers, scalars and fixed-length vectors. What the schedule makes and the backends read.
// Expressions are pure trees without traps; a backend may cut a long vector into pieces as it likes, because
// every vector operation works lane by lane except `reduce`, `extract` and `build`.
// Values are f32, i32, u32 or bool; storage dtypes appear only in buffers, and loads and stores convert.
import type { Span } from '../diagnostics/diagnostic.ts';
import type { Dim } from '../ir/algebra.ts';
import { type DType, type Scalar, scalarOf } from '../ir/dtype.ts';
import type { BinaryName, CompareName, UnaryName } from '../ir/ops.ts';

/** lanes 1 is a scalar; otherwise a power of two. */
export interface VType {
  readonly scalar: Scalar;
  readonly lanes: number;
}

export interface Buffer {
  readonly id: number;
  readonly name: string;
  readonly dtype: DType;
  /**
   * param and result: owned by the caller. temp: made by the caller for one call. const: `data`, row-major.
   * group: one for each iteration of a loop on groups; thread: one for each thread. Both of literal size.
   */
  readonly role: 'param' | 'result' | 'temp' | 'const' | 'group' | 'thread';
  /** Elements, rows of sub-byte types padded to 8 (see paddedRow). */
  readonly size: Dim;
  readonly data?: readonly number[];
  /** A param in a layout of the kernel's own: what it holds. Several fields lie in a record (schedule/records.ts). */
  readonly packed?: readonly PackedSource[];
  /** Inclusive bounds of the elements, where they are narrower than the dtype. */
  readonly range?: readonly [number, number];
  /** A temp that iterations of a parallel loop use on their own: every worker needs a copy. See parallel.ts. */
  readonly private?: boolean;
}

/** A param that a layout is made from: what it is logically, `[rows, ...]`, and how it is laid out. */
export interface PackedSource {
  /** The param's buffer. */
  readonly buffer: Buffer;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  readonly layout: 'tile' | 'word tile' | 'rows' | 'wide rows';
  /** What codes in tiles are stored plus. */
  readonly bias: number;
  /** How codes in tiles share bytes: the bits of them that each vector of a unit holds (schedule/packing.ts). */
  readonly packing: {
    readonly vectors: number;
    readonly steps: number;
    readonly codes: readonly (readonly {
      readonly vector: number;
      readonly at: number;
      readonly bits: number;
      readonly shift: number;
    }[])[];
  };
  /** A function of its elements is stored in place of them: as f32, or as the upper 16 bits of one. */
  readonly derived?: {
    readonly text: string;
    readonly stored: 'f32' | 'half';
    readonly of: (element: Expr) => Expr;
  };
}

/** A local: `let` binds once, `local` may be assigned. Loop variables are i32 scalars. */
export interface Var {
  readonly id: number;
  readonly name: string;
  readonly type: VType;
}

export type ReduceOp = 'add' | 'min' | 'max' | 'and' | 'or';

/**
 * Who runs the iterations of a loop on a GPU. grid: a thread each. groups: a group of threads (a block) each.
 * warps: a group of lanes (a warp, a subgroup) each. threads, lanes: the members of the group or warp around
 * share them. What stands outside of the innermost such loop is run alike by every member.
 * members: from 0, with as many iterations as the group has threads: each thread runs one, from its beginning to its
 * end, so that variables are the thread's own. All may meet there at a barrier, which stands in nothing but loops
 * and branches that go alike for all of them.
 */
export type Spread = 'grid' | 'groups' | 'warps' | 'threads' | 'lanes' | 'members';
/** Those who meet at a barrier, or combine values: the threads of a group or the lanes of a warp. */
export type Team = 'threads' | 'lanes';

/** What a warp's products take. */
export type Packed = 'i8' | 'f16' | 'bf16';

export type Expr = { readonly type: VType } /** A literal, in every lane. */ & (
  | { readonly kind: 'const'; readonly value: number }
  /** 0, 1, ..., lanes-1 as i32. */
  | { readonly kind: 'lanes' }
  | { readonly kind: 'var'; readonly var: Var }
  /** Run-time value of a dim of the signature, i32. */
  | { readonly kind: 'dim'; readonly name: string }
  | { readonly kind: 'unary'; readonly op: UnaryName; readonly a: Expr }
  | { readonly kind: 'binary'; readonly op: BinaryName; readonly a: Expr; readonly b: Expr }
  /** Operands f32, i32, u32 or bool; result bool. */
  | { readonly kind: 'compare'; readonly op: CompareName; readonly a: Expr; readonly b: Expr }
  | { readonly kind: 'select'; readonly c: Expr; readonly a: Expr; readonly b: Expr }
  /** Between the four scalars: float to integer truncates and saturates, NaN gives 0; bool gives 0 or 1. */
  | { readonly kind: 'convert'; readonly a: Expr }
  /** i32/u32/f32 reinterpreted. */
  | { readonly kind: 'bits'; readonly a: Expr }
  /** f32 rounded onto the grid of a small float (roundToFloat). */
  | { readonly kind: 'round'; readonly dtype: DType; readonly a: Expr }
  /** Stored bits (i32) of an f32 on the grid of a small float; floatToBits. */
  | { readonly kind: 'encode'; readonly dtype: DType; readonly a: Expr }
  /** f32 of the stored bits (i32) of a small float; floatOfBits. */
  | { readonly kind: 'decode'; readonly dtype: DType; readonly a: Expr }
  | { readonly kind: 'splat'; readonly a: Expr }
  | { readonly kind: 'extract'; readonly a: Expr; readonly lane: number }
  /** A vector of scalars, one expression a lane. */
  | { readonly kind: 'build'; readonly parts: readonly Expr[] }
  /** All lanes into one scalar. */
  | { readonly kind: 'reduce'; readonly op: ReduceOp; readonly a: Expr }
  /**
   * A long vector into 4 lanes: of sums, lane j is a[j] + a[4 + j] + a[8 + j] + ..., in that order. Where `a` is a `muladd`
   * on top of 0, its products may be added as they are, without being rounded.
   */
  | { readonly kind: 'fold'; readonly op: ReduceOp; readonly a: Expr }
  /**
   * Products of small integers (every element fits 16 signed bits, every sum 32) summed into i32x4, exactly.
   * Lane j sums elements 8g + 2j and 8g + 2j + 1 of every g; a GPU may put a product into another lane, so that
   * only the sum of the lanes is the same everywhere.
   */
  | { readonly kind: 'dot'; readonly a: Expr; readonly b: Expr }
  /** Products of small integers, as `dot`; lane j of the quarter as many lanes sums elements 4j .. 4j + 3. */
  | { readonly kind: 'dot4'; readonly a: Expr; readonly b: Expr }
  /** a * b + c of f32, rounded once or twice as the target likes: for sums whose order is free anyway. */
  | { readonly kind: 'muladd'; readonly a: Expr; readonly b: Expr; readonly c: Expr }
  /** Each lane of a vector `times` times in a row. */
  | { readonly kind: 'repeat'; readonly a: Expr; readonly times: number }
  /** All lanes of a vector, again and again. */
  | { readonly kind: 'tile'; readonly a: Expr }
  /**
   * Lanes of two vectors in turn, `unit` of each at a time, from lane `from` of both on: of a unit of 1, lane 2j is
   * a[from + j] and lane 2j + 1 is b[from + j].
   */
  | {
      readonly kind: 'zip';
      readonly a: Expr;
      readonly b: Expr;
      readonly unit: number;
      readonly from: number;
    }
  /**
   * `lanes` consecutive elements from element `index` (i32). `align` divides index for certain; sub-byte
   * vector loads come only with align * bits a multiple of 8.
   */
  | { readonly kind: 'load'; readonly buffer: Buffer; readonly index: Expr; readonly align: number }
  /** One element a lane, at the element numbers in `index` (vector of i32). */
  | { readonly kind: 'gather'; readonly buffer: Buffer; readonly index: Expr }
  /** Of an f32: how many entries of a constant buffer, which grow, it reaches (strict: exceeds); of NaN 0. As i32. */
  | { readonly kind: 'rank'; readonly buffer: Buffer; readonly strict: boolean; readonly a: Expr }
  /**
   * The first i for which |entry i * unit - a|, each step rounded to f32, is least; the first for which it is NaN, if there
   * is one. Entries of the constant buffer grow. As i32.
   */
  | { readonly kind: 'nearest'; readonly buffer: Buffer; readonly a: Expr; readonly unit: Expr }
  /** Of a vector of f32: the element of the largest magnitude, the first of equal ones; the first NaN, if there is one. */
  | { readonly kind: 'peak'; readonly a: Expr }
  /** An f32 of which it is known that it is a number from lo to hi. */
  | { readonly kind: 'within'; readonly a: Expr; readonly lo: number; readonly hi: number }
  /** An f32 of which it is known that it is a number from lo to hi, which may be infinite, or NaN. Expansions look at it. */
  | { readonly kind: 'bounded'; readonly a: Expr; readonly lo: number; readonly hi: number }
);
export type ExprKind = Expr['kind'];
export type ExprOf<K extends ExprKind> = Extract<Expr, { readonly kind: K }>;

export type Stmt =
  | { readonly kind: 'comment'; readonly text: string }
  | { readonly kind: 'let'; readonly var: Var; readonly value: Expr }
  | { readonly kind: 'local'; readonly var: Var; readonly value: Expr }
  | { readonly kind: 'set'; readonly var: Var; readonly value: Expr }
  /**
   * for (var = start; var + (step - 1) < end; var += step). Full steps only: a tail is a loop of its own.
   * parallel: iterations are independent.
   */
  | {
      readonly kind: 'for';
      readonly var: Var;
      readonly start: Expr;
      readonly end: Expr;
      readonly step: number;
      readonly parallel: boolean;
      readonly on?: Spread;
      readonly body: readonly Stmt[];
    }
  /** Memory written by members of the team before it is seen by all of them after it. */
  | { readonly kind: 'barrier'; readonly team: Team }
  /** Declares `var`: the values of all members combined, lane by lane. Of a team of one it is the value itself. */
  | {
      readonly kind: 'combine';
      readonly var: Var;
      readonly op: ReduceOp;
      readonly team: Team;
      readonly value: Expr;
    }
  /**
   * Declares `var` (i32): the elements of `value` in the bits that `dtype` stores them in (those that it does not hold
   * are rounded), a word for each 32 bits. `paired`: of elements of 16 bits, word i holds element i and the one half of
   * the elements further on, in place of neighbours.
   */
  | {
      readonly kind: 'pack';
      readonly var: Var;
      readonly dtype: Packed;
      readonly paired: boolean;
      readonly value: Expr;
    }
  /**
   * Adds to the local `var` (i32x4 for i8, f32x4 for f16 and bf16), in a loop on members: the warp's product of 16 rows
   * of one matrix and 8 of another. Lane l has packed elements of rows l / 4 and l / 4 + 8 of the one (`a`) and of row
   * l / 4 of the other (`b`), of the part l % 4 of their depth, and gets the points of its two rows and of rows
   * 2 (l % 4) and its neighbour of the other, in this order.
   */
  | {
      readonly kind: 'product';
      readonly var: Var;
      readonly dtype: Packed;
      readonly a: readonly [Expr, Expr];
      readonly b: Expr;
    }
  /**
   * Begins to copy 4, 8 or 16 bytes, aligned so, into memory of the group: `count` elements, of which those from
   * `valid` on become zero and are not read. They may be read where an `arrive` of the thread that copies, and then a
   * barrier, were passed.
   */
  | {
      readonly kind: 'copy';
      readonly to: Buffer;
      readonly at: Expr;
      readonly from: Buffer;
      readonly index: Expr;
      readonly count: number;
      readonly valid?: Expr;
    }
  /** Ends a batch of copies, and waits for all of the thread's batches but the last `pending`. */
  | { readonly kind: 'arrive'; readonly pending: number }
  /** Runs `header`, stops when `cond` is false, runs `body`, and again. */
  | {
      readonly kind: 'while';
      readonly header: readonly Stmt[];
      readonly cond: Expr;
      readonly body: readonly Stmt[];
    }
  | {
      readonly kind: 'if';
      readonly cond: Expr;
      readonly then: readonly Stmt[];
      readonly else: readonly Stmt[];
    }
  /** Elements index .. index+lanes-1; the value is f32/i32/u32/bool and is rounded or wrapped into the dtype. */
  | {
      readonly kind: 'store';
      readonly buffer: Buffer;
      readonly index: Expr;
      readonly value: Expr;
      readonly align: number;
    };

/** One fused group of the tensor IR. */
export interface Kernel {
  readonly name: string;
  /** Name of the schedule rule that made it. */
  readonly schedule: string;
  readonly body: readonly Stmt[];
  /** What the author wrote. */
  readonly span?: Span;
}

export interface Program {
  readonly name: string;
  readonly dims: readonly string[];
  readonly buffers: readonly Buffer[];
  /** Run in order. */
  readonly kernels: readonly Kernel[];
  /** Results that start as what a param holds: see Manifest.reuses. */
  readonly reuses?: readonly { readonly param: number; readonly result: number }[];
}

// ---- constructors: they compute types and fold what is trivial ----

export const vtype = (scalar: Scalar, lanes = 1): VType => ({ scalar, lanes });
const same = (a: Expr, b: Expr): VType => {
  if (a.type.scalar !== b.type.scalar || a.type.lanes !== b.type.lanes)
    throw new TypeError(`loop IR: ${typeName(a.type)} with ${typeName(b.type)}`);
  return a.type;
};
export const typeName = (t: VType): string => (t.lanes === 1 ? t.scalar : `${t.scalar}x${t.lanes}`);

export const constant = (value: number, scalar: Scalar, lanes = 1): Expr => ({
  kind: 'const',
  type: vtype(scalar, lanes),
  value,
});
export const i32 = (value: number): Expr => constant(value, 'i32');
export const laneIds = (lanes: number): Expr => ({ kind: 'lanes', type: vtype('i32', lanes) });
export const variable = (v: Var): Expr => ({ kind: 'var', type: v.type, var: v });
export const dimExpr = (name: string): Expr => ({ kind: 'dim', type: vtype('i32'), name });
export const unary = (op: UnaryName, a: Expr): Expr => ({
  kind: 'unary',
  op,
  a,
  type:
    op === 'isnan'
      ? vtype('bool', a.type.lanes)
      : op === 'exponent' || op === 'popcount'
        ? vtype('i32', a.type.lanes)
        : a.type,
});
export const binary = (op: BinaryName, a: Expr, b: Expr): Expr => {
  const type = same(a, b);
  const isInt = type.scalar === 'i32' && type.lanes === 1;
  if (isInt && b.kind === 'const') {
    if (a.kind === 'const') {
      if (op === 'add') return i32((a.value + b.value) | 0);
      if (op === 'sub') return i32((a.value - b.value) | 0);
      if (op === 'mul') return i32(Math.imul(a.value, b.value));
    }
    if (b.value === 0 && (op === 'add' || op === 'sub')) return a;
    if (b.value === 1 && op === 'mul') return a;
  }
  if (isInt && a.kind === 'const') {
    if (op === 'add' && a.value === 0) return b;
    if (op === 'mul' && a.value === 1) return b;
  }
  return { kind: 'binary', op, a, b, type };
};
export const compare = (op: CompareName, a: Expr, b: Expr): Expr => ({
  kind: 'compare',
  op,
  a,
  b,
  type: vtype('bool', same(a, b).lanes),
});
export const select = (c: Expr, a: Expr, b: Expr): Expr => {
  const type = same(a, b);
  if (c.type.scalar !== 'bool' || c.type.lanes !== type.lanes)
    throw new TypeError('loop IR: select');
  if (c.kind === 'const') return c.value ? a : b;
  return { kind: 'select', c, a, b, type };
};
export const convert = (a: Expr, scalar: Scalar): Expr => {
  if (a.type.scalar === scalar) return a;
  return { kind: 'convert', a, type: vtype(scalar, a.type.lanes) };
};
export const bits = (a: Expr, scalar: Scalar): Expr =>
  a.type.scalar === scalar ? a : { kind: 'bits', a, type: vtype(scalar, a.type.lanes) };
export const roundTo = (dtype: DType, a: Expr): Expr =>
  dtype === 'f32' ? a : { kind: 'round', dtype, a, type: a.type };
export const encodeBits = (dtype: DType, a: Expr): Expr => ({
  kind: 'encode',
  dtype,
  a,
  type: vtype('i32', a.type.lanes),
});
export const decodeBits = (dtype: DType, a: Expr): Expr => ({
  kind: 'decode',
  dtype,
  a,
  type: vtype('f32', a.type.lanes),
});
export const splat = (a: Expr, lanes: number): Expr => {
  if (a.type.lanes === lanes) return a;
  if (a.type.lanes !== 1) throw new TypeError('loop IR: splat of a vector');
  if (a.kind === 'const') return constant(a.value, a.type.scalar, lanes);
  return { kind: 'splat', a, type: vtype(a.type.scalar, lanes) };
};
export const extract = (a: Expr, lane: number): Expr =>
  a.kind === 'build' ? a.parts[lane]! : { kind: 'extract', a, lane, type: vtype(a.type.scalar) };
export const build = (parts: readonly Expr[]): Expr =>
  parts.length === 1
    ? parts[0]!
    : { kind: 'build', parts, type: vtype(parts[0]!.type.scalar, parts.length) };
export const reduce = (op: ReduceOp, a: Expr): Expr =>
  a.type.lanes === 1 ? a : { kind: 'reduce', op, a, type: vtype(a.type.scalar) };
export const fold = (a: Expr, op: ReduceOp = 'add'): Expr =>
  a.type.lanes === 4 ? a : { kind: 'fold', op, a, type: vtype(a.type.scalar, 4) };
export const dot = (a: Expr, b: Expr): Expr => {
  const type = same(a, b);
  if (type.scalar !== 'i32' || type.lanes % 8 !== 0)
    throw new TypeError(`loop IR: dot of ${typeName(type)}`);
  return { kind: 'dot', a, b, type: vtype('i32', 4) };
};
export const dot4 = (a: Expr, b: Expr): Expr => {
  const type = same(a, b);
  if (type.scalar !== 'i32' || type.lanes % 8 !== 0)
    throw new TypeError(`loop IR: dot4 of ${typeName(type)}`);
  return { kind: 'dot4', a, b, type: vtype('i32', type.lanes / 4) };
};
export const zip = (a: Expr, b: Expr, unit: number, from: number, lanes: number): Expr => {
  const type = same(a, b);
  const half = lanes / 2;
  if (from % unit !== 0 || half % unit !== 0 || from + half > type.lanes)
    throw new TypeError(`loop IR: zip of ${typeName(type)} from ${from} to ${lanes} lanes`);
  return { kind: 'zip', a, b, unit, from, type: vtype(type.scalar, lanes) };
};
export const mulAdd = (a: Expr, b: Expr, c: Expr): Expr => {
  same(a, b);
  return { kind: 'muladd', a, b, c, type: same(b, c) };
};
export const repeat = (a: Expr, times: number): Expr =>
  spread(a, a.type.lanes * times, (x) => ({
    kind: 'repeat',
    a: x,
    times,
    type: vtype(x.type.scalar, x.type.lanes * times),
  }));
export const tile = (a: Expr, lanes: number): Expr =>
  spread(a, lanes, (x) => ({ kind: 'tile', a: x, type: vtype(x.type.scalar, lanes) }));

/** Lanes multiplied below conversions and arithmetic, so that what is stored narrow is copied narrow. */
function spread(a: Expr, lanes: number, leaf: (a: Expr) => Expr): Expr {
  const sub = (x: Expr): Expr => spread(x, lanes, leaf);
  switch (a.kind) {
    case 'const':
      return constant(a.value, a.type.scalar, lanes);
    case 'splat':
      return splat(a.a, lanes);
    case 'convert':
      return convert(sub(a.a), a.type.scalar);
    default:
      return leaf(a);
  }
}
export const load = (buffer: Buffer, index: Expr, lanes: number, align: number): Expr => ({
  kind: 'load',
  buffer,
  index,
  align,
  type: vtype(scalarOf(buffer.dtype), lanes),
});
export const gather = (buffer: Buffer, index: Expr): Expr => ({
  kind: 'gather',
  buffer,
  index,
  type: vtype(scalarOf(buffer.dtype), index.type.lanes),
});

export const rank = (buffer: Buffer, a: Expr, strict: boolean): Expr => ({
  kind: 'rank',
  buffer,
  strict,
  a,
  type: vtype('i32', a.type.lanes),
});

export const nearest = (buffer: Buffer, a: Expr, unit: Expr): Expr => ({
  kind: 'nearest',
  buffer,
  a,
  unit,
  type: vtype('i32', same(a, unit).lanes),
});

export const peak = (a: Expr): Expr =>
  a.type.lanes === 1 ? a : { kind: 'peak', a, type: vtype('f32') };
export const within = (a: Expr, lo: number, hi: number): Expr => ({
  kind: 'within',
  a,
  lo,
  hi,
  type: a.type,
});

export const bounded = (a: Expr, lo: number, hi: number): Expr => ({
  kind: 'bounded',
  a,
  lo,
  hi,
  type: a.type,
});

/** Direct operands of an expression. */
export function operands(e: Expr): readonly Expr[] {
  switch (e.kind) {
    case 'const':
    case 'lanes':
    case 'var':
    case 'dim':
      return [];
    case 'binary':
    case 'compare':
    case 'dot':
    case 'dot4':
    case 'zip':
      return [e.a, e.b];
    case 'muladd':
      return [e.a, e.b, e.c];
    case 'select':
      return [e.c, e.a, e.b];
    case 'nearest':
      return [e.a, e.unit];
    case 'build':
      return e.parts;
    case 'load':
    case 'gather':
      return [e.index];
    default:
      return [e.a];
  }
}
