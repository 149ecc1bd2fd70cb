// Expressions as gpu.js's JavaScript. Numbers of all types are floats; whole numbers are those that ranges.ts proves exact.
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Expr, ExprOf } from '../../compiler/loops/loops.ts';
import { isExact } from './ranges.ts';
import { boolRows, compareRows, floatRows, type Row, unaryRows, wholeRows } from './tables.ts';
import { fault, type Writer } from './writer.ts';

const simple = /^(?:[\w.]+|[\w.]+\(.*\)|\w+\[.*\])$/s;

/** Parentheses, where the text is more than a name, a number or one call. */
export function inside(text: string): string {
  if (!simple.test(text)) return `(${text})`;
  // One call or access, not several joined by operators.
  let depth = 0;
  for (const [i, c] of [...text].entries()) {
    if (c === '(' || c === '[') depth += 1;
    if (c === ')' || c === ']') depth -= 1;
    if (depth === 0 && (c === ')' || c === ']') && i < text.length - 1) return `(${text})`;
  }
  return text;
}

export function textOf(w: Writer, e: Expr): string {
  const x = (a: Expr): string => textOf(w, a);
  if (e.type.lanes > 1) throw fault(`${e.kind} of ${e.type.lanes} lanes reached gpujs`);
  switch (e.kind) {
    case 'const':
      return literal(w, e.value, e.type.scalar === 'bool');
    case 'lanes':
      return '0';
    case 'var':
      return w.variable(e.var);
    case 'dim':
      return w.dim(e.name);
    case 'unary':
      return unaryText(w, e);
    case 'binary':
      return binaryText(w, e);
    case 'compare':
      return `${inside(x(e.a))} ${compareRows[e.op]} ${inside(x(e.b))}`;
    case 'select':
      if (e.type.scalar === 'bool')
        return `(${inside(x(e.c))} && ${inside(x(e.a))}) || (!${inside(x(e.c))} && ${inside(x(e.b))})`;
      return `${inside(x(e.c))} ? ${inside(x(e.a))} : ${inside(x(e.b))}`;
    case 'convert':
      return convertText(w, e);
    case 'bits':
      return bitsText(w, e);
    case 'round':
      return roundText(w, e);
    case 'load': {
      const { data, dtype } = e.buffer;
      if (!dtypes[dtype].minifloat && dtype !== 'f32' && data?.some((v) => !isExact([v, v])))
        return w.refuse('table', dtype, tooWide);
      const element = `${w.buffer(e.buffer)}[${x(e.index)}]`;
      return e.buffer.dtype === 'bool' ? `${element} !== 0` : element;
    }
    case 'splat':
    case 'repeat':
    case 'tile':
    case 'reduce':
    case 'fold':
      return x(e.a);
    case 'encode':
    case 'decode':
      return w.refuse(
        'bitcast',
        e.dtype,
        'The bits of a number cannot be had in a shader of gpu.js.',
      );
    // Of vectors only, or made by schedules of other targets.
    case 'extract':
    case 'build':
    case 'gather':
    case 'dot':
    case 'dot4':
    case 'zip':
    case 'muladd':
    case 'peak':
    case 'nearest':
    case 'within':
    case 'bounded':
    case 'rank':
      throw fault(`${e.kind} reached gpujs`);
  }
}

function literal(w: Writer, value: number, isBool: boolean): string {
  if (isBool) return value ? 'true' : 'false';
  if (Number.isNaN(value)) return w.special('notANumber');
  if (!Number.isFinite(value))
    return value > 0 ? w.special('infinity') : `-${w.special('infinity')}`;
  return Object.is(value, -0) ? '-0' : `${value}`;
}

const fround = (text: string): string => `Math.fround(${text})`;

/** A row's text; `float`: rounded where the row says so. */
function apply(w: Writer, row: NonNullable<Row>, args: readonly string[], float: boolean): string {
  const made = ((): string => {
    if ('infix' in row) return `${inside(args[0]!)} ${row.infix} ${inside(args[1]!)}`;
    if ('prefix' in row) return `${row.prefix}${inside(args[0]!)}`;
    if ('part' in row) return `${row.part}(${args.join(', ')})`;
    return row.math.endsWith(', ') ? `${row.math}${args[0]})` : `${row.math}(${args.join(', ')})`;
  })();
  void w;
  return float && 'rounds' in row ? fround(made) : made;
}

function unaryText(w: Writer, e: ExprOf<'unary'>): string {
  const a = textOf(w, e.a);
  const from = e.a.type.scalar;
  if (e.op === 'not') return from === 'bool' ? `!${inside(a)}` : exact(w, e, `-1 - ${inside(a)}`);
  if (e.op === 'isnan') return from === 'f32' ? `!(${inside(a)} === ${inside(a)})` : 'false';
  const row = unaryRows[e.op];
  if (!row) return w.refuse(e.op, from, bitsOnly);
  if (from === 'f32') return apply(w, row, [a], true);
  // Whole numbers are whole already, and 0 has no sign.
  if (e.op === 'neg') return exact(w, e, `0 - ${inside(a)}`);
  if (e.op === 'abs' || e.op === 'sign') return apply(w, row, [a], false);
  if (e.op === 'exponent') return apply(w, row, [a], false);
  return a;
}

const bitsOnly = 'gpu.js has no operations on the bits of a number.';
const tooWide = `Numbers are floats in gpu.js: whole numbers are exact up to 2^24, and this may give larger ones. Clamp or cast the operands to a narrower type, or use device('wasm').`;

/** Refuses what may not be exact. */
function exact(w: Writer, e: ExprOf<'unary' | 'binary' | 'bits'>, text: string): string {
  const [min] = w.ranges.of(e);
  if (w.ranges.isExact(e) && (e.type.scalar !== 'u32' || min >= 0)) return text;
  return w.refuse(e.kind === 'bits' ? 'cast' : e.op, e.type.scalar, tooWide);
}

function binaryText(w: Writer, e: ExprOf<'binary'>): string {
  const { scalar } = e.type;
  if (e.op === 'shl' || e.op === 'shr') return shiftText(w, e);
  const [a, b] = [textOf(w, e.a), textOf(w, e.b)];
  if (scalar === 'bool') {
    const sign = boolRows[e.op];
    if (!sign) throw fault(`${e.op} of bools reached gpujs`);
    return `${inside(a)} ${sign} ${inside(b)}`;
  }
  if (scalar === 'f32') {
    const row = floatRows[e.op];
    if (!row) throw fault(`${e.op} of floats reached gpujs`);
    return apply(w, row, [a, b], true);
  }
  if (e.op === 'and' && e.b.kind === 'const') {
    const masked = maskText(e.b.value, a);
    if (masked && w.ranges.isExact(e.a)) return masked;
  }
  const ops = [w.ranges.of(e.a), w.ranges.of(e.b)];
  const bitwise = e.op === 'and' || e.op === 'or' || e.op === 'xor';
  const both = [e.a, e.b].every((o) => w.ranges.isExact(o));
  if (bitwise && !(both && ops.every(([lo, hi]) => lo >= 0 && hi < 2 ** 31)))
    return w.refuse(e.op, scalar, bitsOnly);
  const row = wholeRows[e.op];
  if (!row) return w.refuse(e.op, scalar, bitsOnly);
  if (e.op === 'min' || e.op === 'max') return apply(w, row, [a, b], false);
  if (!both) return w.refuse(e.op, scalar, tooWide);
  const less = e.op === 'add' ? negated(w, e.b) : undefined;
  if (less !== undefined) return exact(w, e, `${inside(a)} - ${inside(less)}`);
  const text = apply(w, row, [a, b], false);
  if (bitwise) return fround(text);
  // A zero has no sign: 0 * -5 would be -0.
  const signed = e.op === 'mul' && ops.some(([lo]) => lo < 0);
  return exact(w, e, signed ? `${text} + 0` : text);
}

/** What an addition of this takes away: a negative literal, or a product with one. */
function negated(w: Writer, e: Expr): string | undefined {
  if (e.kind === 'const') return e.value < 0 ? `${-e.value}` : undefined;
  if (e.kind !== 'binary' || e.op !== 'mul' || e.b.kind !== 'const' || e.b.value >= 0)
    return undefined;
  const a = textOf(w, e.a);
  return e.b.value === -1 ? a : `${inside(a)} * ${-e.b.value}`;
}

/** The low bits of a number, or all but them, in two's complement. */
function maskText(mask: number, a: string): string | undefined {
  const low = mask >= 0 ? mask + 1 : -mask;
  if (low < 1 || low > 2 ** 24 || !Number.isInteger(Math.log2(low))) return undefined;
  const high = `Math.floor(${inside(a)} * ${1 / low}) * ${low}`;
  return mask >= 0 ? `${inside(a)} - ${high}` : high;
}

function shiftText(w: Writer, e: ExprOf<'binary'>): string {
  if (e.b.kind !== 'const') {
    const [least, most] = w.ranges.of(e.b);
    if (least < 0 || most > 31 || !w.ranges.isExact(e.a))
      return w.refuse(e.op, e.type.scalar, bitsOnly);
    const [a, b] = [inside(textOf(w, e.a)), textOf(w, e.b)];
    if (e.op === 'shl') return exact(w, e, `${a} * powerOfTwo(${b}) + 0`);
    return `Math.floor(${a} * powerOfTwo(0 - ${inside(b)}))`;
  }
  const count = e.b.value & 31;
  if (e.op === 'shl') {
    if (!w.ranges.isExact(e.a)) return w.refuse(e.op, e.type.scalar, tooWide);
    return exact(w, e, `${inside(textOf(w, e.a))} * ${2 ** count} + 0`);
  }
  const up = e.a;
  if (up.kind === 'binary' && up.op === 'shl' && up.b.kind === 'const' && up.b.value === count) {
    // The low bits with their sign.
    if (!w.ranges.isExact(up.a)) return w.refuse('cast', e.type.scalar, tooWide);
    const [x, size] = [inside(textOf(w, up.a)), 2 ** (32 - count)];
    return `${x} - Math.floor((${x} + ${size / 2}) * ${1 / size}) * ${size}`;
  }
  if (!w.ranges.isExact(e.a)) return w.refuse(e.op, e.type.scalar, tooWide);
  return `Math.floor(${inside(textOf(w, e.a))} * ${2 ** -count})`;
}

function convertText(w: Writer, e: ExprOf<'convert'>): string {
  const a = textOf(w, e.a);
  const [from, to] = [e.a.type.scalar, e.type.scalar];
  if (from === 'bool') return `${inside(a)} ? 1 : 0`;
  if (to === 'bool') return `${inside(a)} !== 0`;
  if (to === 'f32') return a;
  if (from === 'f32') return `${to === 'u32' ? 'naturalOf' : 'wholeOf'}(${a})`;
  return a;
}

/** Between signed and unsigned, where the number is the same. */
function bitsText(w: Writer, e: ExprOf<'bits'>): string {
  const [from, to] = [e.a.type.scalar, e.type.scalar];
  const [least, most] = w.ranges.of(e.a);
  if (to === 'f32' && w.ranges.isExact(e.a) && least >= 0 && most < 2 ** 31)
    return `floatOf(${textOf(w, e.a)}, ${w.special('infinity')})`;
  if (from === 'f32' || to === 'f32') return w.refuse('bitcast', from, bitsOnly);
  return exact(w, e, textOf(w, e.a));
}

function roundText(w: Writer, e: ExprOf<'round'>): string {
  const f = dtypes[e.dtype].minifloat;
  const a = textOf(w, e.a);
  if (!f) return a;
  if (f.special === 'e8m0') return `powerBelow(${a})`;
  const beyond = f.special === 'ieee' ? w.special('infinity') : `${f.max}`;
  const text = `gridOf(${a}, ${f.m}, ${1 - f.bias}, ${f.max}, ${beyond})`;
  return f.special === 'none' ? `(${inside(a)} === ${inside(a)} ? ${text} : 0)` : text;
}
