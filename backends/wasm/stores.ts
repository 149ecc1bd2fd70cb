// Stores: one row a storage width. A unit is as many chunks as are packed together into one write; integers wrap
// because lanes are masked to the width before they are narrowed. No byte outside of the elements is written.
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Buffer, Expr, Stmt } from '../../compiler/loops/loops.ts';
import { type EmitScalar, place } from './addresses.ts';
import type { Ref } from './binaryen.ts';
import { isBytes, bytes as sixteenBytes } from './bytes.ts';
import { intRange } from '../../compiler/loops/ranges.ts';
import { chunk, cutBy, words } from './expressions.ts';
import { isWordTree } from './narrow.ts';
import { chunksOf, type Frame } from './frame.ts';
import { bitPlace } from './loads.ts';

export type Store = Extract<Stmt, { kind: 'store' }>;
/** Chunk `c` of the value to store. */
export type Chunk = (c: number) => Ref;

// ---- scalars ----

export function storeScalar(f: Frame, emit: EmitScalar, s: Store, value: Expr): Ref {
  const { m } = f;
  const { bits } = dtypes[s.buffer.dtype];
  if (bits < 8) {
    const [first, again] = f.twice(emit(s.index), f.types.i32);
    return storeBits(f, s.buffer, first, again, emit(value));
  }
  const { ptr, offset } = place(f, emit, s.buffer, s.index);
  const x = emit(value);
  if (s.buffer.dtype === 'f32') return m.f32.store(offset, 4, ptr, x);
  if (bits === 32) return m.i32.store(offset, 4, ptr, x);
  return bits === 16 ? m.i32.store16(offset, 2, ptr, x) : m.i32.store8(offset, 1, ptr, x);
}

/** Reads, changes and writes the byte of an element, and the next one only if the element reaches into it. */
function storeBits(f: Frame, b: Buffer, index: Ref, again: () => Ref, value: Ref): Ref {
  const { m, types } = f;
  const { bits } = dtypes[b.dtype];
  const c = (x: number): Ref => m.i32.const(x);
  const { byte, shift, straddles } = bitPlace(f, bits, index, again);
  const ptr = f.local(types.i32);
  const at = f.local(types.i32);
  const field = f.local(types.i32);
  const get = (x: number): Ref => m.local.get(x, types.i32);
  const mask = 2 ** bits - 1;
  // What the field and its mask look like from a byte on: `move` shifts them into place.
  const merge = (offset: number, load: Ref, move: (x: Ref) => Ref): Ref => {
    const kept = m.i32.and(load, m.i32.xor(move(c(mask)), c(-1)));
    return m.i32.store8(offset, 1, get(ptr), m.i32.or(kept, move(get(field))));
  };
  const load = (offset: number): Ref => m.i32.load8_u(offset, 1, get(ptr));
  const list = [
    m.local.set(ptr, m.i32.add(f.base(b), byte)),
    m.local.set(at, shift()),
    m.local.set(field, m.i32.and(value, c(mask))),
    merge(0, load(0), (x) => m.i32.shl(x, get(at))),
  ];
  if (straddles) {
    const second = merge(1, load(1), (x) => m.i32.shr_u(x, m.i32.sub(c(8), get(at))));
    list.push(m.if(m.i32.gt_u(get(at), c(8 - bits)), second));
  }
  return m.block(null, list);
}

// ---- vectors ----

/** Chunks that one write takes. */
export function chunksPerUnit(b: Buffer, lanes: number): number {
  const { bits } = dtypes[b.dtype];
  const wanted =
    bits === 32 ? 1 : bits === 8 ? 4 : bits === 4 && lanes >= 16 ? Math.min(lanes / 4, 8) : 2;
  return Math.min(wanted, chunksOf(lanes));
}

/** Lanes of one write. */
const unitLanes = ({ buffer, value: { type } }: Store): number =>
  Math.min(type.lanes, chunksPerUnit(buffer, type.lanes) * 4);

/** Whole numbers that a value is forced between: by the store, or before it, where NaN may be the least byte. */
interface Bounds {
  readonly lo: number;
  readonly hi: number;
  readonly done?: 'but NaN';
}

/** What a vector store writes. */
interface Stored {
  readonly chunk: Chunk;
  readonly bounds?: Bounds;
  /** Eight elements as 16-bit words that are within the bounds of the type. */
  readonly words?: (g: number) => Ref;
  /** Makes what chunk `c` is made of, unless that is there already. */
  readonly due?: (c: number) => readonly Ref[];
}

/**
 * What the chunks of a vector store are made of. Narrowing to 16 and 8 bits saturates, and bytes are compared sixteen
 * at a time: the conversion of a float that was first forced into a range is forced afterwards. That is the same for
 * whole bounds on either side of 0, which NaN becomes.
 */
export function storedChunks(f: Frame, s: Store): Stored {
  const { bits, kind, min, max } = dtypes[s.buffer.dtype];
  const { value } = s;
  const plain: Stored = { chunk: (i) => chunk(f, value, i) };
  if (kind === 'float' || kind === 'bool' || bits > 8) return plain;
  // Words that are within the bounds of the type already need no more than narrowing.
  if (bits === 8 && unitLanes(s) >= 8 && isWordTree(value, f.definition)) {
    const [lo, hi] = intRange(value, f.definition);
    const fits = lo >= min! && hi <= max!;
    return fits ? { ...plain, words: (g) => words(f, value, g) } : plain;
  }
  if (value.kind !== 'convert') return plain;
  let [lo, hi] = [-Infinity, Infinity];
  let a = value.a;
  while (a.kind === 'binary' && (a.op === 'min' || a.op === 'max') && a.b.kind === 'const') {
    const { value: limit } = a.b;
    if (!Number.isInteger(limit) || limit < lo || limit > hi) break;
    if (a.op === 'min') hi = limit;
    else lo = limit;
    a = a.a;
  }
  if (a.kind === 'within') {
    [lo, hi] = [Math.max(lo, Math.trunc(a.lo)), Math.min(hi, Math.trunc(a.hi))];
    if (lo >= min! && hi <= max! && lo <= hi) {
      const known = { ...value, a };
      return { chunk: (i) => chunk(f, known, i), bounds: { lo: Math.min(lo, 0), hi } };
    }
  }
  if (lo < min! || hi > max! || lo > 0 || hi < 0) return plain;
  const free = { ...value, a };
  if (!f.relaxed || (unitLanes(s) * bits) % 8 !== 0 || a.type.scalar !== 'f32')
    return { chunk: (i) => chunk(f, free, i), bounds: { lo, hi } };
  // One instruction where its range is not left on the upper side. Below, and for NaN, it gives the least number (or 0).
  const limit = (x: number): Ref => f.vectorF32(new Array<number>(4).fill(x));
  const upTo = (i: number): Ref => f.m.f32x4.pmin(chunk(f, cutBy(free), i), limit(hi));
  if (kind === 'uint') return { chunk: (i) => f.relaxedTrunc(upTo(i)), bounds: { lo, hi } };
  if (lo > -128)
    return {
      chunk: (i) => f.relaxedTrunc(f.m.f32x4.pmax(upTo(i), limit(lo))),
      bounds: { lo, hi, done: 'but NaN' },
    };
  const number = (i: number): Ref => {
    const [x, again] = f.twice(upTo(i), f.types.v128);
    return f.m.v128.and(f.m.f32x4.eq(x, again()), again());
  };
  return { chunk: (i) => f.relaxedTrunc(number(i)), bounds: { lo, hi } };
}

/** The chunks from `first` on, as many as a unit has, made as `storedChunks` says. */
export function storeUnit(
  f: Frame,
  emit: EmitScalar,
  s: Store,
  first: number,
  { chunk: plain, bounds, words: eight, due = () => [] }: Stored,
  direct = false,
): Ref {
  const { m } = f;
  const { bits, kind } = dtypes[s.buffer.dtype];
  const count = unitLanes(s);
  /** A value behind what the chunks that it is made of want. */
  const behind = (from: number, chunks: number, make: () => Ref): Ref => {
    const before = Array.from({ length: chunks }, (_, i) => due(from + i)).flat();
    const value = make();
    return before.length ? m.block(null, [...before, value], f.types.v128) : value;
  };
  const chunk = (c: number): Ref => behind(c, 1, () => plain(c));
  const mask = 2 ** bits - 1;
  if ((count * bits) % 8 !== 0) {
    const wide = bounds ? clampChunk(f, bounds, chunk(first)) : chunk(first);
    return storeLanes(f, emit, s, count, wide);
  }
  const { ptr, offset } = place(f, emit, s.buffer, s.index);
  const at = offset + (first * 4 * bits) / 8;
  if (bits === 32) return writeBytes(f, at, 4, ptr, chunk(first), count * 4);
  const none = (): Ref => m.v128.const(new Array<number>(16).fill(0));
  const low = (c: number): Ref =>
    m.v128.and(chunk(first + c), f.vectorI32([mask, mask, mask, mask]));
  /** Eight elements as 16-bit words: within the mask, or saturated and still to be forced into range. */
  const words = (c: number): Ref => {
    const a = bounds ? chunk(first + c) : low(c);
    if (count <= c * 4 + 4) return narrow(a, none());
    return narrow(a, bounds ? chunk(first + c + 1) : low(c + 1));
  };
  const narrow = (a: Ref, b: Ref): Ref =>
    bounds ? m.i16x8.narrow_i32x4_s(a, b) : m.i16x8.narrow_i32x4_u(a, b);
  if (bits === 16) return writeBytes(f, at, 2, ptr, words(0), count * 2);
  const signed = kind === 'int';
  const bytes = (c: number): Ref => {
    const a = words(c);
    const b = count > c * 4 + 8 ? words(c + 2) : none();
    const out = signed ? m.i8x16.narrow_i16x8_s(a, b) : m.i8x16.narrow_i16x8_u(a, b);
    if (!bounds) return out;
    const splat = (x: number): Ref => f.vector(new Array<number>(16).fill(x & 255));
    const { lo, hi, done } = bounds;
    if (done) {
      const [x, again] = f.twice(out, f.types.v128);
      const number = m.v128.andnot(x, m.i8x16.eq(again(), splat(-128)));
      return bits === 8 ? number : m.v128.and(number, splat(mask));
    }
    if (!signed) return hi === 255 ? out : m.i8x16.min_u(out, splat(hi));
    const below = hi === 127 ? out : m.i8x16.min_s(out, splat(hi));
    const bounded = lo === -128 ? below : m.i8x16.max_s(below, splat(lo));
    return bits === 8 ? bounded : m.v128.and(bounded, splat(mask));
  };
  if (direct && isBytes(f, s.value) && (bits === 4 || bits === 8) && count >= 16) {
    const sixteen = (i: number): Ref =>
      behind(first + 4 * i, 4, () => sixteenBytes(f, s.value, (first >> 2) + i));
    if (bits === 8) return writeBytes(f, at, 1, ptr, sixteen(0), 16);
    const fill = (): Ref => f.vector(new Array<number>(16).fill(mask));
    const a = pairNibbles(f, m.v128.and(sixteen(0), fill()));
    const b = count === 32 ? pairNibbles(f, m.v128.and(sixteen(1), fill())) : none();
    return writeBytes(f, at, 1, ptr, m.i8x16.narrow_i16x8_u(a, b), count / 2);
  }
  if (bits === 8 && eight && count >= 8) {
    const two = (g: number): Ref => behind(2 * g, 2, () => eight(g));
    const a = two(first >> 1);
    const b = count > 8 ? two((first >> 1) + 1) : none();
    const out = signed ? m.i8x16.narrow_i16x8_s(a, b) : m.i8x16.narrow_i16x8_u(a, b);
    return writeBytes(f, at, 1, ptr, out, count);
  }
  if (bits === 8) {
    if (bounds) return writeBytes(f, at, 1, ptr, bytes(0), count);
    const a = words(0);
    const b = count > 8 ? words(2) : none();
    return writeBytes(f, at, 1, ptr, m.i8x16.narrow_i16x8_u(a, b), count);
  }
  if (bits === 4 && count >= 16) {
    const a = pairNibbles(f, bytes(0));
    const b = count === 32 ? pairNibbles(f, bytes(4)) : none();
    return writeBytes(f, at, 1, ptr, m.i8x16.narrow_i16x8_u(a, b), count / 2);
  }
  const fields = bounds ? m.i16x8.extend_low_i8x16_u(bytes(0)) : words(0);
  return packFields(f, at, ptr, fields, bits, (count * bits) / 8);
}

/** Bytes below 16 to words that hold two of them, the first lower. */
function pairNibbles(f: Frame, sixteen: Ref): Ref {
  const { m, types } = f;
  const [x, again] = f.twice(sixteen, types.v128);
  const pairs = m.v128.or(m.i16x8.shr_u(x, m.i32.const(4)), again());
  return m.v128.and(pairs, f.vectorI16(new Array<number>(8).fill(255)));
}

/** Lanes forced between bounds. */
function clampChunk(f: Frame, { lo, hi }: Bounds, x: Ref): Ref {
  const { m } = f;
  const four = (x: number): Ref => f.vectorI32([x, x, x, x]);
  return m.i32x4.max_s(m.i32x4.min_s(x, four(hi)), four(lo));
}

/** The first `size` bytes of a vector: a power of two. */
function writeBytes(f: Frame, at: number, align: number, ptr: Ref, v: Ref, size: number): Ref {
  const { v128 } = f.m;
  switch (size) {
    case 16:
      return v128.store(at, align, ptr, v);
    case 8:
      return v128.store64_lane(at, align, 0, ptr, v);
    case 4:
      return v128.store32_lane(at, align, 0, ptr, v);
    default:
      return v128.store16_lane(at, align, 0, ptr, v);
  }
}

/**
 * Eight 16-bit words, each below 2^bits, to eight fields: words meet in pairs by a dot product with (1, 2^bits),
 * pairs by a 64-bit shift, and the two halves in an i64 of which `size` bytes are written.
 */
function packFields(f: Frame, at: number, ptr: Ref, words: Ref, bits: number, size: number): Ref {
  const { m, types } = f;
  const weight = 1 | ((2 ** bits) << 16);
  const weights = f.vectorI32([weight, weight, weight, weight]);
  const pointer = f.local(types.i32);
  const keepPointer = m.local.set(pointer, ptr);
  const [pairs, pairsAgain] = f.twice(m.i32x4.dot_i16x8_s(words, weights), types.v128);
  const shifted = m.i64x2.shr_u(pairs, m.i32.const(32 - 2 * bits));
  const [fours, foursAgain] = f.twice(m.v128.or(shifted, pairsAgain()), types.v128);
  const mask = m.i64.const(BigInt(2 ** (4 * bits) - 1));
  const low = m.i64.and(m.i64x2.extract_lane(fours, 0), mask);
  const high = m.i64.shl(m.i64x2.extract_lane(foursAgain(), 1), m.i64.const(BigInt(4 * bits)));
  const packed = f.local(types.i64);
  const list = [keepPointer, m.local.set(packed, m.i64.or(low, high))];
  for (let done = 0; done < size; ) {
    const piece = size - done >= 4 ? 4 : size - done >= 2 ? 2 : 1;
    const whole = m.local.get(packed, types.i64);
    const x = done ? m.i64.shr_u(whole, m.i64.const(BigInt(done * 8))) : whole;
    const to = m.local.get(pointer, types.i32);
    if (piece === 4) list.push(m.i64.store32(at + done, 1, to, x));
    else if (piece === 2) list.push(m.i64.store16(at + done, 1, to, x));
    else list.push(m.i64.store8(at + done, 1, to, x));
    done += piece;
  }
  return m.block(null, list);
}

/** Fields that fill no whole number of bytes: one by one. */
function storeLanes(f: Frame, emit: EmitScalar, s: Store, count: number, v: Ref): Ref {
  const { m, types } = f;
  const index = f.local(types.i32);
  const value = f.local(types.v128);
  const list = [m.local.set(index, emit(s.index)), m.local.set(value, v)];
  for (let i = 0; i < count; i++) {
    const element = m.i32.add(m.local.get(index, types.i32), m.i32.const(i));
    const [first, again] = f.twice(element, types.i32);
    const lane = m.i32x4.extract_lane(m.local.get(value, types.v128), i);
    list.push(storeBits(f, s.buffer, first, again, lane));
  }
  return m.block(null, list);
}
