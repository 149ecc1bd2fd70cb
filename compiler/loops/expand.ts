// Rewrites a program into the operations that a target has. Works statement by statement: a value that an
// expansion uses twice becomes a `let` in front of the statement, so nothing leaves the loop that it is in.
// Loads and stores of dtypes that the target lacks go through an alias: a buffer with the same id and
// an integer dtype of the same layout.
import type { DType } from '../ir/dtype.ts';
import { scalarOf } from '../ir/dtype.ts';
import {
  type Expansion,
  expansions,
  inVectors,
  type Native,
  type OpKey,
  storageRules,
} from './expansions.ts';
import {
  type Buffer,
  binary,
  bits,
  compare,
  constant,
  convert,
  decodeBits,
  dot,
  dot4,
  type Expr,
  encodeBits,
  extract,
  fold,
  gather,
  load,
  mulAdd,
  peak,
  type Program,
  rank,
  reduce,
  repeat,
  roundTo,
  type Stmt,
  select,
  splat,
  tile,
  unary,
  type Var,
  variable,
  within,
  zip,
} from './loops.ts';
import { nearestEntry } from './math/nearest.ts';
import { isPowerOfTwo, remPowerOfTwo } from './math/rounding.ts';
import { nested } from './walk.ts';

/** The table key of an expression, for those kinds that a table may rewrite. */
function keyOf(e: Expr): OpKey | undefined {
  switch (e.kind) {
    case 'unary':
      return `${e.op}.${e.a.type.scalar}`;
    case 'binary':
      return `${e.op}.${e.type.scalar}`;
    case 'round':
      return `grid.${e.dtype}`;
    case 'encode':
      return `encode.${e.dtype}`;
    case 'decode':
      return `decode.${e.dtype}`;
    default:
      return undefined;
  }
}

const isTrivial = (e: Expr): boolean => e.kind === 'var' || e.kind === 'const' || e.kind === 'dim';

class Expander {
  readonly #native: Native;
  #nextId: number;
  #lets: Stmt[] = [];
  #seen = new Map<Expr, Expr>();
  readonly #ranges = new WeakMap<Expr, readonly [number, number]>();
  readonly exactSums: boolean;

  constructor(native: Native, nextId: number) {
    this.#native = native;
    this.#nextId = nextId;
    this.exactSums = native.has('sums.f32');
  }

  range(operand: Expr): readonly [number, number] {
    return this.#ranges.get(operand) ?? [-Infinity, Infinity];
  }

  mulAdd(a: Expr, b: Expr, c: Expr): Expr {
    return this.#native.has('muladd.f32') ? mulAdd(a, b, c) : binary('add', binary('mul', a, b), c);
  }

  /** Makes a `let` of an expanded value, unless it is a name or a literal already. */
  bind(value: Expr): Expr {
    const e = this.#expr(value);
    if (isTrivial(e)) return e;
    const id = this.#nextId++;
    const v: Var = { id, name: `x${id}`, type: e.type };
    this.#lets.push({ kind: 'let', var: v, value: e });
    const use = variable(v);
    this.#seen.set(value, use);
    return use;
  }

  body(list: readonly Stmt[]): Stmt[] {
    const out: Stmt[] = [];
    for (const s of list) {
      const made = this.#stmt(s);
      out.push(...this.#takeLets(), ...made);
    }
    return out;
  }

  #takeLets(): Stmt[] {
    const lets = this.#lets;
    this.#lets = [];
    this.#seen.clear();
    return lets;
  }

  #stmt(s: Stmt): Stmt[] {
    switch (s.kind) {
      case 'comment':
      case 'barrier':
      case 'arrive':
      // Its operands are names.
      case 'product':
        return [s];
      // Bits that are copied as they are have nothing to be expanded.
      case 'pack':
        return [isCopy(s) ? s : { ...s, value: this.#expr(s.value) }];
      case 'copy':
        return [
          {
            ...s,
            at: this.#expr(s.at),
            index: this.#expr(s.index),
            ...(s.valid ? { valid: this.#expr(s.valid) } : {}),
          },
        ];
      case 'combine':
      case 'let':
      case 'local':
      case 'set':
        return [{ ...s, value: this.#expr(s.value) }];
      case 'store':
        return [this.#store(s)];
      case 'for': {
        const start = this.#expr(s.start);
        const end = this.#expr(s.end);
        const lets = this.#takeLets();
        return [...lets, { ...s, start, end, body: this.body(s.body) }];
      }
      case 'while': {
        const header = this.body(s.header);
        const cond = this.#expr(s.cond);
        return [{ ...s, header: [...header, ...this.#takeLets()], cond, body: this.body(s.body) }];
      }
      case 'if': {
        const cond = this.#expr(s.cond);
        const lets = this.#takeLets();
        return [...lets, { ...s, cond, then: this.body(s.then), else: this.body(s.else) }];
      }
    }
  }

  #store(s: Extract<Stmt, { kind: 'store' }>): Stmt {
    const index = this.#expr(s.index);
    const value = this.#expr(convert(s.value, scalarOf(s.buffer.dtype)));
    const rule = this.#storage('store', s.buffer.dtype);
    if (!rule) return { ...s, index, value };
    const stored = this.#expr(rule.beforeStore(this, value));
    return { ...s, buffer: alias(s.buffer, rule.as), index, value: stored };
  }

  #storage(side: 'load' | 'store', d: DType) {
    return this.#native.has(`${side}.${d}`) ? undefined : storageRules.get(d);
  }

  #expr(e: Expr): Expr {
    let out = this.#seen.get(e);
    if (!out) {
      out = this.#rewrite(e);
      this.#seen.set(e, out);
    }
    return out;
  }

  #rewrite(e: Expr): Expr {
    const x = (a: Expr): Expr => this.#expr(a);
    switch (e.kind) {
      case 'const':
      case 'lanes':
      case 'var':
      case 'dim':
        return e;
      case 'unary':
        return this.#apply(keep(e, [e.a], [x(e.a)], (a) => unary(e.op, a!)));
      case 'binary':
        return this.#apply(keep(e, [e.a, e.b], [x(e.a), x(e.b)], (a, b) => binary(e.op, a!, b!)));
      case 'round':
        return this.#apply(keep(e, [e.a], [x(e.a)], (a) => roundTo(e.dtype, a!)));
      case 'encode':
        return this.#apply(keep(e, [e.a], [x(e.a)], (a) => encodeBits(e.dtype, a!)));
      case 'decode':
        return this.#apply(keep(e, [e.a], [x(e.a)], (a) => decodeBits(e.dtype, a!)));
      case 'compare':
        return keep(e, [e.a, e.b], [x(e.a), x(e.b)], (a, b) => compare(e.op, a!, b!));
      case 'select':
        return keep(e, [e.c, e.a, e.b], [x(e.c), x(e.a), x(e.b)], (c, a, b) => select(c!, a!, b!));
      case 'convert':
        return keep(e, [e.a], [x(e.a)], (a) => convert(a!, e.type.scalar));
      case 'bits':
        return keep(e, [e.a], [x(e.a)], (a) => bits(a!, e.type.scalar));
      case 'splat':
        return keep(e, [e.a], [x(e.a)], (a) => splat(a!, e.type.lanes));
      case 'extract':
        return keep(e, [e.a], [x(e.a)], (a) => ({ ...e, a: a! }));
      case 'build':
        return { ...e, parts: e.parts.map(x) };
      case 'reduce':
        return keep(e, [e.a], [x(e.a)], (a) => reduce(e.op, a!));
      case 'fold':
        return keep(e, [e.a], [x(e.a)], (a) => fold(a!, e.op));
      case 'dot':
        return keep(e, [e.a, e.b], [x(e.a), x(e.b)], (a, b) => dot(a!, b!));
      case 'dot4':
        return keep(e, [e.a, e.b], [x(e.a), x(e.b)], (a, b) => dot4(a!, b!));
      case 'zip': {
        const { unit, from, type } = e;
        const make = (a?: Expr, b?: Expr): Expr => zip(a!, b!, unit, from, type.lanes);
        return keep(e, [e.a, e.b], [x(e.a), x(e.b)], make);
      }
      case 'muladd':
        return keep(e, [e.a, e.b, e.c], [x(e.a), x(e.b), x(e.c)], (a, b, c) => mulAdd(a!, b!, c!));
      case 'repeat':
        return keep(e, [e.a], [x(e.a)], (a) => repeat(a!, e.times));
      case 'tile':
        return keep(e, [e.a], [x(e.a)], (a) => tile(a!, e.type.lanes));
      case 'load':
        return this.#load(e.buffer, (b) => load(b, x(e.index), e.type.lanes, e.align));
      case 'rank':
        return this.#rank(e, x(e.a));
      case 'nearest':
        return this.#expr(nearestEntry(this, e.buffer, x(e.a), x(e.unit)));
      case 'peak':
        return keep(e, [e.a], [x(e.a)], (a) => peak(a!));
      case 'within':
        return keep(e, [e.a], [x(e.a)], (a) => within(a!, e.lo, e.hi));
      case 'bounded': {
        const a = x(e.a);
        this.#ranges.set(a, [e.lo, e.hi]);
        return a;
      }
      case 'gather':
        return this.#load(e.buffer, (b) => gather(b, x(e.index)));
    }
  }

  #load(buffer: Buffer, read: (b: Buffer) => Expr): Expr {
    const rule = this.#storage('load', buffer.dtype);
    return rule ? this.#expr(rule.afterLoad(this, read(alias(buffer, rule.as)))) : read(buffer);
  }

  /** One comparison an entry, where the target has nothing better. */
  #rank(e: Extract<Expr, { kind: 'rank' }>, a: Expr): Expr {
    const { lanes } = e.type;
    if (this.#native.has('rank.f32') && lanes >= 16) return rank(e.buffer, a, e.strict);
    const value = this.bind(a);
    return e.buffer.data!.reduce<Expr>(
      (sum, entry) => {
        const reached = compare(
          e.strict ? 'gt' : 'ge',
          value,
          constant(Math.fround(entry), 'f32', lanes),
        );
        return binary('add', sum, convert(reached, 'i32'));
      },
      constant(0, 'i32', lanes),
    );
  }

  #apply(e: Expr): Expr {
    const key = keyOf(e)!;
    if (e.kind === 'binary' && e.op === 'rem' && e.type.scalar !== 'f32' && e.b.kind === 'const')
      if (isPowerOfTwo(e.b.value)) return this.#expr(remPowerOfTwo(this, e.a, e.b.value));
    if (this.#native.has(key)) return e;
    if (e.kind === 'decode' && e.type.lanes >= 4 && this.#native.has(`lookup.${e.dtype}`)) return e;
    const rule: Expansion | undefined = expansions.get(key);
    if (!rule) return e;
    if (e.kind === 'binary') return this.#expr(rule(this, e.a, e.b));
    const { a } = e as { a: Expr };
    if (a.type.lanes > 1 || !inVectors.has(key) || !this.#native.has('muladd.f32'))
      return this.#expr(rule(this, a));
    const four = splat(a, 4);
    this.#ranges.set(four, this.range(a));
    return this.#expr(extract(rule(this, four), 0));
  }
}

function keep(
  e: Expr,
  old: readonly Expr[],
  now: readonly Expr[],
  make: (...now: Expr[]) => Expr,
): Expr {
  return old.every((o, i) => o === now[i]) ? e : make(...now);
}

/** The same storage, read as another dtype of the same width. */
export const alias = (b: Buffer, dtype: DType): Buffer => ({ ...b, dtype });

/** Whether packing copies what lies in memory. */
const isCopy = (s: Extract<Stmt, { kind: 'pack' }>): boolean =>
  s.value.kind === 'load' && s.value.buffer.dtype === s.dtype && isTrivial(s.value.index);

/** Largest variable number in use. */
function lastId(list: readonly Stmt[]): number {
  let top = 0;
  for (const s of list) {
    if ('var' in s) top = Math.max(top, s.var.id);
    for (const inner of nested(s)) top = Math.max(top, lastId(inner));
  }
  return top;
}

/**
 * `native`: the operations that the target has; the others are rewritten where the table knows how. A variable that
 * is made has a number of its own in the whole program, as all others do.
 */
export function expand(program: Program, native: Native): Program {
  const top = program.kernels.map((k) => lastId(k.body));
  const expander = new Expander(native, Math.max(0, ...top) + 1);
  const kernels = program.kernels.map((k) => ({ ...k, body: expander.body(k.body) }));
  return { ...program, kernels };
}
