// How large the numbers of a block are, measured by the largest magnitude P of the block: an element is at most P, a scale
// P / 127 is 1/127 of it, and an element over the scale is at most 127, up to roundings. That holds where P is far from the
// ends of what an f32 can be: `isUsual`, which is also where nothing of the block is infinite or no number.
import type { Expr, Stmt, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { unaryMeaning } from '../ir/meaning.ts';
import { mostUnit } from './nearest.ts';

/** P lies from 2^-reach to 2^reach. */
const reach = 60;
/** Sizes that no rounding of f32 takes out of its normal numbers. */
const safe = 2 ** 120;
/** More than what an operation may be off by. */
const slack = 2 ** -22;

/** A magnitude from lo P^power to hi P^power, where P is lane `lane` of a variable, or the same lane of it. */
interface Size {
  readonly of?: { readonly id: number; readonly lane: number | 'same' };
  readonly power: number;
  readonly lo: number;
  readonly hi: number;
}
export type Interval = readonly [lo: number, hi: number];

/** A variable that holds the largest magnitudes of blocks, with or without their signs. */
interface Peak {
  readonly var: Var;
  /** What each lane is the peak of. */
  readonly blocks: readonly Block[];
}

/** The elements of a block: where they lie in memory that nothing writes, or a name for what is computed. */
type Block = L.ExprOf<'load'> | L.ExprOf<'var'>;

/** A sum of integers: multiples of variables, and a number. */
interface Linear {
  readonly terms: ReadonlyMap<number, number>;
  readonly offset: number;
}

const rounders: ReadonlySet<string> = new Set(['floor', 'ceil', 'trunc', 'round', 'roundHalfAway']);

export class Sizes {
  readonly #defined = new Map<number, Expr>();
  readonly #peaks: Peak[] = [];
  /** First and last value of the variables of loops. */
  readonly #loops = new Map<number, Interval>();
  readonly #known = new Map<Expr, Size | undefined>();
  /** Numbers for what is no variable: each is unlike all others. */
  #unknown = 0;
  /** Peaks that something was measured by. */
  readonly used = new Set<Var>();
  /** What else must hold, by what it is about. */
  readonly #demands = new Map<string, Expr>();
  /** What is known before the test. */
  readonly #early = new Set<number>();

  /** `list`: what is computed once an iteration, in order. */
  constructor(list: readonly Stmt[]) {
    for (const s of list) {
      if (s.kind !== 'let') continue;
      this.define(s.var, s.value);
      this.#early.add(s.var.id);
      const blocks = this.#peaksOf(s.value);
      if (blocks) this.#peaks.push({ var: s.var, blocks });
    }
  }

  define(v: Var, e: Expr): void {
    this.#defined.set(v.id, e);
  }
  /** A variable of a loop that runs from `first` to `last`. */
  range(v: Var, first: number, last: number): void {
    this.#loops.set(v.id, [first, last]);
  }

  /** A condition under which all that was said holds. */
  isUsual(): Expr {
    const lowest = (127 - reach) << 23;
    const tests = [...this.used].map((v) => {
      const { lanes } = v.type;
      const bits = L.bits(L.unary('abs', L.variable(v)), 'i32');
      const above = L.binary('sub', bits, L.constant(lowest, 'i32', lanes));
      const width = L.constant((2 * reach) << 23, 'u32', lanes);
      return L.compare('lt', L.bits(above, 'u32'), width);
    });
    const all = (lanes: number): Expr[] => {
      const same = [...tests, ...this.#demands.values()].filter((t) => t.type.lanes === lanes);
      return same.length === 0
        ? []
        : [
            L.reduce(
              'and',
              same.reduce((a, b) => L.binary('and', a, b)),
            ),
          ];
    };
    return [...all(4), ...all(1)].reduce((a, b) => L.binary('and', a, b));
  }

  /** Whether |e| is at most so many times a unit, a lane of a variable; that is part of the condition then. */
  isBelow(e: Expr, unit: L.ExprOf<'var'>, lane: number, times: number): boolean {
    const size = this.size(e);
    const peak = size?.of && this.#peaks.find((p) => p.var.id === size.of!.id);
    const { lanes } = unit.type;
    if (!size || !peak || size.power !== 1 || peak.var.type.lanes !== lanes) return false;
    if (lanes > 1 && size.of!.lane !== lane) return false;
    if (!this.#early.has(unit.var.id)) return false;
    const all = (x: number): Expr => L.constant(x, 'f32', lanes);
    const magnitude = L.unary('abs', L.variable(peak.var));
    const bound = L.binary('mul', unit, all(times / size.hi));
    const isLarge = L.compare('le', magnitude, bound);
    const isSmall = L.compare('le', unit, all(mostUnit));
    this.used.add(peak.var);
    this.#demands.set(`${peak.var.id} ${unit.var.id} ${times}`, L.binary('and', isLarge, isSmall));
    return true;
  }

  #resolve(e: Expr): Expr {
    const to = e.kind === 'var' ? this.#defined.get(e.var.id) : undefined;
    return to ? this.#resolve(to) : e;
  }

  // ---- which variables are peaks ----

  #peaksOf(e: Expr): readonly Block[] | undefined {
    if (e.type.scalar !== 'f32') return undefined;
    const inner = e.kind === 'bits' ? e.a : e;
    const parts = inner.kind === 'build' ? inner.parts : [inner];
    const blocks = parts.map((p) => this.#blockOf(p));
    return blocks.every((b) => b !== undefined) ? blocks : undefined;
  }

  #blockOf(e: Expr): Block | undefined {
    const elementsOf = (x: Expr): Block | undefined => {
      const from = this.#resolve(x);
      if (from.kind === 'load' && from.buffer.role === 'param') return from;
      return x.kind === 'var' ? { ...x, var: this.#end(x.var) } : undefined;
    };
    if (e.kind === 'peak') return elementsOf(e.a);
    if (e.kind !== 'reduce' || e.op !== 'max') return undefined;
    let x = this.#resolve(e.a);
    if (x.kind === 'fold' && x.op === 'max') x = this.#resolve(x.a);
    if (x.kind !== 'bits' || x.type.scalar !== 'i32' || x.a.type.scalar !== 'f32') return undefined;
    x = this.#resolve(x.a);
    return x.kind === 'unary' && x.op === 'abs' ? elementsOf(x.a) : undefined;
  }

  /** The peak of a block that some elements are part of. */
  #peakOver(e: Block): Size['of'] {
    const holds = (b: Block): boolean => {
      if (b.kind === 'load') return e.kind === 'load' && this.#covers(b, e);
      return e.kind === 'var' && b.var === this.#end(e.var);
    };
    for (const { var: v, blocks } of this.#peaks) {
      const i = blocks.findIndex(holds);
      if (i >= 0) return { id: v.id, lane: v.type.lanes === 1 ? 'same' : i };
    }
    return undefined;
  }

  #covers(block: L.ExprOf<'load'>, e: L.ExprOf<'load'>): boolean {
    if (block.buffer.id !== e.buffer.id) return false;
    const [a, b] = [this.#linear(block.index), this.#linear(e.index)];
    let [first, last] = [b.offset - a.offset, b.offset - a.offset];
    for (const id of new Set([...a.terms.keys(), ...b.terms.keys()])) {
      const times = (b.terms.get(id) ?? 0) - (a.terms.get(id) ?? 0);
      if (times === 0) continue;
      const range = this.#loops.get(id);
      if (!range || times < 0) return false;
      first += times * range[0];
      last += times * range[1];
    }
    return first >= 0 && last + e.type.lanes <= block.type.lanes;
  }

  #linear(e: Expr): Linear {
    const x = this.#resolve(e);
    if (x.kind === 'const') return { terms: new Map(), offset: x.value };
    if (x.kind === 'binary' && (x.op === 'add' || (x.op === 'mul' && x.b.kind === 'const'))) {
      const a = this.#linear(x.a);
      if (x.op === 'mul') {
        const by = (x.b as L.ExprOf<'const'>).value;
        const terms = new Map([...a.terms].map(([id, n]) => [id, n * by] as const));
        return { terms, offset: a.offset * by };
      }
      const b = this.#linear(x.b);
      const terms = new Map(a.terms);
      for (const [id, n] of b.terms) terms.set(id, (terms.get(id) ?? 0) + n);
      return { terms, offset: a.offset + b.offset };
    }
    const name = e.kind === 'var' ? this.#end(e.var).id : x.kind === 'var' ? x.var.id : undefined;
    this.#unknown -= 1;
    return { terms: new Map([[name ?? this.#unknown, 1]]), offset: 0 };
  }

  /** The variable at the end of a chain of names. */
  #end(v: Var): Var {
    const to = this.#defined.get(v.id);
    return to?.kind === 'var' ? this.#end(to.var) : v;
  }

  // ---- sizes ----

  size(e: Expr): Size | undefined {
    if (!this.#known.has(e)) this.#known.set(e, this.#sizeOf(e));
    return this.#known.get(e);
  }

  #sizeOf(e: Expr): Size | undefined {
    if (e.type.scalar !== 'f32') return undefined;
    switch (e.kind) {
      case 'const':
        return Number.isFinite(e.value) ? sized(undefined, 0, Math.abs(e.value)) : undefined;
      case 'var': {
        const { var: v } = e;
        if (this.#peaks.some((p) => p.var === v)) return sized({ id: v.id, lane: 'same' }, 1, 1);
        const of = this.#peakOver(e);
        if (of) return { of, power: 1, lo: 0, hi: 1 };
        const to = this.#defined.get(v.id);
        return to && this.size(to);
      }
      case 'load': {
        const of = this.#peakOver(e);
        return of && { of, power: 1, lo: 0, hi: 1 };
      }
      case 'splat':
        return this.size(e.a);
      case 'extract': {
        const a = this.size(e.a);
        return a?.of?.lane === 'same' ? { ...a, of: { ...a.of, lane: e.lane } } : a;
      }
      case 'unary':
        return e.op === 'abs' || e.op === 'neg' ? this.size(e.a) : undefined;
      case 'select': {
        const truth = this.#truth(e.c);
        return truth === undefined ? undefined : this.size(truth ? e.a : e.b);
      }
      case 'binary': {
        if (e.op !== 'mul' && e.op !== 'div') return undefined;
        const [a, b] = [this.size(e.a), this.size(e.b)];
        return a && b && this.#product(a, b, e.op === 'div');
      }
      default:
        return undefined;
    }
  }

  #product(a: Size, b: Size, divides: boolean): Size | undefined {
    const of = a.power === 0 ? b.of : a.of;
    if (a.power !== 0 && b.power !== 0 && (a.of!.id !== b.of!.id || a.of!.lane !== b.of!.lane))
      return undefined;
    if (divides && b.lo === 0) return undefined;
    const power = a.power + (divides ? -b.power : b.power);
    const lo = (divides ? a.lo / b.hi : a.lo * b.lo) * (1 - slack);
    const hi = (divides ? a.hi / b.lo : a.hi * b.hi) * (1 + slack);
    const far = 2 ** (reach * Math.abs(power));
    if (hi * far > safe || (lo > 0 && lo < far / safe)) return undefined;
    for (const x of [a, b]) this.#use(x);
    return { ...(of && power !== 0 ? { of } : {}), power, lo, hi };
  }

  #use(s: Size): void {
    const peak = s.of && this.#peaks.find((p) => p.var.id === s.of!.id);
    if (peak) this.used.add(peak.var);
  }

  /** Comparisons of something with 0 that it cannot be. */
  #truth(c: Expr): boolean | undefined {
    const e = this.#resolve(c);
    if (e.kind !== 'compare' || (e.op !== 'eq' && e.op !== 'ne')) return undefined;
    if (e.b.kind !== 'const' || e.b.value !== 0) return undefined;
    const size = this.size(e.a);
    if (!size || size.lo === 0) return undefined;
    this.#use(size);
    return e.op === 'ne';
  }

  /** Bounds of an f32 that is a number for certain. */
  interval(e: Expr): Interval | undefined {
    switch (e.kind) {
      case 'const':
        return Number.isFinite(e.value) ? [e.value, e.value] : undefined;
      case 'unary': {
        if (!rounders.has(e.op)) break;
        const a = this.interval(e.a);
        const round = unaryMeaning[e.op] as (x: number) => number;
        return a && [round(a[0]), round(a[1])];
      }
      case 'binary': {
        if (e.op === 'mul' || e.op === 'div') break;
        const [a, b] = [this.interval(e.a), this.interval(e.b)];
        if (!a || !b) return undefined;
        if (e.op === 'add') return [Math.fround(a[0] + b[0]), Math.fround(a[1] + b[1])];
        if (e.op === 'sub') return [Math.fround(a[0] - b[1]), Math.fround(a[1] - b[0])];
        if (e.op === 'min') return [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
        return e.op === 'max' ? [Math.max(a[0], b[0]), Math.max(a[1], b[1])] : undefined;
      }
    }
    const size = this.size(e);
    return size?.power === 0 ? [-size.hi, size.hi] : undefined;
  }
}

const sized = (of: Size['of'], power: number, value: number): Size => ({
  ...(of ? { of } : {}),
  power,
  lo: value,
  hi: value,
});
