// Loads: one row a storage width. A vector load gives one chunk of four 32-bit lanes; where several chunks come
// out of the same bytes, these are read once. No load reads further than three bytes past its last element.
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Buffer, Expr, ExprOf } from '../../compiler/loops/loops.ts';
import { type EmitScalar, type Place, place } from './addresses.ts';
import type { Ref } from './binaryen.ts';
import type { Frame } from './frame.ts';

interface Storage {
  readonly bits: number;
  readonly signed: boolean;
}
export const storageOf = (b: Buffer): Storage => ({
  bits: dtypes[b.dtype].bits,
  signed: dtypes[b.dtype].kind === 'int',
});

// ---- scalars ----

export function loadScalar(f: Frame, emit: EmitScalar, e: ExprOf<'load'>): Ref {
  const { bits } = storageOf(e.buffer);
  if (bits < 8) {
    const [first, again] = f.twice(emit(e.index), f.types.i32);
    return loadBits(f, e.buffer, first, again);
  }
  return loadWhole(f, e.buffer, place(f, emit, e.buffer, e.index));
}

function loadWhole(f: Frame, b: Buffer, { ptr, offset }: Place): Ref {
  const { m } = f;
  const { bits, signed } = storageOf(b);
  if (b.dtype === 'f32') return m.f32.load(offset, 4, ptr);
  if (bits === 32) return m.i32.load(offset, 4, ptr);
  if (bits === 16) return signed ? m.i32.load16_s(offset, 2, ptr) : m.i32.load16_u(offset, 2, ptr);
  return signed ? m.i32.load8_s(offset, 1, ptr) : m.i32.load8_u(offset, 1, ptr);
}

/** Byte and bit of a sub-byte element. Elements of 1, 2 and 4 bits never straddle two bytes. */
export function bitPlace(f: Frame, bits: number, index: Ref, again: () => Ref) {
  const { m } = f;
  const c = (x: number): Ref => m.i32.const(x);
  const shift = (): Ref => m.i32.and(m.i32.mul(again(), c(bits)), c(7));
  if (8 % bits === 0)
    return { byte: m.i32.shr_s(index, c(Math.log2(8 / bits))), shift, straddles: false };
  const within = m.i32.shr_u(m.i32.mul(m.i32.and(again(), c(7)), c(bits)), c(3));
  const eights = m.i32.mul(m.i32.shr_s(index, c(3)), c(bits));
  return { byte: m.i32.add(eights, within), shift, straddles: true };
}

function loadBits(f: Frame, b: Buffer, index: Ref, again: () => Ref): Ref {
  const { m } = f;
  const { bits, signed } = storageOf(b);
  const { byte, shift, straddles } = bitPlace(f, bits, index, again);
  const ptr = m.i32.add(f.base(b), byte);
  const raw = straddles ? m.i32.load16_u(0, 1, ptr) : m.i32.load8_u(0, 1, ptr);
  if (!signed) return m.i32.and(m.i32.shr_u(raw, shift()), m.i32.const(2 ** bits - 1));
  const top = m.i32.shl(raw, m.i32.sub(m.i32.const(32 - bits), shift()));
  return m.i32.shr_s(top, m.i32.const(32 - bits));
}

// ---- vectors ----

export function loadChunk(f: Frame, emit: EmitScalar, e: ExprOf<'load'>, chunk: number): Ref {
  const { bits, signed } = storageOf(e.buffer);
  const lanes = e.type.lanes;
  const at = (byte: number): Place => {
    const p = place(f, emit, e.buffer, e.index);
    return { ptr: p.ptr, offset: p.offset + byte };
  };
  if (bits === 32) return load32(f, at(chunk * 16), lanes);
  if (bits === 16) return load16(f, at(chunk * 8), lanes, signed);
  if (bits === 8) return load8(f, e, at, chunk, signed);
  if (bits === 4 && lanes >= 16) return loadNibbles(f, e, at, chunk, signed);
  return loadField(f, at, chunk * 4 * bits, bits, signed);
}

const load32 = ({ m }: Frame, { ptr, offset }: Place, lanes: number): Ref =>
  lanes === 2 ? m.v128.load64_zero(offset, 4, ptr) : m.v128.load(offset, 4, ptr);

const widen16 = ({ m }: Frame, high: boolean, signed: boolean, x: Ref): Ref => {
  if (high) return signed ? m.i32x4.extend_high_i16x8_s(x) : m.i32x4.extend_high_i16x8_u(x);
  return signed ? m.i32x4.extend_low_i16x8_s(x) : m.i32x4.extend_low_i16x8_u(x);
};
const widen8 = ({ m }: Frame, high: boolean, signed: boolean, x: Ref): Ref => {
  if (high) return signed ? m.i16x8.extend_high_i8x16_s(x) : m.i16x8.extend_high_i8x16_u(x);
  return signed ? m.i16x8.extend_low_i8x16_s(x) : m.i16x8.extend_low_i8x16_u(x);
};

function load16(f: Frame, { ptr, offset }: Place, lanes: number, signed: boolean): Ref {
  const { v128 } = f.m;
  if (lanes === 2) return widen16(f, false, signed, v128.load32_zero(offset, 2, ptr));
  return signed ? v128.load16x4_s(offset, 2, ptr) : v128.load16x4_u(offset, 2, ptr);
}

/** Lanes 4c .. 4c+3 of what is there as sixteen bytes. */
export function widenChunk(f: Frame, e: Expr, c: number, signed: boolean, sixteen: () => Ref): Ref {
  const eight = f.once(e, 300 + (c >> 1), f.types.v128, () =>
    widen8(f, (c >> 1) % 2 === 1, signed, f.once(e, 400 + (c >> 2), f.types.v128, sixteen)),
  );
  return widen16(f, c % 2 === 1, signed, eight);
}

type At = (byte: number) => Place;

function load8(f: Frame, e: ExprOf<'load'>, at: At, chunk: number, signed: boolean): Ref {
  const { v128 } = f.m;
  const lanes = e.type.lanes;
  if (lanes < 8) {
    const { ptr, offset } = at(0);
    const raw = lanes === 2 ? v128.load16_splat(offset, 1, ptr) : v128.load32_zero(offset, 1, ptr);
    return widen16(f, false, signed, widen8(f, false, signed, raw));
  }
  const pair = chunk >> 1;
  const eight = f.once(e, pair, f.types.v128, () => {
    const { ptr, offset } = at(pair * 8);
    return signed ? v128.load8x8_s(offset, 1, ptr) : v128.load8x8_u(offset, 1, ptr);
  });
  return widen16(f, chunk % 2 === 1, signed, eight);
}

export const interleaveLow = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
export const interleaveHigh = interleaveLow.map((i) => i + 8);
const bytes = (f: Frame, x: number): Ref => f.vector(new Array<number>(16).fill(x));

/**
 * 4-bit elements, 16 or 32 at a time: split into low and high nibbles, interleave to bytes, widen twice.
 * Signed ones sit in the upper nibble until they are 16 bits wide.
 */
function loadNibbles(f: Frame, e: ExprOf<'load'>, at: At, chunk: number, signed: boolean): Ref {
  const { m, types } = f;
  const within = chunk % 8;
  const eight = f.once(e, Math.floor(chunk / 8) * 16 + 5 + (within >> 1), types.v128, () => {
    const sixteen = nibbleBytes(f, e, at, chunk >> 2, signed);
    const wide = widen8(f, (within >> 1) % 2 === 1, signed, sixteen);
    return signed ? m.i16x8.shr_s(wide, m.i32.const(4)) : wide;
  });
  return widen16(f, within % 2 === 1, signed, eight);
}

/** Sixteen unsigned 4-bit elements as bytes; undefined of others. */
export function nibblesAsBytes(
  f: Frame,
  emit: EmitScalar,
  e: ExprOf<'load'>,
  sixteen: number,
): Ref | undefined {
  const { bits, signed } = storageOf(e.buffer);
  if (bits !== 4 || signed || e.type.lanes < 16) return undefined;
  const at: At = (byte) => {
    const p = place(f, emit, e.buffer, e.index);
    return { ptr: p.ptr, offset: p.offset + byte };
  };
  return nibbleBytes(f, e, at, sixteen, false);
}

/** Elements 8g .. 8g+7 as 16-bit integers, where the storage gives them so cheaply. */
export function loadEight(
  f: Frame,
  emit: EmitScalar,
  e: ExprOf<'load'>,
  g: number,
): Ref | undefined {
  const { bits, signed } = storageOf(e.buffer);
  const { v128 } = f.m;
  const at: At = (byte) => {
    const p = place(f, emit, e.buffer, e.index);
    return { ptr: p.ptr, offset: p.offset + byte };
  };
  if (bits === 16) {
    const { ptr, offset } = at(g * 16);
    return signed ? v128.load(offset, 2, ptr) : undefined;
  }
  if (bits === 8) {
    const { ptr, offset } = at(g * 8);
    return signed ? v128.load8x8_s(offset, 1, ptr) : v128.load8x8_u(offset, 1, ptr);
  }
  if (bits === 4 && e.type.lanes >= 16) {
    const wide = widen8(f, g % 2 === 1, signed, nibbleBytes(f, e, at, g >> 1, signed));
    return signed ? f.m.i16x8.shr_s(wide, f.m.i32.const(4)) : wide;
  }
  return e.type.lanes >= 8 ? loadFields(f, at(g * bits), bits, signed) : undefined;
}

/**
 * Eight elements of any width below a byte, 16 bits each: every word gets the two bytes that hold its element, a
 * multiplication moves that to the top, and a shift brings it down.
 */
function loadFields(f: Frame, { ptr, offset }: Place, bits: number, signed: boolean): Ref {
  const { m } = f;
  const eight = Array.from({ length: 8 }, (_, i) => i * bits);
  const raw = bits < 4 ? m.v128.load32_zero(offset, 1, ptr) : m.v128.load64_zero(offset, 1, ptr);
  const pairs = eight.flatMap((bit) => [bit >> 3, (bit >> 3) + 1]);
  const lift = eight.map((bit) => 2 ** (16 - bits - (bit % 8)));
  const found = f.swizzle(raw, f.vector(pairs));
  const top = m.i16x8.mul(found, f.vectorI16(lift));
  const down = m.i32.const(16 - bits);
  return signed ? m.i16x8.shr_s(top, down) : m.i16x8.shr_u(top, down);
}

/** The bits of elements 16s .. 16s+15 of up to four bits, a byte each. */
export function codeBytes(f: Frame, emit: EmitScalar, e: ExprOf<'load'>, s: number): Ref {
  const { bits } = storageOf(e.buffer);
  const at: At = (byte) => {
    const p = place(f, emit, e.buffer, e.index);
    return { ptr: p.ptr, offset: p.offset + byte };
  };
  if (bits === 4) return nibbleBytes(f, e, at, s, false);
  return f.once(e, s, f.types.v128, () => {
    if (bits === 1) return bitBytes(f, at(2 * s));
    const low = loadFields(f, at(2 * s * bits), bits, false);
    return f.m.i8x16.narrow_i16x8_u(low, loadFields(f, at((2 * s + 1) * bits), bits, false));
  });
}

/** Sixteen elements of one bit, a byte each. */
function bitBytes(f: Frame, { ptr, offset }: Place): Ref {
  const { m } = f;
  const fill = (of: (i: number) => number): Ref =>
    f.vector(Array.from({ length: 16 }, (_, i) => of(i)));
  const found = f.swizzle(
    m.v128.load16_splat(offset, 1, ptr),
    fill((i) => i >> 3),
  );
  const own = m.v128.and(
    found,
    fill((i) => 2 ** (i % 8)),
  );
  return m.i8x16.min_u(
    own,
    fill(() => 1),
  );
}

/** Elements 16s .. 16s+15 of a vector of nibbles, a byte each. */
function nibbleBytes(f: Frame, e: ExprOf<'load'>, at: At, sixteen: number, signed: boolean): Ref {
  const { m, types } = f;
  const group = sixteen >> 1;
  const half = sixteen % 2;
  const part = (i: number): number => group * 16 + i;
  const raw = (): Ref =>
    f.once(e, part(0), types.v128, () => {
      const { ptr, offset } = at(group * 16);
      return e.type.lanes === 16 ? m.v128.load64_zero(offset, 1, ptr) : m.v128.load(offset, 1, ptr);
    });
  const low = (): Ref =>
    f.once(e, part(1), types.v128, () =>
      signed
        ? m.v128.and(m.i16x8.shl(raw(), m.i32.const(4)), bytes(f, 0xf0))
        : m.v128.and(raw(), bytes(f, 0x0f)),
    );
  const high = (): Ref =>
    f.once(e, part(2), types.v128, () =>
      signed
        ? m.v128.and(raw(), bytes(f, 0xf0))
        : m.v128.and(m.i16x8.shr_u(raw(), m.i32.const(4)), bytes(f, 0x0f)),
    );
  return f.once(e, part(3 + half), types.v128, () => {
    const a = low();
    return m.i8x16.shuffle(a, high(), half ? interleaveHigh : interleaveLow);
  });
}

/**
 * Four fields of `bits` from bit `start` of the vector: every lane gets the same 32 bits, a multiplication
 * moves its field to the top, and a shift brings it down. 4 * 7 bits from bit 4 of a byte just fit.
 */
function loadField(f: Frame, at: At, start: number, bits: number, signed: boolean): Ref {
  const { m } = f;
  const { ptr, offset } = at(Math.floor(start / 8));
  const lift = [0, 1, 2, 3].map((i) => (2 ** (32 - bits - (start % 8) - i * bits)) | 0);
  const top = m.i32x4.mul(m.v128.load32_splat(offset, 1, ptr), f.vectorI32(lift));
  const down = m.i32.const(32 - bits);
  return signed ? m.i32x4.shr_s(top, down) : m.i32x4.shr_u(top, down);
}

/**
 * Four unsigned fields of up to seven bits left in a word of 32 bits: as floats that are a power of two too large, which
 * `by` takes off.
 */
export function loadInPlace(
  f: Frame,
  emit: EmitScalar,
  e: ExprOf<'load'>,
  chunk: number,
): { readonly value: () => Ref; readonly by: readonly number[] } {
  const { m } = f;
  const { bits } = storageOf(e.buffer);
  const start = 4 * bits * chunk;
  // A field at the top of the word would be its sign.
  const down = bits === 7 ? start % 8 : 0;
  const at = [0, 1, 2, 3].map((i) => (start % 8) - down + i * bits);
  const value = (): Ref => {
    const p = place(f, emit, e.buffer, e.index);
    const word = m.v128.load32_splat(p.offset + Math.floor(start / 8), 1, p.ptr);
    const mask = f.vectorI32(at.map((bit) => (2 ** bits - 1) * 2 ** bit));
    const moved = down ? m.i32x4.shr_u(word, m.i32.const(down)) : word;
    return m.f32x4.convert_i32x4_s(m.v128.and(moved, mask));
  };
  return { value, by: at.map((bit) => 2 ** -bit) };
}

// ---- look-up in small constant tables ----

/** Whether a gather reads a table of up to 16 small integers by 4-bit codes: then a byte swizzle finds 16 at once. */
export function isNibbleLookup(
  e: ExprOf<'gather'>,
): e is ExprOf<'gather'> & { index: ExprOf<'load'> } {
  const { buffer, index } = e;
  if (buffer.role !== 'const' || !buffer.data || buffer.data.length > 16) return false;
  if (buffer.dtype !== 'i8' && buffer.dtype !== 'u8') return false;
  return index.kind === 'load' && index.buffer.dtype === 'u4' && index.type.lanes >= 16;
}

/** Lanes 4c .. 4c+3 of such a look-up. */
export function lookupChunk(
  f: Frame,
  emit: EmitScalar,
  e: ExprOf<'gather'> & { index: ExprOf<'load'> },
  chunk: number,
): Ref {
  const eight = f.once(e, 8 + (chunk >> 1), f.types.v128, () =>
    lookupEight(f, emit, e, chunk >> 1),
  );
  return widen16(f, chunk % 2 === 1, e.buffer.dtype === 'i8', eight);
}

/** Eight entries of an integer table, 16 bits each. */
export function lookupEight(
  f: Frame,
  emit: EmitScalar,
  e: ExprOf<'gather'> & { index: ExprOf<'load'> },
  g: number,
): Ref {
  const { m, types } = f;
  const { buffer, index } = e;
  const at: At = (byte) => {
    const p = place(f, emit, index.buffer, index.index);
    return { ptr: p.ptr, offset: p.offset + byte };
  };
  const found = f.once(e, 100 + (g >> 1) * 16, types.v128, () => {
    const t = f.vector(Array.from({ length: 16 }, (_, i) => (buffer.data![i] ?? 0) & 255));
    return m.i8x16.swizzle(t, nibbleBytes(f, index, at, g >> 1, false));
  });
  return widen8(f, g % 2 === 1, buffer.dtype === 'i8', found);
}

// ---- gathers ----

/** Four lanes, or two, from the element numbers in a vector. */
export function gatherLanes(f: Frame, b: Buffer, index: Ref, count: number): Ref {
  const { m, types } = f;
  const { bits } = storageOf(b);
  if (bits < 8) {
    const [first, again] = f.twice(index, types.v128);
    let out: Ref | undefined;
    for (let i = 0; i < count; i++) {
      const lane = m.i32x4.extract_lane(i === 0 ? first : again(), i);
      const [k, kAgain] = f.twice(lane, types.i32);
      const value = loadBits(f, b, k, kAgain);
      out = out === undefined ? m.i32x4.splat(value) : m.i32x4.replace_lane(out, i, value);
    }
    return out!;
  }
  const power = Math.log2(bits / 8);
  const scaled = power ? m.i32x4.shl(index, m.i32.const(power)) : index;
  const [first, again] = f.twice(m.i32x4.add(scaled, m.i32x4.splat(f.base(b))), types.v128);
  const at = (i: number): Ref => m.i32x4.extract_lane(i === 0 ? first : again(), i);
  let out: Ref;
  if (b.dtype === 'f32') {
    out = m.f32x4.splat(loadWhole(f, b, { ptr: at(0), offset: 0 }));
    for (let i = 1; i < count; i++)
      out = m.f32x4.replace_lane(out, i, loadWhole(f, b, { ptr: at(i), offset: 0 }));
    return out;
  }
  out = m.i32x4.splat(loadWhole(f, b, { ptr: at(0), offset: 0 }));
  for (let i = 1; i < count; i++)
    out = m.i32x4.replace_lane(out, i, loadWhole(f, b, { ptr: at(i), offset: 0 }));
  return out;
}
