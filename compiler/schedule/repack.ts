// The program that brings fields from their logical layout into that of a kernel (packed.ts, records.ts), once, when
// weights become resident. Rows that a last group lacks are zeros.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, Poly } from '../ir/algebra.ts';
import { dtypes, scalarOf } from '../ir/dtype.ts';
import type { Buffer, Expr, Program } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Derived } from './derived.ts';
import { Emitter, storedSize } from './emitter.ts';
import {
  depthOf,
  flipsOf,
  groupsOf,
  isTile,
  packedArray,
  rowDType,
  storedIndex,
  unitsOf,
} from './packed.ts';
import { depthOfUnit, type Piece } from './packing.ts';
import {
  blockWord,
  inBlock,
  type RecordField,
  type RecordLayout,
  type RecordPart,
  recordBytes,
  recordOf,
} from './records.ts';
import { tileLanes, tileSide } from './spans.ts';

/**
 * Shapes in dims of a signature. Params of the program are the fields as they are stored; the result is the buffer that
 * the kernel reads: one field in its layout, or the record of several.
 */
export function repackProgram(
  name: string,
  dims: readonly string[],
  fields: readonly RecordField[],
): Program {
  const em = new Emitter();
  const record = fields.length > 1 ? recordOf(fields) : undefined;
  if (fields.length > 1 && !record) throw new Error(`${name}: no record of these fields`);
  // A row without padding is a run of words: most formats. Their fields move a word at a time.
  const isMoved = fields.map((f) => isTile(f.layout) && isWords(f.dtype, f.shape));
  const sources = fields.map((f, i) => sourceOf(em, f, isMoved[i]!));
  const [{ dtype, shape, layout, bias, packing }] = fields as [RecordField];
  const array = packedArray(dtype, shape, layout, bias, packing)!;
  const words = record !== undefined || isMoved[0]!;
  const bytes = record ? recordBytes(record) : array.size;
  const target = words
    ? em.newBuffer('packed', 'u32', 'result', bytes.over(4)!)
    : em.newBuffer('packed', array.dtype, 'result', array.size);
  em.scopes = [{ stmts: [], memo: new Map() }];
  loop(em, groupsOf(fields[0]!.shape), true, (g) => {
    for (let r = 0; r < tileSide; r += 1) {
      const row = g.mul(tileSide).add(r);
      const cond = L.compare('lt', em.index(row), em.index(fields[0]!.shape[0]!));
      const move = (copy: boolean) =>
        em.scope(() => {
          fields.forEach((f, i) => {
            const part = record?.parts[i];
            const into = record && part ? { record, part } : undefined;
            const job: Job = { em, ...f, source: sources[i]!, target, into };
            if (!isTile(f.layout)) moveRow(job, g, r, copy);
            else if (isMoved[i]) moveWords(job, g, r, copy);
            else moveCodes(job, g, r, copy);
          });
        });
      em.push({ kind: 'if', cond, then: move(true), else: move(false) });
    }
  });
  const body = em.scopes[0]!.stmts;
  return {
    name,
    dims,
    buffers: [...sources, target],
    kernels: [{ name, schedule: 'repack', body }],
  };
}

function sourceOf(em: Emitter, { dtype, shape, layout }: RecordField, words: boolean): Buffer {
  const size = storedSize(dtype, shape);
  if (words) return em.newBuffer('field', 'u32', 'param', size.mul(dtypes[dtype].bits).over(32)!);
  // Half floats that stay so and codes of small floats move as they are.
  const half = dtype === 'f16' && layout === 'rows';
  return em.newBuffer('field', half ? 'i16' : dtype === 'f4e2m1' ? 'u4' : dtype, 'param', size);
}

interface Job extends RecordField {
  readonly em: Emitter;
  readonly source: Buffer;
  readonly target: Buffer;
  /** Where the field lies in a record. */
  readonly into: { readonly record: RecordLayout; readonly part: RecordPart } | undefined;
}

function loop(em: Emitter, extent: Dim, parallel: boolean, body: (i: Poly) => void): void {
  const end = em.index(extent);
  const v = em.newVar('i', L.vtype('i32'), em.depth + 1);
  const stmts = em.scope(() => body(Poly.atom(em.atom(v, extent))));
  em.push({ kind: 'for', var: v, start: L.i32(0), end, step: 1, parallel, body: stmts });
}

/** Stores into the target, seen as elements of a dtype. */
function put({ em, target }: Job, index: Poly, value: Expr, dtype = target.dtype): void {
  const buffer = dtype === target.dtype ? target : { ...target, dtype };
  em.push({ kind: 'store', buffer, index: em.index(index), value, align: 1 });
}

/** The first byte of the unit that holds element `l` of depth, in a record or an array of its own. */
function unitByte(job: Job, g: Poly, l: Poly): Poly {
  const { packing, shape, into } = job;
  const bytes = tileLanes * packing.vectors;
  const unit = (at: Poly): Poly => floorDiv(at, depthOfUnit(packing));
  if (!into) return g.mul(unitsOf(shape, packing)).add(unit(l)).mul(bytes);
  const { record, part } = into;
  const start = blockWord(record, part.level, g, l).mul(4);
  return start.add(unit(inBlock(record, part.level, l)).mul(bytes)).add(part.offset);
}

/** Element `l` of the depth of row n, as it is stored. */
const element = ({ em, dtype, shape, source }: Job, n: Poly, l: Poly): Expr =>
  L.load(source, em.index(storedIndex(dtype, shape, n, l)), 1, 1);

function moveRow(job: Job, g: Poly, r: number, copy: boolean): void {
  const { dtype, shape, layout, derived, into, target } = job;
  const depth = depthOf(shape);
  const stored = rowDType(dtype, layout, derived)!;
  const bytes = dtypes[stored].bits / 8;
  const placeOf = (i: Poly): Poly => {
    if (!into) return g.mul(depth).add(i).mul(tileSide).add(r);
    const { record, part } = into;
    const l = i.mul(part.period);
    const nth = floorDiv(inBlock(record, part.level, l), part.period);
    const start = blockWord(record, part.level, g, l).mul(4).add(part.offset);
    return start.over(bytes)!.add(nth.mul(tileSide)).add(r);
  };
  loop(job.em, depth, false, (i) => {
    const own = copy ? element(job, g.mul(tileSide).add(r), i) : undefined;
    const value = own && derived ? storedOf(derived, own) : own;
    const zero = L.constant(0, scalarOf(stored));
    put(job, placeOf(i), value ?? zero, into ? stored : target.dtype);
  });
}

/** What is stored in place of an element. */
function storedOf({ stored, of }: Derived, element: Expr): Expr {
  const value = of(element);
  return stored === 'f32' ? value : L.binary('shr', L.bits(value, 'i32'), L.i32(16));
}

/** Codes that share bytes, one unit after the other. */
function moveCodes(job: Job, g: Poly, r: number, copy: boolean): void {
  const { em, dtype, shape, bias, layout, packing } = job;
  const { steps, vectors, codes } = packing;
  const depth = depthOf(shape);
  const row = g.mul(tileSide).add(r);
  loop(em, unitsOf(shape, packing), false, (u) => {
    const first = unitByte(job, g, u.mul(depthOfUnit(packing)));
    for (let j = 0; j < tileSide; j += 1) {
      const all = Array.from({ length: steps }, (_, i) =>
        copy ? em.bind(codeOf(u.mul(steps).add(i).mul(tileSide).add(j)), 'code') : L.i32(0),
      );
      const flip = flipsOf(dtype, layout)[j % 2]!;
      for (let v = 0; v < vectors; v += 1) {
        const byte = codes
          .flatMap((pieces, i) =>
            pieces.flatMap((p) => (p.vector === v ? [placed(all[i]!, p)] : [])),
          )
          .reduce((a, b) => L.binary('or', a, b));
        const whole = flip ? L.binary('xor', byte, L.i32(flip)) : byte;
        const at = first.add(v * tileLanes + r * tileSide + j);
        put(job, at, whole, job.into ? 'u8' : job.target.dtype);
      }
    }
  });

  /** The code of an element; 0 past the end of the row. */
  function codeOf(l: Poly): Expr {
    const within = L.compare('lt', em.index(l), em.index(depth));
    const inside = em.bind(
      L.select(within, em.index(l), L.binary('sub', em.index(depth), L.i32(1))),
      'l',
    );
    const at = inside.kind === 'const' ? Poly.of(inside.value) : em.asIndex(inside, depth);
    const raw = element(job, row, at);
    const whole = bias ? L.binary('add', raw, L.i32(bias)) : asInt(raw);
    return L.select(within, whole, L.i32(0));
  }
}

/** The bits of a code that a piece holds, where it holds them. */
function placed(code: Expr, { at, bits, shift }: Piece): Expr {
  const part = L.binary('and', L.binary('shr', code, L.i32(shift)), L.i32(2 ** bits - 1));
  return L.binary('shl', part, L.i32(at));
}

const asInt = (e: Expr): Expr => (e.type.scalar === 'i32' ? e : L.convert(e, 'i32'));

// ---- words ----

/** Whether rows are whole words of 1, 2, 4 or 8-bit elements without padding. */
function isWords(dtype: Buffer['dtype'], shape: readonly Dim[]): boolean {
  const { bits } = dtypes[dtype];
  // The product of dims such as [K / 32, 32] does not show that 32 divides it.
  const multiple = shape.slice(1).reduce((n, d) => n * d.multiple(), 1);
  return (
    8 % bits === 0 &&
    (multiple * bits) % 32 === 0 &&
    (bits === 8 || shape.at(-1)!.multiple() % 8 === 0)
  );
}

const lanes = 4;

/** A word holds the same elements in both layouts, its bits in another order. */
function moveWords(job: Job, g: Poly, r: number, copy: boolean): void {
  const { em, dtype, shape, bias, layout, source } = job;
  const { bits } = dtypes[dtype];
  const perRow = depthOf(shape).mul(bits).over(32)!;
  const row = g.mul(tileSide).add(r);
  const place = (w: Poly): Poly =>
    unitByte(job, g, w.mul(32 / bits))
      .over(4)!
      .add(r);
  const end = em.index(perRow);
  const rest = em.bind(L.binary('mul', L.binary('shr', end, L.i32(2)), L.i32(lanes)), 'rest');
  const run = (start: Expr, stop: Expr, step: number, body: (w: Poly) => void): void => {
    const v = em.newVar('w', L.vtype('i32'), em.depth + 1);
    const stmts = em.scope(() => body(Poly.atom(em.atom(v, perRow))));
    em.push({ kind: 'for', var: v, start, end: stop, step, parallel: false, body: stmts });
  };
  const [even, odd] = flipsOf(dtype, layout);
  const flips = (even * 0x10001 + odd * 0x1000100) >>> 0;
  const word = (w: Poly, n: number): Expr => {
    if (!copy) return L.constant(0, 'u32', n);
    const loaded = L.load(source, em.index(row.mul(perRow).add(w)), n, 1);
    const made = reordered(loaded, bits, bias);
    return flips ? L.binary('xor', made, L.constant(flips, 'u32', n)) : made;
  };
  run(L.i32(0), rest, lanes, (w) => {
    const v = em.bind(word(w, lanes), 'words');
    for (let j = 0; j < lanes; j += 1) put(job, place(w.add(j)), L.extract(v, j));
  });
  run(rest, end, 1, (w) => put(job, place(w), word(w, 1)));
}

/** Element i = 4 p + j of a word goes to byte j, plane p. */
function reordered(word: Expr, bits: number, bias: number): Expr {
  const n = word.type.lanes;
  const c = (x: number): Expr => L.constant(x >>> 0, 'u32', n);
  const count = 32 / bits;
  let out: Expr | undefined;
  // Elements that move equally far go together.
  const byShift = new Map<number, number>();
  for (let i = 0; i < count; i += 1) {
    const to = 8 * (i % tileSide) + bits * Math.floor(i / tileSide);
    const mask = ((2 ** bits - 1) * 2 ** to) >>> 0;
    const shift = to - bits * i;
    byShift.set(shift, ((byShift.get(shift) ?? 0) | mask) >>> 0);
  }
  for (const [shift, mask] of byShift) {
    const moved =
      shift === 0 ? word : L.binary(shift > 0 ? 'shl' : 'shr', word, c(Math.abs(shift)));
    const part = L.binary('and', moved, c(mask));
    out = out ? L.binary('or', out, part) : part;
  }
  if (!bias) return out!;
  // Adding half the range to an element of two's complement flips its top bit.
  const tops = Array.from({ length: count }, (_, i) => (bias * 2 ** (bits * i)) >>> 0);
  return L.binary('xor', out!, c(tops.reduce((a, b) => (a | b) >>> 0)));
}
