// Stores: one row a storage width. A unit is as many chunks as are packed together into one write; integers wrap
// because lanes are masked to the width before they are narrowed. No byte outside of the elements is written.
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Buffer, Expr, Stmt } from '../../compiler/loops/loops.ts';
import { type EmitScalar, place } from './addresses.ts';
import type { Ref } from './binaryen.ts';
import { isBytes, bytes as sixteenBytes } from './bytes.ts';
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
  const wanted = bits === 32 ? 1 : bits === 8 ? 4 : bits === 4 && lanes >= 32 ? 8 : 2;
  return Math.min(wanted, chunksOf(lanes));
}

/**
 * What the chunks of a vector store are made of. Narrowing to 16 and 8 bits saturates, so the conversion of a float
 * that was first forced into the range of the dtype needs no forcing.
 */
export function storedChunks(s: Store): { readonly value: Expr; readonly saturates: boolean } {
  const { bits, kind, min, max } = dtypes[s.buffer.dtype];
  const { value } = s;
  const plain = { value, saturates: false };
  if (kind === 'float' || kind === 'bool' || bits > 8 || value.kind !== 'convert') return plain;
  const low = value.a;
  if (low.kind !== 'binary' || low.op !== 'max' || !isLiteral(low.b, min!)) return plain;
  const high = low.a;
  if (high.kind !== 'binary' || high.op !== 'min' || !isLiteral(high.b, max!)) return plain;
  return { value: { ...value, a: high.a }, saturates: true };
}
const isLiteral = (e: Expr, value: number): boolean => e.kind === 'const' && e.value === value;

/** The chunks from `first` on, as many as a unit has, made as `storedChunks` says. */
export function storeUnit(
  f: Frame,
  emit: EmitScalar,
  s: Store,
  first: number,
  chunk: Chunk,
  saturates = false,
  direct = false,
): Ref {
  const { m } = f;
  const { bits, kind } = dtypes[s.buffer.dtype];
  const lanes = s.value.type.lanes;
  const count = Math.min(lanes, chunksPerUnit(s.buffer, lanes) * 4);
  const mask = 2 ** bits - 1;
  if ((count * bits) % 8 !== 0) {
    const wide = saturates ? clampChunk(f, s.buffer, chunk(first)) : chunk(first);
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
    const a = saturates ? chunk(first + c) : low(c);
    if (count <= c * 4 + 4) return narrow(a, none());
    return narrow(a, saturates ? chunk(first + c + 1) : low(c + 1));
  };
  const narrow = (a: Ref, b: Ref): Ref =>
    saturates ? m.i16x8.narrow_i32x4_s(a, b) : m.i16x8.narrow_i32x4_u(a, b);
  if (bits === 16) return writeBytes(f, at, 2, ptr, words(0), count * 2);
  const signed = kind === 'int';
  const bytes = (c: number): Ref => {
    const a = words(c);
    const b = count > c * 4 + 8 ? words(c + 2) : none();
    const out = signed ? m.i8x16.narrow_i16x8_s(a, b) : m.i8x16.narrow_i16x8_u(a, b);
    if (!saturates || bits === 8) return out;
    const splat = (x: number): Ref => f.vector(new Array<number>(16).fill(x & 255));
    if (!signed) return m.i8x16.min_u(out, splat(mask));
    const bounded = m.i8x16.max_s(m.i8x16.min_s(out, splat(mask >> 1)), splat(-(2 ** (bits - 1))));
    return m.v128.and(bounded, splat(mask));
  };
  if (direct && isBytes(f, s.value) && (count === 32 || (bits === 8 && count === 16))) {
    const sixteen = (i: number): Ref => sixteenBytes(f, s.value, (first >> 2) + i);
    if (bits === 8) return writeBytes(f, at, 1, ptr, sixteen(0), 16);
    const fill = (): Ref => f.vector(new Array<number>(16).fill(mask));
    const a = pairNibbles(f, m.v128.and(sixteen(0), fill()));
    const b = pairNibbles(f, m.v128.and(sixteen(1), fill()));
    return writeBytes(f, at, 1, ptr, m.i8x16.narrow_i16x8_u(a, b), 16);
  }
  if (bits === 8) {
    if (saturates) return writeBytes(f, at, 1, ptr, bytes(0), count);
    const a = words(0);
    const b = count > 8 ? words(2) : none();
    return writeBytes(f, at, 1, ptr, m.i8x16.narrow_i16x8_u(a, b), count);
  }
  if (bits === 4 && count === 32) {
    const a = pairNibbles(f, bytes(0));
    return writeBytes(f, at, 1, ptr, m.i8x16.narrow_i16x8_u(a, pairNibbles(f, bytes(4))), 16);
  }
  const eight = saturates ? m.i16x8.extend_low_i8x16_u(bytes(0)) : words(0);
  return packFields(f, at, ptr, eight, bits, (count * bits) / 8);
}

/** Bytes below 16 to words that hold two of them, the first lower. */
function pairNibbles(f: Frame, sixteen: Ref): Ref {
  const { m, types } = f;
  const [x, again] = f.twice(sixteen, types.v128);
  const pairs = m.v128.or(m.i16x8.shr_u(x, m.i32.const(4)), again());
  return m.v128.and(pairs, f.vectorI16(new Array<number>(8).fill(255)));
}

/** Lanes forced into the range of the dtype. */
function clampChunk(f: Frame, b: Buffer, chunk: Ref): Ref {
  const { m } = f;
  const { min, max } = dtypes[b.dtype];
  const four = (x: number): Ref => f.vectorI32([x, x, x, x]);
  return m.i32x4.max_s(m.i32x4.min_s(chunk, four(max!)), four(min!));
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
