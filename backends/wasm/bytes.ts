// Sixteen small integers in one v128, and the products of two such vectors summed four by four: `dot4`. With relaxed
// SIMD that is one instruction if one side has 7 bits; otherwise the bytes at even and at odd places are widened to
// 16 bits, which keeps the four of a sum together.
import type { Buffer, Expr, ExprOf, Stmt } from '../../compiler/loops/loops.ts';
import { intRange } from '../../compiler/loops/ranges.ts';
import { place } from './addresses.ts';
import type { Ref } from './binaryen.ts';
import { choiceBytes, isByteChoice } from './choices.ts';
import { chunk, fault, scalar } from './expressions.ts';
import type { Frame } from './frame.ts';
import { nibblesAsBytes } from './loads.ts';
import { isByte, isByteOp, isSmallTable, isUnsignedByte } from './narrow.ts';
import { rankBytes } from './rank.ts';

type Half = 'even' | 'odd';

/** Lanes 4c .. 4c+3 of a `dot4`, on top of `sum`. */
export function dot4Chunk(f: Frame, e: ExprOf<'dot4'>, c: number, sum?: Ref): Ref {
  const { m } = f;
  const sides = [e.a, e.b].map((x) => ({ x, range: intRange(x, f.definition) }));
  if (!sides.every(({ x }) => isByte(x, f.definition)))
    throw fault('dot4 of integers of more than 8 bits');
  const most = f.unsignedDot ? 255 : 127;
  const seven = sides.find(({ range: [lo, hi] }) => lo >= 0 && hi <= most);
  const other = sides.find((s) => s !== seven && s.range[1] <= 127);
  if (f.relaxed && seven && other) {
    const start = sum ?? f.vectorI32([0, 0, 0, 0]);
    // Order of evaluation: the start comes last, and is a variable or a constant.
    const a = bytes(f, other.x, c);
    return f.relaxedDot(a, bytes(f, seven.x, c), start);
  }
  let total = sum;
  for (const half of ['even', 'odd'] as const) {
    const a = halves(f, e.a, c, half);
    const part = m.i32x4.dot_i16x8_s(a, halves(f, e.b, c, half));
    total = total === undefined ? part : m.i32x4.add(total, part);
  }
  return total!;
}

/** A variable that is kept as bytes is set: whole, or halved where every reader wants halves. */
export function setBytes(f: Frame, s: Extract<Stmt, { kind: 'let' }>): Ref[] {
  const { m, types } = f;
  const kept = f.bytesOf(s.var);
  if (s.value.kind !== 'tile' || f.relaxed) {
    kept.whole = f.local(types.v128);
    return [m.local.set(kept.whole, wholeOf(f, s))];
  }
  const even = halves(f, s.value, 0, 'even');
  const odd = halves(f, s.value, 0, 'odd');
  [kept.even, kept.odd] = [f.local(types.v128), f.local(types.v128)];
  return [m.local.set(kept.even, even), m.local.set(kept.odd, odd)];
}

function wholeOf(f: Frame, { var: v, value }: Extract<Stmt, { kind: 'let' }>): Ref {
  if (!f.isMasked(v) || value.kind !== 'binary' || value.b.kind !== 'const')
    return bytes(f, value, 0);
  return f.m.i16x8.shr_u(bytes(f, value.a, 0), f.m.i32.const(value.b.value));
}

/** Whether the low bytes of a vector of 16 need no wider arithmetic. */
export function areBytes(f: Frame, e: Expr): boolean {
  if (e.type.lanes !== 16 || e.type.scalar !== 'i32') return false;
  switch (e.kind) {
    case 'const':
      return true;
    case 'tile':
      return constants(e.a) !== undefined;
    case 'var':
      return f.isBytes(e.var) && f.bytesOf(e.var).whole !== undefined;
    case 'load':
      return isByteBuffer(e.buffer);
    case 'gather':
      return isByteOp(e, f.definition) && areBytes(f, e.index);
    case 'zip':
      return [e.a, e.b].every((x) => areBytes(f, x) || isHalfLoad(x));
    case 'binary': {
      const isShift = e.op === 'shr' || e.op === 'shl';
      return isByteOp(e, f.definition) && areBytes(f, e.a) && (isShift || areBytes(f, e.b));
    }
    default:
      return false;
  }
}

/** Sixteen bytes stored as they are. */
export function storeBytes(f: Frame, s: Extract<Stmt, { kind: 'store' }>): Ref {
  const { ptr, offset } = place(f, (x) => scalar(f, x), s.buffer, s.index);
  return f.m.v128.store(offset, 1, ptr, bytes(f, s.value, 0));
}

const isUnsigned = (f: Frame, e: Expr): boolean => intRange(e, f.definition)[0] >= 0;

/** Lanes 16c .. 16c+15, the low byte of each. */
export function bytes(f: Frame, e: Expr, c: number): Ref {
  const { m } = f;
  switch (e.kind) {
    case 'const':
      return f.vector(new Array<number>(16).fill(e.value & 255));
    case 'splat':
      return f.once(e, 60, f.types.v128, () => m.i8x16.splat(scalar(f, e.a)));
    case 'var': {
      const { whole } = f.isBytes(e.var) ? f.bytesOf(e.var) : {};
      if (whole !== undefined) return m.local.get(whole, f.types.v128);
      return f.definition(e.var)
        ? f.once(e, 500 + c, f.types.v128, () => narrowed(f, e, c))
        : narrowed(f, e, c);
    }
    case 'load': {
      if (!isByteBuffer(e.buffer))
        return nibblesAsBytes(f, (x) => scalar(f, x), e, c) ?? narrowed(f, e, c);
      const { ptr, offset } = place(f, (x) => scalar(f, x), e.buffer, e.index);
      return m.v128.load(offset + 16 * c, 1, ptr);
    }
    case 'tile': {
      const few = constants(e.a);
      if (few) return f.vector(Array.from({ length: 16 }, (_, i) => few[i % few.length]! & 255));
      if (e.a.kind !== 'load' || !isByteBuffer(e.a.buffer) || e.a.type.lanes !== 4)
        return narrowed(f, e, c);
      const { ptr, offset } = place(f, (x) => scalar(f, x), e.a.buffer, e.a.index);
      return m.v128.load32_splat(offset, 1, ptr);
    }
    case 'gather': {
      if (!isSmallTable(e.buffer)) return narrowed(f, e, c);
      const table = Array.from({ length: 16 }, (_, i) => (e.buffer.data![i] ?? 0) & 255);
      const t = f.vector(table);
      return f.swizzle(t, bytes(f, e.index, c));
    }
    case 'binary':
      return bytesOfBinary(f, e, c);
    case 'rank':
      return rankBytes(f, e, c);
    case 'select':
      return isByteChoice(f, e) ? choiceBytes(f, e, c) : narrowed(f, e, c);
    case 'zip':
      return zippedBytes(f, e, c);
    default:
      return narrowed(f, e, c);
  }
}

/** Eight bytes of memory. */
const isHalfLoad = (e: Expr): e is ExprOf<'load'> =>
  e.kind === 'load' && e.type.lanes === 8 && isByteBuffer(e.buffer);

/** Lanes 16c .. 16c+15 of two vectors in turn: they are side by side in both, within a vector of 16. */
function zippedBytes(f: Frame, e: ExprOf<'zip'>, c: number): Ref {
  const { m } = f;
  const first = e.from + 8 * c;
  if (e.unit > 8 || first % 16 > 8) return narrowed(f, e, c);
  const side = (x: Expr): Ref => {
    if (!isHalfLoad(x)) return bytes(f, x, first >> 4);
    const { ptr, offset } = place(f, (i) => scalar(f, i), x.buffer, x.index);
    return m.v128.load64_zero(offset, 1, ptr);
  };
  if (e.a.type.lanes < 16 && ![e.a, e.b].every(isHalfLoad)) return narrowed(f, e, c);
  const pattern = Array.from({ length: 16 }, (_, i) => {
    const lane = (first % 16) + Math.floor(i / (2 * e.unit)) * e.unit + (i % e.unit);
    return Math.floor(i / e.unit) % 2 ? 16 + lane : lane;
  });
  const a = side(e.a);
  return m.i8x16.shuffle(a, side(e.b), pattern);
}

/** Whether sixteen lanes of a vector are made as bytes: codes from a table of thresholds, what they look up, and choices. */
export function isBytes(f: Frame, e: Expr): boolean {
  if (e.type.lanes % 16 !== 0) return false;
  if (e.kind === 'rank') return true;
  if (e.kind === 'select') return isByteChoice(f, e);
  if (e.kind === 'binary' && e.op === 'and' && e.b.kind === 'const')
    return e.b.value >= 0 && isBytes(f, e.a);
  if (e.kind !== 'gather' || !isSmallTable(e.buffer) || !isBytes(f, e.index)) return false;
  const [lo, hi] = intRange(e.index, f.definition);
  return lo >= 0 && hi <= 15;
}

/** The lanes of a vector that is written out. */
function constants(e: Expr): readonly number[] | undefined {
  if (e.kind !== 'build') return undefined;
  const values = e.parts.map((p) => (p.kind === 'const' ? p.value : undefined));
  return values.every((x) => x !== undefined) ? values : undefined;
}

const isByteBuffer = (b: Buffer): boolean => b.dtype === 'i8' || b.dtype === 'u8';

/** Bytes under a mask. One that leaves their last bits out is kept as its complement, which often serves beside it. */
function masked(f: Frame, a: Ref, mask: number): Ref {
  const fill = (x: number): Ref => f.vector(new Array<number>(16).fill(x & 255));
  return mask % 2 ? f.m.v128.and(a, fill(mask)) : f.m.v128.andnot(a, fill(~mask));
}

function bytesOfBinary(f: Frame, e: ExprOf<'binary'>, c: number): Ref {
  const { m } = f;
  const count = e.b.kind === 'const' ? e.b.value : undefined;
  switch (e.op) {
    case 'add':
    case 'sub': {
      const a = bytes(f, e.a, c);
      return m.i8x16[e.op](a, bytes(f, e.b, c));
    }
    case 'and': {
      // A mask that takes off what a shift of 16 bits brings over from the next byte serves for both.
      const shifted = e.a.kind === 'binary' && e.a.op === 'shr' ? e.a : undefined;
      const by = shifted?.b.kind === 'const' ? shifted.b.value : undefined;
      const isBelow = count !== undefined && by !== undefined && count >= 0 && count <= 255 >> by;
      if (shifted && isBelow) {
        const a = m.i16x8.shr_u(bytes(f, shifted.a, c), m.i32.const(by));
        return masked(f, a, count);
      }
      const raised = e.a.kind === 'binary' && e.a.op === 'shl' ? e.a : undefined;
      const up = raised?.b.kind === 'const' ? raised.b.value : undefined;
      if (raised && up !== undefined && up < 8 && count !== undefined && count % 2 ** up === 0) {
        const a = m.i16x8.shl(bytes(f, raised.a, c), m.i32.const(up));
        return masked(f, a, count);
      }
      const a = bytes(f, e.a, c);
      return count === undefined ? m.v128.and(a, bytes(f, e.b, c)) : masked(f, a, count);
    }
    case 'or':
    case 'xor': {
      const a = bytes(f, e.a, c);
      return m.v128[e.op](a, bytes(f, e.b, c));
    }
    case 'shr': {
      if (count === undefined || count > 7 || !isUnsignedByte(e.a, f.definition))
        return narrowed(f, e, c);
      const a = bytes(f, e.a, c);
      if (count === 0) return a;
      const down = m.i16x8.shr_u(a, m.i32.const(count));
      return lowZeros(e.a) >= count ? down : masked(f, down, 255 >> count);
    }
    case 'shl': {
      if (count === undefined || count > 7) return narrowed(f, e, c);
      const a = bytes(f, e.a, c);
      if (count === 0) return a;
      const up = m.i16x8.shl(a, m.i32.const(count));
      // Nothing leaves a byte that stays below 256.
      return intRange(e, f.definition)[1] <= 255 && isUnsigned(f, e.a)
        ? up
        : masked(f, up, 255 << count);
    }
    default:
      return narrowed(f, e, c);
  }
}

/** Bits at the end of every lane that are zero, as masks and shifts show. */
function lowZeros(e: Expr): number {
  if (e.kind !== 'binary' || e.b.kind !== 'const') {
    const isOr = e.kind === 'binary' && e.op === 'or';
    return isOr ? Math.min(lowZeros(e.a), lowZeros(e.b)) : 0;
  }
  const { value } = e.b;
  if (e.op === 'and') return Math.max(lowZeros(e.a), 31 - Math.clz32(value & -value));
  if (e.op === 'shr') return Math.max(0, lowZeros(e.a) - value);
  return e.op === 'shl' ? lowZeros(e.a) + value : 0;
}

/** From lanes of 32 bits, whose low bytes are taken where values fit no byte: narrowing saturates. */
function narrowed(f: Frame, e: Expr, c: number): Ref {
  const { m } = f;
  const fits = isByte(e, f.definition);
  const four = (i: number): Ref => {
    const all = chunk(f, e, i);
    return fits ? all : m.v128.and(all, f.vectorI32([255, 255, 255, 255]));
  };
  const part = (i: number): Ref => {
    const a = four(4 * c + i);
    return m.i16x8.narrow_i32x4_s(a, four(4 * c + i + 1));
  };
  const low = part(0);
  return isUnsigned(f, e) || !fits
    ? m.i8x16.narrow_i16x8_u(low, part(2))
    : m.i8x16.narrow_i16x8_s(low, part(2));
}

/** The lanes at even or at odd places of lanes 16c .. 16c+15, 16 bits each. */
function halves(f: Frame, e: Expr, c: number, half: Half): Ref {
  const { m } = f;
  if (e.kind === 'const') return f.vectorI16(new Array<number>(8).fill(e.value));
  if (e.kind === 'var' && f.isBytes(e.var)) {
    const at = f.bytesOf(e.var)[half];
    if (at !== undefined) return m.local.get(at, f.types.v128);
  }
  if (e.kind === 'binary' && (e.op === 'and' || e.op === 'shr')) {
    const bits = fieldOf(e);
    if (bits && isUnsignedByte(bits.of, f.definition))
      return field(f, bits.of, c, bits.shift, bits.mask, half);
  }
  if (
    e.kind === 'binary' &&
    e.op in widened &&
    isByte(e.a, f.definition) &&
    isByte(e.b, f.definition)
  ) {
    const a = halves(f, e.a, c, half);
    return widened[e.op as keyof typeof widened](m, a, halves(f, e.b, c, half));
  }
  if (isUnsigned(f, e)) return field(f, e, c, 0, 255, half);
  const whole = f.once(e, 70 + c, f.types.v128, () => bytes(f, e, c));
  const up = half === 'even' ? m.i16x8.shl(whole, m.i32.const(8)) : whole;
  return m.i16x8.shr_s(up, m.i32.const(8));
}

const widened = {
  add: (m: Frame['m'], a: Ref, b: Ref) => m.i16x8.add(a, b),
  sub: (m: Frame['m'], a: Ref, b: Ref) => m.i16x8.sub(a, b),
  or: (m: Frame['m'], a: Ref, b: Ref) => m.v128.or(a, b),
  xor: (m: Frame['m'], a: Ref, b: Ref) => m.v128.xor(a, b),
};

/** (of >> shift) & mask, of unsigned bytes. */
function fieldOf(e: ExprOf<'binary'>): { of: Expr; shift: number; mask: number } | undefined {
  const isShort = (x: Expr): x is ExprOf<'const'> =>
    x.kind === 'const' && x.value >= 0 && x.value <= 7;
  if (e.op === 'shr')
    return isShort(e.b) ? { of: e.a, shift: e.b.value, mask: 255 >> e.b.value } : undefined;
  if (e.b.kind !== 'const' || e.b.value < 0 || e.b.value > 255) return undefined;
  const mask = e.b.value;
  const inner = e.a.kind === 'binary' && e.a.op === 'shr' ? e.a : undefined;
  return inner && isShort(inner.b)
    ? { of: inner.a, shift: inner.b.value, mask: mask & (255 >> inner.b.value) }
    : { of: e.a, shift: 0, mask };
}

function field(f: Frame, of: Expr, c: number, shift: number, mask: number, half: Half): Ref {
  const { m } = f;
  const whole =
    of.kind === 'var' ? bytes(f, of, c) : f.once(of, 70 + c, f.types.v128, () => bytes(f, of, c));
  const down = half === 'odd' ? 8 + shift : shift;
  const moved = down ? m.i16x8.shr_u(whole, m.i32.const(down)) : whole;
  // The top field of the word needs no mask.
  if (half === 'odd' && mask === 255 >> shift) return moved;
  return m.v128.and(moved, f.vectorI16(new Array<number>(8).fill(mask)));
}
