// Reads the text form of loop IR (printer.ts): resolves names, finds operators' precedence, and builds nodes through
// the constructors of loops.ts, which derive the types.
import { type Dim, Poly } from '../ir/algebra.ts';
import { type DType, isDType, type Scalar } from '../ir/dtype.ts';
import { binaryMeaning, compareMeaning, unaryMeaning } from '../ir/meaning.ts';
import type { BinaryName, CompareName, UnaryName } from '../ir/ops.ts';
import { parseRaw } from './grammar.ts';
import {
  type Buffer,
  binary,
  bits,
  bounded,
  build,
  compare,
  constant,
  convert,
  decodeBits,
  dimExpr,
  dot,
  dot4,
  type Expr,
  encodeBits,
  extract,
  fold,
  gather,
  laneIds,
  load,
  mulAdd,
  nearest,
  peak,
  type Packed,
  type Program,
  type ReduceOp,
  rank,
  reduce,
  repeat,
  roundTo,
  type Spread,
  type Stmt,
  select,
  zip,
  splat,
  type Team,
  tile,
  unary,
  type Var,
  type VType,
  variable,
  vtype,
  within,
} from './loops.ts';
import { infix } from './printer.ts';
import type { RawExpr, RawPlace, RawStmt } from './raw.ts';

const bySign = new Map(
  Object.entries(infix).map(([op, [sign, level]]) => [sign, { op, level }] as const),
);
const wrong = (line: number, detail: string): SyntaxError =>
  new SyntaxError(`loop IR line ${line}: ${detail}`);
const isScalar = (s: string): s is Scalar => /^(f32|i32|u32|bool)$/.test(s);

function typeOf(text: string, line: number): VType {
  const [, scalar, lanes] = /^(f32|i32|u32|bool)(?:x(\d+))?$/.exec(text) ?? [];
  if (!scalar) throw wrong(line, `no type ${text}`);
  return vtype(scalar as Scalar, lanes ? Number(lanes) : 1);
}

const words: Readonly<Record<string, number>> = { inf: Infinity, nan: NaN, true: 1, false: 0 };
const numberOf = (text: string): number => {
  const negative = text.startsWith('-');
  const bare = negative ? text.slice(1) : text;
  const x = Object.hasOwn(words, bare) ? words[bare]! : Number(bare.replace(/u$/, ''));
  return negative ? -x : x;
};

/** A size: a polynomial in the dims. */
function polyOf(e: RawExpr): Dim {
  switch (e.kind) {
    case 'number':
      return Poly.of(Number(e.text));
    case 'name':
      return Poly.dim(e.name);
    case 'prefix':
      return polyOf(e.a).neg();
    case 'chain':
      return polyChain(e.first, e.rest);
    default:
      throw wrong(e.line, 'a size is a polynomial in the dims');
  }
}

/** Sums of products, as the printer writes them: terms end at + and -, and `div` parts two sums. */
function polyChain(first: RawExpr, rest: readonly (readonly [string, RawExpr])[]): Dim {
  let sum = Poly.of(0);
  let term = polyOf(first);
  for (const [i, [op, raw]] of rest.entries()) {
    if (op === 'div') {
      const num = sum.add(term);
      const den = polyChain(raw, rest.slice(i + 1));
      return Poly.atom({ key: `(${num} div ${den})`, kind: 'div', num, den });
    }
    const x = polyOf(raw);
    if (op === '*') term = term.mul(x);
    else if (op === '/') term = term.over(x)!;
    else {
      sum = sum.add(term);
      term = op === '-' ? x.neg() : x;
    }
  }
  return sum.add(term);
}

class Resolver {
  readonly #dims: ReadonlySet<string>;
  readonly #buffers = new Map<string, Buffer>();
  #vars = new Map<string, Var>();
  #nextId = 0;

  constructor(dims: readonly string[]) {
    this.#dims = new Set(dims);
  }

  addBuffer(b: Omit<Buffer, 'id'>): Buffer {
    const made: Buffer = { id: this.#nextId++, ...b };
    this.#buffers.set(b.name, made);
    return made;
  }

  kernel(list: readonly RawStmt[]): Stmt[] {
    this.#vars = new Map();
    return this.#list(list);
  }

  #list(list: readonly RawStmt[]): Stmt[] {
    return list.map((s) => this.#stmt(s));
  }

  #declare(name: string, type: VType): Var {
    const v: Var = { id: this.#nextId++, name, type };
    this.#vars.set(name, v);
    return v;
  }

  #stmt(s: RawStmt): Stmt {
    const e = (x: RawExpr): Expr => this.#expr(x);
    switch (s.kind) {
      case 'comment':
        return s;
      case 'let':
      case 'local': {
        const value = e(s.value);
        return { kind: s.kind, var: this.#declare(s.name, typeOf(s.type, s.line)), value };
      }
      case 'set': {
        const v = this.#vars.get(s.name);
        if (!v) throw wrong(s.line, `no variable ${s.name}`);
        return { kind: 'set', var: v, value: e(s.value) };
      }
      case 'store': {
        const { buffer, index } = this.#place(s.place, s.line);
        const value = e(s.value);
        if (value.type.lanes !== s.place.lanes)
          throw wrong(s.line, `${value.type.lanes} lanes stored as ${s.place.lanes}`);
        return { kind: 'store', buffer, index, value, align: s.place.align };
      }
      case 'for': {
        const [start, end] = [e(s.start), e(s.end)];
        const v = this.#declare(s.name, vtype('i32'));
        return {
          kind: 'for',
          var: v,
          start,
          end,
          step: s.step,
          parallel: s.parallel,
          ...(s.on ? { on: s.on as Spread } : {}),
          body: this.#list(s.body),
        };
      }
      case 'barrier':
        return { kind: 'barrier', team: s.team as Team };
      case 'combine': {
        const value = e(s.value);
        const v = this.#declare(s.name, typeOf(s.type, s.line));
        return { kind: 'combine', var: v, op: s.op as ReduceOp, team: s.team as Team, value };
      }
      case 'pack': {
        const value = e(s.value);
        const [, dtype, paired] = /^(i8|f16|bf16)(_paired)?$/.exec(s.how) ?? [];
        if (!dtype) throw wrong(s.line, `no packing ${s.how}`);
        const v = this.#declare(s.name, typeOf(s.type, s.line));
        return { kind: 'pack', var: v, dtype: dtype as Packed, paired: !!paired, value };
      }
      case 'product': {
        const v = this.#vars.get(s.name);
        if (!v) throw wrong(s.line, `no variable ${s.name}`);
        const a = [e(s.a[0]), e(s.a[1])] as const;
        return { kind: 'product', var: v, dtype: s.dtype as Packed, a, b: e(s.b) };
      }
      case 'copy': {
        const [to, from] = [this.#place(s.to, s.line), this.#place(s.from, s.line)];
        return {
          kind: 'copy',
          ...{ to: to.buffer, at: to.index, from: from.buffer, index: from.index },
          count: s.to.lanes,
          ...(s.valid ? { valid: e(s.valid) } : {}),
        };
      }
      case 'arrive':
        return { kind: 'arrive', pending: s.pending };
      case 'while': {
        const header = this.#list(s.header);
        return { kind: 'while', header, cond: e(s.cond), body: this.#list(s.body) };
      }
      case 'if':
        return { kind: 'if', cond: e(s.cond), then: this.#list(s.then), else: this.#list(s.else) };
    }
  }

  #buffer(name: string, line: number, as?: string): Buffer {
    const b = this.#buffers.get(name);
    if (!b) throw wrong(line, `no buffer ${name}`);
    if (as === undefined) return b;
    if (!isDType(as)) throw wrong(line, `no dtype ${as}`);
    return { ...b, dtype: as };
  }

  #place(p: RawPlace, line: number): { readonly buffer: Buffer; readonly index: Expr } {
    return { buffer: this.#buffer(p.name, line, p.as), index: this.#expr(p.index) };
  }

  #expr(e: RawExpr): Expr {
    switch (e.kind) {
      case 'number':
        return number(e.text);
      case 'name':
        return this.#name(e.name, e.line);
      case 'prefix':
        return this.#prefix(e.sign, e.a);
      case 'chain':
        return this.#chain(e.first, e.rest);
      case 'place': {
        const { buffer, index } = this.#place(e.place, e.line);
        return load(buffer, index, e.place.lanes, e.place.align);
      }
      case 'call':
        return this.#call(e.name, e.args, e.line);
    }
  }

  #name(name: string, line: number): Expr {
    const v = this.#vars.get(name);
    if (v) return variable(v);
    if (this.#dims.has(name)) return dimExpr(name);
    if (name === 'true' || name === 'false') return constant(words[name]!, 'bool');
    if (Object.hasOwn(words, name)) return constant(words[name]!, 'f32');
    throw wrong(line, `no variable or dim ${name}`);
  }

  #prefix(sign: string, a: RawExpr): Expr {
    if (sign !== '-') return unary('not', this.#expr(a));
    const isInf = a.kind === 'name' && a.name === 'inf';
    if (a.kind !== 'number' && !isInf) return unary('neg', this.#expr(a));
    const x = this.#expr(a) as Extract<Expr, { kind: 'const' }>;
    return constant(-x.value, x.type.scalar);
  }

  /** Climbs: an operator takes as its right side all that binds tighter. */
  #chain(first: RawExpr, rest: readonly (readonly [string, RawExpr])[]): Expr {
    let at = 0;
    const climb = (left: Expr, level: number): Expr => {
      while (at < rest.length) {
        const [sign, raw] = rest[at]!;
        const row = bySign.get(sign);
        if (!row) throw wrong(raw.line, `no operator ${sign}`);
        if (row.level < level) break;
        at += 1;
        const right = climb(this.#expr(raw), row.level + 1);
        left =
          row.op in compareMeaning
            ? compare(row.op as CompareName, left, right)
            : binary(row.op as BinaryName, left, right);
      }
      return left;
    };
    return climb(this.#expr(first), 0);
  }

  #call(name: string, args: readonly RawExpr[], line: number): Expr {
    const count = (i: number): number => {
      const raw = args[i];
      if (raw?.kind !== 'number') throw wrong(line, `${name} needs a number`);
      return Number(raw.text);
    };
    if (name === 'lanes') return laneIds(count(0));
    if (name === 'splat') return splat(this.#expr(args[0]!), count(1));
    if (name === 'repeat') return repeat(this.#expr(args[0]!), count(1));
    if (name === 'tile') return tile(this.#expr(args[0]!), count(1));
    if (name === 'zip') {
      const [a, b] = [this.#expr(args[0]!), this.#expr(args[1]!)];
      return zip(a, b, count(2), count(3), count(4));
    }
    if (name === 'extract') return extract(this.#expr(args[0]!), count(1));
    if (/^gather(_|$)/.test(name)) {
      const [b, index] = args;
      if (b?.kind !== 'name' || !index) throw wrong(line, 'gather needs a buffer and an index');
      return gather(this.#buffer(b.name, line, name.slice(7) || undefined), this.#expr(index));
    }
    if (name === 'rank_gt' || name === 'rank_ge') {
      const [b, x] = args;
      if (b?.kind !== 'name' || !x) throw wrong(line, `${name} needs a buffer and a value`);
      return rank(this.#buffer(b.name, line), this.#expr(x), name === 'rank_gt');
    }
    if (name === 'nearest') {
      const [b, x, unit] = args;
      if (b?.kind !== 'name' || !x || !unit)
        throw wrong(line, 'nearest needs a buffer, a value and a unit');
      return nearest(this.#buffer(b.name, line), this.#expr(x), this.#expr(unit));
    }
    const xs = args.map((a) => this.#expr(a));
    const [a, b, c] = xs;
    if (!a) throw wrong(line, `${name} needs an operand`);
    if (name === 'build') return build(xs);
    if (name === 'peak') return peak(a);
    if (name === 'within' && b?.kind === 'const' && c?.kind === 'const')
      return within(a, b.value, c.value);
    if (name === 'bounded' && b?.kind === 'const' && c?.kind === 'const')
      return bounded(a, b.value, c.value);
    if (name === 'fold') return fold(a);
    if (name === 'dot' && b) return dot(a, b);
    if (name === 'dot4' && b) return dot4(a, b);
    if (name === 'muladd' && b && c) return mulAdd(a, b, c);
    if (name === 'select' && b && c) return select(a, b, c);
    if (isScalar(name)) return convert(a, name);
    if (Object.hasOwn(unaryMeaning, name)) return unary(name as UnaryName, a);
    if (Object.hasOwn(binaryMeaning, name) && b) return binary(name as BinaryName, a, b);
    return this.#typedCall(name, a, line);
  }

  /** Names with a type in them: `f32x8(1.0)`, `bits_i32(x)`, `round_f16(x)`, `reduce_add(x)`. */
  #typedCall(name: string, a: Expr, line: number): Expr {
    const [, head, tail] = /^([a-z]+)_(\w+)$/.exec(name) ?? [];
    if (!head || !tail) {
      const type = typeOf(name, line);
      if (a.kind !== 'const') throw wrong(line, `${name} takes a literal`);
      return constant(a.value, type.scalar, type.lanes);
    }
    if (head === 'reduce') return reduce(tail as ReduceOp, a);
    if (head === 'fold') return fold(a, tail as ReduceOp);
    if (head === 'bits' && isScalar(tail)) return bits(a, tail);
    if (isDType(tail) && head in storedForms)
      return storedForms[head as keyof typeof storedForms](tail, a);
    throw wrong(line, `no function ${name}`);
  }
}

const storedForms = { round: roundTo, encode: encodeBits, decode: decodeBits };

function number(text: string): Expr {
  if (text.endsWith('u')) return constant(numberOf(text), 'u32');
  return constant(Number(text), /[.e]/.test(text) ? 'f32' : 'i32');
}

/** Throws SyntaxError where the text is no loop IR, TypeError where types do not fit. */
export function parseProgram(text: string): Program {
  const raw = parseRaw(text);
  const names = new Resolver(raw.dims);
  const buffers = raw.buffers.map((b) => {
    if (!isDType(b.dtype)) throw wrong(b.size.line, `no dtype ${b.dtype}`);
    if (b.mark !== undefined && b.mark !== 'private') throw wrong(b.size.line, `no mark ${b.mark}`);
    return names.addBuffer({
      name: b.name,
      dtype: b.dtype as DType,
      role: b.role as Buffer['role'],
      size: polyOf(b.size),
      ...(b.mark ? { private: true } : {}),
      ...(b.data ? { data: b.data.map(numberOf) } : {}),
    });
  });
  const kernels = raw.kernels.map((k) => ({ ...k, body: names.kernel(k.body) }));
  return { name: raw.name, dims: raw.dims, buffers, kernels };
}
