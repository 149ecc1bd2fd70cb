// How one element (or one vector of elements) of each op is computed from its operands: the lowering table.
// Views only rewrite indices; elementwise ops become expressions; reductions open loops (reductions.ts).

import type { Dim } from '../ir/algebra.ts';
import { floorDiv, modulo, Poly, product } from '../ir/algebra.ts';
import { type DType, dtypes, isFloat, promote, type Scalar, scalarOf } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import type { BinaryName, CompareName, OpName, UnaryName } from '../ir/ops.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { type Bounds, boundsOf, floatBounds } from './bounds.ts';
import type { Lowering } from './lowering.ts';
import { argReduceElement } from './positions.ts';
import { matmulElement, peakElement, reduceElement } from './reductions.ts';

/** `lanes` is the width of the result: 1 unless the index (or a map around) moves with the lanes. */
export type ElementRule<K extends OpName> = (
  lo: Lowering,
  op: Op<K>,
  index: readonly Poly[],
  lanes: number,
) => Expr;

/** Index of a broadcast operand: aligned from the right, unit axes at 0. */
export function broadcastIndex(shape: readonly Dim[], index: readonly Poly[]): Poly[] {
  const shift = index.length - shape.length;
  return shape.map((d, i) => (d.constant === 1 ? Poly.of(0) : index[i + shift]!));
}

/** An operand at the index of the result, as `scalar` and with the lanes of the result. */
function operand(
  lo: Lowering,
  v: Value,
  index: readonly Poly[],
  lanes: number,
  scalar?: Scalar,
): Expr {
  const e = lo.emit(v, broadcastIndex(v.type.shape, index), lanes);
  const x = scalar && e.type.scalar !== scalar ? convertScalar(e, scalar) : e;
  return L.splat(x, lanes);
}

const convertScalar = (e: Expr, to: Scalar): Expr =>
  (e.type.scalar === 'i32' && to === 'u32') || (e.type.scalar === 'u32' && to === 'i32')
    ? L.bits(e, to)
    : L.convert(e, to);

const unary =
  (name: UnaryName): ElementRule<UnaryName> =>
  (lo, op, index, lanes) => {
    const x = op.operands[0]!;
    const out = scalarOf(op.results[0]!.type.dtype);
    const compute: Scalar =
      name === 'exponent' || name === 'isnan'
        ? 'f32'
        : name === 'popcount'
          ? x.type.dtype === 'u32'
            ? 'u32'
            : 'i32'
          : out;
    let a = operand(lo, x, index, lanes, compute);
    if (
      name === 'popcount' &&
      dtypes[x.type.dtype].kind === 'int' &&
      dtypes[x.type.dtype].bits < 32
    )
      a = L.binary('and', a, L.constant(2 ** dtypes[x.type.dtype].bits - 1, 'i32', a.type.lanes));
    if (
      name === 'exponent' &&
      dtypes[x.type.dtype].bits === 32 &&
      dtypes[x.type.dtype].kind !== 'float'
    )
      return wholeExponent(operand(lo, x, index, lanes));
    const rounding = ['floor', 'ceil', 'trunc', 'round', 'roundHalfAway', 'roundHalfUp'].includes(
      name,
    );
    if (rounding && compute !== 'f32') return a;
    const e = L.unary(name, isPower(name) ? withBounds(x, a) : a);
    return e.type.scalar === out ? e : L.convert(e, out);
  };

/** Powers are quicker where it is known that they do not overflow, or do not vanish. */
const isPower = (name: UnaryName): boolean => name === 'exp' || name === 'exp2';

function withBounds(v: Value, e: Expr): Expr {
  const [lo, hi] = floatBounds(v);
  return lo > -Infinity || hi < Infinity ? L.bounded(e, lo, hi) : e;
}

/** floor(log2 |x|) of a 32-bit integer: the low 8 bits go first where f32 would round them up. */
function wholeExponent(x: Expr): Expr {
  const n = x.type.lanes;
  const u = (value: number): Expr => L.constant(value, 'u32', n);
  const a = L.bits(x.type.scalar === 'i32' ? L.unary('abs', x) : x, 'u32');
  const big = L.compare('ge', a, u(2 ** 24));
  const f = L.unary('exponent', L.convert(L.select(big, L.binary('shr', a, u(8)), a), 'f32'));
  return L.binary('add', f, L.select(big, L.constant(8, 'i32', n), L.constant(0, 'i32', n)));
}

const binary =
  (name: BinaryName): ElementRule<BinaryName> =>
  (lo, op, index, lanes) => {
    const scalar = scalarOf(op.results[0]!.type.dtype);
    return L.binary(
      name,
      operand(lo, op.operands[0]!, index, lanes, scalar),
      operand(lo, op.operands[1]!, index, lanes, scalar),
    );
  };

const compare =
  (name: CompareName): ElementRule<CompareName> =>
  (lo, op, index, lanes) => {
    const [a, b] = op.operands as [Value, Value];
    const scalar = scalarOf(promote(a.type.dtype, b.type.dtype));
    return L.compare(
      name,
      operand(lo, a, index, lanes, scalar),
      operand(lo, b, index, lanes, scalar),
    );
  };

/** Two's complement wrap of an i32 into a narrower integer. */
export function wrapTo(d: DType, e: Expr): Expr {
  const { bits, kind } = dtypes[d];
  if (bits >= 32) return e;
  const n = e.type.lanes;
  if (kind === 'uint') return L.binary('and', e, L.constant(2 ** bits - 1, 'i32', n));
  const shift = L.constant(32 - bits, 'i32', n);
  return L.binary('shr', L.binary('shl', e, shift), shift);
}

/** castValue of dtype.ts as an expression, of a value within `bounds` where it is not NaN. */
export function castExpr(
  from: DType,
  to: DType,
  e: Expr,
  bounds: Bounds = [-Infinity, Infinity],
): Expr {
  const n = e.type.lanes;
  const target = dtypes[to];
  if (from === to) return e;
  if (target.kind === 'float') {
    const f = convertScalar(e, 'f32');
    const source = dtypes[from];
    const exact = to === 'f32' || (source.kind !== 'float' && source.bits <= 8 && to === 'f16');
    return exact ? f : L.roundTo(to, f);
  }
  if (target.kind === 'bool') return L.compare('ne', e, L.constant(0, e.type.scalar, n));
  if (isFloat(from)) {
    if (target.bits === 32) return L.convert(e, scalarOf(to));
    const [least, most] = bounds;
    const low = L.binary('min', e, L.constant(target.max!, 'f32', n));
    const capped = most <= target.max! ? e : low;
    const clamped = L.binary('max', capped, L.constant(target.min!, 'f32', n));
    return L.convert(least >= target.min! ? capped : clamped, 'i32');
  }
  const asInt = e.type.scalar === 'bool' ? L.convert(e, 'i32') : e;
  if (target.bits === 32) return convertScalar(asInt, scalarOf(to));
  const source = dtypes[from];
  const fits = source.min! >= target.min! && source.max! <= target.max!;
  const i = convertScalar(asInt, 'i32');
  return fits ? i : wrapTo(to, i);
}

/** Storage bits of a value, as an i32 without sign extension. */
function rawBits(d: DType, e: Expr): Expr {
  const { kind, bits } = dtypes[d];
  if (kind === 'float') return d === 'f32' ? L.bits(e, 'i32') : L.encodeBits(d, e);
  const i = convertScalar(e, 'i32');
  return bits === 32 || kind === 'uint'
    ? i
    : L.binary('and', i, L.constant(2 ** bits - 1, 'i32', i.type.lanes));
}
function fromRawBits(d: DType, e: Expr): Expr {
  const { kind } = dtypes[d];
  if (kind === 'float') return d === 'f32' ? L.bits(e, 'f32') : L.decodeBits(d, e);
  return d === 'u32' ? L.bits(e, 'u32') : kind === 'int' ? wrapTo(d, e) : e;
}

const bitcast: ElementRule<'bitcast'> = (lo, op, index, lanes) => {
  const x = op.operands[0]!;
  const from = dtypes[x.type.dtype].bits;
  const { dtype } = op.attrs;
  const to = dtypes[dtype].bits;
  const n = lanes;
  if (from === to)
    return fromRawBits(dtype, rawBits(x.type.dtype, L.splat(lo.emit(x, index, lanes), n)));
  if (from > to) {
    const last = index.at(-1)!;
    if (!lo.isUniform(last)) return lo.perLane(n, (at) => bitcast(lo, op, index.map(at), 1));
    const raw = rawBits(x.type.dtype, lo.emit(x, index.slice(0, -1), lanes));
    const shift = L.splat(L.binary('mul', lo.em.index(last), L.i32(to)), raw.type.lanes);
    const part = L.binary(
      'and',
      L.binary('shr', raw, shift),
      L.constant(to === 32 ? -1 : 2 ** to - 1, 'i32', raw.type.lanes),
    );
    return L.splat(fromRawBits(dtype, part), n);
  }
  let sum: Expr | undefined;
  for (let j = 0; j < to / from; j += 1) {
    const part = rawBits(x.type.dtype, lo.emit(x, [...index, Poly.of(j)], lanes));
    const shifted =
      j === 0 ? part : L.binary('shl', part, L.constant(from * j, 'i32', part.type.lanes));
    sum = sum ? L.binary('or', sum, shifted) : shifted;
  }
  return L.splat(fromRawBits(dtype, sum!), n);
};

/**
 * Index into `from` of the element at `index` of `to`, both of the same size. Axes are matched in groups of
 * equal products, so that symbolic outer axes need no division.
 */
export function reshapeIndex(
  from: readonly Dim[],
  to: readonly Dim[],
  index: readonly Poly[],
): Poly[] {
  const out: Poly[] = [];
  let i = 0;
  let j = 0;
  while (i < from.length || j < to.length) {
    const i0 = i;
    const j0 = j;
    let a = i < from.length ? from[i++]! : Poly.of(1);
    let b = j < to.length ? to[j++]! : Poly.of(1);
    while (!a.equals(b) && (i < from.length || j < to.length)) {
      const takeA = j >= to.length || (i < from.length && dividesInto(a, b));
      if (takeA && i < from.length) a = a.mul(from[i++]!);
      else if (j < to.length) b = b.mul(to[j++]!);
      else a = a.mul(from[i++]!);
    }
    const outer = from.slice(i0, i);
    const inner = to.slice(j0, j);
    if (outer.length === 1 && inner.length === 1) {
      out.push(index[j0]!);
      continue;
    }
    // Linear position within the group, then split over the axes of `from`.
    let linear = Poly.of(0);
    for (let q = j0; q < j; q += 1) linear = linear.mul(to[q]!).add(index[q]!);
    const parts: Poly[] = [];
    for (let q = outer.length - 1; q >= 0; q -= 1) {
      const d = outer[q]!;
      if (d.constant === 1) parts.unshift(Poly.of(0));
      else if (q === 0 || outer.slice(0, q).every((o) => o.constant === 1)) {
        parts.unshift(linear);
        linear = Poly.of(0);
      } else {
        parts.unshift(modulo(linear, d));
        linear = floorDiv(linear, d);
      }
    }
    out.push(...parts);
  }
  return out;
}
/** Whether `a` is the smaller factor, so that it must take in more axes to reach `b`. */
function dividesInto(a: Poly, b: Poly): boolean {
  if (a.constant !== undefined && b.constant !== undefined) return a.constant < b.constant;
  const q = b.over(a);
  if (q) {
    const c = q.constant;
    return c === undefined
      ? ![...q.terms.values()].some((t) => t.d > 1 && t.atoms.length === 0)
      : c > 1;
  }
  return a.constant !== undefined || !a.over(b);
}

const concat: ElementRule<'concat'> = (lo, op, index, lanes) => {
  const { axis } = op.attrs;
  const p = index[axis]!;
  const dtype = op.results[0]!.type.dtype;
  const n = lanes;
  const [low, high] = p.bounds();
  let start = Poly.of(0);
  const parts = op.operands.map((v) => {
    const from = start;
    start = start.add(v.type.shape[axis]!);
    return { v, from, to: start };
  });
  const take = (part: (typeof parts)[number], at: Poly): Expr =>
    L.splat(
      castExpr(
        part.v.type.dtype,
        dtype,
        lo.emit(
          part.v,
          index.map((q, i) => (i === axis ? at : q)),
          lanes,
        ),
      ),
      n,
    );
  for (const part of parts) {
    const a = part.from.constant;
    const b = part.to.constant;
    if (a !== undefined && low >= a && ((b !== undefined && high < b) || part === parts.at(-1)))
      return take(part, p.sub(part.from));
  }
  if (n > 1) return lo.perLane(n, (at) => concat(lo, op, index.map(at), 1));
  let result: Expr | undefined;
  const where = lo.em.index(p);
  for (const part of [...parts].reverse()) {
    const e = take(part, clampIndex(lo, p.sub(part.from), part.v.type.shape[axis]!));
    result = result ? L.select(L.compare('lt', where, lo.em.index(part.to)), e, result) : e;
  }
  return result!;
};

/**
 * A scalar index forced into [0, size): for loads whose value a select throws away. An axis that may be empty has no
 * such index: then the atom has no bound, and a slice further in forces it into its own operand.
 */
function clampIndex(lo: Lowering, p: Poly, size: Dim): Poly {
  const [low, high] = p.bounds();
  if (low >= 0 && size.constant !== undefined && high < size.constant) return p;
  const e = lo.em.bind(
    L.binary('max', L.i32(0), L.binary('min', lo.em.index(p), lo.em.index(size.sub(1)))),
    'clamped',
  );
  if (e.kind === 'const') return Poly.of(e.value);
  if (e.kind !== 'var') throw new Error('an index is not bound');
  return Poly.atom(lo.em.atom(e.var, size.bounds()[0] >= 1 ? size : undefined));
}

const pad: ElementRule<'pad'> = (lo, op, index, lanes) => {
  const [x, fill] = op.operands as [Value, Value];
  const { axis, low } = op.attrs;
  const p = index[axis]!.sub(low);
  const size = x.type.shape[axis]!;
  const n = lanes;
  const [a, b] = p.bounds();
  const top = size.constant;
  const value = (at: Poly): Expr =>
    L.splat(
      lo.emit(
        x,
        index.map((q, i) => (i === axis ? at : q)),
        lanes,
      ),
      n,
    );
  const outside = (): Expr =>
    L.splat(castExpr(fill.type.dtype, x.type.dtype, lo.emit(fill, [], lanes)), n);
  if (a >= 0 && top !== undefined && b < top) return value(p);
  if (b < 0 || (top !== undefined && a >= top)) return outside();
  if (n > 1) return lo.perLane(n, (at) => pad(lo, op, index.map(at), 1));
  const where = lo.em.index(p);
  const inside = L.binary(
    'and',
    L.compare('ge', where, L.i32(0)),
    L.compare('lt', where, lo.em.index(size)),
  );
  return L.select(inside, value(clampIndex(lo, p, size)), outside());
};

/**
 * How a constant table is stored. Entries that are small integers take a byte whatever their dtype: a target can
 * then look up sixteen at once. Tables of sub-byte types take whole bytes, which spares the unpacking.
 */
function tableType({ dtype, data }: Op<'table'>['attrs']): DType {
  const { bits, kind } = dtypes[dtype];
  if (kind === 'float') {
    const isByte = data.every(
      (x) => Number.isInteger(x) && !Object.is(x, -0) && x >= -128 && x <= 127,
    );
    return isByte ? 'i8' : bits >= 8 ? dtype : 'f32';
  }
  return bits >= 8 ? dtype : 'i8';
}

/** The constant buffer of a table: one, however often it is read. */
export function tableBuffer(lo: Lowering, op: Op<'table'>): Buffer {
  const key = `table ${op.results[0]!.id}`;
  let buffer = lo.tables.get(key);
  if (!buffer || !lo.em.buffers.includes(buffer)) {
    buffer = lo.em.newBuffer(
      op.results[0]!.name ?? 'table',
      tableType(op.attrs),
      'const',
      product(op.attrs.shape),
      op.attrs.data,
    );
    lo.tables.set(key, buffer);
  }
  return buffer;
}

const never = (name: string) => (): never => {
  throw new Error(`${name} is lowered as a statement`);
};

export const elements: { readonly [K in OpName]: ElementRule<K> } = {
  const: (_, op) => L.constant(op.attrs.value, scalarOf(op.attrs.dtype)),
  table: (lo, op, index, lanes) => {
    const buffer = tableBuffer(lo, op);
    const e = lo.load(buffer, op.attrs.shape, index, lanes);
    const scalar = scalarOf(op.attrs.dtype);
    return e.type.scalar === scalar ? e : L.convert(e, scalar);
  },
  iota: (lo, _op, index, lanes) => lo.polyValue(index[0]!, lanes),
  dim: (lo, op) => lo.em.index(op.attrs.dim),

  neg: unary('neg'),
  abs: unary('abs'),
  sign: unary('sign'),
  floor: unary('floor'),
  ceil: unary('ceil'),
  trunc: unary('trunc'),
  round: unary('round'),
  roundHalfAway: unary('roundHalfAway'),
  roundHalfUp: unary('roundHalfUp'),
  sqrt: unary('sqrt'),
  exp: unary('exp'),
  exp2: unary('exp2'),
  log: unary('log'),
  log2: unary('log2'),
  sin: unary('sin'),
  cos: unary('cos'),
  tanh: unary('tanh'),
  not: unary('not'),
  popcount: unary('popcount'),
  exponent: unary('exponent'),
  isnan: unary('isnan'),
  add: binary('add'),
  sub: binary('sub'),
  mul: binary('mul'),
  div: binary('div'),
  rem: binary('rem'),
  pow: binary('pow'),
  min: binary('min'),
  max: binary('max'),
  and: binary('and'),
  or: binary('or'),
  xor: binary('xor'),
  shl: binary('shl'),
  shr: binary('shr'),
  eq: compare('eq'),
  ne: compare('ne'),
  lt: compare('lt'),
  le: compare('le'),
  gt: compare('gt'),
  ge: compare('ge'),

  select: (lo, op, index, lanes) => {
    const scalar = scalarOf(op.results[0]!.type.dtype);
    const n = lanes;
    const [c, a, b] = op.operands as [Value, Value, Value];
    return L.select(
      operand(lo, c, index, n),
      operand(lo, a, index, n, scalar),
      operand(lo, b, index, n, scalar),
    );
  },
  cast: (lo, op, index, lanes) =>
    castExpr(
      op.operands[0]!.type.dtype,
      op.attrs.dtype,
      lo.emit(op.operands[0]!, index, lanes),
      boundsOf(op.operands[0]!),
    ),
  bitcast,

  broadcast: (lo, op, index, lanes) => operand(lo, op.operands[0]!, index, lanes),
  materialize: (lo, op, index, lanes) => lo.emit(op.operands[0]!, index, lanes),
  reshape: (lo, op, index, lanes) => {
    const x = op.operands[0]!;
    return lo.emit(x, reshapeIndex(x.type.shape, op.attrs.shape, index), lanes);
  },
  transpose: (lo, op, index, lanes) => {
    const at: Poly[] = [];
    op.attrs.perm.forEach((p, i) => {
      at[p] = index[i]!;
    });
    return lo.emit(op.operands[0]!, at, lanes);
  },
  slice: (lo, op, index, lanes) => {
    const x = op.operands[0]!;
    const { axis, start } = op.attrs;
    const from = index[axis]!;
    const unbounded = lo.isUniform(from) && from.atoms().some((a) => a.kind === 'var' && !a.extent);
    const at = unbounded ? clampIndex(lo, from.add(start), x.type.shape[axis]!) : from.add(start);
    return lo.emit(
      x,
      index.map((p, i) => (i === axis ? at : p)),
      lanes,
    );
  },
  concat,
  pad,
  gather: (lo, op, index, lanes) => {
    const [x, ids] = op.operands as [Value, Value];
    const { axis } = op.attrs;
    const rank = ids.type.shape.length;
    const inner = index.slice(axis, axis + rank);
    const chosen = lo.indexOf(ids, inner, x.type.shape[axis]!, lanes);
    return lo.emit(x, [...index.slice(0, axis), chosen, ...index.slice(axis + rank)], lanes);
  },
  at: (lo, op, index, lanes) => {
    const [x, ...ids] = op.operands as [Value, ...Value[]];
    const peak = peakElement(lo, x, ids);
    if (peak) return peak;
    return lo.emit(
      x,
      [...ids.map((v, i) => lo.indexOf(v, [], x.type.shape[i]!, lanes)), ...index],
      lanes,
    );
  },

  sum: (lo, op, index, lanes) => reduceElement(lo, op, index, lanes, 'add'),
  amin: (lo, op, index, lanes) => reduceElement(lo, op, index, lanes, 'min'),
  amax: (lo, op, index, lanes) => reduceElement(lo, op, index, lanes, 'max'),
  any: (lo, op, index, lanes) => reduceElement(lo, op, index, lanes, 'or'),
  all: (lo, op, index, lanes) => reduceElement(lo, op, index, lanes, 'and'),
  argmin: (lo, op, index, lanes) => argReduceElement(lo, op, index, lanes, 'min'),
  argmax: (lo, op, index, lanes) => argReduceElement(lo, op, index, lanes, 'max'),
  matmul: matmulElement,

  set: never('set'),
  sort: never('sort'),
  map: (lo, op, index, lanes) => {
    const n = op.attrs.dims.length;
    const indices = index.slice(0, n);
    return lo.inside(op, indices, () => lo.emit(op.regions[0]!.yields[0]!, index.slice(n), lanes));
  },
  for: never('for'),
  while: never('while'),
  if: never('if'),
  kernel: never('kernel'),
};
