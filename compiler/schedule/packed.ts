// The kernel layout of resident weights: lanes are rows. Four rows of a field are stored side by side, so that a
// vector holds four elements of each of them and no sum ever crosses lanes. Elements below a byte share bytes, as
// packing.ts says.
//
// tile: fields of elements. [rows / 4][depth / 4 / steps][vectors][4 rows][4 depth] bytes: the `vectors` of a packing hold the
//   codes of its `steps`, code i of a byte lane being that of the element 4 i places further in depth. Signed elements are
//   stored plus half their range; signed bytes as well, or as they are, as it suits the target's dot product.
// word tile: the same where two neighbouring bytes are read as one signed word (words.ts): the highest bit of the byte at
//   odd depth is flipped, or, of signed 8-bit elements, that of the byte at even depth.
// rows: fields that belong to a block. [rows / 4][depth][4 rows] elements; those below a byte take a byte. Half floats
//   are read as if all were zero or normal, which takes three operations: whoever repacks looks whether they are, and
//   takes a kernel with the wide layout where not, which holds them as f32.
//
// Fields of one encoded param whose runs of depth fit into each other lie in a record (records.ts); others are
// arrays of their own, as above.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, modulo, Poly, product } from '../ir/algebra.ts';
import { type DType, dtypes, floatOfBits } from '../ir/dtype.ts';
import type { Limits } from '../limits.ts';
import type { Buffer, Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { storedSize, strides } from './emitter.ts';
import type { Lowering } from './lowering.ts';
import { type Derived, mayDerive } from './derived.ts';
import { depthOfUnit, type Packing, type Piece, type Taking } from './packing.ts';
import { blockWord, inBlock, type RecordLayout, type RecordPart } from './records.ts';
import { depthLane, NoTile, rowLane, tileLanes, tileSide } from './spans.ts';

export type PackedLayout = 'tile' | 'word tile' | 'rows' | 'wide rows';

/** Whether a layout holds elements side by side in depth. */
export const isTile = (layout: PackedLayout | undefined): boolean =>
  layout === 'tile' || layout === 'word tile';

/** A field [rows, ...] of resident weights. The first access decides how it is laid out. */
export interface PackedField {
  /** Its dtype and size are those of the layout. */
  readonly buffer: Buffer;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  /** What codes are stored plus, and how they share bytes. */
  readonly bias: number;
  readonly packing: Packing;
  layout: PackedLayout | undefined;
  /** Where it lies together with other fields. */
  record: InRecord | undefined;
  /** The functions of its elements that block constants are made of, by their texts; undefined is none of them. */
  readonly looks: Map<string, ((x: Expr) => Expr) | undefined>;
  /** Whether layouts are decided, and what is stored in place of its elements then. */
  settled: boolean;
  derived: Derived | undefined;
}

export interface InRecord {
  readonly layout: RecordLayout;
  readonly part: RecordPart;
  /** The param whose place the record takes. */
  readonly buffer: Buffer;
  /** The memory of the record, seen as elements of a dtype. */
  readonly as: (d: DType) => Buffer;
}

/** Where the lanes of a tile come from: the codes of a field, those of some step of depth. */
export interface PackedTile {
  readonly field: PackedField;
  readonly group: Poly;
  readonly step: Poly;
  /** Which code of its packing the step is. */
  readonly code: number;
}

/**
 * What is added to signed elements, so that pieces hold no signs: always below a byte, and to whole bytes where the
 * target's dot product wants one side without signs.
 */
export function biasOf(d: DType, limits: Limits): number {
  const { kind, bits } = dtypes[d];
  const isUnsigned = bits < 8 || (limits.relaxed === true && limits.unsignedDot === true);
  return kind === 'int' && bits <= 8 && isUnsigned ? 2 ** (bits - 1) : 0;
}

/** The dtype of an element in a layout of rows; undefined where it has none. */
export function rowDType(
  d: DType,
  layout: PackedLayout,
  derived?: Pick<Derived, 'stored'>,
): DType | undefined {
  const { bits, kind } = dtypes[d];
  if (derived) return derived.stored === 'half' ? 'i16' : 'f32';
  if (d === 'f16') return layout === 'rows' ? 'i16' : 'f32';
  if (bits >= 8) return d;
  return kind === 'float' ? undefined : kind === 'int' ? 'i8' : 'u8';
}

/** Bits that a layout has flipped in the bytes at even and at odd depth. */
export function flipsOf(
  d: DType,
  layout: PackedLayout | undefined,
): readonly [even: number, odd: number] {
  if (layout !== 'word tile') return [0, 0];
  return d === 'i8' ? [128, 0] : [0, 128];
}

export const groupsOf = (shape: readonly Dim[]): Dim =>
  floorDiv(shape[0]!.add(tileSide - 1), tileSide);
export const depthOf = (shape: readonly Dim[]): Dim => product(shape.slice(1));
/** Units of a packing that a group of rows takes. */
export const unitsOf = (shape: readonly Dim[], p: Packing): Dim =>
  floorDiv(depthOf(shape).add(depthOfUnit(p) - 1), depthOfUnit(p));

/** dtype and elements of the array that holds a field in a layout; undefined where it cannot be held so. */
export function packedArray(
  d: DType,
  shape: readonly Dim[],
  layout: PackedLayout,
  bias: number,
  packing: Packing,
): { readonly dtype: DType; readonly size: Dim } | undefined {
  const groups = groupsOf(shape);
  if (!isTile(layout)) {
    const dtype = rowDType(d, layout);
    return dtype && { dtype, size: groups.mul(depthOf(shape)).mul(tileSide) };
  }
  const { bits, kind } = dtypes[d];
  if (bits > 8 || (kind === 'float' && bits > 4)) return undefined;
  const bytes = unitsOf(shape, packing).mul(tileLanes * packing.vectors);
  return { dtype: d === 'i8' && !bias ? 'i8' : 'u8', size: groups.mul(bytes) };
}

/** Position of an element in the depth of its row. */
function depthIndex(shape: readonly Dim[], index: readonly Poly[]): Poly {
  return index.slice(1).reduce((l, p, i) => l.mul(shape[i + 1]!).add(p), Poly.of(0));
}

const without = (p: Poly, a: typeof rowLane): Poly | undefined =>
  p.coefficient(a.key)?.constant === 1 ? p.sub(Poly.atom(a)) : undefined;

/** Element of a packed field, or the lanes of a tile of it. */
export function loadPacked(
  lo: Lowering,
  f: PackedField,
  index: readonly Poly[],
  lanes: number,
): Expr {
  const span = index.map((p) => lo.spanOf(p));
  const [n] = index as [Poly, ...Poly[]];
  const depth = depthIndex(f.shape, index);
  const inner = lo.spanOf(depth);
  if (span.includes('flat') || inner === 'rows' || inner === 'tile') {
    if (span.some((s) => s !== 'none' && s !== 'flat')) throw new NoTile('rows in the depth');
    return lo.perLane(lanes, (at) => loadPacked(lo, f, index.map(at), 1));
  }
  const isWide = lo.wideRows || (f.settled && f.layout === 'wide rows');
  const rows = isWide && f.dtype === 'f16' ? 'wide rows' : 'rows';
  chooseLayout(f, inner === 'depth' ? 'tile' : rows, lo.spanOf(n) === 'none');
  if (!isTile(f.layout)) {
    const e = loadRows(lo, f, n, depth);
    if (!f.settled && e.type.lanes === tileSide && mayDerive(f.dtype))
      lo.sites.set(e, { field: f, key: `${f.buffer.id} ${n} ${depth}`, derived: () => e });
    return e;
  }
  if (lo.spanOf(n) === 'rows' && inner === 'depth') return loadTile(lo, f, n, depth);
  if (lo.spanOf(n) !== 'none' || inner !== 'none') throw new NoTile('part of a tile');
  return loadElement(lo, f, n, depth);
}

/** Has the elements of a field, which lie in tiles, read as words. */
export function chooseWords(f: PackedField): void {
  if (!isTile(f.layout)) throw new Error(`${f.buffer.name} is not in tiles`);
  f.layout = 'word tile';
}

/** Takes back the decision of an access that came to nothing. */
export function forgetLayout(f: PackedField): void {
  f.layout = undefined;
  Object.assign(f.buffer, { dtype: f.dtype, size: storedSize(f.dtype, f.shape) });
}

function chooseLayout(f: PackedField, layout: PackedLayout, single: boolean): void {
  if (f.layout) {
    if (f.layout !== layout && !(isTile(f.layout) && layout === 'tile') && !single)
      throw new NoTile(`${f.buffer.name} in two layouts`);
    return;
  }
  if (single) throw new NoTile(`${f.buffer.name} is read one element at a time`);
  const array = packedArray(f.dtype, f.shape, layout, f.bias, f.packing);
  if (!array) throw new NoTile(`elements of ${f.dtype} in layout ${layout}`);
  f.layout = layout;
  Object.assign(f.buffer, array);
}

function loadRows(lo: Lowering, f: PackedField, n: Poly, depth: Poly): Expr {
  const { em } = lo;
  const size = depthOf(f.shape);
  const rows = without(n, rowLane);
  const first = rows ?? n;
  const group = floorDiv(first, tileSide);
  const base = group.mul(size).add(depth).mul(tileSide);
  if (rows && rows.multiple() % tileSide !== 0) throw new NoTile('rows that do not start a group');
  const lane = n.sub(group.mul(tileSide));
  if (!f.record) {
    const e = rows
      ? L.load(f.buffer, em.index(base), tileSide, tileSide)
      : L.load(f.buffer, em.index(base.add(lane)), 1, 1);
    return f.dtype === 'f16' && f.layout === 'rows' ? normalHalf(e) : e;
  }
  const { layout, part, as } = f.record;
  const l = depth.mul(part.period);
  const nth = floorDiv(inBlock(layout, part.level, l), part.period);
  const load = (stored: DType): Expr => {
    const bytes = dtypes[stored].bits / 8;
    const four = nth.mul(tileSide * bytes);
    const within = rows ? four : four.add(lane.mul(bytes));
    const index = inRecord(lo, f.record!, group, l, within, bytes);
    return L.load(as(stored), index, rows ? tileSide : 1, 1);
  };
  const stored = rowDType(f.dtype, f.layout!, f.derived)!;
  if (f.derived) {
    // Whoever wants the elements themselves finds them where they were.
    const one = (row: Poly): Expr =>
      L.load(f.buffer, em.index(storedIndex(f.dtype, f.shape, row, depth)), 1, 1);
    if (!rows) return one(n);
    const last = L.binary('sub', em.index(f.shape[0]!), L.i32(1));
    const e = L.build(
      [0, 1, 2, 3].map((r) =>
        one(em.asIndex(L.binary('min', em.index(rows.add(r)), last), f.shape[0]!)),
      ),
    );
    const key = `derived ${f.buffer.id} ${group} ${depth}`;
    const derived = (): Expr =>
      em.recall(key) ?? em.remember(key, em.bind(readDerived(f.derived!, load(stored)), 'w'));
    lo.sites.set(e, { field: f, key, derived });
    return e;
  }
  const e = load(stored);
  return f.dtype === 'f16' && f.layout === 'rows' ? normalHalf(e) : e;
}

/** Where element `l` of the depth of row n is in the field as it is stored. */
export function storedIndex(d: DType, shape: readonly Dim[], n: Poly, l: Poly): Poly {
  const step = strides(d, shape);
  let index = n.mul(step[0]!);
  let rest = l;
  for (let i = shape.length - 1; i >= 1; i -= 1) {
    const last = i === 1;
    index = index.add((last ? rest : modulo(rest, shape[i]!)).mul(step[i]!));
    if (!last) rest = floorDiv(rest, shape[i]!);
  }
  return index;
}

const readDerived = ({ stored }: Derived, e: Expr): Expr =>
  stored === 'f32' ? e : L.bits(L.binary('shl', e, i32s(16, e.type.lanes)), 'f32');

/**
 * An index into a record, in elements of `bytes`: `within` bytes into a part, in the block that holds element `l` of
 * depth. All fields of a record count from the same word, so that a target needs one pointer for them.
 */
function inRecord(
  lo: Lowering,
  { layout, part }: InRecord,
  group: Poly,
  l: Poly,
  within: Poly,
  bytes: number,
): Expr {
  const { em } = lo;
  const words = blockWord(layout, part.level, group, l);
  const fixed = words.terms.get('')?.n ?? 0;
  const start = em.asIndex(em.index(words.sub(fixed)));
  const offset = within.add(part.offset + 4 * fixed);
  return em.index(start.mul(4 / bytes).add(offset.over(bytes)!));
}

/** The bytes of a vector of the unit that holds step `step` (elements 4 step ..) of depth: the index of the first. */
function vectorIndex(
  lo: Lowering,
  f: PackedField,
  group: Poly,
  step: Poly,
  vector: number,
): {
  /** The memory as elements of a dtype, and the index among them of the byte `within`. */
  readonly as: (d: DType) => Buffer;
  readonly at: (within?: Poly, bytes?: number) => Expr;
  readonly key: string;
} {
  const { steps, vectors } = f.packing;
  if (f.record) {
    const { layout, part, as, buffer } = f.record;
    const l = step.mul(tileSide);
    const unit = floorDiv(floorDiv(inBlock(layout, part.level, l), tileSide), steps);
    const bytes = unit.mul(vectors).add(vector).mul(tileLanes);
    const at = (within = Poly.of(0), size = 1): Expr =>
      inRecord(lo, f.record!, group, l, bytes.add(within), size);
    const words = blockWord(layout, part.level, group, l);
    return { as, at, key: `${buffer.id} ${words} + ${part.offset} + ${bytes}` };
  }
  const unit = group.mul(unitsOf(f.shape, f.packing)).add(floorDiv(step, steps));
  const first = unit.mul(vectors).add(vector).mul(tileLanes);
  const at = (within = Poly.of(0), size = 1): Expr => lo.em.index(first.add(within).over(size)!);
  const as = (d: DType): Buffer => (d === f.buffer.dtype ? f.buffer : { ...f.buffer, dtype: d });
  return { as, at, key: `${f.buffer.id} ${first}` };
}

/** The value of the bits of a half float that is zero or normal: moved into place, and the exponent rebiased. */
function normalHalf(bits: Expr): Expr {
  const n = bits.type.lanes;
  const placed = L.binary('and', L.binary('shl', bits, i32s(13, n)), i32s(0x8fffffff | 0, n));
  return L.binary('mul', L.bits(placed, 'f32'), L.constant(2 ** 112, 'f32', n));
}

function loadTile(lo: Lowering, f: PackedField, n: Poly, depth: Poly): Expr {
  const [rows, start] = [without(n, rowLane), without(depth, depthLane)];
  if (!rows || !start || rows.multiple() % tileSide || start.multiple() % tileSide)
    throw new NoTile(`${f.buffer.name} is not read in whole tiles`);
  const group = floorDiv(rows, tileSide);
  const step = floorDiv(start, tileSide);
  const { packing } = f;
  const code = modulo(step, packing.steps).constant;
  if (code === undefined) throw new NoTile(`codes of ${f.buffer.name} that a loop walks through`);
  const tile: PackedTile = { field: f, group, step, code };
  const parts = packing.codes[code]!.map((piece) =>
    inCode(vectorOf(lo, tile, piece.vector), piece),
  );
  const codes = parts.reduce((a, b) => L.binary('or', a, b));
  if (dtypes[f.dtype].kind === 'float') return L.gather(valuesOf(lo, f.dtype), codes);
  lo.tiles.set(codes, tile);
  return unbiased(f.bias, codes);
}

/** The bytes of a vector of the unit of a tile, loaded once where it holds several codes. */
function vectorOf(lo: Lowering, { field, group, step }: PackedTile, vector: number): Expr {
  const { em } = lo;
  const place = vectorIndex(lo, field, group, step, vector);
  const buffer = place.as(field.dtype === 'i8' && !field.bias ? 'i8' : 'u8');
  const align = field.record ? 1 : tileLanes;
  const load = (): Expr => withoutFlips(field, L.load(buffer, place.at(), tileLanes, align));
  if (field.packing.steps === 1) return load();
  const key = `vector ${place.key}`;
  return em.recall(key) ?? em.remember(key, em.bind(load(), 'packed'));
}

/** The codes of a tile as bytes that count 2^exponent times what they mean. */
export function takenBytes(lo: Lowering, tile: PackedTile, { parts }: Taking): Expr {
  const vector = (i: number): Expr => vectorOf(lo, tile, parts[i]!.vector);
  const mask = (x: Expr, m: number): Expr => L.binary('and', x, i32s(m));
  const down = (x: Expr, by: number): Expr => (by ? L.binary('shr', x, i32s(by)) : x);
  // Codes that a vector holds in the same places of its upper half share the shift.
  const shifted = (x: Expr, by: number): Expr => {
    if (!by || x.kind !== 'var') return down(x, by);
    const key = `vector ${x.var.id} >> ${by}`;
    return lo.em.recall(key) ?? lo.em.remember(key, lo.em.bind(down(x, by), 'shifted'));
  };
  const [first, ...others] = parts as [Taking['parts'][number], ...Taking['parts']];
  if (others.length === 0) return mask(shifted(vector(0), first.down), first.mask >> first.down);
  return others.reduce(
    (sum, p, i) => down(L.binary('or', sum, mask(vector(i + 1), p.mask)), p.down),
    down(mask(vector(0), first.mask), first.down),
  );
}

/** Bits of a vector, moved to where they are in the code. */
function inCode(vector: Expr, piece: Piece): Expr {
  const down = piece.at - piece.shift;
  const n = vector.type.lanes;
  const moved =
    down === 0 ? vector : L.binary(down > 0 ? 'shr' : 'shl', vector, i32s(Math.abs(down), n));
  // What comes down from the top of a byte to its end is alone there.
  const isTop = piece.shift === 0 && piece.at + piece.bits === 8;
  return isTop ? moved : L.binary('and', moved, i32s((2 ** piece.bits - 1) << piece.shift, n));
}

/** The vector of eight words, two a row, that holds the codes of a tile. */
export function loadWords(lo: Lowering, { field, group, step }: PackedTile): Expr {
  const { as, at } = vectorIndex(lo, field, group, step, 0);
  const align = field.record ? 1 : 2 * tileSide;
  return L.load(as('i16'), at(Poly.of(0), 2), 2 * tileSide, align);
}

/** Bits of a byte as what flips them in elements of a dtype. */
const flipOf = (d: DType, bits: number): Expr =>
  L.i32(d === 'i8' && bits > 127 ? bits - 256 : bits);

/** Bytes of a tile without what its layout has flipped. */
function withoutFlips(f: PackedField, bytes: Expr): Expr {
  const [even, odd] = flipsOf(f.dtype, f.layout);
  if (!even && !odd) return bytes;
  const flips = [even, odd, even, odd].map((x) => flipOf(f.dtype, x));
  return L.binary('xor', bytes, L.tile(L.build(flips), tileLanes));
}

/** The numbers that the codes of a small float stand for, as a table. */
function valuesOf(lo: Lowering, d: DType): Buffer {
  const key = `values of ${d}`;
  let buffer = lo.tables.get(key);
  if (!buffer || !lo.em.buffers.includes(buffer)) {
    const count = 2 ** dtypes[d].bits;
    const data = Array.from({ length: count }, (_, code) => floatOfBits(d, code));
    buffer = lo.em.newBuffer(`${d}s`, 'f32', 'const', Poly.of(count), data);
    lo.tables.set(key, buffer);
  }
  return buffer;
}

const i32s = (x: number, lanes = tileLanes): Expr => L.constant(x, 'i32', lanes);

function unbiased(bias: number, e: Expr): Expr {
  return bias ? L.binary('sub', e, i32s(bias, e.type.lanes)) : e;
}

/** One element, wherever it is. */
function loadElement(lo: Lowering, f: PackedField, n: Poly, depth: Poly): Expr {
  const { em } = lo;
  const group = floorDiv(n, tileSide);
  const step = floorDiv(depth, tileSide);
  const within = modulo(n, tileSide).mul(tileSide).add(modulo(depth, tileSide));
  const [even, odd] = flipsOf(f.dtype, f.layout);
  const flip = (): Expr => {
    const isOdd = L.compare('ne', em.index(modulo(depth, 2)), L.i32(0));
    return L.select(isOdd, flipOf(f.dtype, odd), flipOf(f.dtype, even));
  };
  const { codes, steps } = f.packing;
  const byteOf = (vector: number): Expr => {
    const { as, at } = vectorIndex(lo, f, group, step, vector);
    const stored = L.load(as(f.dtype === 'i8' && !f.bias ? 'i8' : 'u8'), at(within), 1, 1);
    return even || odd ? L.binary('xor', stored, flip()) : stored;
  };
  const nth = modulo(step, steps);
  const code = codes
    .map((pieces) =>
      pieces.map((p) => inCode(byteOf(p.vector), p)).reduce((a, b) => L.binary('or', a, b)),
    )
    .reduce((rest, own, i) =>
      nth.constant === undefined
        ? L.select(L.compare('eq', em.index(nth), L.i32(i)), own, rest)
        : nth.constant === i
          ? own
          : rest,
    );
  return dtypes[f.dtype].kind === 'float' ? L.decodeBits(f.dtype, code) : unbiased(f.bias, code);
}
