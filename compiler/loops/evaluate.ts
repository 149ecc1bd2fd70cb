// Runs loop IR in plain TypeScript over bytes: the oracle of the backends. Slow, simple and strict: any access
// outside of a buffer throws, and so does a misaligned vector access.
import {
  bitsOfF32,
  type DType,
  dtypes,
  f32OfBits,
  floatOfBits,
  floatToBits,
  roundToFloat,
  scalarOf,
  wrapInt,
} from '../ir/dtype.ts';
import { nested } from './walk.ts';
import {
  binaryLane,
  bitsLane,
  compareLane,
  convertLane,
  dotLanes,
  foldLanes,
  reduceLanes,
  unaryLane,
  wrap,
} from './lanes.ts';
import type { Buffer, Expr, Packed, Program, Stmt, Var } from './loops.ts';

type Lanes = readonly number[];

const meets = (s: Stmt): boolean =>
  s.kind === 'barrier' || s.kind === 'product' || nested(s).some((list) => list.some(meets));

class Machine {
  readonly #dims: Readonly<Record<string, number>>;
  readonly #memory: ReadonlyMap<number, Uint8Array>;
  readonly #vars: Map<number, Lanes>;

  constructor(
    dims: Readonly<Record<string, number>>,
    memory: ReadonlyMap<number, Uint8Array>,
    vars: Iterable<readonly [number, Lanes]> = [],
  ) {
    this.#dims = dims;
    this.#memory = memory;
    this.#vars = new Map(vars);
  }

  run(list: readonly Stmt[]): void {
    for (const s of list) this.#stmt(s);
  }

  #stmt(s: Stmt): void {
    switch (s.kind) {
      case 'comment':
      case 'barrier':
      case 'arrive':
        return;
      // Run by a team of one, which has everything itself.
      case 'combine':
      case 'let':
      case 'local':
      case 'set':
        this.#vars.set(s.var.id, this.#eval(s.value));
        return;
      case 'pack':
        this.#vars.set(s.var.id, packLanes(s, this.#eval(s.value)));
        return;
      case 'product':
        throw new RangeError('loop IR: a product of one lane');
      case 'copy': {
        const [at, index] = [this.#scalar(s.at), this.#scalar(s.index)];
        const valid = s.valid ? this.#scalar(s.valid) : s.count;
        for (let i = 0; i < s.count; i += 1)
          this.#write(s.to, at + i, i < valid ? this.#read(s.from, index + i) : 0);
        return;
      }
      case 'for': {
        const end = this.#scalar(s.end);
        if (s.on === 'members') return this.#members(s, end);
        for (let i = this.#scalar(s.start); i + (s.step - 1) < end; i += s.step) {
          this.#vars.set(s.var.id, [i]);
          this.run(s.body);
        }
        return;
      }
      case 'while':
        for (this.run(s.header); this.#scalar(s.cond); this.run(s.header)) this.run(s.body);
        return;
      case 'if':
        this.run(this.#scalar(s.cond) ? s.then : s.else);
        return;
      case 'store': {
        const index = this.#scalar(s.index);
        const value = this.#eval(s.value);
        checkAlign(s.buffer, index, value.length, s.align);
        const from = s.value.type.scalar;
        value.forEach((x, i) => {
          this.#write(s.buffer, index + i, convertLane(x, from, scalarOf(s.buffer.dtype)));
        });
      }
    }
  }

  /** Of each warp of the group, the product of what its lanes hold. */
  static #product(s: Extract<Stmt, { kind: 'product' }>, members: readonly Machine[]): void {
    const scalar = s.var.type.scalar;
    const of = (e: Expr): readonly Lanes[] => members.map((m) => unpackLanes(s.dtype, m.#eval(e)));
    const [a, b] = [s.a.map(of), of(s.b)];
    for (const [i, m] of members.entries()) {
      const [first, g, t] = [i - (i % 32), Math.floor((i % 32) / 4), i % 4];
      const sums = m.#value(s.var).map((before, point) => {
        let sum = before;
        for (let part = 0; part < 4; part += 1) {
          const x = a[point >> 1]![first + 4 * g + part]!;
          const y = b[first + 4 * (2 * t + (point & 1)) + part]!;
          x.forEach((v, k) => {
            sum = binaryLane('add', sum, v * y[k]!, scalar);
          });
        }
        return sum;
      });
      m.#vars.set(s.var.id, sums);
    }
  }

  /** The threads of a group go from barrier to barrier together: what holds one is run by all in step. */
  #members(s: Extract<Stmt, { kind: 'for' }>, count: number): void {
    const members = Array.from(
      { length: count },
      (_, i) => new Machine(this.#dims, this.#memory, [...this.#vars, [s.var.id, [i]]]),
    );
    const alike = (e: Expr): number => {
      const all = members.map((m) => m.#scalar(e));
      if (all.some((x) => x !== all[0]))
        throw new RangeError('loop IR: a barrier where the members of a group go apart');
      return all[0]!;
    };
    const together = (list: readonly Stmt[]): void => {
      for (const x of list) {
        if (!meets(x)) for (const m of members) m.run([x]);
        else if (x.kind === 'product') Machine.#product(x, members);
        else if (x.kind === 'if') together(alike(x.cond) ? x.then : x.else);
        else if (x.kind === 'for')
          for (let i = alike(x.start); i + (x.step - 1) < alike(x.end); i += x.step) {
            for (const m of members) m.#vars.set(x.var.id, [i]);
            together(x.body);
          }
        else if (x.kind !== 'barrier') throw new RangeError(`loop IR: a barrier in a ${x.kind}`);
      }
    };
    if (count > 0) together(s.body);
  }

  #scalar(e: Expr): number {
    return this.#eval(e)[0]!;
  }

  #eval(e: Expr): Lanes {
    const n = e.type.lanes;
    const scalar = e.type.scalar;
    switch (e.kind) {
      case 'const':
        return new Array<number>(n).fill(wrap(e.value, scalar));
      case 'lanes':
        return Array.from({ length: n }, (_, i) => i);
      case 'var':
        return this.#value(e.var);
      case 'dim':
        return [this.#dims[e.name]!];
      case 'unary':
        return this.#eval(e.a).map((x) => unaryLane(e.op, x, e.a.type.scalar, scalar));
      case 'binary': {
        const b = this.#eval(e.b);
        return this.#eval(e.a).map((x, i) => binaryLane(e.op, x, b[i]!, scalar));
      }
      case 'compare': {
        const b = this.#eval(e.b);
        return this.#eval(e.a).map((x, i) => compareLane(e.op, x, b[i]!));
      }
      case 'select': {
        const [a, b] = [this.#eval(e.a), this.#eval(e.b)];
        return this.#eval(e.c).map((c, i) => (c ? a[i]! : b[i]!));
      }
      case 'convert':
        return this.#eval(e.a).map((x) => convertLane(x, e.a.type.scalar, scalar));
      case 'bits':
        return this.#eval(e.a).map((x) => bitsLane(x, e.a.type.scalar, scalar));
      case 'round':
        return this.#eval(e.a).map((x) => roundToFloat(e.dtype, x));
      case 'encode':
        return this.#eval(e.a).map((x) => floatToBits(e.dtype, x) | 0);
      case 'decode':
        return this.#eval(e.a).map((x) => floatOfBits(e.dtype, x));
      case 'splat':
        return new Array<number>(n).fill(this.#scalar(e.a));
      case 'extract':
        return [this.#eval(e.a)[e.lane]!];
      case 'build':
        return e.parts.map((p) => this.#scalar(p));
      case 'reduce':
        return [reduceLanes(e.op, this.#eval(e.a), scalar)];
      case 'fold':
        return foldLanes(e.op, this.#eval(e.a), scalar);
      case 'dot':
        return dotLanes(this.#eval(e.a), this.#eval(e.b));
      case 'dot4': {
        const [a, b] = [this.#eval(e.a), this.#eval(e.b)];
        return Array.from({ length: n }, (_, j) =>
          [0, 1, 2, 3].reduce((sum, i) => (sum + a[4 * j + i]! * b[4 * j + i]!) | 0, 0),
        );
      }
      case 'zip': {
        const sides = [this.#eval(e.a), this.#eval(e.b)];
        return Array.from({ length: n }, (_, i) => {
          const pair = Math.floor(i / (2 * e.unit));
          const side = sides[Math.floor(i / e.unit) % 2]!;
          return side[e.from + pair * e.unit + (i % e.unit)]!;
        });
      }
      case 'muladd': {
        const [b, c] = [this.#eval(e.b), this.#eval(e.c)];
        return this.#eval(e.a).map((x, i) => Math.fround(Math.fround(x * b[i]!) + c[i]!));
      }
      case 'repeat':
        return this.#eval(e.a).flatMap((x) => new Array<number>(e.times).fill(x));
      case 'tile': {
        const a = this.#eval(e.a);
        return Array.from({ length: n }, (_, i) => a[i % a.length]!);
      }
      case 'load': {
        const index = this.#scalar(e.index);
        checkAlign(e.buffer, index, n, e.align);
        return Array.from({ length: n }, (_, i) => this.#read(e.buffer, index + i));
      }
      case 'rank': {
        const entries = e.buffer.data!.map(Math.fround);
        const reached = (v: number, t: number): boolean => (e.strict ? v > t : v >= t);
        return this.#eval(e.a).map((v) => entries.filter((t) => reached(v, t)).length);
      }
      case 'nearest': {
        const unit = this.#eval(e.unit);
        const entries = e.buffer.data!.map(Math.fround);
        return this.#eval(e.a).map((x, i) => nearestOf(entries, x, unit[i]!));
      }
      case 'peak':
        return [peakOf(this.#eval(e.a))];
      case 'within':
        return this.#eval(e.a).map((x) => {
          if (x >= e.lo && x <= e.hi) return x;
          throw new RangeError(`loop IR: ${x} is not from ${e.lo} to ${e.hi}`);
        });
      case 'bounded':
        return this.#eval(e.a).map((x) => {
          if (!(x < e.lo || x > e.hi)) return x;
          throw new RangeError(`loop IR: ${x} is neither NaN nor from ${e.lo} to ${e.hi}`);
        });
      case 'gather':
        return this.#eval(e.index).map((i) => this.#read(e.buffer, i));
    }
  }

  #value(v: Var): Lanes {
    const x = this.#vars.get(v.id);
    if (!x) throw new RangeError(`loop IR: ${v.name} has no value`);
    return x;
  }

  #bytes(b: Buffer, element: number): Uint8Array {
    const bytes = this.#memory.get(b.id)!;
    const size = Math.floor((bytes.length * 8) / dtypes[b.dtype].bits);
    if (element < 0 || element >= size)
      throw new RangeError(`loop IR: element ${element} of ${b.name}, which has ${size}`);
    return bytes;
  }

  #read(b: Buffer, element: number): number {
    return elementOf(b.dtype, readBits(this.#bytes(b, element), element, dtypes[b.dtype].bits));
  }

  #write(b: Buffer, element: number, value: number): void {
    writeBits(this.#bytes(b, element), element, dtypes[b.dtype].bits, storedBits(b.dtype, value));
  }
}

function nearestOf(entries: readonly number[], x: number, unit: number): number {
  const off = entries.map((t) => Math.abs(Math.fround(Math.fround(t * unit) - x)));
  const nan = off.findIndex(Number.isNaN);
  return nan >= 0 ? nan : off.indexOf(Math.min(...off));
}

/** A NaN is above all numbers. */
function peakOf(lanes: Lanes): number {
  const nan = lanes.find(Number.isNaN);
  return nan ?? lanes.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best));
}

/** Elements as words, and words as elements in the order in which they lie. */
function packLanes(s: Extract<Stmt, { kind: 'pack' }>, value: Lanes): Lanes {
  const { bits } = dtypes[s.dtype];
  const half = value.length / 2;
  const list = s.paired ? value.map((_, i) => value[(i >> 1) + (i & 1) * half]!) : value;
  const per = 32 / bits;
  return Array.from({ length: value.length / per }, (_, w) =>
    list
      .slice(w * per, (w + 1) * per)
      .reduce((word, x, i) => word | (storedBits(s.dtype, x) << (i * bits)), 0),
  );
}
function unpackLanes(dtype: Packed, words: Lanes): Lanes {
  const { bits } = dtypes[dtype];
  return words.flatMap((word) =>
    Array.from({ length: 32 / bits }, (_, i) =>
      elementOf(dtype, (word >>> (i * bits)) & (2 ** bits - 1)),
    ),
  );
}

function checkAlign(b: Buffer, index: number, lanes: number, align: number): void {
  if (index % align !== 0)
    throw new RangeError(`loop IR: ${b.name}[${index}] is not aligned to ${align}`);
  if (lanes > 1 && (align * dtypes[b.dtype].bits) % 8 !== 0)
    throw new RangeError(`loop IR: vector access to ${b.name} that may start inside of a byte`);
}

/** Element `i` of little-endian packed storage, as unsigned bits. */
export function readBits(bytes: Uint8Array, i: number, width: number): number {
  let out = 0;
  for (let k = 0; k < width; ) {
    const bit = i * width + k;
    const take = Math.min(8 - (bit % 8), width - k);
    const part = (bytes[Math.floor(bit / 8)]! >> (bit % 8)) & (2 ** take - 1);
    out += part * 2 ** k;
    k += take;
  }
  return out;
}

export function writeBits(bytes: Uint8Array, i: number, width: number, value: number): void {
  for (let k = 0; k < width; ) {
    const bit = i * width + k;
    const take = Math.min(8 - (bit % 8), width - k);
    const mask = (2 ** take - 1) << (bit % 8);
    const part = (Math.floor(value / 2 ** k) << (bit % 8)) & mask;
    const at = Math.floor(bit / 8);
    bytes[at] = (bytes[at]! & ~mask) | part;
    k += take;
  }
}

/** The number that stored bits stand for. */
export function elementOf(d: DType, raw: number): number {
  if (d === 'f32') return f32OfBits(raw);
  return dtypes[d].minifloat ? floatOfBits(d, raw) : wrapInt(d, raw);
}

/** The bits to store for a number, rounded or wrapped into the dtype. */
export function storedBits(d: DType, value: number): number {
  if (d === 'f32') return bitsOfF32(value);
  if (dtypes[d].minifloat) return floatToBits(d, roundToFloat(d, value));
  const { bits } = dtypes[d];
  return bits === 32 ? value >>> 0 : wrapInt(d, value) & (2 ** bits - 1);
}

/** `buffers`: the storage of program.buffers, in order. Results are written in place. */
export function evaluate(
  program: Program,
  dims: Readonly<Record<string, number>>,
  buffers: readonly Uint8Array[],
): void {
  const memory = new Map(program.buffers.map((b, i) => [b.id, buffers[i]!]));
  for (const kernel of program.kernels) new Machine(dims, memory).run(kernel.body);
}
