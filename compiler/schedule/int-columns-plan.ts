// Whether and how a contraction of small integers takes the road of columns: the right side lies along its columns, so that
// a vector of it holds one element of depth of many columns, and the left side is small integers whose scale, if it has one,
// is the same for blocks of depth. Found by algebra and range analysis on the expressions of both; int-columns.ts emits.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { intRange, type Range } from '../loops/ranges.ts';
import { sameExpr, type Term, terms } from './factor.ts';
import { contractionsOf } from './gemm.ts';
import type { Lowering } from './lowering.ts';
import { contractionIndex } from './reductions.ts';
import { slowness } from './vector-widths.ts';
import { NoTile } from './spans.ts';

/** Elements of depth that meet in one product of four bytes. */
export const quad = 4;
/** Columns of the vectors that are looked at. */
const lanes = 16;
/** Elements of depth that a panel holds at most. */
export const pieceDepth = 64;
/** Lengths of a block of depth with one scale that are tried, the longest first: parts of a piece. */
const blocks = [pieceDepth, 32, 16, 8, 4];

/** How the columns of a strip lie in a panel. */
export interface Format {
  /** Bits of a code; the columns of a byte, `8 / bits`, are fields of it. */
  readonly bits: number;
  readonly fields: number;
  /** Bytes of a row that are read at once, 8 or 16. */
  readonly unit: number;
  /** Columns of a strip. */
  readonly width: number;
  /** Bits that are flipped in every byte, so that signed codes count from 0; or what is added to codes that take a byte. */
  readonly flip: number;
  readonly lift: number;
  /** What a panel holds, which is the integers of the right side less `shift` and what belongs to a whole row. */
  readonly range: Range;
  readonly shift: number;
  /** What belongs to a whole row, `shift` included, or that with its sign turned; undefined where it is a constant. */
  readonly perRow: PerRow | undefined;
}

export interface PerRow {
  readonly minus: boolean;
  readonly range: Range;
  readonly dtype: 'i8' | 'u8' | 'i32';
  /** What it lies along in memory, so that many are read at once: the last leading axis, or strips of columns. */
  readonly along: 'items' | 'strips' | undefined;
}

export interface ColumnsPlan {
  readonly op: Op<'matmul'>;
  readonly root: Value;
  readonly batch: readonly Dim[];
  readonly rows: Dim;
  readonly columns: Dim;
  readonly depth: Dim;
  /** Elements of depth that share a scale of the left side; undefined where all do, or where there is none. */
  readonly block: number | undefined;
  readonly scaled: boolean;
  /** Whether the integers of the left side are read where they are, and their bounds. */
  readonly inPlace: boolean;
  readonly left: Range;
  readonly format: Format;
  /** How the columns go that are left over by whole strips; undefined where there are none. */
  readonly rest: Format | undefined;
  /** Elements of the result: sums are of the same kind. */
  readonly scalar: 'f32' | 'i32';
}

/** Indices of the leading axes, of a row of the left side, and of an element of depth. */
type Ids = readonly Poly[];

/** The left side as integers times a scale, at so many elements of depth from `k` on. */
export function leftTerm(
  lo: Lowering,
  op: Op<'matmul'>,
  ids: Ids,
  row: Poly,
  k: Poly,
  n: number,
): Term {
  const at = contractionIndex(op, [...ids, row, Poly.of(0)], k.add(Poly.atom(lo.lane(n)))).a;
  const e = lo.emit(op.operands[0]!, at, n);
  const value = e.kind === 'var' ? (lo.em.definition(e.var) ?? e) : e;
  const list = terms(asFloat(L.splat(value, n)), lo.em.definition);
  const [t] = list ?? [];
  if (!t || list!.length !== 1 || t.floats.length || t.ints.length !== 1)
    throw new NoTile('the left side is no small integers times a scale');
  return t;
}

/** The integers of the right side at `n` columns from `column` on, or at one of them. */
export function rightInts(
  lo: Lowering,
  op: Op<'matmul'>,
  ids: Ids,
  k: Poly,
  column: Poly,
  n: number,
): Expr {
  return withoutFloat(lo, rightAt(lo, op, ids, k, column, n));
}

function rightAt(lo: Lowering, op: Op<'matmul'>, ids: Ids, k: Poly, column: Poly, n: number): Expr {
  const at = n === 1 ? column : column.add(Poly.atom(lo.lane(n)));
  const e = lo.emit(op.operands[1]!, contractionIndex(op, [...ids, Poly.of(0), at], k).b, n);
  return L.splat(e, n);
}

function withoutFloat(lo: Lowering, e: Expr): Expr {
  if (e.type.scalar === 'i32') return e;
  if (e.type.scalar !== 'f32') throw new NoTile('the right side is no small integers');
  const known = e.kind === 'var' ? lo.em.definition(e.var) : e;
  if (known?.kind === 'convert' && known.a.type.scalar === 'i32') return known.a;
  const scaled = terms(e, lo.em.definition)?.every((t) => t.ints.length === 1 && !t.floats.length);
  throw new NoTile(
    scaled
      ? 'the right side has a scale: it belongs to the left side, before that is rounded'
      : 'the right side is no small integers',
  );
}

const asFloat = (e: Expr): Expr => (e.type.scalar === 'f32' ? e : L.convert(e, 'f32'));

/** Integers taken apart: `rest` varies along the columns, the other parts do not. */
export interface Parts {
  readonly rest: Expr | undefined;
  readonly perRow: readonly {
    readonly e: Expr;
    readonly minus: boolean;
    /** Where it is in the sum. */
    readonly path: readonly ('a' | 'b')[];
  }[];
  readonly shift: number;
}

export function partsOf(lo: Lowering, e: Expr): Parts {
  const value = e.kind === 'var' ? (lo.em.definition(e.var) ?? e) : e;
  if (value.kind === 'const') return { rest: undefined, perRow: [], shift: value.value };
  if (value.kind === 'splat')
    return { rest: undefined, perRow: [{ e: value.a, minus: false, path: [] }], shift: 0 };
  const isSum = value.kind === 'binary' && (value.op === 'add' || value.op === 'sub');
  if (!isSum) return { rest: e, perRow: [], shift: 0 };
  const minus = value.op === 'sub';
  const [a, b] = [partsOf(lo, value.a), partsOf(lo, value.b)];
  const under = (of: Parts, side: 'a' | 'b', turn: boolean): Parts['perRow'] =>
    of.perRow.map((p) => ({ ...p, minus: p.minus !== turn, path: [side, ...p.path] }));
  const rest = a.rest && b.rest ? L.binary(value.op, a.rest, b.rest) : (a.rest ?? b.rest);
  // What is taken away would have to be turned round.
  if (minus && b.rest && !a.rest) return { rest: e, perRow: [], shift: 0 };
  return {
    rest,
    perRow: [...under(a, 'a', false), ...under(b, 'b', minus)],
    shift: a.shift + (minus ? -b.shift : b.shift),
  };
}

/** The sum of what belongs to a whole row, and a constant; `turned`: with the other sign. */
export function rowPart(parts: Pick<Parts, 'perRow'>, shift: number, turned = false, n = 1): Expr {
  const start = L.constant(turned && shift ? -shift : shift, 'i32', n);
  return parts.perRow.reduce<Expr>((sum, { e, minus }) => {
    if (minus !== turned) return L.binary('sub', sum, asInt(e));
    return sum.kind === 'const' && sum.value === 0 ? asInt(e) : L.binary('add', sum, asInt(e));
  }, start);
}

/** The same for `n` leading indices or strips at once: an index, or the column, moves with the lanes. */
export function rowParts(
  lo: Lowering,
  op: Op<'matmul'>,
  ids: Ids,
  k: Poly,
  column: Poly,
  n: number,
  parts: Parts,
  shift: number,
  turned = false,
): Expr {
  const at = contractionIndex(op, [...ids, Poly.of(0), column], k).b;
  const all = withoutFloat(lo, L.splat(lo.emit(op.operands[1]!, at, n), n));
  const of = (e: Expr, [side, ...path]: readonly ('a' | 'b')[]): Expr => {
    if (!side) return e;
    const value = e.kind === 'var' ? lo.em.definition(e.var) : e;
    if (value?.kind !== 'binary') throw new NoTile('another sum for several rows');
    return of(value[side], path);
  };
  const perRow = parts.perRow.map((p) => ({ ...p, e: of(all, p.path) }));
  return rowPart({ perRow }, shift, turned, n);
}
const asInt = (e: Expr): Expr => (e.type.scalar === 'u32' ? L.bits(e, 'i32') : e);

const holds = (r: Range, min: number, max: number): boolean => r[0] >= min && r[1] <= max;

/** The plan of a kernel that is an elementwise function of one such contraction, or why there is none. */
export function planColumns(
  lo: Lowering,
  root: Value,
): ColumnsPlan | { readonly reason: string } | undefined {
  const found = contractionsOf(root);
  const [op] = found;
  if (!op || found.length !== 1) return undefined;
  const { dtype } = op.results[0]!.type;
  if (dtype !== 'f32' && dtype !== 'i32') return undefined;
  if (lo.limits.vectorBits !== 128 || dtypes[root.type.dtype].bits % 8 !== 0) return undefined;
  const tried = <T>(plan: () => T): T | { readonly reason: string } => {
    try {
      return lo.em.trial(() => {
        let made: T | undefined;
        lo.em.scope(() => {
          made = plan();
        });
        return made!;
      });
    } catch (e) {
      if (e instanceof NoTile) return { reason: e.message };
      throw e;
    }
  };
  const right = tried(() => planRight(lo, op));
  const left = tried(() => planLeft(lo, op));
  // Where neither side suits, nobody had integers in mind.
  if ('reason' in right) return 'reason' in left ? undefined : right;
  if ('reason' in left) return left;
  const { shape } = op.results[0]!.type;
  const [rows, columns] = shape.slice(-2) as [Dim, Dim];
  const depth = op.operands[0]!.type.shape.at(-1)!;
  const batch = shape.slice(0, -2);
  return { op, root, batch, rows, columns, depth, ...left, ...right, scalar: dtype };
}

const anyIndex = (lo: Lowering, d: Dim): Poly =>
  d.constant === 1 ? Poly.of(0) : Poly.atom(lo.em.atom(lo.em.newVar('i', L.vtype('i32')), d));

function planRight(lo: Lowering, op: Op<'matmul'>): Pick<ColumnsPlan, 'format' | 'rest'> {
  const { em } = lo;
  const dims = op.results[0]!.type.shape;
  const columns = dims.at(-1)!;
  if ((columns.constant ?? lanes) < lanes / 2)
    throw new NoTile(`there are fewer than ${lanes / 2} columns`);
  const ids = dims.slice(0, -2).map((d) => anyIndex(lo, d));
  const k = anyIndex(lo, op.operands[0]!.type.shape.at(-1)!);
  const read = (width: number, column: number): Parts => {
    const strips = floorDiv(columns, width);
    const first = anyIndex(lo, strips).mul(width).add(column);
    const slow = em.trial((stmts) => {
      let e: Expr | undefined;
      em.scope(() => {
        e = rightAt(lo, op, ids, k, first, lanes);
      });
      return slowness(stmts(), [e!]);
    });
    if (slow > 0) throw new NoTile('the right side does not lie along its columns');
    return partsOf(lo, rightInts(lo, op, ids, k, first, lanes));
  };
  const parts = read(lanes, 0);
  if (!parts.rest) throw new NoTile('the right side is the same for all columns');
  const fits = (width: number): boolean =>
    columns.multiple() % width === 0 || (columns.constant ?? width) >= width;
  const isWhole = (width: number): boolean => {
    if (!fits(width)) return false;
    // What belongs to a row must be the same in all vectors of a strip.
    const own = [...Array(Math.ceil(width / lanes)).keys()].map((i) => read(width, i * lanes));
    const first = rowPart(own[0]!, 0);
    return own.every((p) => sameExpr(rowPart(p, 0), first));
  };
  const raw = rawOf(parts.rest);
  const shapes = [
    ...(raw ? [16, 8].map((unit) => ({ ...raw, unit, width: unit * raw.fields })) : []),
    ...[32, 16].map((width) => ({ ...bytes, width })),
  ].filter(({ width }) => isWhole(width));
  const shape = shapes.find(({ width }) => columns.multiple() % width === 0) ?? shapes[0];
  const range = intRange(parts.rest, em.definition);
  const main = shape ?? { ...bytes, width: lanes };
  const made = liftedTo(lo, main, range, parts.shift);
  const bounds = intRange(rowPart(parts, made.shift), em.definition);
  const perRow = parts.perRow.length
    ? { ...perRowOf(bounds), along: alongOf(lo, op, ids, columns, k, main.width, parts) }
    : undefined;
  const format = { ...made, perRow };
  if (shape && columns.multiple() % main.width === 0) return { format, rest: undefined };
  const one = partsOf(lo, rightInts(lo, op, ids, k, anyIndex(lo, columns), 1));
  const left = one.rest ? intRange(one.rest, em.definition) : range;
  const rest = { ...liftedTo(lo, { ...bytes, width: lanes }, left, one.shift), perRow: undefined };
  return { format: shape ? format : { ...rest, width: lanes }, rest };
}

/** Whether what belongs to rows can be read for many leading indices or strips at once. */
function alongOf(
  lo: Lowering,
  op: Op<'matmul'>,
  ids: Ids,
  columns: Dim,
  k: Poly,
  width: number,
  parts: Parts,
): PerRow['along'] {
  const { em } = lo;
  const isFast = (leading: Ids, column: Poly): boolean => {
    try {
      return em.trial((stmts) => {
        let e: Expr | undefined;
        em.scope(() => {
          e = em.bind(rowParts(lo, op, leading, k, column, lanes, parts, 0), 'zeros');
        });
        const own = (e as L.ExprOf<'var'>).var;
        const made = stmts().filter((s) => s.kind === 'let' && s.var === own);
        return slowness(made) === 0;
      });
    } catch (e) {
      if (e instanceof NoTile) return false;
      throw e;
    }
  };
  const lane = Poly.atom(lo.lane(lanes));
  const item = op.results[0]!.type.shape.at(-3);
  const strip = anyIndex(lo, floorDiv(columns, width)).mul(width);
  const many = (d: Dim | undefined): d is Dim => d !== undefined && (d.constant ?? lanes) >= lanes;
  const first = (d: Dim): Poly => anyIndex(lo, floorDiv(d, lanes)).mul(lanes);
  if (many(floorDiv(columns, width)))
    return isFast(ids, first(floorDiv(columns, width)).add(lane).mul(width)) ? 'strips' : undefined;
  if ((floorDiv(columns, width).constant ?? 0) !== 1 || !many(item)) return undefined;
  return isFast([...ids.slice(0, -1), first(item).add(lane)], strip) ? 'items' : undefined;
}

/** Numbers that are not negative are cheaper to multiply. */
function perRowOf([low, high]: Range): Omit<PerRow, 'along'> {
  const minus = high <= 0;
  const range: Range = minus ? [-high, -low] : [low, high];
  const dtype = holds(range, -128, 127) ? 'i8' : holds(range, 0, 255) ? 'u8' : 'i32';
  return { minus, range, dtype };
}

const bytes = { bits: 8, fields: 1, unit: lanes, flip: 0 } as const;

/** A shape of strips for integers of a range, lifted so that they are not negative where that makes products cheap. */
function liftedTo(
  lo: Lowering,
  shape: Pick<Format, 'bits' | 'fields' | 'unit' | 'width' | 'flip'>,
  [low, high]: Range,
  shift: number,
): Omit<Format, 'perRow'> {
  const most = lo.limits.unsignedDot ? 255 : 127;
  const lift = shape.flip || (high - low <= most && low < 0) ? -low : 0;
  const range: Range = [low + lift, high + lift];
  if (!holds(range, -128, 127) && !holds(range, 0, 255))
    throw new NoTile('the right side has more than 8 bits');
  return { ...shape, lift: shape.flip ? 0 : lift, range, shift: shift - lift };
}

/** Codes below a byte that are read as they are stored. */
function rawOf(e: Expr): Pick<Format, 'bits' | 'fields' | 'flip'> | undefined {
  if (e.kind !== 'load') return undefined;
  const { bits, kind } = dtypes[e.buffer.dtype];
  if (8 % bits !== 0 || bits === 8 || kind === 'float' || kind === 'bool') return undefined;
  let flip = 0;
  for (let at = bits - 1; at < 8; at += bits) flip |= kind === 'int' ? 1 << at : 0;
  return { bits, fields: 8 / bits, flip };
}

function planLeft(
  lo: Lowering,
  op: Op<'matmul'>,
): Pick<ColumnsPlan, 'block' | 'scaled' | 'inPlace' | 'left'> {
  const { em } = lo;
  const { shape } = op.results[0]!.type;
  const ids = shape.slice(0, -2).map((d) => anyIndex(lo, d));
  const row = anyIndex(lo, shape.at(-2)!);
  const depth = op.operands[0]!.type.shape.at(-1)!;
  if (depth.constant === 0) throw new NoTile('there is nothing to sum');
  const whole = depth.multiple() % quad === 0;
  const read = (k: Poly, n: number): Term => leftTerm(lo, op, ids, row, k, n);
  let plan: Pick<ColumnsPlan, 'block' | 'scaled' | 'inPlace' | 'left'> | undefined;
  const of = (t: Term, block: number | undefined) => {
    const left = intRange(t.ints[0]!, em.definition);
    if (!holds(left, -128, 127)) throw new NoTile('the left side has more than 8 bits');
    return { block, scaled: t.scale !== undefined, inPlace: whole && isByteLoad(lo, t), left };
  };
  // Whether the scale is there for the whole depth shows in how deep it is named.
  em.scope(() => {
    const n = whole ? quad : 1;
    const k = whole ? anyIndex(lo, depth.over(quad)!).mul(quad) : anyIndex(lo, depth);
    const t = n === 1 ? leftOne(lo, op, ids, row, k) : read(k, n);
    if (!t.scale || em.depthOf(t.scale) < em.depth) plan = of(t, undefined);
  });
  if (plan) return plan;
  for (const block of blocks) {
    if (depth.multiple() % block !== 0) continue;
    const base =
      depth.constant === block ? Poly.of(0) : anyIndex(lo, depth.over(block)!).mul(block);
    const [first, ...others] = Array.from({ length: block / quad }, (_, v) =>
      read(base.add(quad * v), quad),
    ) as [Term, ...Term[]];
    if (others.every((t) => t.scale && sameExpr(t.scale, first.scale!))) return of(first, block);
  }
  throw new NoTile('the scale of the left side changes within every four elements of depth');
}

/** As {@link leftTerm} of one element. */
export function leftOne(lo: Lowering, op: Op<'matmul'>, ids: Ids, row: Poly, k: Poly): Term {
  const at = contractionIndex(op, [...ids, row, Poly.of(0)], k).a;
  const e = asFloat(lo.emit(op.operands[0]!, at, 1));
  const value = (x: Expr): Expr => (x.kind === 'var' ? (lo.em.definition(x.var) ?? x) : x);
  const known = value(e);
  const sides = known.kind === 'binary' && known.op === 'mul' ? [known.a, known.b] : [known];
  const ints = sides.map(value).map((x) => (x.kind === 'convert' ? x.a : x));
  const which = ints.findIndex((x) => x.type.scalar === 'i32');
  if (which < 0) throw new NoTile('the left side is no small integers times a scale');
  return { scale: sides[1 - which], ints: [ints[which]!], floats: [] };
}

/** Whether integers are bytes of memory as they are. */
function isByteLoad(lo: Lowering, t: Term): boolean {
  const [e] = t.ints as [Expr];
  const value = e.kind === 'var' ? lo.em.definition(e.var) : e;
  return value?.kind === 'load' && isByteBuffer(value.buffer);
}
const isByteBuffer = (b: Buffer): boolean => b.dtype === 'i8' || b.dtype === 'u8';
