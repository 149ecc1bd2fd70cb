// Where statements go: a stack of open scopes (one a loop or branch), bindings that are hoisted to the
// outermost scope that has everything they need, and symbolic indices as expressions.

import type { Dim } from '../ir/algebra.ts';
import { type Atom, floorDiv, Poly } from '../ir/algebra.ts';
import { type DType, dtypes } from '../ir/dtype.ts';
import type { Buffer, Expr, Stmt, Var, VType } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { QuotientDims } from './dims.ts';

export interface Scope {
  readonly stmts: Stmt[];
  readonly memo: Map<string, Expr>;
}

/** State to return to after a trial emission. */
interface Mark {
  readonly lengths: readonly number[];
  readonly memos: readonly Map<string, Expr>[];
  readonly buffers: number;
  readonly nextId: number;
}

export class Emitter {
  readonly buffers: Buffer[] = [];
  scopes: Scope[] = [{ stmts: [], memo: new Map() }];
  /** Scope in which a variable (or the contents of a buffer) is last set: its users cannot be hoisted above. */
  readonly varDepth = new Map<number, number>();
  readonly bufferDepth = new Map<number, number>();
  /** Extents of the loops whose iterations are divided among threads, by variable. */
  readonly extents = new Map<number, Dim>();
  /** Told of each temp that is made, while a kernel for a GPU is: its threads share it or not. */
  onTemp: ((b: Buffer) => void) | undefined = undefined;
  readonly #atoms = new Map<string, Var>();
  readonly #exprs = new Map<string, Expr>();
  #trials = 0;
  readonly #steps = new Map<string, { readonly var: Var; readonly step: number }>();
  readonly #quotients: QuotientDims;
  readonly #defined = new Map<number, Expr>();
  /** What {@link index} made a variable of. */
  readonly #polys = new Map<number, Poly>();
  #nextId = 0;

  /** What a name given by {@link bind} stands for. */
  readonly definition = (v: Var): Expr | undefined => this.#defined.get(v.id);

  constructor(quotients: QuotientDims = new Map()) {
    this.#quotients = quotients;
  }

  get depth(): number {
    return this.scopes.length - 1;
  }

  push(s: Stmt): void {
    this.scopes.at(-1)!.stmts.push(s);
  }

  newVar(name: string, type: VType, depth = this.depth): Var {
    const v: Var = { id: this.#nextId++, name, type };
    this.varDepth.set(v.id, depth);
    // Numbers are used again after a trial.
    this.#defined.delete(v.id);
    this.#polys.delete(v.id);
    return v;
  }

  newBuffer(
    name: string,
    dtype: DType,
    role: Buffer['role'],
    size: Dim,
    data?: readonly number[],
  ): Buffer {
    const b: Buffer = { id: this.#nextId++, name, dtype, role, size, ...(data ? { data } : {}) };
    this.buffers.push(b);
    this.bufferDepth.set(b.id, role === 'temp' ? this.depth : 0);
    if (role === 'temp') this.onTemp?.(b);
    return b;
  }

  /** An index atom for an i32 variable, scalar or one value a lane. */
  atom(v: Var, extent?: Dim): Atom {
    const a: Atom = { key: `${v.name}#${v.id}`, kind: 'var', ...(extent ? { extent } : {}) };
    this.#atoms.set(a.key, v);
    return a;
  }
  /** An index atom for floor(v / step), where v is a loop variable that moves by `step`. */
  counter(v: Var, step: number, extent?: Dim): Atom {
    const a: Atom = {
      key: `${v.name}#${v.id}/${step}`,
      kind: 'var',
      ...(extent ? { extent } : {}),
    };
    this.#steps.set(a.key, { var: v, step });
    return a;
  }
  varOf(a: Atom): Var | undefined {
    const e = this.#exprs.get(a.key);
    if (!e || this.#atoms.has(a.key)) return this.#atoms.get(a.key);
    const v = (this.bind(e, 'ids') as L.ExprOf<'var'>).var;
    this.#atoms.set(a.key, v);
    return v;
  }
  isVector(a: Atom): boolean {
    return this.#exprs.has(a.key) || (this.#atoms.get(a.key)?.type.lanes ?? 1) > 1;
  }

  /**
   * An index atom for a vector of indices that is left where it is used, so that a target sees what the indices
   * of a gather are made of. It gets a name only when one lane of it is wanted.
   */
  vectorAtom(e: Expr, extent: Dim): Atom {
    const a: Atom = { key: `ids#${this.#nextId++}`, kind: 'var', extent };
    this.#exprs.set(a.key, e);
    // Numbers are used again after a trial, where the vector may have got a name.
    this.#atoms.delete(a.key);
    return a;
  }
  vectorOf(a: Atom): Expr {
    return this.#exprs.get(a.key) ?? L.variable(this.varOf(a)!);
  }

  /** Runs `body` in a new scope and returns its statements. */
  scope(body: () => void): Stmt[] {
    const s: Scope = { stmts: [], memo: new Map() };
    this.scopes.push(s);
    try {
      body();
      return s.stmts;
    } finally {
      this.scopes.pop();
    }
  }

  /** Runs `body` as if the scopes below `depth` were closed: its statements precede the loops now open. */
  atDepth<T>(depth: number, body: () => T): T {
    const inner = this.scopes.splice(depth + 1);
    try {
      return body();
    } finally {
      this.scopes.push(...inner);
    }
  }

  /** Whether what is emitted now will be thrown away. */
  get inTrial(): boolean {
    return this.#trials > 0;
  }

  /** Emits without keeping anything: to compare the cost of alternatives. */
  trial<T>(body: (stmts: () => Stmt[]) => T): T {
    const mark: Mark = {
      lengths: this.scopes.map((s) => s.stmts.length),
      memos: this.scopes.map((s) => new Map(s.memo)),
      buffers: this.buffers.length,
      nextId: this.#nextId,
    };
    this.#trials += 1;
    try {
      return body(() => this.scopes.flatMap((s, i) => s.stmts.slice(mark.lengths[i])));
    } finally {
      this.#trials -= 1;
      this.scopes.forEach((s, i) => {
        s.stmts.length = mark.lengths[i]!;
        s.memo.clear();
        for (const [k, e] of mark.memos[i]!) s.memo.set(k, e);
      });
      this.buffers.length = mark.buffers;
      this.#nextId = mark.nextId;
    }
  }

  /**
   * Emits something for what is learned of it: of its statements only names of indices stay, which what it gives may refer
   * to.
   */
  glance<T>(body: () => T): T {
    const lengths = this.scopes.map((s) => s.stmts.length);
    const memos = this.scopes.map((s) => new Map(s.memo));
    const result = body();
    const gone = new Set<number>();
    const isThere = (e: Expr): boolean =>
      !(e.kind === 'var' && gone.has(e.var.id)) && L.operands(e).every(isThere);
    const stays = (s: Stmt): boolean =>
      s.kind === 'let' && s.var.type.scalar === 'i32' && s.var.type.lanes === 1 && isThere(s.value);
    this.scopes.forEach((scope, i) => {
      for (const s of scope.stmts.splice(lengths[i]!)) {
        if (stays(s)) scope.stmts.push(s);
        else if ('var' in s) gone.add(s.var.id);
      }
    });
    this.scopes.forEach((scope, i) => {
      for (const [key, e] of scope.memo)
        if (!memos[i]!.has(key) && !isThere(e)) scope.memo.delete(key);
    });
    return result;
  }

  depthOf(e: Expr): number {
    let d = 0;
    if (e.kind === 'var') d = this.varDepth.get(e.var.id) ?? 0;
    if (e.kind === 'load' || e.kind === 'gather') d = this.bufferDepth.get(e.buffer.id) ?? 0;
    for (const o of L.operands(e)) d = Math.max(d, this.depthOf(o));
    return d;
  }

  polyDepth(p: Poly): number {
    let d = 0;
    for (const a of p.leaves()) {
      const v = this.#atoms.get(a.key) ?? this.#steps.get(a.key)?.var;
      const e = this.#exprs.get(a.key);
      d = Math.max(d, v ? (this.varDepth.get(v.id) ?? 0) : 0, e ? this.depthOf(e) : 0);
    }
    return d;
  }

  /** A name for an expression, in the outermost scope that can hold it. */
  bind(e: Expr, name: string): Expr {
    if (e.kind === 'var' || e.kind === 'const' || e.kind === 'dim') return e;
    if (e.kind === 'splat' && (e.a.kind === 'var' || e.a.kind === 'dim')) return e;
    const depth = Math.min(this.depthOf(e), this.depth);
    const v = this.newVar(name, e.type, depth);
    this.scopes[depth]!.stmts.push({ kind: 'let', var: v, value: e });
    this.#defined.set(v.id, e);
    return L.variable(v);
  }

  recall(key: string): Expr | undefined {
    for (let i = this.scopes.length - 1; i >= 0; i -= 1) {
      const e = this.scopes[i]!.memo.get(key);
      if (e) return e;
    }
    return undefined;
  }
  remember(key: string, e: Expr): Expr {
    this.scopes[Math.min(this.depthOf(e), this.depth)]!.memo.set(key, e);
    return e;
  }

  /** A scalar symbolic integer as i32; sums are cut so that outer parts are computed in outer scopes. */
  index(p: Poly): Expr {
    const c = p.constant;
    if (c !== undefined) return L.i32(c);
    const key = `poly ${p}`;
    const known = this.recall(key);
    if (known) return known;
    const offset = p.terms.get('')?.d === 1 ? p.terms.get('')!.n : 0;
    if (offset !== 0) return L.binary('add', this.index(p.sub(offset)), L.i32(offset));
    const byDepth = new Map<number, Poly>();
    for (const t of p.terms.values()) {
      const term = Poly.from([t]);
      const d = this.polyDepth(term);
      byDepth.set(d, (byDepth.get(d) ?? Poly.of(0)).add(term));
    }
    let sum: Expr | undefined;
    let outer = Poly.of(0);
    for (const d of [...byDepth.keys()].sort((x, y) => x - y)) {
      const own = byDepth.get(d)!;
      outer = outer.add(own);
      const known = this.recall(`poly ${outer}`);
      sum =
        known ??
        this.remember(
          `poly ${outer}`,
          this.bind(sum ? L.binary('add', sum, this.#part(own)) : this.#part(own), 'i'),
        );
      if (sum.kind === 'var') this.#polys.set(sum.var.id, outer);
    }
    return sum!;
  }

  /** The symbolic integer that an index was made of. */
  polyOf(e: Expr): Poly | undefined {
    if (e.kind === 'const') return Poly.of(e.value);
    if (e.kind === 'var') return this.#polys.get(e.var.id);
    if (e.kind !== 'binary' || e.op !== 'add' || e.b.kind !== 'const') return undefined;
    return this.polyOf(e.a)?.add(e.b.value);
  }

  /** Terms of one depth. Rational coefficients share one exact division at the end. */
  #part(p: Poly): Expr {
    const key = `part ${p}`;
    const known = this.recall(key);
    if (known) return known;
    const den = [...p.terms.values()].reduce((d, t) => (t.d / gcd(d, t.d)) * d, 1);
    let sum: Expr | undefined;
    for (const t of p.mul(den).terms.values()) {
      let e: Expr | undefined;
      let n = t.n / t.d;
      for (const a of t.atoms) {
        // step * floor(v / step) is v itself, for a variable that moves by whole steps.
        const s = this.#steps.get(a.key);
        const whole = s && n % s.step === 0;
        if (whole) n /= s.step;
        const x = whole ? L.variable(s.var) : this.#atomExpr(a);
        e = e ? L.binary('mul', e, x) : x;
      }
      e = e ? L.binary('mul', e, L.i32(n)) : L.i32(n);
      sum = sum ? L.binary('add', sum, e) : e;
    }
    return this.remember(
      key,
      den === 1 ? sum! : this.bind(this.quotient(this.bind(sum!, 'i'), L.i32(den)), 'i'),
    );
  }

  #atomExpr(a: Atom): Expr {
    if (a.kind === 'dim') {
      const q = this.#quotients.get(a.key);
      if (!q) return L.dimExpr(a.key);
      return (
        this.recall(a.key) ??
        this.remember(
          a.key,
          this.bind(this.quotient(L.dimExpr(q.dim), L.i32(q.divisor)), a.key.replace(/\W+/g, '_')),
        )
      );
    }
    if (a.kind === 'div') {
      const key = `atom ${a.key}`;
      return (
        this.recall(key) ??
        this.remember(key, this.bind(this.quotient(this.index(a.num!), this.index(a.den!)), 'i'))
      );
    }
    const s = this.#steps.get(a.key);
    if (s) {
      const key = `atom ${a.key}`;
      return (
        this.recall(key) ??
        this.remember(
          key,
          this.bind(this.quotient(L.variable(s.var), L.i32(s.step)), `${s.var.name}b`),
        )
      );
    }
    const v = this.#atoms.get(a.key);
    if (!v) throw new Error(`index ${a.key} is not bound`);
    return L.variable(v);
  }

  /** A scalar integer expression as an index. */
  asIndex(e: Expr, extent?: Dim): Poly {
    const x = this.bind(e, 'i');
    if (x.kind === 'const') return Poly.of(x.value);
    if (x.kind === 'dim') return Poly.dim(x.name);
    if (x.kind !== 'var') throw new Error('an index is not bound');
    return Poly.atom(this.atom(x.var, extent));
  }

  /** floor(a / b) of non-negative integers. */
  quotient(a: Expr, b: Expr): Expr {
    const shift = b.kind === 'const' ? Math.log2(b.value) : Number.NaN;
    return Number.isInteger(shift) ? L.binary('shr', a, L.i32(shift)) : L.binary('div', a, b);
  }
}

const gcd = (a: number, b: number): number => (b === 0 ? Math.abs(a) : gcd(b, a % b));

/** Row-major strides of a stored tensor, in elements; rows of sub-byte types are padded to 8. */
export function strides(dtype: DType, shape: readonly Dim[]): Dim[] {
  const out: Dim[] = [];
  let step = Poly.of(1);
  for (let i = shape.length - 1; i >= 0; i -= 1) {
    out.unshift(step);
    step = step.mul(i === shape.length - 1 ? paddedRow(dtype, shape[i]!) : shape[i]!);
  }
  return out;
}

export function paddedRow(dtype: DType, n: Dim): Dim {
  if (dtypes[dtype].bits % 8 === 0 || n.multiple() % 8 === 0) return n;
  const c = n.constant;
  return c !== undefined ? Poly.of(Math.ceil(c / 8) * 8) : floorDiv(n.add(7), 8).mul(8);
}

/** Elements of a stored tensor, padding included. */
export const storedSize = (dtype: DType, shape: readonly Dim[]): Dim =>
  shape.length === 0
    ? paddedRow(dtype, Poly.of(1))
    : shape.slice(0, -1).reduce((p, d) => p.mul(d), paddedRow(dtype, shape.at(-1)!));
