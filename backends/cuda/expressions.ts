// Expressions as CUDA C. A scalar is one C expression. A vector is given lane by lane: the text of lane `l`, to stand
// in an unrolled loop; what does not work lane by lane (loads, sums over lanes) is computed in front of the statement.
// Products that a compiler might fuse with a sum are written as __fmul_rn, so that results do not depend on its flags.

import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Expr, ExprOf } from '../../compiler/loops/loops.ts';
import { operands } from '../../compiler/loops/loops.ts';
import { type Loaded, loadElement, loadVector } from './memory.ts';
import { packedDot, packedTable } from './packed.ts';
import {
  binaryRows,
  combineRows,
  compareRows,
  knownDivisor,
  levels,
  type Row,
  unaryRows,
  wrapping,
} from './tables.ts';
import { literal, valueType } from './types.ts';
import { fault, type Range, type Writer } from './writer.ts';

const { atom, prefix } = levels;
interface Text {
  readonly text: string;
  readonly level: number;
}
const plain = (text: string): Text => ({ text, level: atom });
const inside = (t: Text, level: number): string => (t.level < level ? `(${t.text})` : t.text);

/** The text of a scalar; `summed`: it may become part of a sum. */
export const scalar = (w: Writer, e: Expr, summed = false): string => {
  prepare(w, e);
  return lane(w, e, '0', summed).text;
};
/** As an operand of anything. */
export function operand(w: Writer, e: Expr): string {
  prepare(w, e);
  return inside(lane(w, e, '0', false), atom);
}

/** Lane by lane, after everything that comes first was written. */
export function vector(w: Writer, e: Expr, summed = true): (l: string) => string {
  prepare(w, e);
  return (l) => lane(w, e, l, summed).text;
}

// ---- what comes in front of a statement ----

/** Computes the parts of `e` that are no C expressions. */
function prepare(w: Writer, e: Expr): void {
  if (w.made.has(e)) return;
  if (e.kind === 'dot' && dotOfBytes(w, e)) return;
  if (e.kind === 'convert' && tableFloats(w, e)) return;
  for (const o of operands(e)) prepare(w, o);
  switch (e.kind) {
    case 'load':
      if (e.type.lanes > 1)
        loaders(w).set(
          e,
          loadVector(w, e.buffer, lane(w, e.index, '0', false).text, e.type.lanes, e.align),
        );
      if (e.type.lanes > 1) w.made.set(e, '');
      return;
    case 'splat':
      if (e.a.kind !== 'var' && e.a.kind !== 'const' && e.a.kind !== 'dim') name(w, e.a, 's');
      return;
    case 'build': {
      const parts = e.parts.map((p) => lane(w, p, '0', true).text);
      const at = w.temp('v');
      w.line(`const ${valueType[e.type.scalar]} ${at}[${e.parts.length}] = {${parts.join(', ')}};`);
      w.made.set(e, at);
      return;
    }
    case 'reduce': {
      w.use('lanes');
      w.use(combineRows[e.op]);
      if (e.op === 'min' || e.op === 'max') w.use(`${e.op}_of`);
      w.made.set(e, `combine_lanes<${combineRows[e.op]}>(${array(w, e.a)})`);
      return;
    }
    case 'fold': {
      const at = w.temp('part');
      const product =
        e.a.kind === 'binary' && e.a.op === 'mul' && e.a.type.scalar === 'f32' ? e.a : undefined;
      const type = valueType[e.type.scalar];
      w.line(`${type} ${at}[4] = {};`);
      w.made.set(e, at);
      if (e.op !== 'add') {
        const op = combineRows[e.op];
        w.use(op);
        const x = lane(w, e.a, 'l', true).text;
        w.lanes(e.a.type.lanes, `${at}[l % 4] = l < 4 ? ${x} : ${op}::of(${at}[l % 4], ${x});`);
        return;
      }
      w.lanes(
        e.a.type.lanes,
        product
          ? `${at}[l % 4] = fmaf(${lane(w, product.a, 'l', false).text}, ${lane(w, product.b, 'l', false).text}, ${at}[l % 4]);`
          : `${at}[l % 4] += ${inside(lane(w, e.a, 'l', true), levels.mul)};`,
      );
      w.made.set(e, at);
      return;
    }
    case 'dot': {
      const at = w.temp('dots');
      w.line(`int ${at}[4] = {};`);
      const [a, b] = [lane(w, e.a, 'l', false), lane(w, e.b, 'l', false)];
      w.lanes(
        e.a.type.lanes,
        `${at}[l / 2 % 4] += ${inside(a, levels.mul)} * ${inside(b, levels.mul + 1)};`,
      );
      w.made.set(e, at);
      return;
    }
    default:
  }
}

/**
 * Looked-up bytes as f32: looked up four at a time by byte permutation, each put under the bits of 2^23, which is then
 * subtracted. Faster than a load and a conversion an element.
 */
function tableFloats(w: Writer, e: ExprOf<'convert'>): boolean {
  if (e.type.lanes === 1 || e.type.scalar !== 'f32' || e.a.type.scalar !== 'i32') return false;
  if (loaders(w).has(e)) return true;
  const bytes = packedTable(w, e.a);
  if (!bytes) return false;
  w.use('byte_float');
  loaders(w).set(e, { value: (l) => `byte_float(${bytes(`${l} / 4`)}, ${l} % 4)` });
  return true;
}

/** A dot of bytes, four at a time; false where the elements do not fit. */
function dotOfBytes(w: Writer, e: ExprOf<'dot'>): boolean {
  const packed = packedDot(w, e);
  if (!packed) return false;
  const { a, b, sign } = packed;
  const at = w.temp('dots');
  const n = e.a.type.lanes / 4;
  w.line(`${sign ? 'int' : 'unsigned'} ${at}[4] = {};`);
  const cast = (x: string): string => (sign ? `(int)${x}` : x);
  w.lanes(n, `${at}[l % 4] = __dp4a(${cast(a('l'))}, ${cast(b('l'))}, ${at}[l % 4]);`);
  w.made.set(e, at);
  return true;
}

/** The texts of loaded lanes, kept by the writer's statement. */
const loaded = new WeakMap<Map<Expr, string>, Map<Expr, Loaded>>();
function loaders(w: Writer): Map<Expr, Loaded> {
  let map = loaded.get(w.made);
  if (!map) {
    map = new Map();
    loaded.set(w.made, map);
  }
  return map;
}

/** A vector as an array with a name. */
export function array(w: Writer, e: Expr): string {
  if (e.kind === 'var') return w.variable(e.var);
  if (e.kind === 'build' || e.kind === 'fold' || e.kind === 'dot') return w.made.get(e)!;
  const at = w.temp('v');
  w.line(`${w.declaration(e.type, at)};`);
  w.lanes(e.type.lanes, `${at}[l] = ${lane(w, e, 'l', true).text};`);
  return at;
}

function name(w: Writer, e: Expr, wish: string): void {
  if (w.made.get(e)) return;
  const at = w.temp(wish);
  w.line(`const ${valueType[e.type.scalar]} ${at} = ${lane(w, e, '0', true).text};`);
  w.made.set(e, at);
}

// ---- lanes ----

function lane(w: Writer, e: Expr, l: string, summed: boolean): Text {
  const made = w.made.get(e);
  if (made) return e.type.lanes > 1 ? plain(`${made}[${l}]`) : plain(made);
  const x = (a: Expr, s = false): Text => lane(w, a, l, s);
  const fn = (f: string, ...xs: readonly Expr[]): Text =>
    plain(`${f}(${xs.map((a) => x(a).text).join(', ')})`);
  switch (e.kind) {
    case 'const': {
      const text = literal(e.value, e.type.scalar);
      return { text, level: text.startsWith('-') ? prefix : atom };
    }
    case 'lanes':
      return plain(l);
    case 'var': {
      const value = w.once.get(e.var.id);
      if (value) return lane(w, value, l, summed);
      return plain(e.type.lanes > 1 ? `${w.variable(e.var)}[${l}]` : w.variable(e.var));
    }
    case 'dim':
      return plain(w.dim(e.name));
    case 'unary': {
      const row = rowOf(unaryRows, `${e.op}.${e.a.type.scalar}`) as { readonly call: string };
      if (!/^[-~!]$/.test(row.call)) return fn(row.call, e.a);
      const inner = x(e.a, summed);
      // Not -- before a negative number.
      return {
        text: `${row.call}${inside(inner, inner.text.startsWith('-') ? atom : prefix)}`,
        level: prefix,
      };
    }
    case 'binary':
      return binaryText(w, e, l, summed);
    case 'compare': {
      const [sign, level] = compareRows[e.op];
      return { text: `${inside(x(e.a), level)} ${sign} ${inside(x(e.b), level + 1)}`, level };
    }
    case 'select':
      return {
        text: `${inside(x(e.c), 1)} ? ${inside(x(e.a, summed), 1)} : ${inside(x(e.b, summed), 1)}`,
        level: 0,
      };
    case 'convert': {
      const known = loaders(w).get(e);
      return known ? plain(known.value(l)) : convertText(w, e, l);
    }
    case 'bits':
      return bitsText(e, x(e.a));
    case 'round':
      w.use('fp16');
      return plain(`__half2float(__float2half_rn(${x(e.a).text}))`);
    case 'encode':
      w.use('fp16');
      return plain(`(int)__half_as_ushort(__float2half_rn(${x(e.a).text}))`);
    case 'decode':
      w.use('fp16');
      return plain(`__half2float(__ushort_as_half((unsigned short)${inside(x(e.a), prefix)}))`);
    case 'splat':
      return lane(w, e.a, '0', summed);
    case 'extract':
      return lane(w, e.a, `${e.lane}`, summed);
    case 'load':
      if (e.type.lanes > 1) return { text: loaders(w).get(e)!.value(l), level: prefix };
      return { text: loadElement(w, e.buffer, x(e.index).text), level: prefix };
    case 'gather':
      return { text: loadElement(w, e.buffer, x(e.index).text), level: prefix };
    case 'rank':
    case 'build':
    case 'reduce':
    case 'fold':
    case 'dot':
      throw fault(`a ${e.kind} was not prepared`);
    // Made by schedules of other targets only.
    case 'dot4':
    case 'zip':
    case 'muladd':
    case 'peak':
    case 'nearest':
    case 'within':
    case 'bounded':
    case 'repeat':
    case 'tile':
      throw fault(`${e.kind} reached the CUDA backend`);
  }
}

function rowOf(table: Readonly<Record<string, Row>>, key: string): Row {
  const row = table[key];
  if (!row) throw fault(`the CUDA backend has no row for ${key}`);
  return row;
}

function binaryText(w: Writer, e: ExprOf<'binary'>, l: string, summed: boolean): Text {
  const type = e.type.scalar;
  const key = `${e.op}.${type}`;
  const isSum = type === 'f32' && (e.op === 'add' || e.op === 'sub');
  const [a, b] = [lane(w, e.a, l, isSum), lane(w, e.b, l, isSum)];
  if (key === 'mul.f32' && summed) return plain(`__fmul_rn(${a.text}, ${b.text})`);
  const wrap = type === 'i32' ? wrapping[e.op] : undefined;
  if (wrap && mayWrap(w, e)) {
    w.use(wrap);
    return plain(`${wrap}(${a.text}, ${b.text})`);
  }
  const isDivisor = key in knownDivisor && constantOf(e.b) > 0;
  const row = isDivisor ? knownDivisor[key]! : rowOf(binaryRows, key);
  if ('call' in row) {
    if (row.part) w.use(row.part);
    return plain(`${row.call}(${a.text}, ${b.text})`);
  }
  const count = constantOf(e.b);
  const isShift = e.op === 'shl' || e.op === 'shr';
  const right =
    isShift && !(count >= 0 && count < 32)
      ? `(${inside(b, levels.and)} & 31)`
      : inside(b, row.level + 1);
  // Minus a number, not plus a negative one.
  if (e.op === 'add' && /^-[\d.]/.test(b.text))
    return { text: `${inside(a, row.level)} - ${b.text.slice(1)}`, level: row.level };
  const left = inside(a, isShift ? levels.prefix : row.level);
  return { text: `${left} ${row.infix} ${right}`, level: row.level };
}

const constantOf = (e: Expr): number =>
  e.kind === 'const'
    ? e.value
    : e.kind === 'splat' && e.a.kind === 'const'
      ? e.a.value
      : Number.NaN;

function convertText(w: Writer, e: ExprOf<'convert'>, l: string): Text {
  const [from, to] = [e.a.type.scalar, e.type.scalar];
  const a = lane(w, e.a, l, false);
  if (to === 'bool')
    return { text: `${inside(a, levels.equal)} != ${literal(0, from)}`, level: levels.equal };
  const small = from === 'i32' && to === 'f32' ? smallFloat(w, e.a, l) : undefined;
  if (small) return small;
  if (from === 'f32') return plain(`__float2${to === 'i32' ? 'int' : 'uint'}_rz(${a.text})`);
  return { text: `(${valueType[to]})${inside(a, prefix)}`, level: prefix };
}

/**
 * Packed bits, less a constant, as f32: set in front of the bits of 2^23 and that subtracted. Exact, and two fast
 * instructions where a conversion is a slow one; the sign of an element is one of the bits that are flipped.
 */
function smallFloat(w: Writer, e: Expr, l: string): Text | undefined {
  const { a, less } =
    e.kind === 'binary' && (e.op === 'sub' || e.op === 'add') && !Number.isNaN(constantOf(e.b))
      ? { a: e.a, less: e.op === 'sub' ? constantOf(e.b) : -constantOf(e.b) }
      : { a: e, less: 0 };
  if (a.kind !== 'load' || w.made.get(a) || Math.abs(less) > 2 ** 16) return undefined;
  const raw = loaders(w).get(a)?.bits;
  if (!raw) return undefined;
  const { kind, bits } = dtypes[a.buffer.dtype];
  const sign = kind === 'int' ? 2 ** (bits - 1) : 0;
  const flipped = `0x${(0x4b000000 + sign).toString(16)}u`;
  return {
    text: `__uint_as_float(${raw(l)} ^ ${flipped}) - ${literal(2 ** 23 + sign + less, 'f32')}`,
    level: levels.add,
  };
}

function bitsText(e: ExprOf<'bits'>, a: Text): Text {
  const [from, to] = [e.a.type.scalar, e.type.scalar];
  if (from === 'f32') return plain(`__float_as_${to === 'i32' ? 'int' : 'uint'}(${a.text})`);
  if (to === 'f32') return plain(`__${from === 'i32' ? 'int' : 'uint'}_as_float(${a.text})`);
  return { text: `(${valueType[to]})${inside(a, prefix)}`, level: prefix };
}

// ---- ranges ----

const whole: readonly [number, number] = [-(2 ** 31), 2 ** 31 - 1];

/** Whether a sum or product of i32 may leave the range, where C says nothing; indices do not. */
function mayWrap(w: Writer, e: ExprOf<'binary'>): boolean {
  const r = arithmetic(w, e);
  return r !== undefined && (r[0] < whole[0] || r[1] > whole[1]);
}

function arithmetic(w: Writer, e: ExprOf<'binary'>): Range {
  const [a, b] = [rangeOf(w, e.a), rangeOf(w, e.b)];
  const big = (x: Expr): boolean => Math.abs(constantOf(x)) > 2 ** 16;
  // Of indices with each other and with small numbers nothing leaves the range.
  if ((a === undefined || b === undefined) && !big(e.a) && !big(e.b)) {
    const other = a ?? b;
    return other && (other[0] < -(2 ** 20) || other[1] > 2 ** 20)
      ? [-(2 ** 62), 2 ** 62]
      : undefined;
  }
  const [al, ah] = a ?? whole;
  const [bl, bh] = b ?? whole;
  if (e.op === 'add') return [al + bl, ah + bh];
  if (e.op === 'sub') return [al - bh, ah - bl];
  const all = [al * bl, al * bh, ah * bl, ah * bh];
  return [Math.min(...all), Math.max(...all)];
}

export function rangeOf(w: Writer, e: Expr): Range {
  switch (e.kind) {
    case 'const':
      return [e.value, e.value];
    case 'var': {
      const value = w.once.get(e.var.id);
      if (value) return rangeOf(w, value);
      return w.ranges.has(e.var.id)
        ? w.ranges.get(e.var.id)
        : e.type.lanes === 1
          ? undefined
          : whole;
    }
    case 'dim':
    case 'lanes':
      return undefined;
    case 'splat':
      return rangeOf(w, e.a);
    case 'load':
    case 'gather': {
      const { kind, bits, min, max } = dtypes[e.buffer.dtype];
      return kind !== 'float' && bits < 32 ? [min!, max!] : whole;
    }
    case 'convert':
      return e.a.type.scalar === 'bool' ? [0, 1] : whole;
    case 'binary': {
      if (e.op === 'and' && constantOf(e.b) >= 0) return [0, constantOf(e.b)];
      if (e.op === 'add' || e.op === 'sub' || e.op === 'mul') {
        const r = arithmetic(w, e);
        return r && (r[0] < -(2 ** 31) || r[1] > 2 ** 31 - 1) ? whole : r;
      }
      const parts = [rangeOf(w, e.a), rangeOf(w, e.b)];
      if (e.op === 'shr' || e.op === 'div' || e.op === 'rem') return parts[0];
      if (e.op === 'min' || e.op === 'max')
        return parts.some((p) => p === undefined) ? undefined : whole;
      return whole;
    }
    case 'select': {
      const [a, b] = [rangeOf(w, e.a), rangeOf(w, e.b)];
      return a && b ? [Math.min(a[0], b[0]), Math.max(a[1], b[1])] : (a ?? b);
    }
    default:
      return whole;
  }
}
