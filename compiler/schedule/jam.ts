// Unroll and jam: four iterations of a loop at a time, where iterations are independent. What each iteration has
// once, a scalar, becomes one lane of a vector: four reductions are transposed together, and one division and one
// rounding to f16 serve four blocks. What an iteration has as vectors stays apart, one copy an iteration; vectors
// that are merely loaded are read again where they are used instead of being kept in registers. Scratch of an iteration
// that is only read and written an element at a time holds the elements of the four side by side, or is a variable.

import { type DType, dtypes, scalarOf } from '../ir/dtype.ts';
import type { Buffer, Expr, Stmt, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { effectsOf, type ForLoop } from '../loops/parallel.ts';
import { clash, type Touched, touchedBy } from './touched.ts';
import { unrolled } from './unroll.ts';
import { widened } from './widen.ts';
import { elementwise } from './woven.ts';

/** Iterations that run together: the 32-bit lanes of a vector register. */
export const jamWidth = 4;

/** Makes variables and buffers: see Emitter. */
export interface Fresh {
  readonly variable: (name: string, type: L.VType) => Var;
  /** Whether an iteration has the buffer to itself. */
  readonly isOwn: (b: Buffer) => boolean;
  /** Another buffer like that, for another of the four; so many times as long, and of another dtype, if told. */
  readonly twin: (b: Buffer, times?: number, dtype?: DType) => Buffer;
  /** A loop over what is left keeps the buffer itself: touched by both loops, all workers would share it. */
  readonly hasRest: boolean;
}

/** What is known of a variable of the body. */
type Known =
  /** i32, and moves by `stride` from one iteration to the next; `base` is its value in the first of the four. */
  | { readonly kind: 'affine'; readonly base: Expr; readonly stride: number }
  /** One lane an iteration. */
  | { readonly kind: 'packed'; readonly var: Var }
  /** One vector an iteration. */
  | { readonly kind: 'split'; readonly vars: readonly Var[] }
  /** A vector to be loaded again at each use. */
  | { readonly kind: 'again'; readonly value: Expr };

/** Elements of a scratch buffer of which there may be four. */
const mostScratch = 1024;
const copies = [0, 1, 2, 3];
const plus = (e: Expr, n: number): Expr => (n === 0 ? e : L.binary('add', e, L.i32(n)));

/** The jammed loop without what is left over, or why it cannot be. */
export function jam(loop: ForLoop, fresh: Fresh): ForLoop | string {
  try {
    return new Jam(loop, fresh).result();
  } catch (e) {
    if (e instanceof Refusal) return e.reason;
    throw e;
  }
}

class Refusal {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

class Jam {
  readonly #loop: ForLoop;
  readonly #fresh: Fresh;
  readonly #known = new Map<number, Known>();
  readonly #twins = new Map<number, readonly Buffer[]>();
  /** Scratch whose elements are accessed one by one: buffers of four times the size, and variables. */
  readonly #woven = new Map<number, Buffer>();
  readonly #cells = new Map<number, Var>();
  readonly #written: ReadonlySet<number>;
  #out: Stmt[] = [];
  /** Rewritten parts of the statement at hand, so that what was shared stays shared. */
  #packed = new Map<Expr, Expr>();
  #split: Map<Expr, Expr>[] = copies.map(() => new Map<Expr, Expr>());

  constructor(loop: ForLoop, fresh: Fresh) {
    this.#loop = loop;
    this.#fresh = fresh;
    this.#written = effectsOf(loop.body).writes;
  }

  result(): ForLoop {
    const { var: i, step, body } = this.#loop;
    if (step !== 1) throw new Refusal('the loop has a step of its own');
    const v = this.#fresh.variable(i.name, i.type);
    this.#known.set(i.id, { kind: 'affine', base: L.variable(v), stride: 1 });
    this.#weave(body);
    const made = this.#list(body);
    const cells = [...this.#cells.values()].map((c): Stmt => {
      const zero = L.constant(0, c.type.scalar, jamWidth);
      return { kind: 'local', var: c, value: zero };
    });
    return { ...this.#loop, var: v, step: jamWidth, body: [...cells, ...made] };
  }

  #weave(body: readonly Stmt[]): void {
    const own = (b: Buffer): boolean => this.#fresh.isOwn(b) && this.#written.has(b.id);
    for (const { buffer: b, as } of elementwise(body, own, mostScratch))
      if (as === 'cell')
        this.#cells.set(b.id, this.#fresh.variable(b.name, L.vtype(scalarOf(b.dtype), jamWidth)));
      else this.#woven.set(b.id, this.#fresh.twin(b, jamWidth, as));
  }

  #list(list: readonly Stmt[]): Stmt[] {
    const outer = this.#out;
    this.#out = [];
    for (const s of list) this.#declare(s);
    const left = list.map((s) => ({ s, touched: touchedBy(s), apart: this.#isApart(s) }));
    // By turns all statements on vectors that are ready, an iteration at a time, and all others that are ready.
    for (let apart = true; left.length > 0; apart = !apart) {
      const waiting: Touched[] = [];
      const run: Stmt[] = [];
      for (const item of [...left]) {
        if (item.apart !== apart || waiting.some((w) => clash(w, item.touched))) {
          waiting.push(item.touched);
          continue;
        }
        run.push(item.s);
        left.splice(left.indexOf(item), 1);
      }
      if (apart) for (const j of copies) for (const s of run) this.#copy(s, j);
      else for (const s of run) this.#together(s);
    }
    const made = this.#out;
    this.#out = outer;
    return made;
  }

  /** Whether the four copies of a statement have nothing to do with each other. */
  #isApart(s: Stmt): boolean {
    switch (s.kind) {
      case 'let':
      case 'local':
      case 'set':
      case 'store':
        return s.value.type.lanes > 1;
      case 'for':
        return s.body.every(
          (x) => this.#isApart(x) || (x.kind === 'let' && this.#strideOf(x.value) !== undefined),
        );
      case 'comment':
        return false;
      default:
        throw new Refusal(`its body has a ${s.kind}`);
    }
  }

  #declare(s: Stmt): void {
    if (s.kind === 'for') {
      if (this.#strideOf(s.start) !== 0 || this.#strideOf(s.end) !== 0)
        throw new Refusal('iterations differ in the length of an inner loop');
      const v = this.#fresh.variable(s.var.name, s.var.type);
      this.#known.set(s.var.id, { kind: 'affine', base: L.variable(v), stride: 0 });
      // Counters and addresses of the loop are needed to tell what kind of loop it is.
      for (const x of s.body) this.#declare(x);
    }
    if (s.kind !== 'let' && s.kind !== 'local') return;
    const { var: v, value } = s;
    const fresh = (lanes: number): Var =>
      this.#fresh.variable(v.name, L.vtype(v.type.scalar, lanes));
    if (v.type.lanes > 1) {
      if (s.kind === 'let' && this.#isCheap(value)) this.#known.set(v.id, { kind: 'again', value });
      else this.#known.set(v.id, { kind: 'split', vars: copies.map(() => fresh(v.type.lanes)) });
      return;
    }
    const stride = s.kind === 'let' ? this.#strideOf(value) : undefined;
    this.#known.set(
      v.id,
      stride === undefined
        ? { kind: 'packed', var: fresh(jamWidth) }
        : { kind: 'affine', base: L.variable(fresh(1)), stride },
    );
  }

  /** A vector that costs one load a register, or its magnitude, of memory that the loop leaves alone. */
  #isCheap(e: Expr): boolean {
    if (e.kind === 'unary' && e.op === 'abs' && e.type.scalar === 'f32') return this.#isCheap(e.a);
    return (
      e.kind === 'load' && dtypes[e.buffer.dtype].bits === 32 && !this.#written.has(e.buffer.id)
    );
  }

  /** How an i32 scalar moves with the iteration; undefined unless by a constant. */
  #strideOf(e: Expr): number | undefined {
    if (e.type.scalar !== 'i32' || e.type.lanes !== 1) return undefined;
    switch (e.kind) {
      case 'const':
      case 'dim':
        return 0;
      case 'var': {
        const k = this.#known.get(e.var.id);
        return k ? (k.kind === 'affine' ? k.stride : undefined) : 0;
      }
      case 'binary': {
        const a = this.#strideOf(e.a);
        const b = this.#strideOf(e.b);
        if (a === undefined || b === undefined) return undefined;
        if (e.op === 'add') return a + b;
        if (e.op === 'sub') return a - b;
        if (a === 0 && b === 0) return 0;
        if (e.op === 'mul' && e.b.kind === 'const') return a * e.b.value;
        if (e.op === 'mul' && e.a.kind === 'const') return b * e.a.value;
        return e.op === 'shl' && e.b.kind === 'const' ? a * 2 ** e.b.value : undefined;
      }
      default:
        return undefined;
    }
  }

  #buffer(b: Buffer, j: number): Buffer {
    if (!this.#fresh.isOwn(b) || !this.#written.has(b.id)) return b;
    if ((b.size.constant ?? Infinity) > mostScratch)
      throw new Refusal(`its scratch ${b.name} is large`);
    let list = this.#twins.get(b.id);
    if (!list) {
      const first = this.#fresh.hasRest ? this.#fresh.twin(b) : b;
      list = copies.map((c) => (c === 0 ? first : this.#fresh.twin(b)));
      this.#twins.set(b.id, list);
    }
    return list[j]!;
  }

  #fork(): void {
    this.#packed = new Map();
    this.#split = copies.map(() => new Map<Expr, Expr>());
  }

  // ---- statements ----

  /** Copy `j` of a statement on vectors. */
  #copy(s: Stmt, j: number): void {
    this.#fork();
    switch (s.kind) {
      case 'let':
      case 'local': {
        const k = this.#known.get(s.var.id)!;
        if (k.kind === 'affine') {
          const v = (k.base as L.ExprOf<'var'>).var;
          this.#out.push({ kind: 'let', var: v, value: this.#one(s.value, 0) });
        } else if (k.kind === 'split')
          this.#out.push({ ...s, var: k.vars[j]!, value: this.#many(s.value, j) });
        return;
      }
      case 'set': {
        const k = this.#known.get(s.var.id);
        if (k?.kind !== 'split') throw new Refusal(`${s.var.name} outlives the iteration`);
        this.#out.push({ ...s, var: k.vars[j]!, value: this.#many(s.value, j) });
        return;
      }
      case 'store':
        this.#out.push({
          ...s,
          buffer: this.#buffer(s.buffer, j),
          index: this.#one(s.index, j),
          value: this.#many(s.value, j),
        });
        return;
      case 'for': {
        const outer = this.#out;
        this.#out = [];
        for (const x of s.body) this.#copy(x, j);
        const body = this.#out;
        this.#out = outer;
        this.#fork();
        this.#out.push({ ...this.#header(s), body });
        return;
      }
      default:
        throw new Refusal(`its body has a ${s.kind}`);
    }
  }

  #header(s: ForLoop): ForLoop {
    const k = this.#known.get(s.var.id) as Extract<Known, { kind: 'affine' }>;
    return {
      ...s,
      var: (k.base as L.ExprOf<'var'>).var,
      start: this.#one(s.start, 0),
      end: this.#one(s.end, 0),
    };
  }

  /** A statement on scalars, or a loop with some in it: once for all four. */
  #together(s: Stmt): void {
    this.#fork();
    switch (s.kind) {
      case 'comment':
        this.#out.push(s);
        return;
      case 'let':
      case 'local': {
        const k = this.#known.get(s.var.id)!;
        if (k.kind === 'affine')
          this.#out.push({
            kind: 'let',
            var: (k.base as L.ExprOf<'var'>).var,
            value: this.#one(s.value, 0),
          });
        else if (k.kind === 'packed')
          this.#out.push({ ...s, var: k.var, value: this.#pack(s.value) });
        return;
      }
      case 'set': {
        const k = this.#known.get(s.var.id);
        if (k?.kind !== 'packed') throw new Refusal(`${s.var.name} outlives the iteration`);
        this.#out.push({ ...s, var: k.var, value: this.#pack(s.value) });
        return;
      }
      case 'store':
        return this.#storeFour(s);
      case 'for': {
        const header = this.#header(s);
        const four: ForLoop = { ...header, body: this.#list(s.body) };
        const isWoven = (id: number): boolean => [...this.#woven.values()].some((b) => b.id === id);
        const { variable } = this.#fresh;
        const wide = widened(four, isWoven, variable);
        this.#out.push(...(wide ? [wide] : (unrolled(four, variable) ?? [four])));
        return;
      }
      default:
        throw new Refusal(`its body has a ${s.kind}`);
    }
  }

  #storeFour(s: Extract<Stmt, { kind: 'store' }>): void {
    const cell = this.#cells.get(s.buffer.id);
    const woven = this.#woven.get(s.buffer.id);
    const stride = this.#strideOf(s.index);
    if (cell && s.value.type.scalar === cell.type.scalar) {
      this.#out.push({ kind: 'set', var: cell, value: this.#pack(s.value) });
      return;
    }
    if (cell) throw new Refusal(`${s.buffer.name} is written as another type`);
    if (woven && stride === 0) {
      const index = L.binary('mul', this.#one(s.index, 0), L.i32(jamWidth));
      this.#out.push({ ...s, buffer: woven, index, value: this.#pack(s.value), align: jamWidth });
      return;
    }
    const value = this.#named(this.#pack(s.value), 'four');
    if (woven) {
      for (const j of copies) {
        const index = plus(L.binary('mul', this.#one(s.index, j), L.i32(jamWidth)), j);
        this.#out.push({ ...s, buffer: woven, index, value: L.extract(value, j) });
      }
      return;
    }
    const isOwn = this.#buffer(s.buffer, 1) !== s.buffer;
    if (stride === 1 && !isOwn && dtypes[s.buffer.dtype].bits % 8 === 0) {
      this.#out.push({ ...s, index: this.#one(s.index, 0), value, align: 1 });
      return;
    }
    for (const j of copies)
      this.#out.push({
        ...s,
        buffer: this.#buffer(s.buffer, j),
        index: this.#one(s.index, j),
        value: L.extract(value, j),
      });
  }

  // ---- expressions ----

  /** A vector of four as something to take lanes from. */
  #named(e: Expr, name: string): Expr {
    if (e.kind === 'var' || e.kind === 'const') return e;
    const v = this.#fresh.variable(name, e.type);
    this.#out.push({ kind: 'let', var: v, value: e });
    return L.variable(v);
  }

  /** A scalar as it is in iteration `j`. */
  #one(e: Expr, j: number): Expr {
    const stride = this.#strideOf(e);
    if (stride !== undefined && (stride !== 0 || e.kind === 'var'))
      return plus(this.#base(e), stride * j);
    if (stride === 0) return this.#base(e);
    const x = this.#pack(e);
    if (x.kind === 'const') return L.constant(x.value, x.type.scalar);
    if (x.kind === 'splat') return x.a;
    return L.extract(this.#named(x, 'four'), j);
  }

  /** An affine scalar in the first of the four iterations. */
  #base(e: Expr): Expr {
    if (e.kind === 'var') {
      const k = this.#known.get(e.var.id);
      return k?.kind === 'affine' ? k.base : e;
    }
    return e.kind === 'binary' ? L.binary(e.op, this.#base(e.a), this.#base(e.b)) : e;
  }

  /** A scalar, one lane an iteration. */
  #pack(e: Expr): Expr {
    let out = this.#packed.get(e);
    if (!out) {
      out = this.#packNew(e);
      this.#packed.set(e, out);
    }
    return out;
  }

  #packNew(e: Expr): Expr {
    const stride = this.#strideOf(e);
    if (stride !== undefined) {
      const base = L.splat(this.#base(e), jamWidth);
      if (stride === 0) return base;
      const ids = L.laneIds(jamWidth);
      const steps = stride === 1 ? ids : L.binary('mul', ids, L.constant(stride, 'i32', jamWidth));
      return L.binary('add', base, steps);
    }
    const x = (a: Expr): Expr => this.#pack(a);
    switch (e.kind) {
      case 'const':
      case 'dim':
        return L.splat(e, jamWidth);
      case 'var': {
        const k = this.#known.get(e.var.id);
        return k?.kind === 'packed' ? L.variable(k.var) : L.splat(e, jamWidth);
      }
      case 'unary':
        return L.unary(e.op, x(e.a));
      case 'binary':
        return L.binary(e.op, x(e.a), x(e.b));
      case 'compare':
        return L.compare(e.op, x(e.a), x(e.b));
      case 'select':
        return L.select(x(e.c), x(e.a), x(e.b));
      case 'convert':
        return L.convert(x(e.a), e.type.scalar);
      case 'bits':
        return L.bits(x(e.a), e.type.scalar);
      case 'round':
        return L.roundTo(e.dtype, x(e.a));
      case 'encode':
        return L.encodeBits(e.dtype, x(e.a));
      case 'decode':
        return L.decodeBits(e.dtype, x(e.a));
      case 'rank':
        return L.rank(e.buffer, x(e.a), e.strict);
      case 'nearest':
        return L.nearest(e.buffer, x(e.a), x(e.unit));
      case 'reduce':
        return L.build(copies.map((j) => L.reduce(e.op, this.#many(e.a, j))));
      case 'peak':
        return L.build(copies.map((j) => L.peak(this.#many(e.a, j))));
      case 'within':
        return L.within(x(e.a), e.lo, e.hi);
      case 'bounded':
        return L.bounded(x(e.a), e.lo, e.hi);
      case 'extract':
        return L.build(copies.map((j) => L.extract(this.#many(e.a, j), e.lane)));
      case 'load':
        return this.#loadFour(e);
      default:
        throw new Refusal(`a scalar ${e.kind}`);
    }
  }

  #loadFour(e: L.ExprOf<'load'>): Expr {
    const stride = this.#strideOf(e.index);
    const cell = this.#cells.get(e.buffer.id);
    if (cell) return L.variable(cell);
    const woven = this.#woven.get(e.buffer.id);
    if (woven) {
      const four = (x: Expr): Expr => L.binary('mul', x, L.constant(jamWidth, 'i32', x.type.lanes));
      if (stride === 0) return L.load(woven, four(this.#one(e.index, 0)), jamWidth, jamWidth);
      const at = L.binary('add', four(this.#pack(e.index)), L.laneIds(jamWidth));
      return L.gather(woven, at);
    }
    const isOwn = this.#buffer(e.buffer, 1) !== e.buffer;
    if (!isOwn && stride === undefined) return L.gather(e.buffer, this.#pack(e.index));
    const index = (j: number): Expr => this.#one(e.index, j);
    const at = (j: number): Expr => L.load(this.#buffer(e.buffer, j), index(j), 1, 1);
    if (!isOwn && stride === 0) return L.splat(at(0), jamWidth);
    if (!isOwn && stride === 1 && dtypes[e.buffer.dtype].bits % 8 === 0)
      return L.load(e.buffer, index(0), jamWidth, 1);
    return L.build(copies.map(at));
  }

  /** A vector as it is in iteration `j`. */
  #many(e: Expr, j: number): Expr {
    let out = this.#split[j]!.get(e);
    if (!out) {
      out = this.#manyNew(e, j);
      this.#split[j]!.set(e, out);
    }
    return out;
  }

  #manyNew(e: Expr, j: number): Expr {
    const x = (a: Expr): Expr => this.#many(a, j);
    switch (e.kind) {
      case 'const':
      case 'lanes':
        return e;
      case 'var': {
        const k = this.#known.get(e.var.id);
        if (k?.kind === 'again') return this.#many(k.value, j);
        return k?.kind === 'split' ? L.variable(k.vars[j]!) : e;
      }
      case 'splat':
        return L.splat(this.#one(e.a, j), e.type.lanes);
      case 'build':
        return L.build(e.parts.map((p) => this.#one(p, j)));
      case 'load':
        return L.load(this.#buffer(e.buffer, j), this.#one(e.index, j), e.type.lanes, e.align);
      case 'gather':
        return L.gather(this.#buffer(e.buffer, j), x(e.index));
      case 'binary':
        return L.binary(e.op, x(e.a), x(e.b));
      case 'compare':
        return L.compare(e.op, x(e.a), x(e.b));
      case 'dot':
        return L.dot(x(e.a), x(e.b));
      case 'select':
        return L.select(x(e.c), x(e.a), x(e.b));
      case 'unary':
      case 'convert':
      case 'bits':
      case 'round':
      case 'encode':
      case 'decode':
      case 'fold':
      case 'rank':
      case 'within':
      case 'bounded':
        return { ...e, a: x(e.a) };
      case 'nearest':
        return L.nearest(e.buffer, x(e.a), x(e.unit));
      case 'muladd':
        return L.mulAdd(x(e.a), x(e.b), x(e.c));
      case 'dim':
      case 'extract':
      case 'reduce':
      case 'peak':
      case 'dot4':
      case 'zip':
      case 'repeat':
      case 'tile':
        throw new Refusal(`a vector ${e.kind}`);
    }
  }
}
