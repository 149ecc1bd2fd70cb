// Floats made of narrow codes. A function of a code of up to four bits is a table of sixteen floats, whatever the function:
// byte shuffles look sixteen codes up, a plane of bytes at a time, and interleaving joins the planes that differ. Other
// codes are put under the exponent of 2^7 or of 2^23, where the float is so much more than the code, and one exact
// subtraction takes that off, together with a zero point.
import { type DType, dtypes, floatOfBits } from '../../compiler/ir/dtype.ts';
import {
  binaryLane,
  bitsLane,
  compareLane,
  convertLane,
  unaryLane,
  wrap,
} from '../../compiler/loops/lanes.ts';
import { type Expr, type ExprOf, operands } from '../../compiler/loops/loops.ts';
import { type Definition, intRange } from '../../compiler/loops/ranges.ts';
import type { Ref } from './binaryen.ts';
import type { Frame } from './frame.ts';
import { interleaveHigh, interleaveLow } from './loads.ts';

/** How the parts of a recipe are had. */
export interface Reads {
  /** Sixteen codes of a vector, a byte each; their upper bits are zero. */
  readonly bytes: (code: Expr, sixteen: number) => Ref;
  /** Eight elements of a load, 16 bits each. */
  readonly words: (load: ExprOf<'load'>, eight: number) => Ref;
  readonly scalar: (e: Expr) => Ref;
}

/** The entries of a table, for each code its bytes. */
interface Lookup {
  readonly kind: 'table';
  readonly code: Expr;
  readonly planes: readonly (readonly number[])[];
}
/** A code less a zero point, of which a vector may have one of its own. */
interface Shifted {
  readonly kind: 'shifted';
  readonly load: ExprOf<'load'>;
  readonly zero: number | Expr;
}
type Recipe = Lookup | Shifted;

const entries = 16;
const known = new WeakMap<Expr, Recipe | 'none'>();

/** How a vector of floats is made of codes, if it is. */
export function recipeOf(e: Expr, definition: Definition): Recipe | undefined {
  if (e.type.scalar !== 'f32' || e.type.lanes % entries !== 0) return undefined;
  let found = known.get(e);
  if (!found) {
    found = shiftedOf(e, definition) ?? lookupOf(e) ?? 'none';
    known.set(e, found);
  }
  return found === 'none' ? undefined : found;
}

/** Lanes 4c .. 4c+3. */
export function codeChunk(f: Frame, e: Expr, r: Recipe, c: number, read: Reads): Ref {
  return r.kind === 'table' ? lookup(f, e, r, c, read.bytes) : shifted(f, e, r, c, read);
}

// ---- tables ----

function lookupOf(e: Expr): Lookup | undefined {
  const code = codeOf(e);
  if (code === 'none' || code === 'many' || e === code) return undefined;
  const table = Array.from({ length: entries }, (_, raw) => laneOf(e, code, meantBy(code, raw)));
  const bytes = new Uint8Array(Float32Array.from(table).buffer);
  const used = code.kind === 'load' ? 2 ** dtypes[code.buffer.dtype].bits : intRange(code)[1] + 1;
  // Entries that no code has are like the last one, so that a plane without differences shows.
  const planes = [0, 1, 2, 3].map((p) =>
    table.map((_, i) => bytes[4 * Math.min(i, used - 1) + p]!),
  );
  return { kind: 'table', code, planes };
}

/** The code of up to four bits that all of an expression is made of. */
function codeOf(e: Expr): Expr | 'none' | 'many' {
  if (e.kind === 'const') return 'none';
  if (isCode(e)) return e;
  switch (e.kind) {
    case 'gather':
      return e.buffer.role === 'const' && e.buffer.data ? codeOf(e.index) : 'many';
    case 'unary':
    case 'binary':
    case 'compare':
    case 'select':
    case 'convert':
    case 'bits':
    case 'decode':
      return operands(e)
        .map(codeOf)
        .reduce((a, b) => (a === 'none' || a === b ? b : b === 'none' ? a : 'many'), 'none');
    default:
      return 'many';
  }
}

/** A load of codes of up to four bits, or such a field of bytes. */
function isCode(e: Expr): boolean {
  if (e.type.scalar !== 'i32' || e.type.lanes % entries !== 0) return false;
  if (e.kind === 'load') return isInteger(e) && dtypes[e.buffer.dtype].bits <= 4;
  return isField(e) && intRange(e)[1] < entries;
}
const isInteger = ({ buffer }: ExprOf<'load'>): boolean =>
  dtypes[buffer.dtype].kind === 'uint' || dtypes[buffer.dtype].kind === 'int';

/** Unsigned bytes that are loaded, masked and shifted by literals. */
function isField(e: Expr): e is ExprOf<'binary'> {
  if (e.kind !== 'binary' || (e.op !== 'and' && e.op !== 'shr') || e.b.kind !== 'const')
    return false;
  return (e.a.kind === 'load' && e.a.buffer.dtype === 'u8') || isField(e.a);
}

/** What a code means as an integer, from its bits. */
function meantBy(code: Expr, raw: number): number {
  if (code.kind !== 'load') return raw;
  const { kind, bits } = dtypes[code.buffer.dtype];
  const own = raw & (2 ** bits - 1);
  return kind === 'int' && own >= 2 ** (bits - 1) ? own - 2 ** bits : own;
}

/** One lane of an expression, where the code has a value. */
function laneOf(e: Expr, code: Expr, value: number): number {
  const of = (x: Expr): number => laneOf(x, code, value);
  if (e === code) return value;
  switch (e.kind) {
    case 'const':
      return wrap(e.value, e.type.scalar);
    case 'unary':
      return unaryLane(e.op, of(e.a), e.a.type.scalar, e.type.scalar);
    case 'binary':
      return binaryLane(e.op, of(e.a), of(e.b), e.type.scalar);
    case 'compare':
      return compareLane(e.op, of(e.a), of(e.b));
    case 'select':
      return of(e.c) ? of(e.a) : of(e.b);
    case 'convert':
      return convertLane(of(e.a), e.a.type.scalar, e.type.scalar);
    case 'bits':
      return bitsLane(of(e.a), e.a.type.scalar, e.type.scalar);
    case 'decode':
      return floatOfBits(e.dtype, of(e.a));
    case 'gather':
      return wrap(e.buffer.data![of(e.index)] ?? 0, e.type.scalar);
    default:
      throw new Error(`${e.kind} is no function of a code`);
  }
}

const wideLow = [0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23];
const wideHigh = wideLow.map((i) => i + 8);
const zero = (f: Frame): Ref => f.register(new Array<number>(16).fill(0));
const isZero = (plane: readonly number[]): boolean => plane.every((x) => x === 0);
const isConstant = (plane: readonly number[]): boolean => plane.every((x) => x === plane[0]);

function lookup(
  f: Frame,
  e: Expr,
  { code, planes }: Lookup,
  c: number,
  bytes: Reads['bytes'],
): Ref {
  const { m, types } = f;
  const sixteen = c >> 2;
  const half = (c >> 1) % 2;
  const part = (i: number): number => 100 + sixteen * 16 + i;
  const plane = (p: number): Ref => {
    const table = planes[p]!;
    if (isConstant(table)) return f.vector(table);
    return f.once(e, part(p), types.v128, () => {
      const t = f.vector(table);
      return f.swizzle(t, bytes(code, sixteen));
    });
  };
  // Bytes 0,1 and 2,3 of eight entries, then their halves.
  const pair = (p: number): Ref => {
    const [low, high] = [planes[p]!, planes[p + 1]!];
    if (isConstant(low) && isConstant(high))
      return f.vector(Array.from({ length: 16 }, (_, i) => (i % 2 ? high : low)[0]!));
    return f.once(e, part(8 + (p >> 1) + 2 * half), types.v128, () => {
      const a = plane(p);
      return m.i8x16.shuffle(a, plane(p + 1), half ? interleaveHigh : interleaveLow);
    });
  };
  const low = isZero(planes[0]!) && isZero(planes[1]!) ? zero(f) : pair(0);
  return m.i8x16.shuffle(low, pair(2), c % 2 ? wideHigh : wideLow);
}

// ---- wider codes ----

/** Where codes come as bytes, and as words: the upper bytes of a float that is so much more than the code below them. */
const byteUnit = { value: 2 ** 7, upper: 0x43 };
const wordUnit = { value: 2 ** 23, upper: 0x4b00 };

/** Whether sixteen codes of a width are had as bytes; others come as words. */
const comeAsBytes = (bits: number): boolean => bits === 1 || bits === 4;

function shiftedOf(e: Expr, definition: Definition): Shifted | undefined {
  if (e.kind !== 'convert') return undefined;
  const { a } = e;
  const takes = a.kind === 'binary' && (a.op === 'sub' || a.op === 'add');
  const load = takes ? a.a : a;
  if (load.kind !== 'load' || load.type.scalar !== 'i32') return undefined;
  const { kind, bits } = dtypes[load.buffer.dtype];
  if (kind !== 'uint' || bits > 8) return undefined;
  if (!takes) return comeAsBytes(bits) ? undefined : { kind: 'shifted', load, zero: 0 };
  const [least, most] = intRange(a.b, definition);
  if (least < -(2 ** 15) || most > 2 ** 15) return undefined;
  // With the same zero point everywhere, fewer codes are a table.
  if (a.b.kind === 'const') {
    const zero = a.op === 'sub' ? a.b.value : -a.b.value;
    return comeAsBytes(bits) ? undefined : { kind: 'shifted', load, zero };
  }
  return a.b.kind === 'splat' && a.op === 'sub'
    ? { kind: 'shifted', load, zero: a.b.a }
    : undefined;
}

function shifted(f: Frame, e: Expr, { load, zero: taken }: Shifted, c: number, read: Reads): Ref {
  const { m, types } = f;
  const asBytes = comeAsBytes(dtypes[load.buffer.dtype].bits);
  const unit = asBytes ? byteUnit : wordUnit;
  const half = (c >> 1) % 2;
  const eight = f.once(e, 100 + (c >> 1), types.v128, () => {
    if (!asBytes) return read.words(load, c >> 1);
    const upper = f.vector(new Array<number>(16).fill(unit.upper));
    return m.i8x16.shuffle(read.bytes(load, c >> 2), upper, half ? interleaveHigh : interleaveLow);
  });
  const which = c % 2 ? wideHigh : wideLow;
  const placed = asBytes
    ? m.i8x16.shuffle(zero(f), eight, which)
    : m.i8x16.shuffle(eight, f.vectorI16(new Array<number>(8).fill(unit.upper)), which);
  const least =
    typeof taken === 'number'
      ? f.vectorF32(new Array<number>(4).fill(unit.value + taken))
      : f.once(e, 99, types.v128, () =>
          m.f32x4.splat(
            m.f32.convert_s.i32(m.i32.add(read.scalar(taken), m.i32.const(unit.value))),
          ),
        );
  return m.f32x4.sub(placed, least);
}

// ---- codes that stay where they are ----

/** A load of codes that are as good a factor as any where they are in a word of 32 bits: that many times a power of two. */
export function inPlace(e: Expr): ExprOf<'load'> | undefined {
  if (e.kind !== 'convert' || e.type.scalar !== 'f32' || e.a.kind !== 'load') return undefined;
  const { kind, bits } = dtypes[e.a.buffer.dtype];
  return kind === 'uint' && bits <= 7 && e.type.lanes % 4 === 0 ? e.a : undefined;
}

// ---- codes in lanes of 32 bits ----

/** Small floats that a table of sixteen bytes decodes. */
export const lookedUp = (Object.keys(dtypes) as DType[]).filter(
  (d) => dtypes[d].minifloat && dtypes[d].bits <= 4,
);

/** Four codes of such a float: bytes of the table find their place in the lane, as the other bytes are those of code 0. */
export function decodeChunk(f: Frame, { dtype }: ExprOf<'decode'>, codes: Ref): Ref {
  const { m, types } = f;
  const table = Array.from({ length: entries }, (_, code) =>
    floatOfBits(dtype, code % 2 ** dtypes[dtype].bits),
  );
  const bytes = new Uint8Array(Float32Array.from(table).buffer);
  const planes = [0, 1, 2, 3].map((p) => table.map((_, i) => bytes[4 * i + p]!));
  const [first, again] = f.twice(codes, types.v128);
  let out: Ref | undefined;
  planes.forEach((plane, p) => {
    if (plane.every((x) => x === 0)) return;
    const found = m.i32x4.shl(
      f.swizzle(f.vector(plane), out === undefined ? first : again()),
      m.i32.const(8 * p),
    );
    out = out === undefined ? found : m.v128.or(out, found);
  });
  return out!;
}
