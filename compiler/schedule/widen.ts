// Loops of iterations that run together (jam.ts) over scratch that holds an element of each side by side: four elements at a
// time are one vector of sixteen lanes, and what an iteration has once is repeated in it. Ranks and look-ups in small tables
// take sixteen lanes at once.
import type { Expr, Stmt, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { ForLoop } from '../loops/parallel.ts';
import type { NewVar } from './copies.ts';

const width = 4;
const lanes = 4 * width;

/** The loop with a quarter of the iterations; undefined where one of them has more than elements of such scratch to do. */
export function widened(
  loop: ForLoop,
  isWoven: (buffer: number) => boolean,
  newVar: NewVar,
): ForLoop | undefined {
  const { start, end, step, body } = loop;
  if (start.kind !== 'const' || end.kind !== 'const' || step !== 1 || start.value !== 0)
    return undefined;
  if (end.value % width !== 0) return undefined;
  const made = new Widen(loop.var, isWoven, newVar).list(body);
  return made && { ...loop, step: width, body: made };
}

class Widen {
  readonly #counter: Var;
  readonly #isWoven: (buffer: number) => boolean;
  readonly #newVar: NewVar;
  /** How scalars of the body move from one iteration to the next. */
  readonly #strides = new Map<number, number>();
  readonly #wide = new Map<number, Expr>();
  #uses: ReadonlyMap<number, number> = new Map();
  /** Scratch that the loop writes and reads. */
  readonly #written = new Set<number>();
  readonly #read = new Set<number>();
  #made = new Map<Expr, Expr | undefined>();

  constructor(counter: Var, isWoven: (buffer: number) => boolean, newVar: NewVar) {
    this.#counter = counter;
    this.#isWoven = isWoven;
    this.#newVar = newVar;
    this.#strides.set(counter.id, 1);
  }

  list(body: readonly Stmt[]): Stmt[] | undefined {
    this.#uses = usesOf(body);
    const out: Stmt[] = [];
    for (const s of body) {
      const made = this.#stmt(s);
      if (!made) return undefined;
      if (made !== 'later') out.push(made);
    }
    return this.#written.size > 0 ? out : undefined;
  }

  /** The statement on sixteen lanes, or that its value is made where it is used. */
  #stmt(s: Stmt): Stmt | 'later' | undefined {
    this.#made = new Map();
    if (s.kind === 'comment') return s;
    if (s.kind === 'let' && s.value.type.lanes === 1) {
      const stride = this.#strideOf(s.value);
      if (stride === undefined) return undefined;
      this.#strides.set(s.var.id, stride);
      return s;
    }
    if (s.kind === 'let') {
      const value = this.#expr(s.value);
      if (!value) return undefined;
      // One expression, so that a target sees what is looked up in a table.
      if (this.#uses.get(s.var.id) === 1) {
        this.#wide.set(s.var.id, value);
        return 'later';
      }
      const v = this.#newVar(s.var.name, value.type);
      this.#wide.set(s.var.id, L.variable(v));
      return { ...s, var: v, value };
    }
    if (s.kind !== 'store' || s.value.type.lanes !== width || !this.#isWoven(s.buffer.id))
      return undefined;
    // What is written must not be read, but for the same elements before.
    if (this.#strideOf(s.index) !== width || this.#written.has(s.buffer.id)) return undefined;
    const value = this.#expr(s.value);
    if (!value || this.#read.has(s.buffer.id)) return undefined;
    this.#written.add(s.buffer.id);
    return { ...s, value };
  }

  /** By how much an i32 scalar grows with an iteration. */
  #strideOf(e: Expr): number | undefined {
    if (e.type.scalar !== 'i32' || e.type.lanes !== 1) return undefined;
    switch (e.kind) {
      case 'const':
      case 'dim':
        return 0;
      case 'var':
        return this.#strides.get(e.var.id) ?? 0;
      case 'binary': {
        const [a, b] = [this.#strideOf(e.a), this.#strideOf(e.b)];
        if (a === undefined || b === undefined) return undefined;
        if (e.op === 'add') return a + b;
        if (e.op === 'sub') return a - b;
        if (e.op === 'mul' && e.b.kind === 'const') return a * e.b.value;
        return a === 0 && b === 0 ? 0 : undefined;
      }
      default:
        return undefined;
    }
  }

  /** A scalar `by` iterations on: an index that moves, or something that does not. */
  #later(e: Expr, by: number): Expr | undefined {
    const stride = this.#strideOf(e);
    if (stride !== undefined) return L.binary('add', e, L.i32(stride * by));
    if (e.kind !== 'load' || this.#isWoven(e.buffer.id)) return undefined;
    const index = this.#later(e.index, by);
    return index && L.load(e.buffer, index, 1, 1);
  }

  #expr(e: Expr): Expr | undefined {
    if (!this.#made.has(e)) this.#made.set(e, this.#wider(e));
    return this.#made.get(e);
  }

  #wider(e: Expr): Expr | undefined {
    if (e.type.lanes !== width) return undefined;
    switch (e.kind) {
      case 'const':
        return L.constant(e.value, e.type.scalar, lanes);
      case 'var': {
        return this.#wide.get(e.var.id) ?? L.tile(e, lanes);
      }
      case 'splat':
        return this.#isFixed(e.a) ? L.splat(e.a, lanes) : undefined;
      case 'build': {
        const parts = [0, 1, 2, 3].flatMap((by) => e.parts.map((p) => this.#later(p, by)));
        return parts.every((p) => p !== undefined) ? L.build(parts) : undefined;
      }
      case 'load': {
        if (!this.#isWoven(e.buffer.id) || this.#strideOf(e.index) !== width) return undefined;
        if (this.#written.has(e.buffer.id)) return undefined;
        this.#read.add(e.buffer.id);
        return L.load(e.buffer, e.index, lanes, width);
      }
      case 'gather': {
        const index = e.buffer.role === 'const' ? this.#expr(e.index) : undefined;
        return index && L.gather(e.buffer, index);
      }
      case 'unary':
      case 'convert':
      case 'bits':
      case 'round':
      case 'rank':
      case 'within':
      case 'bounded': {
        const a = this.#expr(e.a);
        return a && { ...e, a, type: L.vtype(e.type.scalar, lanes) };
      }
      case 'binary':
      case 'compare': {
        const [a, b] = [this.#expr(e.a), this.#expr(e.b)];
        return a && b && { ...e, a, b, type: L.vtype(e.type.scalar, lanes) };
      }
      case 'nearest': {
        const [a, unit] = [this.#expr(e.a), this.#expr(e.unit)];
        return a && unit && L.nearest(e.buffer, a, unit);
      }
      case 'select': {
        const [c, a, b] = [this.#expr(e.c), this.#expr(e.a), this.#expr(e.b)];
        return c && a && b && L.select(c, a, b);
      }
      default:
        return undefined;
    }
  }

  /** A scalar of which nothing is made in the loop. */
  #isFixed(e: Expr): boolean {
    if (e.kind === 'var') return !this.#strides.has(e.var.id) && e.var.id !== this.#counter.id;
    return e.kind === 'const' || e.kind === 'dim';
  }
}

/** How often variables are read by lets and stores. */
function usesOf(body: readonly Stmt[]): Map<number, number> {
  const out = new Map<number, number>();
  const visit = (e: Expr): void => {
    if (e.kind === 'var') out.set(e.var.id, (out.get(e.var.id) ?? 0) + 1);
    L.operands(e).forEach(visit);
  };
  for (const s of body) {
    if (s.kind === 'let' || s.kind === 'store') visit(s.value);
    if (s.kind === 'store') visit(s.index);
  }
  return out;
}
