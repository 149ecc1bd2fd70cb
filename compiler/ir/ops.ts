// The op table of the tensor IR. One row an op: its attributes (OpAttrs), its type rule and its cost; what elementwise
// ops mean on single numbers is in meaning.ts. The interpreter, the printer and the lowering hold tables over the
// same names, so that a missing entry is a type error.
import { fail } from '../diagnostics/diagnostic.ts';
import { type Dim, Poly, product, sameDims, shapeText } from './algebra.ts';
import { type DType, dtypes, isFloat, promote, scalarOf } from './dtype.ts';
import type { Region, TensorType } from './ir.ts';

export type UnaryName =
  | 'neg'
  | 'abs'
  | 'sign'
  | 'floor'
  | 'ceil'
  | 'trunc'
  | 'round'
  | 'roundHalfAway'
  | 'roundHalfUp'
  | 'sqrt'
  | 'exp'
  | 'exp2'
  | 'log'
  | 'log2'
  | 'sin'
  | 'cos'
  | 'tanh'
  | 'not'
  | 'popcount'
  | 'exponent'
  | 'isnan';
export type BinaryName =
  | 'add'
  | 'sub'
  | 'mul'
  | 'div'
  | 'rem'
  | 'pow'
  | 'min'
  | 'max'
  | 'and'
  | 'or'
  | 'xor'
  | 'shl'
  | 'shr';
export type CompareName = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge';
export type ReduceName = 'sum' | 'amin' | 'amax' | 'any' | 'all';
export type ArgReduceName = 'argmin' | 'argmax';

type None = Readonly<Record<never, never>>;
interface ReduceAttrs {
  readonly axes: readonly number[];
  readonly keepdims: boolean;
}

export type OpAttrs = { readonly [U in UnaryName | BinaryName | CompareName]: None } & {
  readonly [R in ReduceName | ArgReduceName]: ReduceAttrs;
} & {
  /** A scalar literal. */
  readonly const: { readonly value: number; readonly dtype: DType };
  /** A constant tensor, row-major: codebooks, masks. */
  readonly table: {
    readonly data: readonly number[];
    readonly dtype: DType;
    readonly shape: readonly Dim[];
  };
  /** 0, 1, ..., size-1 as i32. */
  readonly iota: { readonly size: Dim };
  /** The run-time value of a symbolic dim, as i32. */
  readonly dim: { readonly dim: Dim };
  /** Elementwise choice: condition, then, else. */
  readonly select: None;
  /** Value-preserving where it can be; see castValue in dtype.ts. */
  readonly cast: { readonly dtype: DType };
  /** Same bits, other dtype. Narrower appends an axis of the ratio, wider removes it (little-endian). */
  readonly bitcast: { readonly dtype: DType };
  readonly broadcast: { readonly shape: readonly Dim[] };
  readonly reshape: { readonly shape: readonly Dim[] };
  readonly transpose: { readonly perm: readonly number[] };
  readonly slice: { readonly axis: number; readonly start: Dim; readonly size: Dim };
  readonly concat: { readonly axis: number };
  /** Operands: x, fill (a scalar). */
  readonly pad: { readonly axis: number; readonly low: Dim; readonly high: Dim };
  /** Operands: x, integer indices. Indices are clamped into the axis. */
  readonly gather: { readonly axis: number };
  /** Operands: x, one scalar index for each leading axis. Indices are clamped. */
  readonly at: None;
  /** [..., M, K] x [..., K, N]; leading axes broadcast. f32 sums, or i32 sums for integers. */
  readonly matmul: None;
  /** Parallel map: the region takes one index a dim; each result is dims ++ the yielded shape. */
  readonly map: { readonly dims: readonly Dim[] };
  /** Operands: [trip count scalar if `extent` is absent], initial values. Region: (i, carried...) -> carried. */
  readonly for: { readonly extent?: Dim };
  /** Operands: initial values. Regions: (carried...) -> condition; (carried...) -> carried. */
  readonly while: None;
  /** Operand: condition. Regions: () -> values; () -> values. */
  readonly if: None;
  /** A fused group: one loop nest. Captures are implicit; results are materialised. */
  readonly kernel: { readonly name: string; readonly schedule: string };
};
export type OpName = keyof OpAttrs;

export type TypeRule<K extends OpName> = (
  operands: readonly TensorType[],
  attrs: OpAttrs[K],
  regions: readonly Region[],
) => readonly TensorType[];

export interface OpInfo<K extends OpName> {
  /** Result element i depends only on finitely many operand elements found by index arithmetic. */
  readonly kind:
    | 'leaf'
    | 'unary'
    | 'binary'
    | 'compare'
    | 'elementwise'
    | 'view'
    | 'reduce'
    | 'contract'
    | 'region';
  readonly type: TypeRule<K>;
  /** Relative cost of one element, 1 = an addition: guides the choice between recomputing and storing. */
  readonly cost: number;
}

const t = (dtype: DType, shape: readonly Dim[]): TensorType => ({ dtype, shape });
export const typeText = (x: TensorType): string =>
  `${x.dtype}${x.shape.length ? shapeText(x.shape) : ''}`;

/** NumPy broadcasting over symbolic dims: only a literal 1 stretches. */
export function broadcastShapes(op: string, shapes: readonly (readonly Dim[])[]): readonly Dim[] {
  let out: readonly Dim[] = [];
  for (const s of shapes) {
    const [long, short] = s.length > out.length ? [s, out] : [out, s];
    const shift = long.length - short.length;
    out = long.map((d, i) => {
      const o = i < shift ? undefined : short[i - shift]!;
      if (!o || o.constant === 1 || o.equals(d)) return d;
      if (d.constant === 1) return o;
      return fail('Q2001', {
        op,
        a: shapeText(long),
        b: shapeText(short),
        why: `${d} is not ${o}`,
      });
    });
  }
  return out;
}

export function normalizeAxis(op: string, axis: number, shape: readonly Dim[]): number {
  const a = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(a) || a < 0 || a >= shape.length)
    fail('Q2003', { op, axis, shape: shapeText(shape) });
  return a;
}

const floatOnly = (cost: number): OpInfo<UnaryName> => ({
  kind: 'unary',
  cost,
  type: ([x]) => [t('f32', x!.shape)],
});
/** Keeps integers as they are: rounding an integer is the identity. */
const numeric = (op: string, cost = 1): OpInfo<UnaryName> => ({
  kind: 'unary',
  cost,
  type: ([x]) => {
    const s = scalarOf(x!.dtype);
    if (s === 'bool') fail('Q2004', { op, found: 'bool', expected: 'a number' });
    return [t(s, x!.shape)];
  },
});
const arithmetic = (op: string, cost = 1): OpInfo<BinaryName> => ({
  kind: 'binary',
  cost,
  type: ([a, b]) => [t(promote(a!.dtype, b!.dtype), broadcastShapes(op, [a!.shape, b!.shape]))],
});
const bitwise = (op: string, bools: boolean): OpInfo<BinaryName> => ({
  kind: 'binary',
  cost: 1,
  type: ([a, b]) => {
    const shape = broadcastShapes(op, [a!.shape, b!.shape]);
    if (bools && a!.dtype === 'bool' && b!.dtype === 'bool') return [t('bool', shape)];
    for (const x of [a!, b!])
      if (isFloat(x.dtype)) fail('Q2004', { op, found: x.dtype, expected: 'integers' });
    return [t(promote(a!.dtype, b!.dtype), shape)];
  },
});
const comparison = (op: string): OpInfo<CompareName> => ({
  kind: 'compare',
  cost: 1,
  type: ([a, b]) => [t('bool', broadcastShapes(op, [a!.shape, b!.shape]))],
});

function reducedShape(op: string, x: TensorType, { axes, keepdims }: ReduceAttrs): readonly Dim[] {
  for (const a of axes) normalizeAxis(op, a, x.shape);
  return keepdims
    ? x.shape.map((d, i) => (axes.includes(i) ? Poly.of(1) : d))
    : x.shape.filter((_, i) => !axes.includes(i));
}
const reduction = (op: ReduceName): OpInfo<ReduceName> => ({
  kind: 'reduce',
  cost: 1000,
  type: ([x], attrs) => {
    const wantsBool = op === 'any' || op === 'all';
    if (wantsBool !== (x!.dtype === 'bool') && wantsBool)
      fail('Q2004', { op, found: x!.dtype, expected: 'bool' });
    const s = scalarOf(x!.dtype);
    const out: DType = wantsBool ? 'bool' : s === 'bool' ? 'i32' : s;
    return [t(out, reducedShape(op, x!, attrs))];
  },
});
const argReduction = (op: ArgReduceName): OpInfo<ArgReduceName> => ({
  kind: 'reduce',
  cost: 1000,
  type: ([x], attrs) => [t('i32', reducedShape(op, x!, attrs))],
});
const yieldsOf = (r: Region): TensorType[] => r.yields.map((v) => v.type);

/** Elements of a row-major shape, for shapes without symbols. */
export const staticShape = (shape: readonly Dim[]): readonly number[] | undefined => {
  const out = shape.map((d) => d.constant);
  return out.every((d) => d !== undefined) ? (out as number[]) : undefined;
};

export const ops: { readonly [K in OpName]: OpInfo<K> } = {
  const: { kind: 'leaf', cost: 0, type: (_, a) => [t(a.dtype, [])] },
  table: { kind: 'leaf', cost: 2, type: (_, a) => [t(a.dtype, a.shape)] },
  iota: { kind: 'leaf', cost: 0, type: (_, a) => [t('i32', [a.size])] },
  dim: { kind: 'leaf', cost: 0, type: () => [t('i32', [])] },

  neg: numeric('-'),
  abs: numeric('abs'),
  sign: numeric('sign', 3),
  floor: numeric('floor'),
  ceil: numeric('ceil'),
  trunc: numeric('trunc'),
  round: numeric('round'),
  roundHalfAway: numeric('roundHalfAway', 4),
  roundHalfUp: numeric('roundHalfUp', 2),
  sqrt: floatOnly(6),
  exp: floatOnly(14),
  exp2: floatOnly(12),
  log: floatOnly(16),
  log2: floatOnly(16),
  sin: floatOnly(18),
  cos: floatOnly(18),
  tanh: floatOnly(20),
  not: {
    kind: 'unary',
    cost: 1,
    type: ([x]) => {
      if (isFloat(x!.dtype))
        fail('Q2004', { op: 'not', found: x!.dtype, expected: 'bool or an integer' });
      return [t(scalarOf(x!.dtype), x!.shape)];
    },
  },
  popcount: {
    kind: 'unary',
    cost: 6,
    type: ([x]) => {
      if (isFloat(x!.dtype))
        fail('Q2004', { op: 'popcount', found: x!.dtype, expected: 'an integer' });
      return [t('i32', x!.shape)];
    },
  },
  exponent: { kind: 'unary', cost: 4, type: ([x]) => [t('i32', x!.shape)] },
  isnan: { kind: 'unary', cost: 1, type: ([x]) => [t('bool', x!.shape)] },

  add: arithmetic('+'),
  sub: arithmetic('-'),
  mul: arithmetic('*'),
  div: {
    kind: 'binary',
    cost: 5,
    type: ([a, b]) => [t('f32', broadcastShapes('/', [a!.shape, b!.shape]))],
  },
  rem: arithmetic('%', 8),
  pow: {
    kind: 'binary',
    cost: 40,
    type: ([a, b]) => [t('f32', broadcastShapes('**', [a!.shape, b!.shape]))],
  },
  min: arithmetic('min'),
  max: arithmetic('max'),
  and: bitwise('&', true),
  or: bitwise('|', true),
  xor: bitwise('^', true),
  shl: bitwise('<<', false),
  shr: bitwise('>>', false),
  eq: comparison('==='),
  ne: comparison('!=='),
  lt: comparison('<'),
  le: comparison('<='),
  gt: comparison('>'),
  ge: comparison('>='),

  select: {
    kind: 'elementwise',
    cost: 1,
    type: ([c, a, b]) => {
      if (c!.dtype !== 'bool')
        fail('Q2004', { op: '?:', found: c!.dtype, expected: 'a bool condition' });
      const both = a!.dtype === b!.dtype ? a!.dtype : promote(a!.dtype, b!.dtype);
      return [t(both, broadcastShapes('?:', [c!.shape, a!.shape, b!.shape]))];
    },
  },
  cast: { kind: 'elementwise', cost: 3, type: ([x], a) => [t(a.dtype, x!.shape)] },
  bitcast: {
    kind: 'view',
    cost: 2,
    type: ([x], a) => {
      const from = dtypes[x!.dtype].bits;
      const to = dtypes[a.dtype].bits;
      if (from === to) return [t(a.dtype, x!.shape)];
      if (from % 8 || to % 8 || x!.dtype === 'bool' || a.dtype === 'bool')
        fail('Q2004', {
          op: 'bitcast',
          found: `${x!.dtype} to ${a.dtype}`,
          expected: 'equal widths, or whole bytes on both sides',
        });
      if (from > to) return [t(a.dtype, [...x!.shape, Poly.of(from / to)])];
      if (x!.shape.at(-1)?.constant !== to / from)
        fail('Q2006', {
          op: 'bitcast',
          found: typeText(x!),
          expected: `a last axis of ${to / from}`,
        });
      return [t(a.dtype, x!.shape.slice(0, -1))];
    },
  },
  broadcast: {
    kind: 'view',
    cost: 0,
    type: ([x], a) => {
      const s = broadcastShapes('broadcast', [x!.shape, a.shape]);
      if (!sameDims(s, a.shape))
        fail('Q2001', {
          op: 'broadcast',
          a: shapeText(x!.shape),
          b: shapeText(a.shape),
          why: 'the result would be larger',
        });
      return [t(x!.dtype, a.shape)];
    },
  },
  reshape: {
    kind: 'view',
    cost: 0,
    type: ([x], a) => {
      const from = product(x!.shape);
      const to = product(a.shape);
      if (!from.equals(to))
        fail('Q2005', {
          from: shapeText(x!.shape),
          to: shapeText(a.shape),
          a: `${from}`,
          b: `${to}`,
        });
      return [t(x!.dtype, a.shape)];
    },
  },
  transpose: {
    kind: 'view',
    cost: 0,
    type: ([x], a) => {
      if (
        a.perm.length !== x!.shape.length ||
        [...a.perm].sort((p, q) => p - q).some((p, i) => p !== i)
      )
        fail('Q2006', {
          op: 'transpose',
          found: `axes [${a.perm.join(', ')}] of ${shapeText(x!.shape)}`,
          expected: 'every axis once',
        });
      return [
        t(
          x!.dtype,
          a.perm.map((p) => x!.shape[p]!),
        ),
      ];
    },
  },
  slice: {
    kind: 'view',
    cost: 0,
    type: ([x], a) => {
      const axis = normalizeAxis('slice', a.axis, x!.shape);
      const [roomLow] = x!.shape[axis]!.sub(a.start).sub(a.size).bounds();
      if (roomLow < 0 && x!.shape[axis]!.sub(a.start).sub(a.size).constant !== undefined)
        fail('Q2008', {
          what: 'slice',
          found: `${a.start} .. ${a.start.add(a.size)} of ${x!.shape[axis]}`,
        });
      return [
        t(
          x!.dtype,
          x!.shape.map((d, i) => (i === axis ? a.size : d)),
        ),
      ];
    },
  },
  concat: {
    kind: 'view',
    cost: 2,
    type: (xs, a) => {
      const axis = normalizeAxis('concat', a.axis, xs[0]!.shape);
      let size = Poly.of(0);
      let dtype = xs[0]!.dtype;
      for (const x of xs) {
        if (
          x.shape.length !== xs[0]!.shape.length ||
          x.shape.some((d, i) => i !== axis && !d.equals(xs[0]!.shape[i]!))
        )
          fail('Q2001', {
            op: 'concat',
            a: shapeText(xs[0]!.shape),
            b: shapeText(x.shape),
            why: `they differ in another axis than ${axis}`,
          });
        size = size.add(x.shape[axis]!);
        if (x.dtype !== dtype) dtype = promote(x.dtype, dtype);
      }
      return [
        t(
          dtype,
          xs[0]!.shape.map((d, i) => (i === axis ? size : d)),
        ),
      ];
    },
  },
  pad: {
    kind: 'view',
    cost: 2,
    type: ([x], a) => {
      const axis = normalizeAxis('pad', a.axis, x!.shape);
      return [
        t(
          x!.dtype,
          x!.shape.map((d, i) => (i === axis ? d.add(a.low).add(a.high) : d)),
        ),
      ];
    },
  },
  gather: {
    kind: 'view',
    cost: 3,
    type: ([x, i], a) => {
      const axis = normalizeAxis('gather', a.axis, x!.shape);
      if (isFloat(i!.dtype))
        fail('Q2004', { op: 'gather', found: i!.dtype, expected: 'integer indices' });
      return [t(x!.dtype, [...x!.shape.slice(0, axis), ...i!.shape, ...x!.shape.slice(axis + 1)])];
    },
  },
  at: {
    kind: 'view',
    cost: 1,
    type: ([x, ...is]) => {
      if (is.length > x!.shape.length)
        fail('Q2006', {
          op: 'at',
          found: `${is.length} indices into ${typeText(x!)}`,
          expected: 'at most one index an axis',
        });
      for (const i of is) {
        if (isFloat(i.dtype))
          fail('Q2004', { op: 'at', found: i.dtype, expected: 'integer indices' });
        if (i.shape.length)
          fail('Q2006', {
            op: 'at',
            found: typeText(i),
            expected: 'scalar indices; use gather for a tensor of indices',
          });
      }
      return [t(x!.dtype, x!.shape.slice(is.length))];
    },
  },
  matmul: {
    kind: 'contract',
    cost: 1000,
    type: ([a, b]) => {
      const p = a!.shape;
      const q = b!.shape;
      const text = { a: typeText(a!), b: typeText(b!) };
      if (p.length < 2 || q.length < 2)
        fail('Q2002', { ...text, inner: 'both operands need two axes' });
      const k = p.at(-1)!;
      const l = q.at(-2)!;
      if (!k.equals(l)) fail('Q2002', { ...text, inner: `${k} is not ${l}` });
      const batch = broadcastShapes('matmul', [p.slice(0, -2), q.slice(0, -2)]);
      const s = promote(a!.dtype, b!.dtype);
      return [t(s, [...batch, p.at(-2)!, q.at(-1)!])];
    },
  },
  sum: reduction('sum'),
  amin: reduction('amin'),
  amax: reduction('amax'),
  any: reduction('any'),
  all: reduction('all'),
  argmin: argReduction('argmin'),
  argmax: argReduction('argmax'),
  map: {
    kind: 'region',
    cost: 1000,
    type: (_, a, [r]) => yieldsOf(r!).map((y) => t(y.dtype, [...a.dims, ...y.shape])),
  },
  for: { kind: 'region', cost: 1000, type: (_, _a, [r]) => yieldsOf(r!) },
  while: { kind: 'region', cost: 1000, type: (_, _a, [, body]) => yieldsOf(body!) },
  if: { kind: 'region', cost: 1000, type: (_, _a, [yes]) => yieldsOf(yes!) },
  kernel: { kind: 'region', cost: 1000, type: (_, _a, [r]) => yieldsOf(r!) },
};

export const isUnary = (n: OpName): n is UnaryName => ops[n].kind === 'unary';
export const isBinary = (n: OpName): n is BinaryName => ops[n].kind === 'binary';
export const isCompare = (n: OpName): n is CompareName => ops[n].kind === 'compare';
