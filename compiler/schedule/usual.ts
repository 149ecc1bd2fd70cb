// The usual case of an iteration: what it stores at its end is computed from elements of a block whose largest magnitude it
// has found, so that ranges are known (sizes.ts), and with them bounds need not be enforced and NaN not be minded. The end of
// the iteration is there twice, for blocks of which that holds and for all others; one test an iteration chooses.
import type { Buffer, Expr, Stmt, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { withOperands } from '../loops/rewrite.ts';
import { Copy } from './copies.ts';
import { cutOf } from './overlap.ts';
import { limitsBetween, eachLimitBetweenProducts, mostUnits } from './nearest.ts';
import { type Interval, Sizes } from './sizes.ts';

export interface Usual {
  /** What is computed in any case. */
  readonly head: readonly Stmt[];
  readonly isUsual: Expr;
  readonly usual: readonly Stmt[];
  readonly general: readonly Stmt[];
}

/** Makes variables and tables: see Emitter. */
export interface Fresh {
  readonly variable: (name: string, type: L.VType) => Var;
  readonly table: (like: Buffer, data: readonly number[]) => Buffer;
  /** Scratch for so many f32. */
  readonly scratch: (name: string, size: number) => Buffer;
}

/** The two forms of an iteration, where they differ. */
export function usualCase(body: readonly Stmt[], fresh: Fresh): Usual | undefined {
  const cut = cutOf(body);
  const [head, tail] = [body.slice(0, cut), body.slice(cut)];
  const sizes = new Sizes(head);
  const usual = new Shorter(sizes, fresh);
  const made = usual.list(tail);
  if (!usual.isShorter || !made || sizes.used.size === 0) return undefined;
  const general = new Copy(fresh.variable, new Map());
  general.list(tail);
  return {
    head,
    isUsual: sizes.isUsual(),
    usual: [...usual.first, ...made],
    general: general.out,
  };
}

/** The iteration as statements. */
export function chosen({ head, isUsual, usual, general }: Usual, fresh: Fresh): Stmt[] {
  const v = fresh.variable('usual', isUsual.type);
  const test: Stmt = { kind: 'let', var: v, value: isUsual };
  return [...head, test, { kind: 'if', cond: L.variable(v), then: usual, else: general }];
}

/** Numbers that rounding by halves takes: twice of them fits 16 bits. */
const mostHalves = 2 ** 14 - 1;
/** Numbers that become integers of 32 bits whatever way they are cut. */
const mostWhole = 2 ** 30;
/** Entries of tables that products may be scaled with, and what they then fit: 16 bits. */
const [leastEntry, mostWord] = [2 ** -100, 32766];

class Shorter {
  readonly #sizes: Sizes;
  readonly #fresh: Fresh;
  readonly #made = new Map<Expr, Expr>();
  readonly #limits = new Map<string, (lane: number) => readonly Expr[]>();
  isShorter = false;
  /** What is computed in front of the tail. */
  readonly first: Stmt[] = [];

  constructor(sizes: Sizes, fresh: Fresh) {
    this.#sizes = sizes;
    this.#fresh = fresh;
  }

  /** Statements of a tail, or nothing where there are others than loops, names and stores. */
  list(list: readonly Stmt[]): Stmt[] | undefined {
    const out: Stmt[] = [];
    for (const s of list) {
      switch (s.kind) {
        case 'comment':
          break;
        case 'let':
          this.#sizes.define(s.var, s.value);
          out.push({ ...s, value: this.#expr(s.value) });
          break;
        case 'store':
          out.push({ ...s, value: this.#expr(s.value) });
          break;
        case 'for': {
          if (s.start.kind !== 'const' || s.end.kind !== 'const') return undefined;
          const last = s.end.value - s.step;
          this.#sizes.range(s.var, s.start.value, Math.max(last, s.start.value));
          const body = this.list(s.body);
          if (!body) return undefined;
          out.push({ ...s, body });
          break;
        }
        default:
          return undefined;
      }
    }
    return out;
  }

  #expr(e: Expr): Expr {
    let made = this.#made.get(e);
    if (!made) {
      made = this.#shorter(e) ?? withOperands(e, (x) => this.#expr(x));
      this.#made.set(e, made);
    }
    return made;
  }

  #shorter(e: Expr): Expr | undefined {
    if (e.type.lanes <= 4) return undefined;
    if (e.kind === 'rank') return this.#rank(e);
    if (e.kind === 'nearest') return this.#nearest(e);
    if (e.kind !== 'convert' || e.type.scalar !== 'i32' || e.a.type.scalar !== 'f32')
      return undefined;
    const a = this.#unbounded(e.a);
    const range = this.#sizes.interval(a);
    if (!range || Math.max(-range[0], range[1]) > mostWhole) return undefined;
    this.isShorter = true;
    return this.#halves(a) ?? L.convert(this.#marked(a), 'i32');
  }

  /** A value without bounds on it that it keeps anyway. */
  #unbounded(e: Expr): Expr {
    if (e.kind !== 'binary' || (e.op !== 'min' && e.op !== 'max')) return e;
    const a = this.#unbounded(e.a);
    const range = this.#sizes.interval(a);
    if (!range || e.b.kind !== 'const') return e;
    if (e.op === 'min' ? range[1] <= e.b.value : range[0] >= e.b.value) return a;
    return a === e.a ? e : L.binary(e.op, a, e.b);
  }

  /** The value with its range, below bounds that are still to be enforced. */
  #marked(e: Expr): Expr {
    if (e.kind === 'binary' && (e.op === 'min' || e.op === 'max') && e.b.kind === 'const')
      return L.binary(e.op, this.#marked(e.a), e.b);
    return this.#within(e, this.#sizes.interval(e)!);
  }

  #within(e: Expr, [lo, hi]: Interval): Expr {
    return e.kind === 'within' ? e : L.within(e, lo, hi);
  }

  /**
   * Half away from zero: of 2x, cut to t, the magnitude (|t| + 1) / 2 without its fraction. With the shift, which rounds
   * down, that is (t + 1) >> 1 from zero on and t >> 1 below. Small integers, which fit words of 16 bits.
   */
  #halves(e: Expr): Expr | undefined {
    if (e.kind !== 'unary' || e.op !== 'roundHalfAway') return undefined;
    const range = this.#sizes.interval(e.a);
    if (!range || Math.max(-range[0], range[1]) > mostHalves) return undefined;
    const { lanes } = e.type;
    const whole = (n: number): Expr => L.constant(n, 'i32', lanes);
    const t = L.convert(this.#within(this.#times(e.a, 2), [2 * range[0], 2 * range[1]]), 'i32');
    const isPositive = L.convert(L.compare('gt', t, whole(-1)), 'i32');
    return L.binary('shr', L.binary('add', t, isPositive), whole(1));
  }

  /** A product with a power of two, which goes to a factor that is the same in all lanes: exact, but for subnormals. */
  #times(e: Expr, by: number): Expr {
    if (e.kind === 'binary' && e.op === 'mul')
      for (const [factor, other] of [
        [e.b, e.a],
        [e.a, e.b],
      ] as const)
        if (factor.kind === 'splat') {
          const scaled = scale(factor.a, by);
          return L.binary('mul', other, L.splat(scaled, e.type.lanes));
        }
    return L.binary('mul', e, L.constant(by, e.type.scalar, e.type.lanes));
  }

  /** Value and table by a power of two, for which whole numbers of 16 bits tell most values from the entries. */
  #rank(e: L.ExprOf<'rank'>): Expr | undefined {
    const range = this.#sizes.interval(e.a);
    const table = e.buffer.data!.map(Math.fround);
    if (!range || !table.every((t) => Math.abs(t) >= leastEntry)) return undefined;
    const most = table.reduce((a, t) => Math.max(a, Math.abs(t)), 0);
    const by = 2 ** Math.floor(Math.log2(mostWord / most));
    const scaled: Interval = [range[0] * by, range[1] * by];
    if (!(Math.max(-scaled[0], scaled[1]) < mostWhole)) return undefined;
    this.isShorter = true;
    const buffer =
      by === 1
        ? e.buffer
        : this.#fresh.table(
            e.buffer,
            table.map((t) => t * by),
          );
    const a = this.#times(e.a, by);
    return L.rank(buffer, this.#within(a, scaled), e.strict);
  }

  /** The nearest of some entries, by counting the limits between them that a value exceeds: see nearest.ts. */
  #nearest(e: L.ExprOf<'nearest'>): Expr | undefined {
    const entries = e.buffer.data!.map(Math.fround);
    const most = mostUnits(entries);
    if (most === undefined) return undefined;
    if (e.unit.kind === 'const' && e.unit.value === 1) {
      const range = this.#sizes.interval(e.a);
      if (!range || Math.max(-range[0], range[1]) > most) return undefined;
      this.isShorter = true;
      const limits = this.#fresh.table({ ...e.buffer, dtype: 'f32' }, limitsBetween(entries));
      const ranked = L.rank(limits, this.#expr(e.a), true) as L.ExprOf<'rank'>;
      return this.#rank(ranked) ?? ranked;
    }
    if (e.unit.kind !== 'splat') return undefined;
    const { a: unit } = e.unit;
    const [from, lane] = unit.kind === 'extract' ? [unit.a, unit.lane] : [unit, 0];
    if (from.kind !== 'var' || !this.#sizes.isBelow(e.a, from, lane, most)) return undefined;
    this.isShorter = true;
    const { lanes } = e.type;
    const a = this.#expr(e.a);
    return this.#limitsOf(
      e.buffer,
      entries,
      from,
    )(lane).reduce<Expr>(
      (count, limit) => {
        const isBeyond = L.compare('gt', a, L.splat(limit, lanes));
        return L.binary('add', count, L.convert(isBeyond, 'i32'));
      },
      L.constant(0, 'i32', lanes),
    );
  }

  /**
   * The limits between entries times a unit, of each of its lanes. Those of several lanes wait in memory: as vectors they
   * would fill half of the registers, and a lane of memory is as soon in all lanes as one of a register.
   */
  #limitsOf(
    buffer: Buffer,
    entries: readonly number[],
    unit: L.ExprOf<'var'>,
  ): (lane: number) => readonly Expr[] {
    const key = `${buffer.id} ${unit.var.id}`;
    const known = this.#limits.get(key);
    if (known) return known;
    const named = (name: string, value: Expr): Expr => {
      const v = this.#fresh.variable(name, value.type);
      this.first.push({ kind: 'let', var: v, value });
      return L.variable(v);
    };
    const { lanes } = unit.type;
    const count = entries.length - 1;
    const names: Expr[] = [];
    const memory = lanes > 1 && this.#fresh.scratch(`${buffer.name}_limits`, count * lanes);
    eachLimitBetweenProducts(entries, unit, named, (value, i) => {
      if (memory) this.first.push(storeAt(memory, i * lanes, value));
      else names.push(named('limit', value));
    });
    const made = (lane: number): readonly Expr[] =>
      memory
        ? Array.from({ length: count }, (_, i) => L.load(memory, L.i32(i * lanes + lane), 1, 1))
        : names;
    this.#limits.set(key, made);
    return made;
  }
}

const storeAt = (buffer: Buffer, at: number, value: Expr): Stmt => ({
  kind: 'store',
  buffer,
  index: L.i32(at),
  value,
  align: value.type.lanes,
});

/** A scalar by a power of two; where it is one of four, all of them are. */
function scale(e: Expr, by: number): Expr {
  const times = (a: Expr): Expr => L.binary('mul', a, L.constant(by, 'f32', a.type.lanes));
  return e.kind === 'extract' ? L.extract(times(e.a), e.lane) : times(e);
}
