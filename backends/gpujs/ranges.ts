// Which whole numbers an expression may be. Everything is a float in a shader, whose whole numbers are exact within 24
// bits: integer arithmetic that provably stays there is done in floats, and anything else is refused.
import { dtypes } from '../../compiler/ir/dtype.ts';
import { nested } from '../../compiler/loops/walk.ts';
import type { Expr, Stmt } from '../../compiler/loops/loops.ts';

export type Range = readonly [min: number, max: number];

/** Whole numbers up to here are exact in f32. */
export const exactLimit = 2 ** 24;
const exact: Range = [-exactLimit, exactLimit];
const natural: Range = [0, exactLimit];
export const wide: Range = [-(2 ** 31), 2 ** 32 - 1];

const within = ([min, max]: Range, limit: number): boolean => min >= -limit && max <= limit;
/** Whether all whole numbers of a range are exact. */
export const isExact = (r: Range): boolean => within(r, exactLimit);

export class Ranges {
  /** What variables that are bound once stand for, and the range of the others. */
  readonly #defined = new Map<number, Expr>();
  readonly #locals = new Map<number, Range>();
  readonly #loops = new Set<number>();
  readonly #known = new Map<Expr, Range>();

  constructor(body: readonly Stmt[]) {
    const sets: { readonly id: number; readonly value: Expr }[] = [];
    const visit = (s: Stmt): void => {
      if (s.kind === 'let') this.#defined.set(s.var.id, s.value);
      if (s.kind === 'local' || s.kind === 'set') {
        sets.push({ id: s.var.id, value: s.value });
        this.#locals.set(s.var.id, exact);
      }
      if (s.kind === 'for') this.#loops.add(s.var.id);
      for (const list of nested(s)) list.forEach(visit);
    };
    body.forEach(visit);
    // Assumed exact, a variable is so if all that it is set to is; a start such as the largest integer is not.
    const over = sets.filter((s) => s.value.type.scalar !== 'f32' && !isExact(this.of(s.value)));
    for (const { id } of over) this.#locals.set(id, wide);
    this.#known.clear();
  }

  /**
   * A place in a tensor, or what is computed of such places and of sizes: the device sees to it that no tensor has more
   * elements than are exact.
   */
  isPlace(e: Expr): boolean {
    switch (e.kind) {
      case 'dim':
        return true;
      case 'const':
        return Math.abs(e.value) <= exactLimit;
      case 'var': {
        const value = this.#defined.get(e.var.id);
        return value ? this.isPlace(value) : this.#loops.has(e.var.id);
      }
      case 'binary': {
        const [a, b] = [this.isPlace(e.a), this.isPlace(e.b)];
        // What is forced into a tensor: max(0, min(anything, size - 1)).
        const inner = [e.a, e.b].find((x) => x.kind === 'binary' && x.op === 'min');
        const forced = e.op === 'max' && (isZero(e.a) || isZero(e.b)) && inner;
        if (forced && inner.kind === 'binary')
          return this.isPlace(inner.a) || this.isPlace(inner.b);
        const simple = ['add', 'sub', 'mul', 'div', 'rem', 'min', 'max'].includes(e.op);
        return a && b && (simple || (e.op === 'shr' && e.b.kind === 'const'));
      }
      default:
        return false;
    }
  }

  /** Whether all values of an expression are exact: multiples of 2^k may be that much larger. */
  isExact(e: Expr): boolean {
    return within(this.of(e), exactLimit * this.#step(e));
  }

  /** A power of two of which all values are multiples. */
  #step(e: Expr): number {
    switch (e.kind) {
      case 'const': {
        const low = e.value & -e.value;
        return Number.isInteger(e.value) ? (e.value === 0 ? 2 ** 31 : Math.abs(low)) : 1;
      }
      case 'var': {
        const value = this.#defined.get(e.var.id);
        return value ? this.#step(value) : 1;
      }
      case 'select':
        return Math.min(this.#step(e.a), this.#step(e.b));
      case 'bits':
        return e.a.type.scalar === 'f32' ? 1 : this.#step(e.a);
      case 'binary': {
        if (e.op === 'shl') return e.b.kind === 'const' ? this.#step(e.a) * 2 ** e.b.value : 1;
        const [a, b] = [this.#step(e.a), this.#step(e.b)];
        if (e.op === 'mul') return a * b;
        return ['add', 'sub', 'or', 'xor', 'min', 'max'].includes(e.op) ? Math.min(a, b) : 1;
      }
      default:
        return 1;
    }
  }

  /** Inclusive bounds of an integer or bool. */
  of(e: Expr): Range {
    let r = this.#known.get(e);
    if (!r) {
      r = this.#range(e);
      this.#known.set(e, r);
    }
    return r;
  }

  #range(e: Expr): Range {
    if (e.type.scalar === 'bool') return [0, 1];
    switch (e.kind) {
      case 'const':
        return [e.value, e.value];
      case 'dim':
        return natural;
      case 'var': {
        const value = this.#defined.get(e.var.id);
        return value ? this.of(value) : (this.#locals.get(e.var.id) ?? natural);
      }
      case 'load': {
        const { range, data, dtype } = e.buffer;
        const { kind, bits, min, max } = dtypes[dtype];
        if (range) return range;
        if (data?.length) return [Math.min(...data), Math.max(...data)];
        return bits < 32 ? [min!, max!] : kind === 'uint' ? natural : exact;
      }
      case 'select':
        return union(this.of(e.a), this.of(e.b));
      case 'convert':
        return this.#converted(e.a, e.type.scalar);
      case 'bits':
        return e.a.type.scalar === 'f32' ? wide : this.of(e.a);
      case 'unary':
        return this.#unary(e.op, this.of(e.a));
      case 'binary':
        return this.#binary(e, this.of(e.a), this.of(e.b));
      default:
        return wide;
    }
  }

  #converted(a: Expr, to: Expr['type']['scalar']): Range {
    if (a.type.scalar !== 'f32') return this.of(a);
    const all: Range = to === 'u32' ? [0, 2 ** 32 - 1] : [-(2 ** 31), 2 ** 31 - 1];
    const [min, max] = this.#float(a);
    // NaN gives 0.
    return [Math.min(0, Math.max(all[0], Math.ceil(min))), Math.max(0, Math.min(all[1], max))];
  }

  /** Bounds of a float, as far as clamps give them. */
  #float(e: Expr): Range {
    const open: Range = [-Infinity, Infinity];
    switch (e.kind) {
      case 'const':
        return [e.value, e.value];
      case 'var': {
        const value = this.#defined.get(e.var.id);
        return value ? this.#float(value) : open;
      }
      case 'convert':
        return e.a.type.scalar === 'f32' ? this.#float(e.a) : this.of(e.a);
      case 'select':
        return union(this.#float(e.a), this.#float(e.b));
      case 'unary': {
        const [lo, hi] = this.#float(e.a);
        return e.op === 'neg'
          ? [-hi, -lo]
          : rounding.has(e.op)
            ? [Math.floor(lo), Math.ceil(hi)]
            : open;
      }
      case 'binary': {
        const [a, b] = [this.#float(e.a), this.#float(e.b)];
        if (e.op === 'min') return [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
        if (e.op === 'max') return [Math.max(a[0], b[0]), Math.max(a[1], b[1])];
        return open;
      }
      default:
        return open;
    }
  }

  #unary(op: string, [lo, hi]: Range): Range {
    if (op === 'neg') return [-hi, -lo];
    if (op === 'abs') return [lo <= 0 && hi >= 0 ? 0 : Math.min(-hi, lo), Math.max(-lo, hi)];
    if (op === 'not') return [-hi - 1, -lo - 1];
    if (op === 'sign') return [-1, 1];
    if (op === 'exponent') return [-150, 128];
    return rounding.has(op) ? [lo, hi] : wide;
  }

  #binary(e: Expr & { readonly kind: 'binary' }, a: Range, b: Range): Range {
    if (this.isPlace(e)) return natural;
    const hull = (...all: readonly number[]): Range => [Math.min(...all), Math.max(...all)];
    switch (e.op) {
      case 'add':
        return [a[0] + b[0], a[1] + b[1]];
      case 'sub':
        return [a[0] - b[1], a[1] - b[0]];
      case 'mul':
        return hull(a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]);
      case 'div':
      case 'rem': {
        const most = Math.max(-a[0], a[1]);
        const top = e.op === 'rem' ? Math.min(most, Math.max(-b[0], b[1])) : most;
        return [a[0] >= 0 && (e.op === 'rem' || b[0] >= 0) ? 0 : -top, top];
      }
      case 'min':
        return [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
      case 'max':
        return [Math.max(a[0], b[0]), Math.max(a[1], b[1])];
      case 'and': {
        const tops = [a, b].filter(([lo]) => lo >= 0).map(([, hi]) => hi);
        return tops.length ? [0, Math.min(...tops)] : hull(...a, ...b);
      }
      case 'or':
      case 'xor': {
        const top = 2 ** Math.ceil(Math.log2(Math.max(a[1], b[1], 0) + 1)) - 1;
        return a[0] >= 0 && b[0] >= 0 ? [0, top] : wide;
      }
      case 'shl':
        if (b[0] < 0 || b[1] > 31) return wide;
        return hull(a[0] * 2 ** b[0], a[0] * 2 ** b[1], a[1] * 2 ** b[0], a[1] * 2 ** b[1]);
      case 'shr':
        if (b[0] < 0 || b[1] > 31) return wide;
        if (e.b.kind !== 'const') return [Math.min(0, a[0]), Math.max(0, a[1])];
        // Up and down again: a number cut to its low bits, with their sign.
        if (e.a.kind === 'binary' && e.a.op === 'shl' && e.a.b.kind === 'const')
          if (e.a.b.value === e.b.value)
            return [-(2 ** (31 - e.b.value)), 2 ** (31 - e.b.value) - 1];
        return [Math.floor(a[0] / 2 ** e.b.value), Math.floor(a[1] / 2 ** e.b.value)];
      default:
        return wide;
    }
  }
}

const isZero = (e: Expr): boolean => e.kind === 'const' && e.value === 0;
const union = (a: Range, b: Range): Range => [Math.min(a[0], b[0]), Math.max(a[1], b[1])];
const rounding: ReadonlySet<string> = new Set([
  'floor',
  'ceil',
  'trunc',
  'round',
  'roundHalfAway',
  'roundHalfUp',
]);
