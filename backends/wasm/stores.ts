// Stores: one row a storage width. A unit is as many chunks as are packed together into one write; integers wrap
// because lanes are masked to the width before they are narrowed. No byte outside of the elements is written.
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Buffer, Expr, Stmt } from '../../compiler/loops/loops.ts';
import { type EmitScalar, place } from './addresses.ts';
import type { Ref } from './binaryen.ts';
import { type Frame, chunksOf } from './frame.ts';
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
  const wanted = bits === 32 ? 1 : bits === 8 ? 4 : 2;
  return Math.min(wanted, chunksOf(lanes));
}

/** The chunks from `first` on, as many as a unit has. */
export function storeUnit(f: Frame, emit: EmitScalar, s: Store, first: number, chunk: Chunk): Ref {
  const { m } = f;
  const { bits } = dtypes[s.buffer.dtype];
  const lanes = s.value.type.lanes;
  const count = Math.min(lanes, chunksPerUnit(s.buffer, lanes) * 4);
  if ((count * bits) % 8 !== 0) return storeLanes(f, emit, s, count, chunk(first));
  const { ptr, offset } = place(f, emit, s.buffer, s.index);
  const at = offset + (first * 4 * bits) / 8;
  if (bits === 32) return writeBytes(f, at, 4, ptr, chunk(first), count * 4);
  const low = (c: number): Ref => {
    const mask = 2 ** bits - 1;
    return m.v128.and(chunk(first + c), f.vectorI32([mask, mask, mask, mask]));
  };
  const none = (): Ref => m.v128.const(new Array<number>(16).fill(0));
  const words = (c: number): Ref => {
    const a = low(c);
    return m.i16x8.narrow_i32x4_u(a, count > c * 4 + 4 ? low(c + 1) : none());
  };
  if (bits === 16) return writeBytes(f, at, 2, ptr, words(0), count * 2);
  if (bits === 8) {
    const a = words(0);
    return writeBytes(
      f,
      at,
      1,
      ptr,
      m.i8x16.narrow_i16x8_u(a, count > 8 ? words(2) : none()),
      count,
    );
  }
  return packFields(f, at, ptr, words(0), bits, (count * bits) / 8);
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
