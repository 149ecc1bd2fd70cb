// Expressions: scalars as one value, vectors chunk by chunk, so that a long chain over a long vector keeps few
// registers live. Bool vectors are lane masks (all ones or zero); bool scalars are 0 or 1.
import { CompileError, diagnostic, noSpan } from '../../compiler/diagnostics/diagnostic.ts';
import type { Scalar } from '../../compiler/ir/dtype.ts';
import type { Expr, ExprOf, Stmt } from '../../compiler/loops/loops.ts';
import { indexText, place } from './addresses.ts';
import { isWordOp, isWordTest } from './narrow.ts';
import type { Ref } from './binaryen.ts';
import { bytes, dot4Chunk, isBytes } from './bytes.ts';
import { addedBy } from './choices.ts';
import { codeChunk, decodeChunk, inPlace, type Reads, recipeOf } from './codes.ts';
import { chunksOf, type Frame } from './frame.ts';
import { binaryRows, compareRef, knownDivisor, unaryRows, uniformShifts } from './instructions.ts';
import { extremeOf, extremeStep, isExtreme } from './extremes.ts';
import { loadLanes, rowsOf, transposedRows } from './elements.ts';
import { peakOf, peaksOf } from './peak.ts';
import {
  codeBytes,
  gatherLanes,
  isNibbleLookup,
  loadChunk,
  loadEight,
  loadInPlace,
  loadScalar,
  lookupChunk,
  lookupEight,
  widenChunk,
} from './loads.ts';

function row<T>(table: Readonly<Record<string, T>>, key: string): T {
  const found = table[key];
  if (!found) throw fault(`the wasm backend has no row for ${key}`);
  return found;
}
export const fault = (detail: string): CompileError =>
  new CompileError([diagnostic('Q9001', noSpan, { detail })]);

// ---- scalars ----

export function scalar(f: Frame, e: Expr): Ref {
  const { m } = f;
  const sub = (x: Expr): Ref => scalar(f, x);
  switch (e.kind) {
    case 'const':
      return scalarConst(f, e.value, e.type.scalar);
    case 'lanes':
      return m.i32.const(0);
    case 'var':
      return f.getVar(e.var, 0);
    case 'dim':
      return f.dim(e.name);
    case 'unary':
      return row(unaryRows, `${e.op}.${e.a.type.scalar}`).scalar(f, sub(e.a));
    case 'binary': {
      const [a, b] = [sub(e.a), sub(e.b)];
      const key = `${e.op}.${e.type.scalar}`;
      if (key in knownDivisor && e.b.kind === 'const' && e.b.value > 0)
        return knownDivisor[key as keyof typeof knownDivisor](m, a, b);
      return row(binaryRows, key).scalar(f, a, b);
    }
    case 'compare': {
      const [a, b] = [sub(e.a), sub(e.b)];
      return compareRef(f, e.op, e.a.type.scalar, 1, a, b);
    }
    case 'select': {
      const [a, b, c] = [sub(e.a), sub(e.b), sub(e.c)];
      return m.select(c, a, b);
    }
    case 'convert':
      return convertScalar(f, sub(e.a), e.a.type.scalar, e.type.scalar);
    case 'bits': {
      const [from, to] = [e.a.type.scalar, e.type.scalar];
      if (from === 'f32') return m.i32.reinterpret(sub(e.a));
      return to === 'f32' ? m.f32.reinterpret(sub(e.a)) : sub(e.a);
    }
    case 'splat':
      return sub(e.a);
    case 'extract':
      return extractLane(f, e.type.scalar, chunk(f, e.a, e.lane >> 2), e.lane % 4);
    case 'reduce':
      return reduceVector(f, e);
    case 'muladd': {
      const product = f.m.f32.mul(sub(e.a), sub(e.b));
      return f.m.f32.add(product, sub(e.c));
    }
    case 'load':
      return loadScalar(f, sub, e);
    case 'peak':
      return peakOf(f, e);
    case 'within':
    case 'bounded':
      return sub(e.a);
    case 'gather':
    case 'rank':
    case 'nearest':
    case 'build':
    case 'fold':
    case 'dot':
    case 'dot4':
    case 'zip':
    case 'repeat':
    case 'tile':
    case 'round':
    case 'encode':
    case 'decode':
      throw fault(`scalar ${e.kind} reached the wasm backend`);
  }
}

function scalarConst({ m }: Frame, value: number, type: Scalar): Ref {
  if (type === 'f32') return m.f32.const(value);
  return m.i32.const(type === 'bool' ? (value ? 1 : 0) : value | 0);
}

function convertScalar({ m }: Frame, a: Ref, from: Scalar, to: Scalar): Ref {
  if (from === 'f32') {
    if (to === 'i32') return m.i32.trunc_s_sat.f32(a);
    if (to === 'u32') return m.i32.trunc_u_sat.f32(a);
    return m.f32.ne(a, m.f32.const(0));
  }
  if (to === 'f32') return from === 'i32' ? m.f32.convert_s.i32(a) : m.f32.convert_u.i32(a);
  return to === 'bool' ? m.i32.ne(a, m.i32.const(0)) : a;
}

function extractLane({ m }: Frame, type: Scalar, v: Ref, lane: number): Ref {
  if (type === 'f32') return m.f32x4.extract_lane(v, lane);
  const x = m.i32x4.extract_lane(v, lane);
  return type === 'bool' ? m.i32.and(x, m.i32.const(1)) : x;
}

// ---- vectors ----

const readsOf = (f: Frame): Reads => {
  const emit = (x: Expr): Ref => scalar(f, x);
  return {
    bytes: (e, s) => (e.kind === 'load' ? codeBytes(f, emit, e, s) : bytes(f, e, s)),
    words: (e, g) => loadEight(f, emit, e, g)!,
    scalar: emit,
  };
};

/** Lanes 4c .. 4c+3. */
export function chunk(f: Frame, e: Expr, c: number): Ref {
  const recipe = recipeOf(e, f.definition);
  if (recipe) return codeChunk(f, e, recipe, c, readsOf(f));
  const sub = (x: Expr): Ref => chunk(f, x, c);
  switch (e.kind) {
    case 'const':
      return vectorConst(f, new Array<number>(4).fill(e.value), e.type.scalar);
    case 'lanes':
      return f.vectorI32([0, 1, 2, 3].map((i) => 4 * c + i));
    case 'var':
      return f.getVar(e.var, c);
    case 'unary':
      return row(unaryRows, `${e.op}.${e.a.type.scalar}`).vector(f, sub(e.a));
    case 'binary':
      return binaryChunk(f, e, c);
    case 'compare': {
      const [a, b] = [sub(e.a), sub(e.b)];
      return compareRef(f, e.op, e.a.type.scalar, 4, a, b);
    }
    case 'select':
      return selectChunk(f, e, c);
    case 'convert':
      if (f.relaxed && isWhole(e)) return f.relaxedTrunc(sub(cutBy(e)));
      return convertChunk(f, sub(cutBy(e)), e.a.type.scalar, e.type.scalar);
    case 'bits':
      return sub(e.a);
    case 'splat': {
      if (chunksOf(e.type.lanes) === 1) return splatRef(f, e);
      return f.once(e, 0, f.types.v128, () => splatRef(f, e));
    }
    case 'build':
      return buildChunk(f, e, c);
    case 'load':
      return loadChunk(f, (x) => scalar(f, x), e, c);
    case 'gather': {
      if (isNibbleLookup(e)) return lookupChunk(f, (x) => scalar(f, x), e, c);
      if (isBytes(f, e))
        return widenChunk(f, e, c, e.buffer.dtype === 'i8', () => bytes(f, e, c >> 2));
      const count = Math.min(4, e.type.lanes - 4 * c);
      return gatherLanes(f, e.buffer, chunk(f, e.index, c), count);
    }
    case 'rank':
      return widenChunk(f, e, c, false, () => bytes(f, e, c >> 2));
    case 'within':
    case 'bounded':
      return sub(e.a);
    case 'decode':
      return decodeChunk(f, e, sub(e.a));
    case 'fold':
      return f.kept(e, 0, f.types.v128) ?? foldVector(f, e);
    case 'dot':
      return dotVector(f, e);
    case 'dot4':
      return dot4Chunk(f, e, c);
    case 'zip':
      return zipChunk(f, e, c);
    case 'muladd': {
      const [a, b] = [sub(e.a), sub(e.b)];
      return f.mulAdd(a, b, sub(e.c));
    }
    case 'repeat':
      return repeatChunk(f, e, c);
    case 'tile':
      return chunk(f, e.a, c % chunksOf(e.a.type.lanes));
    case 'dim':
    case 'extract':
    case 'reduce':
    case 'peak':
    case 'nearest':
    case 'round':
    case 'encode':
      throw fault(`vector ${e.kind} reached the wasm backend`);
  }
}

function vectorConst(f: Frame, lanes: readonly number[], type: Scalar): Ref {
  if (type === 'f32') return f.vectorF32(lanes);
  return f.vectorI32(lanes.map((x) => (type === 'bool' ? (x ? -1 : 0) : x | 0)));
}

function splatRef(f: Frame, e: ExprOf<'splat'>): Ref {
  const { m } = f;
  const type = e.type.scalar;
  if (e.a.kind === 'load' && e.a.buffer.dtype === type) {
    const { ptr, offset } = place(f, (x) => scalar(f, x), e.a.buffer, e.a.index);
    return m.v128.load32_splat(offset, 4, ptr);
  }
  if (e.a.kind === 'extract' && chunksOf(e.a.a.type.lanes) >= 1 && e.a.a.type.lanes > 1) {
    const [v, again] = f.twice(chunk(f, e.a.a, e.a.lane >> 2), f.types.v128);
    const at = 4 * (e.a.lane % 4);
    return m.i8x16.shuffle(
      v,
      again(),
      [0, 1, 2, 3].flatMap(() => [at, at + 1, at + 2, at + 3]),
    );
  }
  const a = scalar(f, e.a);
  if (type === 'f32') return m.f32x4.splat(a);
  return m.i32x4.splat(type === 'bool' ? m.i32.sub(m.i32.const(0), a) : a);
}

/** The one count of a shift, if all lanes share it. */
function uniformCount(f: Frame, e: Expr): Ref | undefined {
  if (e.kind === 'const') return f.m.i32.const(e.value | 0);
  return e.kind === 'splat' ? scalar(f, e.a) : undefined;
}

function binaryChunk(f: Frame, e: ExprOf<'binary'>, c: number): Ref {
  const counted =
    e.op === 'add' && e.type.scalar === 'i32' && e.b.kind === 'convert' ? e.b.a : undefined;
  if (counted?.type.scalar === 'bool') {
    const sum = chunk(f, e.a, c);
    return f.m.i32x4.sub(sum, chunk(f, counted, c));
  }
  const key = `${e.op}.${e.type.scalar}`;
  // A variable may be read late: it has no part that others read again.
  if (key === 'add.i32' && e.b.kind === 'dot4' && e.a.kind === 'var')
    return dot4Chunk(f, e.b, c, chunk(f, e.a, c));
  const a = chunk(f, e.a, c);
  if (key in uniformShifts) {
    const count = uniformCount(f, e.b);
    if (count !== undefined) return uniformShifts[key as keyof typeof uniformShifts](f.m, a, count);
  }
  const bound = key === 'min.f32' || key === 'max.f32' ? boundedBy(f, e, a) : undefined;
  return bound ?? row(binaryRows, key).vector(f, a, chunk(f, e.b, c));
}

/** Lanes 4c .. 4c+3 of two vectors in turn. */
function zipChunk(f: Frame, { a, b, unit, from }: ExprOf<'zip'>, c: number): Ref {
  if (unit >= 4) {
    const first = from + Math.floor((4 * c) / (2 * unit)) * unit + ((4 * c) % unit);
    return chunk(f, Math.floor((4 * c) / unit) % 2 ? b : a, first >> 2);
  }
  const first = from + 2 * c;
  if (first % 2 !== 0) throw fault(`zip from lane ${from}`);
  const at = first % 4;
  const lanes = unit === 1 ? [at, at + 4, at + 1, at + 5] : [at, at + 1, at + 4, at + 5];
  const pattern = lanes.flatMap((i) => [0, 1, 2, 3].map((j) => 4 * i + j));
  const x = chunk(f, a, first >> 2);
  return f.m.i8x16.shuffle(x, chunk(f, b, first >> 2), pattern);
}

/** One lane four times, if no chunk has more than one. */
function repeatChunk(f: Frame, e: ExprOf<'repeat'>, c: number): Ref {
  if (e.times % 4 !== 0) throw fault(`lanes repeated ${e.times} times`);
  const lane = Math.floor((4 * c) / e.times);
  const from = f.once(e, 200 + (lane >> 2), f.types.v128, () => chunk(f, e.a, lane >> 2));
  const first = 4 * (lane % 4);
  const pattern = Array.from({ length: 16 }, (_, i) => first + (i % 4));
  const [x, again] = f.twice(from, f.types.v128);
  return f.m.i8x16.shuffle(x, again(), pattern);
}

/**
 * min and max by a literal, in the one instruction that keeps its first operand where nothing is known: a NaN stays.
 * Of zeros with unlike signs it would keep the wrong one, so -0 is made +0 where that matters.
 */
function boundedBy(f: Frame, e: ExprOf<'binary'>, a: Ref): Ref | undefined {
  const { f32x4 } = f.m;
  if (e.b.kind !== 'const' || Number.isNaN(e.b.value) || Object.is(e.b.value, -0)) return undefined;
  const limit = (): Ref => f.vectorF32(new Array<number>(4).fill((e.b as ExprOf<'const'>).value));
  if (e.op === 'min') return f32x4.pmin(a, limit());
  return f32x4.pmax(e.b.value === 0 ? f32x4.add(a, limit()) : a, limit());
}

/** A zero on either side makes a choice an `and`, ones make it an `or`. */
function selectChunk(f: Frame, e: ExprOf<'select'>, c: number): Ref {
  const { v128 } = f.m;
  const isOnes = (x: Expr): boolean =>
    x.kind === 'const' && x.type.scalar !== 'f32' && (x.value | 0) === -1;
  if (isOnes(e.a)) {
    const b = chunk(f, e.b, c);
    return v128.or(b, chunk(f, e.c, c));
  }
  const isZero = (x: Expr): boolean => x.kind === 'const' && Object.is(x.value, 0);
  if (isZero(e.b)) {
    const a = chunk(f, e.a, c);
    return v128.and(a, chunk(f, e.c, c));
  }
  if (isZero(e.a)) {
    const b = chunk(f, e.b, c);
    return v128.andnot(b, chunk(f, e.c, c));
  }
  const added = addedBy(e);
  if (added) {
    const b = chunk(f, e.b, c);
    const condition = chunk(f, e.c, c);
    return v128.or(b, v128.and(condition, chunk(f, added, c)));
  }
  const [a, b] = [chunk(f, e.a, c), chunk(f, e.b, c)];
  return v128.bitselect(a, b, chunk(f, e.c, c));
}

/** Whether a float is known to become an i32 that holds it. */
export const isWhole = (e: ExprOf<'convert'>): boolean =>
  e.type.scalar === 'i32' && e.a.kind === 'within' && e.a.lo > -(2 ** 31) && e.a.hi < 2 ** 31;

/** What a conversion is made from: a float need not be cut before it becomes an integer. */
export const cutBy = ({ a, type }: ExprOf<'convert'>): Expr =>
  a.kind === 'unary' && a.op === 'trunc' && type.scalar !== 'bool' ? a.a : a;

function convertChunk(f: Frame, a: Ref, from: Scalar, to: Scalar): Ref {
  const { m } = f;
  const zero = (): Ref => m.v128.const(new Array<number>(16).fill(0));
  if (from === 'bool') {
    if (to === 'f32') return m.v128.and(a, f.vectorF32([1, 1, 1, 1]));
    return m.i32x4.neg(a);
  }
  if (from === 'f32') {
    if (to === 'i32') return m.i32x4.trunc_sat_f32x4_s(a);
    return to === 'u32' ? m.i32x4.trunc_sat_f32x4_u(a) : m.f32x4.ne(a, zero());
  }
  if (to === 'f32') return from === 'i32' ? m.f32x4.convert_i32x4_s(a) : m.f32x4.convert_i32x4_u(a);
  return to === 'bool' ? m.i32x4.ne(a, zero()) : a;
}

function buildChunk(f: Frame, e: ExprOf<'build'>, c: number): Ref {
  const { m } = f;
  const type = e.type.scalar;
  const parts = e.parts.slice(4 * c, 4 * c + 4);
  const sums = parts.filter(isShortReduction);
  if (sums.length === 4 && sums.every((p) => p.op === sums[0]!.op)) return reduceFour(f, sums);
  const rows = rowsOf(e);
  if (rows) return transposedRows(f, e, rows, c);
  const peaks = parts.filter((p) => p.kind === 'peak');
  if (peaks.length === 4) return peaksOf(f, peaks);
  const values = parts.map((p) => (p.kind === 'const' ? p.value : undefined));
  if (values.every((v) => v !== undefined)) {
    const lanes = [0, 1, 2, 3].map((i) => values[i] ?? 0);
    return vectorConst(f, lanes, type);
  }
  const loads = parts.filter(
    (p): p is ExprOf<'load'> => p.kind === 'load' && p.buffer.dtype === type,
  );
  if (parts.length === 4 && loads.length === 4) return loadLanes(f, loads);
  const lane = (p: Expr): Ref => {
    const x = scalar(f, p);
    return type === 'bool' ? m.i32.sub(m.i32.const(0), x) : x;
  };
  const shape = type === 'f32' ? m.f32x4 : m.i32x4;
  // Constants go in first, all at once.
  const known = values.some((v) => v !== undefined);
  let out = known
    ? vectorConst(
        f,
        [0, 1, 2, 3].map((i) => values[i] ?? 0),
        type,
      )
    : shape.splat(lane(parts[0]!));
  parts.forEach((p, i) => {
    if (values[i] === undefined && (known || i > 0)) out = shape.replace_lane(out, i, lane(p));
  });
  return out;
}

// ---- reductions ----

const isShortReduction = (e: Expr): e is ExprOf<'reduce'> =>
  e.kind === 'reduce' && e.a.type.lanes === 4;

/** Four reductions of four lanes each, by a transposition: lane i is parts[i], combined in halves as alone. */
function reduceFour(f: Frame, parts: readonly ExprOf<'reduce'>[]): Ref {
  const combine = row(binaryRows, `${parts[0]!.op}.${parts[0]!.type.scalar}`);
  return transposed(
    f,
    (i) => chunk(f, parts[i]!.a, 0),
    (a, b) => combine.vector(f, a, b),
  );
}

/** Four vectors, each combined to one lane of the result; they are made in order. */
export function transposed(
  f: Frame,
  four: (i: number) => Ref,
  combine: (a: Ref, b: Ref) => Ref,
): Ref {
  const { m, types } = f;
  const dwords = (...at: number[]): number[] =>
    at.flatMap((i) => [0, 1, 2, 3].map((b) => 4 * i + b));
  const both = (x: Ref, y: Ref, low: number[], high: number[]): Ref => {
    const [a, aAgain] = f.twice(x, types.v128);
    const [b, bAgain] = f.twice(y, types.v128);
    const first = m.i8x16.shuffle(a, b, low);
    return combine(first, m.i8x16.shuffle(aAgain(), bAgain(), high));
  };
  const pair = (i: number): Ref => {
    const a = four(i);
    return both(a, four(i + 1), dwords(0, 1, 4, 5), dwords(2, 3, 6, 7));
  };
  const first = pair(0);
  return both(first, pair(2), dwords(0, 2, 4, 6), dwords(1, 3, 5, 7));
}

function foldVector(f: Frame, e: ExprOf<'fold'>): Ref {
  if (isExtreme(e)) return extremeOf(f, e);
  const { m, types } = f;
  const count = chunksOf(e.a.type.lanes);
  // The sum is read after what is added to it.
  const at = f.local(types.v128);
  const sum = (): Ref => m.local.get(at, types.v128);
  const steps = Array.from({ length: count - 1 }, (_, c) =>
    m.local.set(at, foldChunk(f, e, c, c === 0 ? undefined : sum())),
  );
  return m.block(null, [...steps, foldChunk(f, e, count - 1, sum())], types.v128);
}

/** The factors of chunk `c` of a sum of products. Codes that are left in their places take their power of two off the other. */
function factors(f: Frame, { a, b }: ExprOf<'muladd'>, c: number): readonly [Ref, Ref] {
  const load = inPlace(b);
  if (!load) {
    const x = chunk(f, a, c);
    return [x, chunk(f, b, c)];
  }
  const { value, by } = loadInPlace(f, (x) => scalar(f, x), load, c);
  const text = a.kind === 'load' ? indexText(a.index) : undefined;
  const key = text === undefined || a.kind !== 'load' ? a : f.firstOf(`${a.buffer.id}:${text}`, a);
  const x = f.once(key, 600 + c, f.types.v128, () => {
    const plain = chunk(f, a, c);
    return f.m.f32x4.mul(plain, f.vectorF32(by));
  });
  return [x, value()];
}

/** Chunk `c` of what a fold combines, on top of those before. Sums of products are one operation, as `muladd` is. */
function foldChunk(f: Frame, e: ExprOf<'fold'>, c: number, sum: Ref | undefined): Ref {
  const { a } = e;
  if (e.op === 'add' && a.kind === 'muladd' && a.c.kind === 'const' && a.c.value === 0) {
    const [x, y] = factors(f, a, c);
    return sum === undefined ? f.m.f32x4.mul(x, y) : f.mulAdd(x, y, sum);
  }
  const next = chunk(f, a, c);
  return sum === undefined
    ? next
    : row(binaryRows, `${e.op}.${e.type.scalar}`).vector(f, sum, next);
}

/** Takes chunk `c` into a fold whose chunks come one by one; its value is there after the last. */
export function foldStep(f: Frame, e: ExprOf<'fold'>, c: number): Ref {
  if (isExtreme(e)) return extremeStep(f, e, c, true);
  const { m, types } = f;
  const sum = f.kept(e, 0, types.v128);
  const next = foldChunk(f, e, c, sum);
  return sum === undefined ? f.keep(e, 0, types.v128, next) : m.local.set(f.keptAt(e, 0), next);
}

/** Eight 16-bit products at a time, neighbours summed. */
function dotVector(f: Frame, e: ExprOf<'dot'>): Ref {
  const { m } = f;
  let sum: Ref | undefined;
  for (let g = 0; g < e.a.type.lanes / 8; g += 1) {
    const a = words(f, e.a, g);
    const part = m.i32x4.dot_i16x8_s(a, words(f, e.b, g));
    sum = sum === undefined ? part : m.i32x4.add(sum, part);
  }
  return sum!;
}

const narrowBinary: Readonly<Record<string, (m: Frame['m'], a: Ref, b: Ref) => Ref>> = {
  add: (m, a, b) => m.i16x8.add(a, b),
  sub: (m, a, b) => m.i16x8.sub(a, b),
  mul: (m, a, b) => m.i16x8.mul(a, b),
  and: (m, a, b) => m.v128.and(a, b),
  or: (m, a, b) => m.v128.or(a, b),
  xor: (m, a, b) => m.v128.xor(a, b),
};

/**
 * Lanes 8g .. 8g+7 of a vector of integers that fit 16 bits. What they are made of may not: such operations are done in
 * wide lanes.
 */
export function words(f: Frame, e: Expr, g: number): Ref {
  const { m } = f;
  if (e.kind === 'const') return f.vectorI16(new Array<number>(8).fill(e.value));
  if (e.kind === 'var' && f.isWords(e.var)) return f.m.local.get(f.wordsOf(e.var), f.types.v128);
  if (e.kind === 'splat') return f.once(e, 50, f.types.v128, () => m.i16x8.splat(scalar(f, e.a)));
  if (e.kind === 'load') {
    const eight = loadEight(f, (x) => scalar(f, x), e, g);
    if (eight !== undefined) return eight;
  }
  if (e.kind === 'tile' && isPairOfWords(e.a)) {
    const { ptr, offset } = place(f, (x) => scalar(f, x), e.a.buffer, e.a.index);
    return m.v128.load32_splat(offset, 2, ptr);
  }
  if (e.kind === 'gather' && isNibbleLookup(e) && e.buffer.dtype !== 'f32')
    return lookupEight(f, (x) => scalar(f, x), e, g);
  if (e.kind === 'binary' && e.op === 'shr' && isWordOp(e, f.definition))
    return m.i16x8.shr_s(words(f, e.a, g), m.i32.const((e.b as ExprOf<'const'>).value));
  if (e.kind === 'binary' && e.op === 'add' && isWordTest(e.b, f.definition)) {
    const sum = words(f, e.a, g);
    return m.i16x8.sub(sum, wordTest(f, e.b.a, g));
  }
  if (e.kind === 'binary' && isWordOp(e, f.definition)) {
    const a = words(f, e.a, g);
    return narrowBinary[e.op]!(m, a, words(f, e.b, g));
  }
  const both = (): Ref => {
    const low = chunk(f, e, 2 * g);
    return m.i16x8.narrow_i32x4_s(low, chunk(f, e, 2 * g + 1));
  };
  // A value that is looked at twice, as the sign of a number and the number, is narrowed once.
  return isCut(e) ? f.once(e, 300 + g, f.types.v128, both) : both();
}

const isCut = (e: Expr): boolean => e.kind === 'convert' && e.a.kind === 'within';

/** All ones where a word is greater than another. */
function wordTest(f: Frame, e: ExprOf<'compare'>, g: number): Ref {
  const a = words(f, e.a, g);
  return f.m.i16x8.gt_s(a, words(f, e.b, g));
}

/** Whether a vector of eight needs no wider arithmetic than 16 bits. */
export function areWords(f: Frame, e: Expr): boolean {
  if (e.type.lanes !== 8 || e.type.scalar !== 'i32') return false;
  if (e.kind === 'const') return true;
  if (e.kind === 'load') return e.buffer.dtype === 'i16';
  if (e.kind !== 'binary' || !isWordOp(e, f.definition)) return false;
  return areWords(f, e.a) && (e.op === 'shr' || areWords(f, e.b));
}

/** Eight words stored as they are. */
export function storeWords(f: Frame, s: Extract<Stmt, { kind: 'store' }>): Ref {
  const { ptr, offset } = place(f, (x) => scalar(f, x), s.buffer, s.index);
  return f.m.v128.store(offset, 2, ptr, words(f, s.value, 0));
}

const isPairOfWords = (e: Expr): e is ExprOf<'load'> =>
  e.kind === 'load' && e.buffer.dtype === 'i16' && e.type.lanes === 2;

/** In halves, as reduceLanes of the evaluator: chunk i meets chunk i + n/2, then lanes likewise. */
function reduceVector(f: Frame, e: ExprOf<'reduce'>): Ref {
  const { m, types } = f;
  const type = e.a.type.scalar;
  const combine = row(binaryRows, `${e.op}.${type}`);
  const chunks = chunksOf(e.a.type.lanes);
  const halves = (first: number, step: number): Ref => {
    // Chunks first, first + step, first + 2 step, ... in the order of halving.
    if (step >= chunks) return chunk(f, e.a, first);
    const a = halves(first, step * 2);
    return combine.vector(f, a, halves(first + step, step * 2));
  };
  const whole = halves(0, 1);
  if (type === 'bool' && e.a.type.lanes > 2)
    return e.op === 'or' ? m.v128.any_true(whole) : m.i32x4.all_true(whole);
  const [all, again] = f.twice(whole, types.v128);
  const lane = (v: Ref, i: number): Ref => extractLane(f, type, v, i);
  if (e.a.type.lanes === 2) {
    const x = lane(all, 0);
    return combine.scalar(f, x, lane(again(), 1));
  }
  const swapped = m.i8x16.shuffle(
    all,
    again(),
    [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7],
  );
  const [pair, pairAgain] = f.twice(combine.vector(f, swapped, again()), types.v128);
  const x = lane(pair, 0);
  return combine.scalar(f, x, lane(pairAgain(), 1));
}
