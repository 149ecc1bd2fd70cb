// Block constants that are made from small integers or small floats: what a kernel would compute from a field each time
// it meets a block, the repacking computes once, where the kernel looks at the field in that one way only. The
// results are held as f32, or as the upper half of one where that is all of every result.
import { type DType, dtypes, scalarOf } from '../ir/dtype.ts';
import { Poly } from '../ir/algebra.ts';
import { evaluate } from '../loops/evaluate.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Lowering } from './lowering.ts';
import { type PackedField, rowDType } from './packed.ts';
import { bytesOf, operationsOf } from './packing.ts';
import { tileSide } from './spans.ts';

/** What is stored in place of the elements of a field. */
export interface Derived {
  /** Equal texts are equal functions. */
  readonly text: string;
  /** f32, or the upper 16 bits of it. */
  readonly stored: 'f32' | 'half';
  /** The function, of one element as a scalar. */
  readonly of: (element: Expr) => Expr;
}

/** Four elements of a field, one a row, at a place in depth: as it is looked at, and what may stand for it. */
export interface Site {
  readonly field: PackedField;
  readonly key: string;
  /** Four results of the field's function; it has one. */
  readonly derived: () => Expr;
}

/** Bits of the widest dtype whose values are few enough to look at each. */
const widest = 8;

export const mayDerive = (d: DType): boolean => dtypes[d].bits <= widest;

/** The parts of a block constant that are functions of one element a row. */
type Reach = Site | 'none' | 'many';

/**
 * A block constant whose parts that depend on one small element a row only are taken from where the repacking put them.
 * Before the layouts are settled it is noted how each field is looked at, and nothing changes.
 */
export function withDerived(lo: Lowering, e: Expr): Expr {
  const reached = new Map<Expr, Reach>();
  const reach = (x: Expr): Reach => {
    let known = reached.get(x);
    known ??= lo.sites.get(x) ?? (x.kind === 'const' ? 'none' : reachOf(partsOf(lo, x)));
    reached.set(x, known);
    return known;
  };
  // What is no constant and has no parts is another place in memory, or the same for all rows.
  const reachOf = (parts: readonly Expr[]): Reach =>
    parts.length ? join(parts.map(reach)) : 'many';
  const take = (x: Expr): Expr => {
    const site = reach(x);
    if (site === 'none') return x;
    if (site !== 'many') return read(lo, x, site);
    const parts = partsOf(lo, x);
    const taken = parts.map(take);
    if (taken.every((e, i) => e === parts[i])) return x;
    return x.kind === 'var' ? taken[0]! : withParts(x, taken);
  };
  return take(e);
}

const join = (all: readonly Reach[]): Reach =>
  all.reduce((a, b) => {
    if (a === 'none') return b;
    if (b === 'none' || (a !== 'many' && b !== 'many' && a.key === b.key)) return a;
    return 'many';
  }, 'none');

/** What an expression is made of, names of vectors looked through. A place in memory is not. */
function partsOf(lo: Lowering, e: Expr): readonly Expr[] {
  if (e.kind === 'var') {
    const value = e.type.lanes === 1 ? undefined : lo.em.definition(e.var);
    return value ? [value] : [];
  }
  return e.kind === 'load' ? [] : L.operands(e);
}

function read(lo: Lowering, e: Expr, site: Site): Expr {
  const { field } = site;
  const hole = holeOf(field);
  const body = functionOf(lo, e, site, hole);
  const text = body ? textOf(body) : 'as it is';
  if (!field.settled) {
    field.looks.set(text, body && ((x) => filled(body, x)));
    return e;
  }
  return field.derived && field.derived.text === text ? site.derived() : e;
}

/** What stands for the element in the body of a function. */
const holeOf = (field: PackedField): Expr =>
  L.variable({ id: -1, name: 'x', type: L.vtype(scalarOf(rowDType(field.dtype, 'rows')!)) });

/** The expression for a scalar in place of the site; undefined where it has a part that no scalar has. */
function functionOf(lo: Lowering, e: Expr, site: Site, x: Expr): Expr | undefined {
  if (e.type.scalar !== 'f32' || e.type.lanes !== tileSide) return undefined;
  // Names are looked through now: what they stand for is forgotten after a trial.
  const scalar = (a: Expr): Expr => {
    if (lo.sites.get(a)?.key === site.key) return x;
    switch (a.kind) {
      case 'var': {
        const value = lo.em.definition(a.var);
        if (!value) throw new NoFunction();
        return scalar(value);
      }
      case 'const':
        return L.constant(a.value, a.type.scalar);
      case 'unary':
        return L.unary(a.op, scalar(a.a));
      case 'binary':
        return L.binary(a.op, scalar(a.a), scalar(a.b));
      case 'compare':
        return L.compare(a.op, scalar(a.a), scalar(a.b));
      case 'select':
        return L.select(scalar(a.c), scalar(a.a), scalar(a.b));
      case 'convert':
        return L.convert(scalar(a.a), a.type.scalar);
      case 'bits':
        return L.bits(scalar(a.a), a.type.scalar);
      case 'round':
        return L.roundTo(a.dtype, scalar(a.a));
      case 'decode':
        return L.decodeBits(a.dtype, scalar(a.a));
      default:
        throw new NoFunction();
    }
  };
  try {
    return scalar(e);
  } catch (error) {
    if (error instanceof NoFunction) return undefined;
    throw error;
  }
}

/** The body of a function with its element put in. */
const filled = (body: Expr, x: Expr): Expr =>
  body.kind === 'var'
    ? x
    : withParts(
        body,
        L.operands(body).map((o) => filled(o, x)),
      );

class NoFunction extends Error {}

function textOf(e: Expr): string {
  if (e.kind === 'var') return e.var.name;
  const own = Object.entries(e)
    .filter(([, v]) => typeof v !== 'object')
    .map(([, v]) => (Object.is(v, -0) ? '-0' : String(v)));
  return `${own.join(' ')} ${e.type.scalar}(${L.operands(e).map(textOf).join(', ')})`;
}

function withParts(e: Expr, parts: readonly Expr[]): Expr {
  const [a, b, c] = parts as [Expr, Expr, Expr];
  switch (e.kind) {
    case 'select':
      return L.select(a, b, c);
    case 'muladd':
      return L.mulAdd(a, b, c);
    case 'binary':
    case 'compare':
      return { ...e, a, b };
    case 'unary':
    case 'convert':
    case 'bits':
    case 'round':
    case 'decode':
    case 'splat':
    case 'repeat':
    case 'tile':
      return { ...e, a };
    default:
      return e;
  }
}

/** Bytes that are worth one instruction of the kernel less: a core runs some three while it gets ten bytes. */
const worth = 3;
/** Widening bytes to lanes. */
const widening = 3;

/**
 * What to store for a field that is looked at in one way: results as short as they can be, unless the instructions that
 * they save are fewer than what their bytes cost.
 */
export function chooseDerived(field: PackedField): Derived | undefined {
  const looks = [...field.looks];
  const [look] = looks;
  if (looks.length !== 1 || !look?.[1] || !mayDerive(field.dtype)) return undefined;
  const [text, of] = look;
  const stored = areHalves(field.dtype, of) ? 'half' : 'f32';
  const { kind } = dtypes[field.dtype];
  // Small floats take about ten instructions to widen.
  const now = tileSide + worth * (kind === 'float' ? 10 : widening + nodesOf(of(holeOf(field))));
  const then = stored === 'half' ? 2 * tileSide + worth * 2 : 4 * tileSide + worth;
  return then < now ? { text, stored, of } : undefined;
}

/**
 * What a processor core does in a cycle, roughly: vector operations, and bytes that arrive from main memory. Only their
 * ratio counts, for what bounds a kernel.
 */
const perCycle = { operations: 3.5, bytes: 8 };
/** Taking a half float from its bits, and its part in a sum. */
const fromHalf = 3;
const perScale = 3;

/**
 * Whether half floats, one for `period` elements of depth, are better stored as f32: where operations on the codes beside
 * them take longer than their bytes take to arrive.
 */
export function widens(half: PackedField, period: number, codes: readonly PackedField[]): boolean {
  if (half.dtype !== 'f16') return false;
  // For as many elements of a row as share a half.
  const steps = period / tileSide;
  const own = codes.reduce((n, { packing }) => n + operationsOf(packing) * steps, perScale);
  const bytes = codes.reduce((n, { packing }) => n + bytesOf(packing) * steps, 0);
  const cycles = (operations: number, all: number): number =>
    Math.max(operations / perCycle.operations, all / perCycle.bytes);
  const now = cycles(own + fromHalf, bytes + 2 * tileSide);
  return cycles(own, bytes + 4 * tileSide) < now;
}

const nodesOf = (e: Expr): number =>
  e.kind === 'const' || e.kind === 'var'
    ? 0
    : 1 + L.operands(e).reduce((n, x) => n + nodesOf(x), 0);

/** Whether every result of the function has nothing but zeros in its lower 16 bits: all elements are tried. */
function areHalves(d: DType, of: (x: Expr) => Expr): boolean {
  const stored = rowDType(d, 'rows')!;
  const { kind, bits, min, max } = dtypes[d];
  const [low, high] = kind === 'float' ? [0, 2 ** bits - 1] : [min!, max!];
  const count = high - low + 1;
  const buffer = (id: number, dtype: DType, role: Buffer['role']): Buffer => ({
    id,
    name: role,
    dtype,
    role,
    size: Poly.of(count),
  });
  const [from, to] = [buffer(0, stored, 'param'), buffer(1, 'f32', 'result')];
  const i = { id: 0, name: 'i', type: L.vtype('i32') };
  const value = of(L.load(from, L.variable(i), 1, 1));
  const results = new Uint8Array(4 * count);
  const body: L.Stmt[] = [{ kind: 'store', buffer: to, index: L.variable(i), value, align: 1 }];
  const [start, end] = [L.i32(0), L.i32(count)];
  const loop: L.Stmt = { kind: 'for', var: i, start, end, step: 1, parallel: false, body };
  const kernels = [{ name: 'all', schedule: 'rows', body: [loop] }];
  const codes = Uint8Array.from({ length: count }, (_, n) => low + n);
  evaluate({ name: 'all', dims: [], buffers: [from, to], kernels }, {}, [codes, results]);
  return new Uint32Array(results.buffer).every((x) => (x & 0xffff) === 0);
}
