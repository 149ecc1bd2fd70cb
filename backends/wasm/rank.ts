// The number of entries of a sorted table that a value has reached (`rank`), sixteen values at a time. The line is cut
// into up to 32 buckets with at most one entry each: byte swizzles find how many entries lie in lower buckets, and the
// one entry to compare with. A bucket is found by one multiplication and one addition, rounded as at run time; the
// result never falls while the value grows, so the entry of another bucket is on the side that the buckets say.
import type { ExprOf } from '../../compiler/loops/loops.ts';
import type { Ref } from './binaryen.ts';
import { chunk } from './expressions.ts';
import type { Frame } from './frame.ts';

/** Where a float has its whole number in its lowest bits. */
const magic = 1.5 * 2 ** 23;

interface Buckets {
  readonly scale: number;
  readonly offset: number;
  readonly count: 16 | 32;
  /** Entries in lower buckets. */
  readonly below: readonly number[];
  /** The entry of the bucket; NaN, which nothing reaches, where it has none. */
  readonly entry: Float32Array;
}

const f32 = Math.fround;

/** The buckets of a table, or undefined where its entries are too unlike in distance. */
function bucketsOf(table: readonly number[]): Buckets | undefined {
  const [first, last] = [table[0]!, table.at(-1)!];
  if (table.length > 32 || !(last - first > 0) || !Number.isFinite(last - first)) return undefined;
  for (const count of [16, 32] as const) {
    const scale = f32((count - 1) / (last - first));
    const offset = f32(magic - Math.fround(first * scale));
    const keys = table.map((t) => keyOf(t, scale, offset, count));
    if (new Set(keys).size < keys.length) continue;
    const below = Array.from({ length: count }, (_, b) => keys.filter((k) => k < b).length);
    const entry = new Float32Array(count).fill(NaN);
    keys.forEach((k, i) => {
      entry[k] = table[i]!;
    });
    return { scale, offset, count, below, entry };
  }
  return undefined;
}

const keyOf = (x: number, scale: number, offset: number, count: number): number =>
  Math.min(Math.max(f32(f32(x * scale) + offset) - magic, 0), count - 1);

/** Lanes 16c .. 16c+15 of a rank, a byte each. */
export function rankBytes(f: Frame, e: ExprOf<'rank'>, c: number): Ref {
  return f.once(e, 200 + c, f.types.v128, () => {
    const table = e.buffer.data!.map(f32);
    const buckets = bucketsOf(table);
    const exact = (): Ref =>
      buckets ? byBuckets(f, e, c, buckets) : byComparisons(f, e, c, table);
    const words = wordsOf(e, table);
    return words ? byWords(f, e, c, words, exact) : exact();
  });
}

/** A table in whole numbers: see byWords. */
interface Words {
  readonly shift: number;
  /** What is added to a number, by its bucket from -16 on. */
  readonly added: Int16Array;
}

/** Numbers of 16 bits are cut into 32 buckets. */
const [bucketCount, bucketBits] = [32, 11];

/** How numbers that are known to be no larger than whole ones can be ranked in 16 bits. */
function wordsOf({ a }: ExprOf<'rank'>, table: readonly number[]): Words | undefined {
  if (a.kind !== 'within' || Math.max(-a.lo, a.hi) > 2 ** 30) return undefined;
  const whole = table.map(Math.trunc);
  const fits = whole.every((t) => Math.abs(t) < 2 ** 15 - 1);
  if (!fits || whole.length >= bucketCount) return undefined;
  const buckets = whole.map((t) => t >> bucketBits);
  if (new Set(buckets).size < whole.length) return undefined;
  const added = Int16Array.from({ length: bucketCount }, (_, i) => {
    const bucket = i - bucketCount / 2;
    const below = buckets.filter((b) => b < bucket).length;
    const base = (below - bucket) << bucketBits;
    const at = buckets.indexOf(bucket);
    const mask = 2 ** bucketBits - 1;
    // Without an entry there is still one place that becomes all ones: not zero, nor an end of the numbers, which are common.
    return at < 0 ? base - (bucket > 0 ? 1 : 0) : base + mask - (whole[at]! & mask);
  });
  return { shift: bucketBits, added };
}

/**
 * By what is left of values and entries when they are cut to whole numbers: that tells which is larger unless they are the
 * same. Eleven bits are the place within a bucket, with one entry at most. A number to add is found for each bucket, such that
 * the bits above become the entries in lower buckets, and one more if the place is behind the entry. The place of the entry
 * itself becomes all ones, for which the exact way is taken.
 */
function byWords(
  f: Frame,
  e: ExprOf<'rank'>,
  c: number,
  { shift, added }: Words,
  exact: () => Ref,
): Ref {
  const { m, types } = f;
  const { i8x16, i16x8, v128 } = m;
  const whole: ExprOf<'convert'> = {
    kind: 'convert',
    a: e.a,
    type: { scalar: 'i32', lanes: e.type.lanes },
  };
  const cut = (i: number): Ref => chunk(f, whole, 4 * c + i);
  const pair = (i: number): Ref => {
    const low = cut(i);
    return i16x8.narrow_i32x4_s(low, cut(i + 1));
  };
  const [first, firstAgain] = f.twice(pair(0), types.v128);
  const a = i16x8.shr_s(first, m.i32.const(shift));
  const [second, secondAgain] = f.twice(pair(2), types.v128);
  const b = i16x8.shr_s(second, m.i32.const(shift));
  const [index, indexAgain] = f.twice(i8x16.narrow_i16x8_s(a, b), types.v128);
  // Buckets from zero on are their own index, those below have a table too; other indices have their top bit set.
  const all = (x: number): Ref => f.vector(new Array<number>(16).fill(x));
  const [below, belowAgain] = f.twice(
    v128.and(v128.xor(indexAgain(), all(0x80)), all(0x8f)),
    types.v128,
  );
  const raw = new Uint8Array(added.buffer);
  const plane = (p: number, upper: Ref, lower: Ref): Ref => {
    const bytes = Array.from({ length: bucketCount }, (_, i) => raw[2 * i + p]!);
    const high = f.swizzle(f.vector(bytes.slice(16)), upper);
    return v128.or(high, f.swizzle(f.vector(bytes.slice(0, 16)), lower));
  };
  const keep = f.local(types.v128);
  const setup = m.local.set(keep, index);
  const [low, lowAgain] = f.twice(plane(0, m.local.get(keep, types.v128), below), types.v128);
  const [high, highAgain] = f.twice(plane(1, indexAgain(), belowAgain()), types.v128);
  const toAdd = [
    i8x16.shuffle(low, high, interleave(1, false)),
    i8x16.shuffle(lowAgain(), highAgain(), interleave(1, true)),
  ];
  const [sum0, sum0Again] = f.twice(i16x8.add(toAdd[0]!, firstAgain()), types.v128);
  const [sum1, sum1Again] = f.twice(i16x8.add(toAdd[1]!, secondAgain()), types.v128);
  const ranks = i8x16.narrow_i16x8_u(
    i16x8.shr_u(sum0, m.i32.const(shift)),
    i16x8.shr_u(sum1, m.i32.const(shift)),
  );
  const result = f.local(types.v128);
  const mask = (): Ref => f.vectorI16(new Array<number>(8).fill(2 ** shift - 1));
  const places = i16x8.max_u(v128.and(sum0Again(), mask()), v128.and(sum1Again(), mask()));
  const unclear = v128.any_true(i16x8.eq(places, mask()));
  return m.block(
    null,
    [
      setup,
      m.local.set(result, ranks),
      m.if(
        unclear,
        f.seldom(() => m.local.set(result, exact())),
      ),
      m.local.get(result, types.v128),
    ],
    types.v128,
  );
}

const narrow = ({ m }: Frame, four: readonly Ref[]): Ref =>
  m.i8x16.narrow_i16x8_s(
    m.i16x8.narrow_i32x4_s(four[0]!, four[1]!),
    m.i16x8.narrow_i32x4_s(four[2]!, four[3]!),
  );

/** Four chunks, each made when its turn comes. */
const quarters = (make: (i: number) => Ref): Ref[] => [0, 1, 2, 3].map(make);

function byComparisons(f: Frame, e: ExprOf<'rank'>, c: number, table: readonly number[]): Ref {
  const { m, types } = f;
  const count = (i: number): Ref => {
    const [x, again] = f.twice(chunk(f, e.a, 4 * c + i), types.v128);
    let sum: Ref | undefined;
    for (const t of table) {
      const limit = f.vectorF32([t, t, t, t]);
      const value = sum === undefined ? x : again();
      const hit = e.strict ? m.f32x4.gt(value, limit) : m.f32x4.ge(value, limit);
      sum = sum === undefined ? m.i32x4.neg(hit) : m.i32x4.sub(sum, hit);
    }
    return sum ?? m.v128.const(new Array<number>(16).fill(0));
  };
  return narrow(f, quarters(count));
}

function byBuckets(f: Frame, e: ExprOf<'rank'>, c: number, b: Buckets): Ref {
  const { m, types } = f;
  const all = (x: number): Ref => f.vectorF32([x, x, x, x]);
  const values = quarters(() => 0).map(() => f.local(types.v128));
  // Values beyond the ends, and NaN, belong to the first and the last bucket.
  const key = (i: number): Ref => {
    const x = m.local.tee(values[i]!, chunk(f, e.a, 4 * c + i), types.v128);
    const placed = m.f32x4.add(m.f32x4.mul(x, all(b.scale)), all(b.offset));
    const low = m.f32x4.pmax(all(magic), placed);
    return m.i32x4.sub(m.f32x4.pmin(all(magic + b.count - 1), low), all(magic));
  };
  const [keys, again] = f.twice(narrow(f, quarters(key)), types.v128);
  let used = false;
  const index = (): Ref => {
    const now = used ? again() : keys;
    used = true;
    return now;
  };
  // Keys from 16 on are in a second table: a swizzle gives 0 for an index that is out of range.
  let upper: (() => Ref) | undefined;
  const find = (bytes: readonly number[]): Ref | undefined => {
    if (bytes.every((x) => x === 0)) return undefined;
    const low = m.i8x16.swizzle(f.vector(bytes.slice(0, 16)), index());
    if (b.count === 16) return low;
    let second: Ref;
    if (upper) second = upper();
    else {
      const sixteen = f.vector(new Array<number>(16).fill(16));
      const [first, next] = f.twice(m.i8x16.sub(again(), sixteen), types.v128);
      upper = next;
      second = first;
    }
    return m.v128.or(low, m.i8x16.swizzle(f.vector(bytes.slice(16)), second));
  };
  const below = f.local(types.v128);
  const setup = m.local.set(below, find(b.below) ?? zero(f));
  const raw = new Uint8Array(b.entry.buffer);
  const planes = [0, 1, 2, 3].map((p) => {
    const found = find([...b.entry.keys()].map((i) => raw[4 * i + p]!));
    return found === undefined ? undefined : f.twice(found, types.v128);
  });
  const limits = entries(f, planes);
  const hits = quarters((i) => {
    const x = m.local.get(values[i]!, types.v128);
    return e.strict ? m.f32x4.gt(x, limits(i)) : m.f32x4.ge(x, limits(i));
  });
  const hit = narrow(f, hits);
  return m.block(null, [setup, m.i8x16.sub(m.local.get(below, types.v128), hit)], types.v128);
}

const zero = ({ m }: Frame): Ref => m.v128.const(new Array<number>(16).fill(0));
type Kept = readonly [first: Ref, again: () => Ref] | undefined;

/** Four bytes of each of sixteen floats, a plane each, put together four floats at a time. */
function entries(f: Frame, planes: readonly Kept[]): (i: number) => Ref {
  const { m, types } = f;
  const halves = [0, 1].map((high) => interleave(1, high === 1));
  const words = [0, 1].map((high) => interleave(2, high === 1));
  const started = new Set<Kept>();
  const get = (k: Kept): Ref => {
    if (!k) return zero(f);
    const first = !started.has(k);
    started.add(k);
    return first ? k[0] : k[1]();
  };
  const made = new Map<number, () => Ref>();
  // Bytes 0 and 1, or 2 and 3, of the floats of one half.
  const pair = (p: number, high: number): Ref => {
    if (!planes[p] && !planes[p + 1]) return zero(f);
    const known = made.get(2 * p + high);
    if (known) return known();
    const a = get(planes[p]);
    const [first, again] = f.twice(
      m.i8x16.shuffle(a, get(planes[p + 1]), halves[high]!),
      types.v128,
    );
    made.set(2 * p + high, again);
    return first;
  };
  return (i) => {
    const a = pair(0, i >> 1);
    return m.i8x16.shuffle(a, pair(2, i >> 1), words[i % 2]!);
  };
}

/** A shuffle that takes pieces of 1 or 2 bytes from two vectors in turn, from their lower or upper halves. */
function interleave(size: 1 | 2, high: boolean): number[] {
  const at = high ? 8 : 0;
  return Array.from({ length: 8 / size }, (_x, i) =>
    [0, 16].flatMap((v) => Array.from({ length: size }, (_y, b) => v + at + i * size + b)),
  ).flat();
}
