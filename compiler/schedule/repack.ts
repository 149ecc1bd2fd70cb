// The program that brings a field from its logical layout into that of a kernel (packed.ts), once, when weights
// become resident. Rows that a last group lacks are zeros.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, modulo, Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Buffer, Expr, Program } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { Emitter, storedSize, strides } from './emitter.ts';
import {
  biasOf,
  depthOf,
  groupsOf,
  type PackedLayout,
  type Plane,
  packedArray,
  planeStarts,
  planesOf,
  vectorsOf,
} from './packed.ts';
import { tileLanes, tileSide } from './spans.ts';

/** `shape` in dims of a signature. The result is a buffer of the layout's dtype and size. */
export function repackProgram(
  name: string,
  dims: readonly string[],
  dtype: Buffer['dtype'],
  shape: readonly Dim[],
  layout: PackedLayout,
): Program {
  const em = new Emitter();
  // A row without padding is a run of words: most formats. Their fields move a word at a time.
  const words = layout === 'tile' && isWords(dtype, shape);
  const array = packedArray(dtype, shape, layout)!;
  // Half floats that stay so and codes of small floats move as they are.
  const half = dtype === 'f16' && array.dtype === 'i16';
  const stored = half ? 'i16' : dtype === 'f4e2m1' ? 'u4' : dtype;
  const source = words
    ? em.newBuffer(
        'field',
        'u32',
        'param',
        storedSize(dtype, shape).mul(dtypes[dtype].bits).over(32)!,
      )
    : em.newBuffer('field', stored, 'param', storedSize(dtype, shape));
  const target = words
    ? em.newBuffer('packed', 'u32', 'result', array.size.over(4)!)
    : em.newBuffer('packed', array.dtype, 'result', array.size);
  const job: Job = { em, dtype, shape, source, target };
  em.scopes = [{ stmts: [], memo: new Map() }];
  loop(em, groupsOf(shape), true, (g) => {
    for (let r = 0; r < tileSide; r += 1) {
      const row = g.mul(tileSide).add(r);
      const cond = L.compare('lt', em.index(row), em.index(shape[0]!));
      const move = (copy: boolean) =>
        em.scope(() => {
          if (layout !== 'tile') moveRow(job, g, r, copy);
          else if (words) moveWords(job, g, r, copy);
          else movePlanes(job, g, r, copy);
        });
      em.push({ kind: 'if', cond, then: move(true), else: move(false) });
    }
  });
  const body = em.scopes[0]!.stmts;
  return {
    name,
    dims,
    buffers: [source, target],
    kernels: [{ name, schedule: 'repack', body }],
  };
}

interface Job {
  readonly em: Emitter;
  readonly dtype: Buffer['dtype'];
  readonly shape: readonly Dim[];
  readonly source: Buffer;
  readonly target: Buffer;
}

function loop(em: Emitter, extent: Dim, parallel: boolean, body: (i: Poly) => void): void {
  const end = em.index(extent);
  const v = em.newVar('i', L.vtype('i32'), em.depth + 1);
  const stmts = em.scope(() => body(Poly.atom(em.atom(v, extent))));
  em.push({ kind: 'for', var: v, start: L.i32(0), end, step: 1, parallel, body: stmts });
}

const put = ({ em, target }: Job, index: Poly, value: Expr): void =>
  em.push({ kind: 'store', buffer: target, index: em.index(index), value, align: 1 });

/** Element `l` of the depth of row n, as it is stored. */
function element({ em, dtype, shape, source }: Job, n: Poly, l: Poly): Expr {
  const step = strides(dtype, shape);
  let index = n.mul(step[0]!);
  let rest = l;
  for (let i = shape.length - 1; i >= 1; i -= 1) {
    const last = i === 1;
    index = index.add((last ? rest : modulo(rest, shape[i]!)).mul(step[i]!));
    if (!last) rest = floorDiv(rest, shape[i]!);
  }
  return L.load(source, em.index(index), 1, 1);
}

function moveRow(job: Job, g: Poly, r: number, copy: boolean): void {
  const depth = depthOf(job.shape);
  loop(job.em, depth, false, (l) => {
    const row = g.mul(tileSide).add(r);
    const value = copy ? element(job, row, l) : undefined;
    const zero = L.constant(0, L.load(job.target, L.i32(0), 1, 1).type.scalar);
    put(job, g.mul(depth).add(l).mul(tileSide).add(r), value ?? zero);
  });
}

/** Bytes of a plane, one element after the other. */
function movePlanes(job: Job, g: Poly, r: number, copy: boolean): void {
  const { em, dtype, shape } = job;
  const depth = depthOf(shape);
  const row = g.mul(tileSide).add(r);
  const starts = planeStarts(dtype, shape);
  planesOf(dtype).forEach((p, i) => {
    const vectors = vectorsOf(shape, p);
    loop(em, vectors, false, (w) => {
      for (let j = 0; j < tileSide; j += 1) {
        const parts = Array.from({ length: p.count }, (_, plane) => {
          const l = w.mul(p.count).add(plane).mul(tileSide).add(j);
          return copy ? bitsOf(job, row, l, p, plane) : L.i32(0);
        });
        const at = starts[i]!.add(g.mul(vectors).add(w).mul(tileLanes)).add(r * tileSide + j);
        put(
          job,
          at,
          parts.reduce((a, b) => L.binary('or', a, b)),
        );
      }
    });
  });

  /** The bits of an element that belong to a plane, in their place; none past the end of the row. */
  function bitsOf(j: Job, n: Poly, l: Poly, p: Plane, plane: number): Expr {
    const within = L.compare('lt', em.index(l), em.index(depth));
    const inside = em.bind(
      L.select(within, em.index(l), L.binary('sub', em.index(depth), L.i32(1))),
      'l',
    );
    const at = inside.kind === 'const' ? Poly.of(inside.value) : em.asIndex(inside, depth);
    const raw = element(j, n, at);
    const bias = biasOf(dtype);
    const whole = bias ? L.binary('add', raw, L.i32(bias)) : asInt(raw);
    const part = L.binary('and', L.binary('shr', whole, L.i32(p.shift)), L.i32(2 ** p.bits - 1));
    const placed = L.binary('shl', part, L.i32(plane * p.bits));
    return L.select(within, placed, L.i32(0));
  }
}

const asInt = (e: Expr): Expr => (e.type.scalar === 'i32' ? e : L.convert(e, 'i32'));

// ---- words ----

/** Whether rows are whole words of 1, 2, 4 or 8-bit elements without padding. */
function isWords(dtype: Buffer['dtype'], shape: readonly Dim[]): boolean {
  const { bits } = dtypes[dtype];
  return (
    8 % bits === 0 &&
    (depthOf(shape).multiple() * bits) % 32 === 0 &&
    (bits === 8 || shape.at(-1)!.multiple() % 8 === 0)
  );
}

const lanes = 4;

/** A word holds the same elements in both layouts, its bits in another order. */
function moveWords(job: Job, g: Poly, r: number, copy: boolean): void {
  const { em, dtype, shape, source } = job;
  const { bits } = dtypes[dtype];
  const perRow = depthOf(shape).mul(bits).over(32)!;
  const row = g.mul(tileSide).add(r);
  const place = (w: Poly): Poly => g.mul(perRow).add(w).mul(tileSide).add(r);
  const end = em.index(perRow);
  const rest = em.bind(L.binary('mul', L.binary('shr', end, L.i32(2)), L.i32(lanes)), 'rest');
  const run = (start: Expr, stop: Expr, step: number, body: (w: Poly) => void): void => {
    const v = em.newVar('w', L.vtype('i32'), em.depth + 1);
    const stmts = em.scope(() => body(Poly.atom(em.atom(v, perRow))));
    em.push({ kind: 'for', var: v, start, end: stop, step, parallel: false, body: stmts });
  };
  const word = (w: Poly, n: number): Expr =>
    copy
      ? reordered(L.load(source, em.index(row.mul(perRow).add(w)), n, 1), bits, biasOf(dtype))
      : L.constant(0, 'u32', n);
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
