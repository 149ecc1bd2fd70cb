// Loops that follow one another over the same elements, as the steps of a search do: one loop instead, so that what one of them
// stores and the next one reads stays in a register, and what both read is read once. Statements in between move out of the
// way where nothing forbids it. Stores that nothing reads any more are left out.
import { dtypes, scalarOf } from '../ir/dtype.ts';
import type { Buffer, Expr, Stmt, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { effectsOf, type ForLoop } from '../loops/parallel.ts';
import { intRange } from '../loops/ranges.ts';
import { withOperands } from '../loops/rewrite.ts';
import { Copy, type NewVar } from './copies.ts';
import { isLookup } from './vector-widths.ts';
import { clash, type Touched, touchedBy } from './touched.ts';

/** Vector registers that sums and what a loop does not change may take. */
const mostRegisters = 14;
/** Statements of a body. */
const mostStatements = 64;

/** The statements with loops merged; buffers that `isOwn` says of hold nothing beyond them. */
export function mergeLoops(
  list: readonly Stmt[],
  isOwn: (b: Buffer) => boolean,
  newVar: NewVar,
): readonly Stmt[] {
  const merge = new Merge(newVar);
  const made = merge.list(list);
  return merge.isChanged ? withoutUnused(made, isOwn) : list;
}

type Simple = Extract<Stmt, { kind: 'comment' | 'let' | 'set' | 'store' }>;
const isSimple = (s: Stmt): s is Simple =>
  s.kind === 'comment' || s.kind === 'let' || s.kind === 'set' || s.kind === 'store';

class Merge {
  readonly #newVar: NewVar;
  readonly #names = new Names();
  isChanged = false;

  constructor(newVar: NewVar) {
    this.#newVar = newVar;
  }

  list(list: readonly Stmt[]): Stmt[] {
    let out: Placed[] = [];
    for (const s of list) {
      if (s.kind === 'if') {
        out.push(placed({ ...s, then: this.list(s.then), else: this.list(s.else) }));
        continue;
      }
      if (s.kind !== 'for') {
        out.push(placed(s));
        continue;
      }
      const loop = placed({ ...s, body: this.list(s.body) });
      out = this.#into(out, loop) ?? [...out, loop];
    }
    return out.map((p) => p.s);
  }

  /** The statements with a loop that follows them taken into one of them. */
  #into(before: readonly Placed[], next: Placed): Placed[] | undefined {
    const loop = next.s as ForLoop;
    if (!loop.body.every(isSimple)) return undefined;
    for (let at = before.length - 1; at >= 0; at -= 1) {
      const to = before[at]!;
      if (to.s.kind !== 'for' || !this.#sameHeader(to.s, loop) || !to.s.body.every(isSimple))
        continue;
      const between = before.slice(at + 1);
      const early: Placed[] = [];
      const late: Placed[] = [];
      for (const p of between.toReversed()) {
        const isWanted = [next, ...early].some((e) => clash(p.touched, e.touched));
        (isWanted ? early : late).unshift(p);
      }
      const order = new Map(between.map((p, i) => [p, i] as const));
      const free = early.every(
        (e) =>
          !clash(to.touched, e.touched) &&
          late.every((l) => order.get(l)! > order.get(e)! || !clash(l.touched, e.touched)),
      );
      if (!free || !canMerge(to, next)) continue;
      const body = this.#merged(to.s, loop);
      if (body.length > mostStatements || registersOf(body) > mostRegisters) continue;
      this.isChanged = true;
      return [...before.slice(0, at), ...early, placed({ ...to.s, body }), ...late];
    }
    return undefined;
  }

  #sameHeader(a: ForLoop, b: ForLoop): boolean {
    const isPlain = !a.parallel && !b.parallel && !a.on && !b.on;
    const same = (x: Expr, y: Expr): boolean => this.#names.of(x) === this.#names.of(y);
    return isPlain && a.step === b.step && same(a.start, b.start) && same(a.end, b.end);
  }

  #merged(first: ForLoop, second: ForLoop): Stmt[] {
    const copy = new Copy(this.#newVar, new Map([[second.var.id, L.variable(first.var)]]));
    copy.list(second.body);
    return new Shared(this.#newVar).list([...first.body, ...copy.out] as Simple[]);
  }
}

interface Placed {
  readonly s: Stmt;
  readonly touched: Touched;
}
const placed = (s: Stmt): Placed => ({ s, touched: touchedBy(s) });

// ---- what an iteration touches ----

interface Access {
  readonly place: Place | undefined;
  readonly lanes: number;
  readonly isWrite: boolean;
}
/** `times` the variable of the loop, a constant, and what the loop does not change. */
interface Place {
  readonly times: number;
  readonly offset: number;
  readonly rest: string;
}

/** Whether no iteration of the second loop touches what another iteration of the first does, one of them changing it. */
function canMerge(first: Placed, second: Placed): boolean {
  const [a, b] = [first.s as ForLoop, second.s as ForLoop];
  if (isScalar(a) && isScalar(b) && hasSet(a) !== hasSet(b)) return false;
  if (isScalar(a) !== isScalar(b)) return false;
  // Elements from anywhere arrive late: those of one step after another would be waited for one after the other.
  if (gathers(a) && gathers(b)) return false;
  const [p, q] = [first.touched, second.touched];
  for (const v of p.effects.sets) if (q.uses.has(v) || q.effects.sets.has(v)) return false;
  for (const v of q.effects.sets) if (p.uses.has(v)) return false;
  const [x, y] = [accessesOf(a), accessesOf(b)];
  for (const [id, of] of x) {
    const all = [...of, ...(y.get(id) ?? [])];
    if (!y.has(id) || !all.some((k) => k.isWrite)) continue;
    const places = all.map((k) => k.place);
    const one = places[0];
    if (!one || places.some((k) => k?.times !== one.times || k.rest !== one.rest)) return false;
    const from = Math.min(...places.map((k) => k!.offset));
    const to = Math.max(...all.map((k) => k.place!.offset + k.lanes));
    if (to - from > Math.abs(one.times) * a.step) return false;
  }
  return true;
}

const isScalar = (s: ForLoop): boolean =>
  s.body.every((x) => !('value' in x) || x.value.type.lanes === 1);
const gathers = (s: ForLoop): boolean =>
  s.body.some((x) => 'value' in x && reads(x.value, (e) => e.kind === 'gather' && !isLookup(e)));
const hasSet = (s: ForLoop): boolean => s.body.some((x) => x.kind === 'set');

function accessesOf(loop: ForLoop): Map<number, Access[]> {
  const out = new Map<number, Access[]>();
  const lets = new Map<number, Expr>();
  for (const s of loop.body) if (s.kind === 'let') lets.set(s.var.id, s.value);
  const add = (b: Buffer, access: Access): void => {
    out.set(b.id, [...(out.get(b.id) ?? []), access]);
  };
  const at = (index: Expr): Place | undefined => placeOf(index, loop.var, lets);
  const seen = new Set<Expr>();
  const expr = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    if (e.kind === 'load')
      add(e.buffer, { place: at(e.index), lanes: e.type.lanes, isWrite: false });
    if (e.kind === 'gather') add(e.buffer, { place: undefined, lanes: 0, isWrite: false });
    L.operands(e).forEach(expr);
  };
  for (const s of loop.body) {
    if (s.kind === 'comment' || !('value' in s)) continue;
    expr(s.value);
    if (s.kind !== 'store') continue;
    expr(s.index);
    add(s.buffer, { place: at(s.index), lanes: s.value.type.lanes, isWrite: true });
  }
  return out;
}

function placeOf(e: Expr, counter: Var, lets: ReadonlyMap<number, Expr>): Place | undefined {
  const of = (x: Expr): Place | undefined => placeOf(x, counter, lets);
  if (e.kind === 'const') return { times: 0, offset: e.value, rest: '' };
  if (e.kind === 'var') {
    if (e.var.id === counter.id) return { times: 1, offset: 0, rest: '' };
    const to = lets.get(e.var.id);
    return to ? of(to) : { times: 0, offset: 0, rest: `v${e.var.id}` };
  }
  if (e.kind === 'dim') return { times: 0, offset: 0, rest: e.name };
  if (e.kind !== 'binary') return undefined;
  const [a, b] = [of(e.a), of(e.b)];
  if (!a || !b) return undefined;
  const scaled = (by: number): Place => ({
    times: a.times * by,
    offset: a.offset * by,
    rest: a.rest && by !== 1 ? `(${a.rest})*${by}` : a.rest,
  });
  const known = b.times === 0 && b.rest === '' ? b.offset : undefined;
  switch (e.op) {
    case 'add':
      return {
        times: a.times + b.times,
        offset: a.offset + b.offset,
        rest: [a.rest, b.rest].filter((r) => r).join('+'),
      };
    case 'mul':
      return known === undefined ? undefined : scaled(known);
    case 'shl':
      return known === undefined ? undefined : scaled(2 ** known);
    default:
      return undefined;
  }
}

/** Registers that are in use throughout a loop: what it sets, and vectors from outside. */
function registersOf(body: readonly Stmt[]): number {
  const inside = effectsOf(body).declares;
  const kept = new Map<number, number>();
  const seen = new Set<Expr>();
  const expr = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    if (e.kind === 'var' && !inside.has(e.var.id)) kept.set(e.var.id, e.type.lanes);
    L.operands(e).forEach(expr);
  };
  for (const s of body) {
    if (s.kind === 'set') kept.set(s.var.id, s.var.type.lanes);
    if ('value' in s) expr(s.value);
  }
  return [...kept.values()].reduce((sum, n) => sum + (n === 1 ? 0 : Math.ceil(n / 4)), 0);
}

// ---- one body ----

/** Names what is computed twice once, and takes what was just stored from where it was computed. */
class Shared {
  readonly #newVar: NewVar;
  readonly #names = new Names();
  readonly #known = new Map<number, Expr>();
  readonly #lets = new Map<number, Expr>();
  readonly #instead = new Map<number, Expr>();
  /** What lies at places of memory, by buffer and place. */
  readonly #stored = new Map<number, Map<string, Expr>>();
  #sets: ReadonlySet<number> = new Set();

  constructor(newVar: NewVar) {
    this.#newVar = newVar;
  }

  list(body: readonly Simple[]): Stmt[] {
    this.#sets = effectsOf(body).sets;
    const out: Simple[] = [];
    for (const s of body) {
      if (s.kind === 'comment') continue;
      const value = this.#expr(s.value);
      if (s.kind === 'let') {
        const known = this.#known.get(this.#names.of(value));
        if (known || value.kind === 'var') {
          this.#instead.set(s.var.id, known ?? value);
          continue;
        }
        this.#define(s.var, value);
        out.push({ ...s, value });
      } else if (s.kind === 'set') out.push({ ...s, value });
      else {
        const index = this.#expr(s.index);
        const kept = this.#named(value, s.buffer, out);
        this.#forget(s.buffer);
        if (keeps(s.buffer, kept, this.#lets))
          this.#stored.set(
            s.buffer.id,
            new Map([[`${this.#names.of(index)}:${kept.type.lanes}`, kept]]),
          );
        out.push({ ...s, index, value: kept });
      }
    }
    return storesLast(out);
  }

  #define(v: Var, value: Expr): void {
    this.#lets.set(v.id, value);
    if (!reads(value, (e) => e.kind === 'var' && this.#sets.has(e.var.id)))
      this.#known.set(this.#names.of(value), L.variable(v));
  }

  /** A stored value under a name. */
  #named(value: Expr, b: Buffer, out: Simple[]): Expr {
    if (value.kind === 'var' || value.kind === 'const') return value;
    const v = this.#newVar(b.name, value.type);
    out.push({ kind: 'let', var: v, value });
    this.#define(v, value);
    return L.variable(v);
  }

  #forget(b: Buffer): void {
    this.#stored.delete(b.id);
    for (const [text, v] of this.#known) {
      const value = this.#lets.get((v as L.ExprOf<'var'>).var.id)!;
      if (reads(value, (e) => 'buffer' in e && e.buffer.id === b.id)) this.#known.delete(text);
    }
  }

  #expr(e: Expr): Expr {
    if (e.kind === 'var') return this.#instead.get(e.var.id) ?? e;
    const x = withOperands(e, (a) => this.#expr(a));
    if (x.kind !== 'load') return x;
    return this.#stored.get(x.buffer.id)?.get(`${this.#names.of(x.index)}:${x.type.lanes}`) ?? x;
  }
}

/** Whether reading memory again gives what was written. */
function keeps(b: Buffer, value: Expr, lets: ReadonlyMap<number, Expr>): boolean {
  const { bits, kind, min, max } = dtypes[b.dtype];
  if (value.type.scalar !== scalarOf(b.dtype)) return false;
  if (bits === 32) return true;
  if (kind === 'float' || value.type.scalar === 'bool') return false;
  const [lo, hi] = intRange(value, (v) => lets.get(v.id));
  return lo >= min! && hi <= max!;
}

function reads(e: Expr, is: (e: Expr) => boolean, seen = new Set<Expr>()): boolean {
  if (seen.has(e)) return false;
  seen.add(e);
  return is(e) || L.operands(e).some((o) => reads(o, is, seen));
}

/** Stores behind everything else, where nothing in between reads or writes what they write. */
function storesLast(body: readonly Simple[]): Simple[] {
  const late: Simple[] = [];
  const out: Simple[] = [];
  const { sets } = effectsOf(body);
  body.forEach((s, i) => {
    const rest = body.slice(i + 1);
    const isFree =
      s.kind === 'store' &&
      rest.every(
        (r) =>
          r.kind === 'comment' ||
          (!(r.kind === 'store' && r.buffer.id === s.buffer.id) &&
            !reads(r.value, (e) => 'buffer' in e && e.buffer.id === s.buffer.id)),
      ) &&
      [s.value, s.index].every(
        (x) => !reads(x, (e) => e.kind === 'load' || (e.kind === 'var' && sets.has(e.var.id))),
      );
    (isFree ? late : out).push(s);
  });
  return [...out, ...late];
}

/** Numbers for expressions: the same for those that compute the same. Parts that are shared are looked at once. */
class Names {
  readonly #known = new Map<string, number>();
  readonly #of = new Map<Expr, number>();

  of(e: Expr): number {
    let made = this.#of.get(e);
    if (made === undefined) {
      const text = this.#textOf(e);
      made = this.#known.get(text) ?? this.#known.size;
      this.#known.set(text, made);
      this.#of.set(e, made);
    }
    return made;
  }

  #textOf(e: Expr): string {
    const { lanes, scalar } = e.type;
    const inner = L.operands(e).map((o) => this.of(o));
    const own = Object.entries(e)
      .filter(([key, v]) => key !== 'kind' && typeof v !== 'object')
      .map(([key, v]) => `${key}=${Object.is(v, -0) ? '-0' : v}`);
    const what = 'var' in e ? e.var.id : 'buffer' in e ? `${e.buffer.id} ${e.buffer.dtype}` : '';
    return [e.kind, scalar, lanes, what, ...own, ...inner].join(' ');
  }
}

// ---- what is left ----

/** Without stores to memory that is never read, and names that nobody uses. */
function withoutUnused(list: readonly Stmt[], isOwn: (b: Buffer) => boolean): readonly Stmt[] {
  const { reads: read } = effectsOf(list);
  const used = new Set<number>();
  const seen = new Set<Expr>();
  const use = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    if (e.kind === 'var') used.add(e.var.id);
    L.operands(e).forEach(use);
  };
  let changed = false;
  const isLeft = (s: Stmt): boolean =>
    s.kind === 'store'
      ? read.has(s.buffer.id) || !isOwn(s.buffer)
      : s.kind !== 'let' || used.has(s.var.id);
  const keep = (stmts: readonly Stmt[]): Stmt[] => {
    const out: Stmt[] = [];
    for (const s of stmts.toReversed()) {
      if (!isLeft(s)) {
        changed = true;
        continue;
      }
      out.push(nestedIn(s));
    }
    return out.reverse();
  };
  const nestedIn = (s: Stmt): Stmt => {
    switch (s.kind) {
      case 'for': {
        const body = keep(s.body);
        use(s.start);
        use(s.end);
        return { ...s, body };
      }
      case 'if': {
        const [then, no] = [keep(s.then), keep(s.else)];
        use(s.cond);
        return { ...s, then, else: no };
      }
      case 'while': {
        const body = keep(s.body);
        use(s.cond);
        return { ...s, body, header: keep(s.header) };
      }
      case 'store':
        use(s.index);
        break;
    }
    if ('value' in s) use(s.value);
    return s;
  };
  const made = keep(list);
  return changed ? withoutUnused(made, isOwn) : made;
}
