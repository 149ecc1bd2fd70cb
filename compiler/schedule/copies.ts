// Statements once more, with variables of their own: for schedules that run the same statements in several places.
import type { Expr, Stmt, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { withOperands } from '../loops/rewrite.ts';

/** Makes variables: see Emitter. */
export type NewVar = (name: string, type: L.VType) => Var;

/** Statements again, with variables of their own. */
export class Copy {
  readonly out: Stmt[] = [];
  readonly #newVar: NewVar;
  readonly #known: Map<number, Expr>;
  readonly #seen: ((v: Var) => void) | undefined;
  #made = new Map<Expr, Expr>();

  constructor(newVar: NewVar, known: ReadonlyMap<number, Expr>, seen?: (v: Var) => void) {
    this.#newVar = newVar;
    this.#known = new Map(known);
    this.#seen = seen;
  }

  /** What stands for a variable of the original. */
  of(v: Var): Expr {
    this.#seen?.(v);
    return this.#known.get(v.id) ?? L.variable(v);
  }

  #fresh(v: Var): Var {
    const made = this.#newVar(v.name, v.type);
    this.#known.set(v.id, L.variable(made));
    return made;
  }

  list(list: readonly Stmt[]): void {
    for (const s of list) this.out.push(this.#stmt(s));
  }
  #inner(list: readonly Stmt[]): Stmt[] {
    const copy = new Copy(this.#newVar, this.#known, this.#seen);
    copy.list(list);
    return copy.out;
  }

  #stmt(s: Stmt): Stmt {
    this.#made = new Map();
    const x = (e: Expr): Expr => this.#expr(e);
    switch (s.kind) {
      case 'comment':
      case 'barrier':
      case 'arrive':
        return s;
      case 'let':
      case 'local':
      case 'pack':
      case 'combine': {
        const value = x(s.value);
        return { ...s, value, var: this.#fresh(s.var) };
      }
      case 'set':
        return { ...s, value: x(s.value), var: this.#place(s.var) };
      case 'product':
        return { ...s, a: [x(s.a[0]), x(s.a[1])], b: x(s.b), var: this.#place(s.var) };
      case 'copy':
        return { ...s, at: x(s.at), index: x(s.index), ...(s.valid ? { valid: x(s.valid) } : {}) };
      case 'store':
        return { ...s, index: x(s.index), value: x(s.value) };
      case 'for': {
        const [start, end] = [x(s.start), x(s.end)];
        return { ...s, start, end, var: this.#fresh(s.var), body: this.#inner(s.body) };
      }
      case 'while': {
        // Its header declares what its condition and its body read.
        const copy = new Copy(this.#newVar, this.#known, this.#seen);
        copy.list(s.header);
        const cond = copy.#expr(s.cond);
        return { ...s, header: copy.out, cond, body: copy.#inner(s.body) };
      }
      case 'if':
        return { ...s, cond: x(s.cond), then: this.#inner(s.then), else: this.#inner(s.else) };
    }
  }

  /** The variable that stands for one that is assigned. */
  #place(v: Var): Var {
    const e = this.of(v);
    return e.kind === 'var' ? e.var : v;
  }

  /** What is shared stays shared. */
  #expr(e: Expr): Expr {
    let made = this.#made.get(e);
    if (!made) {
      made = this.#copied(e);
      this.#made.set(e, made);
    }
    return made;
  }

  #copied(e: Expr): Expr {
    const x = (a: Expr): Expr => this.#expr(a);
    return e.kind === 'var' ? this.of(e.var) : withOperands(e, x);
  }
}
