// An estimate of what the shared loops of a program cost, as a polynomial in the dims: operations on vectors of
// four lanes times trips. Rough by design: it only decides whether a call is worth waking other threads for.
import { floorDiv, Poly } from '../ir/algebra.ts';
import { type Expr, operands, type Program, type Stmt } from './loops.ts';
import { splitLoops } from './parallel.ts';

/** Trips of a loop whose count depends on data. */
const unknownTrips = 16;

export function sharedWork(program: Program): Poly {
  return program.kernels.reduce((sum, k) => sum.add(new Estimate(k.body).shared()), Poly.of(0));
}

class Estimate {
  readonly #lets = new Map<number, Expr>();
  readonly #loops: readonly Stmt[];

  constructor(body: readonly Stmt[]) {
    this.#loops = splitLoops(body);
    this.#note(body);
  }

  #note(list: readonly Stmt[]): void {
    for (const s of list) {
      if (s.kind === 'let') this.#lets.set(s.var.id, s.value);
      else if (s.kind === 'for') {
        // Bounds of inner loops: the first iteration stands for all.
        this.#lets.set(s.var.id, s.start);
        this.#note(s.body);
      } else if (s.kind === 'if') {
        this.#note(s.then);
        this.#note(s.else);
      }
    }
  }

  shared(): Poly {
    return this.#list(this.#loops);
  }

  #list(list: readonly Stmt[]): Poly {
    return list.reduce((sum, s) => sum.add(this.#stmt(s)), Poly.of(0));
  }

  #stmt(s: Stmt): Poly {
    switch (s.kind) {
      case 'for': {
        const start = this.#poly(s.start);
        const end = this.#poly(s.end);
        const span = start && end ? end.sub(start) : Poly.of(unknownTrips * s.step);
        return this.#list(s.body).mul(span.over(s.step) ?? floorDiv(span, s.step));
      }
      case 'while':
        return this.#list([...s.header, ...s.body]).mul(unknownTrips);
      case 'if':
        return this.#list([...s.then, ...s.else]);
      case 'store':
        return Poly.of(1 + nodes(s.value));
      case 'let':
      case 'local':
      case 'set':
        return Poly.of(nodes(s.value));
      default:
        return Poly.of(0);
    }
  }

  /** A scalar integer as far as it follows from dims; shifts and divisions without their rounding. */
  #poly(e: Expr): Poly | undefined {
    if (e.kind === 'const') return Poly.of(e.value);
    if (e.kind === 'dim') return Poly.dim(e.name);
    if (e.kind === 'var') {
      const value = this.#lets.get(e.var.id);
      return value && this.#poly(value);
    }
    if (e.kind !== 'binary') return undefined;
    const [a, b] = [this.#poly(e.a), this.#poly(e.b)];
    // The length of a piece, all of which but the last are as long as they may be.
    if (e.op === 'min') return a && b ? (b.constant === undefined ? a : b) : (a ?? b);
    if (!a || !b) return undefined;
    switch (e.op) {
      case 'add':
        return a.add(b);
      case 'sub':
        return a.sub(b);
      case 'mul':
        return a.mul(b);
      case 'div':
        return a.over(b) ?? floorDiv(a, b);
      case 'shr':
        return b.constant === undefined ? undefined : a.over(2 ** b.constant);
      default:
        return undefined;
    }
  }
}

/** Operations on vectors of four lanes; what goes lane by lane counts as often. */
function nodes(e: Expr): number {
  const seen = new Set<Expr>();
  const visit = (x: Expr): number => {
    if (seen.has(x) || x.kind === 'var' || x.kind === 'const' || x.kind === 'dim') return 0;
    seen.add(x);
    const each = x.kind === 'gather' ? x.type.lanes : Math.ceil(x.type.lanes / 4);
    return operands(x).reduce((n, o) => n + visit(o), each);
  };
  return visit(e);
}
