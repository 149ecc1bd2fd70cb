// Expressions as WGSL. A value of up to four lanes is one expression, a longer one several pieces. What is used twice in
// a statement gets a name in front of it. Whatever has only literal operands is computed here, because WGSL refuses
// constant expressions that overflow. Products that may become part of a sum are rounded by a function of their own,
// so that results do not depend on whether a driver fuses.
import { dtypes } from '../../compiler/ir/dtype.ts';
import { binaryLane, bitsLane, convertLane, unaryLane } from '../../compiler/loops/lanes.ts';
import {
  type Expr,
  type ExprOf,
  operands,
  type ReduceOp,
  type VType,
} from '../../compiler/loops/loops.ts';
import { letters, loadElement, loadVector, named, wordsAt } from './memory.ts';
import {
  binaryRows,
  combineKey,
  compareRows,
  knownDivisor,
  levels,
  type Row,
  unaryRows,
} from './tables.ts';
import { literal, piecesOf, typeText, widthOf } from './types.ts';
import { fault, type Text, type Writer } from './writer.ts';

const { atom, prefix, loose, compare } = levels;
const plain = (text: string): Text => ({ text, level: atom });
const inside = (t: Text, level: number): string => (t.level < level ? `(${t.text})` : t.text);
/** As an argument of a call: a comparison could be read as the start of a template. */
const argument = (t: Text): string => inside(t, loose);

/** Counts how often each part of the expressions of a statement is used, and forgets the last one. */
export function begin(w: Writer, exprs: readonly Expr[]): void {
  w.made = new Map();
  w.uses = new Map();
  const visit = (e: Expr): void => {
    const n = (w.uses.get(e) ?? 0) + 1;
    w.uses.set(e, n);
    if (n === 1) operands(e).forEach(visit);
  };
  exprs.forEach(visit);
}

/** The text of a scalar. `summed`: it may become part of a sum. */
export const scalar = (w: Writer, e: Expr, summed = false): Text => pieces(w, e, summed)[0]!;

/** A piece as a vector of its own: no scalar that stands for all lanes. */
export function whole(t: Text, type: VType): Text {
  const width = widthOf(type.lanes);
  return t.all && width > 1 ? plain(`${typeText(type.scalar, width)}(${argument(t)})`) : t;
}

/** All pieces as vectors. */
export const vectors = (w: Writer, e: Expr, summed = false): readonly Text[] =>
  pieces(w, e, summed).map((t) => whole(t, e.type));

const trivial = (e: Expr): boolean =>
  e.kind === 'var' || e.kind === 'const' || e.kind === 'dim' || e.kind === 'lanes';

export function pieces(w: Writer, e: Expr, summed = false): readonly Text[] {
  const made = w.made.get(e);
  if (made) return made;
  const shared = (w.uses.get(e) ?? 0) > 1 && !trivial(e);
  let out = compute(w, e, summed || shared);
  if (shared) out = out.map((t) => (t.all ? { ...named(w, t, 's'), all: true } : named(w, t, 't')));
  if (shared) w.made.set(e, out);
  return out;
}

/** A literal, for all lanes of a type. */
function constant(w: Writer, value: number, type: VType): readonly Text[] {
  const text =
    literal(value, type.scalar) ?? `${w.use('float_of', 1)}(${bitsLane(value, 'f32', 'u32')}u)`;
  const level = text.startsWith('-') ? prefix : atom;
  return Array.from({ length: piecesOf(type.lanes) }, () => ({ text, level, all: true as const }));
}

/** A number that no compiler sees. */
const hidden = (w: Writer, e: Expr): readonly Text[] =>
  Array.from({ length: piecesOf(e.type.lanes) }, () => ({
    text: `${w.use('float_of', 1)}(${bitsLane(constantOf(e)!, 'f32', 'u32')}u)`,
    level: atom,
    all: true as const,
  }));

const constantOf = (e: Expr): number | undefined =>
  e.kind === 'const' ? e.value : e.kind === 'splat' && e.a.kind === 'const' ? e.a.value : undefined;

/** The value of an operation on literals. */
function folded(e: Expr): number | undefined {
  switch (e.kind) {
    case 'unary': {
      const a = constantOf(e.a);
      return a === undefined ? undefined : unaryLane(e.op, a, e.a.type.scalar, e.type.scalar);
    }
    case 'binary': {
      const [a, b] = [constantOf(e.a), constantOf(e.b)];
      return a === undefined || b === undefined ? undefined : binaryLane(e.op, a, b, e.type.scalar);
    }
    case 'convert': {
      const a = constantOf(e.a);
      return a === undefined ? undefined : convertLane(a, e.a.type.scalar, e.type.scalar);
    }
    case 'bits': {
      const a = constantOf(e.a);
      return a === undefined ? undefined : bitsLane(a, e.a.type.scalar, e.type.scalar);
    }
    default:
      return undefined;
  }
}

/** One text a piece from those of the operands; a scalar for all lanes where all of them are. */
function each(
  w: Writer,
  e: Expr,
  args: readonly (readonly Text[])[],
  make: (xs: readonly Text[], width: number) => Text,
): Text[] {
  const width = widthOf(e.type.lanes);
  void w;
  return Array.from({ length: piecesOf(e.type.lanes) }, (_, k) => {
    const xs = args.map((a) => a[k]!);
    if (width > 1 && xs.every((x) => x.all)) return { ...make(xs, 1), all: true as const };
    return make(xs, width);
  });
}

/** Operands of one piece as vectors. */
const widened = (xs: readonly Text[], types: readonly VType[], width: number): readonly Text[] =>
  width === 1 ? xs : xs.map((x, i) => whole(x, types[i]!));

function compute(w: Writer, e: Expr, summed: boolean): readonly Text[] {
  const fold = folded(e);
  if (fold !== undefined) return constant(w, fold, e.type);
  const x = (a: Expr, s = false): readonly Text[] => pieces(w, a, s);
  const { lanes, scalar: type } = e.type;
  const width = widthOf(lanes);
  const call = (name: (width: number) => string, ...args: readonly Expr[]): Text[] =>
    each(
      w,
      e,
      args.map((a) => x(a)),
      (xs, n) =>
        plain(
          `${name(n)}(${widened(
            xs,
            args.map((a) => a.type),
            n,
          )
            .map(argument)
            .join(', ')})`,
        ),
    );
  switch (e.kind) {
    case 'const':
      return constant(w, e.value, e.type);
    case 'lanes':
      return Array.from({ length: piecesOf(lanes) }, (_, k) =>
        plain(
          width === 1
            ? '0'
            : `vec${width}i(${Array.from({ length: width }, (__, j) => 4 * k + j).join(', ')})`,
        ),
      );
    case 'var':
      return w.variable(e.var).map(plain);
    case 'dim':
      return [plain(w.dim(e.name))];
    case 'unary': {
      const row = rowOf(unaryRows, `${e.op}.${e.a.type.scalar}`);
      if ('prefix' in row)
        return each(w, e, [x(e.a, summed)], ([a]) => ({
          text: `${row.prefix}${inside(a!, a!.text.startsWith('-') ? atom : prefix)}`,
          level: prefix,
        }));
      return call(
        (n) => ('part' in row ? w.use(row.part, n) : (row as { call: string }).call),
        e.a,
      );
    }
    case 'binary':
      return binaryPieces(w, e, summed);
    case 'compare': {
      const types = [e.a.type, e.b.type];
      return each(w, e, [x(e.a), x(e.b)], (xs, n) => {
        const [a, b] = widened(xs, types, n);
        // Some drivers read != as false for NaN.
        if (e.op === 'ne' && e.a.type.scalar === 'f32')
          return { text: `!(${inside(a!, loose + 1)} == ${inside(b!, loose + 1)})`, level: prefix };
        return {
          text: `${inside(a!, loose + 1)} ${compareRows[e.op]} ${inside(b!, loose + 1)}`,
          level: compare,
        };
      });
    }
    case 'select': {
      const types = [e.b.type, e.a.type];
      return each(w, e, [x(e.b, summed), x(e.a, summed), x(e.c)], (xs, n) => {
        const [no, yes] = widened(xs.slice(0, 2), types, n);
        return plain(`select(${argument(no!)}, ${argument(yes!)}, ${argument(xs[2]!)})`);
      });
    }
    case 'convert':
      return convertPieces(w, e);
    case 'bits':
      return each(w, e, [x(e.a)], ([a], n) =>
        plain(`bitcast<${typeText(type, n)}>(${argument(a!)})`),
      );
    case 'decode':
      if (e.dtype === 'f8e5m2') return call((n) => w.use('quarter_of', n), e.a);
      if (e.dtype !== 'f16') throw fault(`the decoding of ${e.dtype} was not expanded`);
      return call((n) => w.use('half_of', n), e.a);
    case 'round':
    case 'encode':
      throw fault(`a ${e.kind} of ${e.dtype} was not expanded`);
    case 'splat': {
      const [a] = x(e.a, true);
      const t = piecesOf(lanes) > 1 ? named(w, a!, 's') : a!;
      return Array.from({ length: piecesOf(lanes) }, () => ({ ...t, all: true as const }));
    }
    case 'extract':
      return [lane(e.a.type, x(e.a), e.lane)];
    case 'build':
      return Array.from({ length: piecesOf(lanes) }, (_, k) => {
        const parts = e.parts.slice(4 * k, 4 * k + width).map((p) => argument(scalar(w, p, true)));
        return plain(`${typeText(type, width)}(${parts.join(', ')})`);
      });
    case 'reduce':
      return [reducePieces(w, e)];
    case 'fold':
      return [foldPieces(w, e)];
    case 'dot':
      return [dotPieces(w, e)];
    // Made by schedules of other targets only.
    case 'dot4':
    case 'zip':
    case 'muladd':
    case 'peak':
    case 'nearest':
    case 'within':
    case 'bounded':
    case 'rank':
    case 'repeat':
    case 'tile':
      throw fault(`${e.kind} reached the WGSL backend`);
    case 'load': {
      const index = scalar(w, e.index);
      return lanes === 1
        ? [loadElement(w, e.buffer, index)]
        : loadVector(w, e.buffer, index, lanes, e.align);
    }
    case 'gather': {
      const index = vectors(w, e.index).map((t) => named(w, t, 'ids'));
      return index.map((t) => {
        if (width === 1) return loadElement(w, e.buffer, t);
        const parts = Array.from({ length: width }, (_, j) =>
          argument(loadElement(w, e.buffer, plain(`${t.text}.${letters[j]}`))),
        );
        return plain(`${typeText(type, width)}(${parts.join(', ')})`);
      });
    }
  }
}

/** One lane of a value. */
function lane(type: VType, texts: readonly Text[], n: number): Text {
  const t = texts[Math.floor(n / 4)]!;
  return t.all || type.lanes === 1
    ? { text: t.text, level: t.level }
    : plain(`${inside(t, atom)}.${letters[n % 4]}`);
}

function rowOf(table: Readonly<Record<string, Row>>, key: string): Row {
  const row = table[key];
  if (!row) throw fault(`the WGSL backend has no row for ${key}`);
  return row;
}

/** Operators that WGSL has between a vector and a scalar. */
const mixes: ReadonlySet<string> = new Set(['+', '-', '*', '/', '%']);

function binaryPieces(w: Writer, e: ExprOf<'binary'>, summed: boolean): Text[] {
  const type = e.type.scalar;
  const key = `${e.op}.${type}`;
  const isSum = type === 'f32' && (e.op === 'add' || e.op === 'sub');
  const divisor = constantOf(e.b);
  const row =
    key in knownDivisor && divisor !== undefined && divisor > 0
      ? knownDivisor[key]!
      : rowOf(binaryRows, key);
  const types = [e.a.type, e.b.type];
  // (a + b) - b must not become a: it is how values are rounded onto a grid.
  const cancels = key === 'sub.f32' && e.a.kind === 'binary' && e.a.op === 'add';
  // Nor may x + 0 become x, which differs for -0.
  const operandOf = (x: Expr): readonly Text[] =>
    isSum && constantOf(x) === 0 ? hidden(w, x) : pieces(w, x, isSum);
  const args = [operandOf(e.a), operandOf(e.b)];
  return each(w, e, args, (xs, n) => {
    const text = operate(w, row, e.op, xs, types, n, cancels);
    if (key !== 'mul.f32' || !summed) return text;
    return plain(`${w.use('rounded', n)}(${argument(text)})`);
  });
}

function operate(
  w: Writer,
  row: Row,
  op: string,
  given: readonly Text[],
  types: readonly VType[],
  n: number,
  cancels: boolean,
): Text {
  if (!('infix' in row)) {
    const [a, b] = widened(given, types, n);
    const name = 'part' in row ? w.use(row.part, n) : (row as { call: string }).call;
    return plain(`${name}(${argument(a!)}, ${argument(b!)})`);
  }
  const shift = op === 'shl' || op === 'shr';
  let xs = mixes.has(row.infix) ? given : widened(given, types, n);
  if (n > 1 && xs.every((t) => t.all)) xs = widened(given, types, n);
  const [a, b] = xs as [Text, Text];
  if (shift)
    return { text: `${inside(a, atom)} ${row.infix} ${count(given[1]!, n)}`, level: loose };
  // Minus a number, not plus a negative one.
  if (op === 'add' && /^-[\d.]/.test(b.text))
    return { text: `${inside(a, row.level)} - ${b.text.slice(1)}`, level: row.level };
  const less = op === 'add' ? /^([\w.]+ \* )-(\d+)$/.exec(b.text) : null;
  if (less) return { text: `${inside(a, row.level)} - ${less[1]}${less[2]}`, level: row.level };
  const left = cancels
    ? `${w.use('rounded', n)}(${argument(whole(a, { ...types[0]!, lanes: n }))})`
    : inside(a, row.level);
  const least = row.level >= levels.add ? row.level + 1 : atom;
  const isLoose = row.level < levels.add;
  return {
    text: `${isLoose ? inside(a, atom) : left} ${row.infix} ${inside(b, Math.min(least, atom))}`,
    level: row.level,
  };
}

/** The amount of a shift: u32, below 32. */
function count(t: Text, n: number): string {
  const known = /^\d+u?$/.test(t.text) ? Number.parseInt(t.text, 10) & 31 : undefined;
  const one = (x: string): string => (n > 1 ? `vec${n}u(${x})` : x);
  if (known !== undefined) return one(`${known}u`);
  const u = n > 1 && !t.all ? `vec${n}u(${argument(t)})` : one(`u32(${argument(t)})`);
  return `(${u} & ${one('31u')})`;
}

function convertPieces(w: Writer, e: ExprOf<'convert'>): Text[] {
  const [from, to] = [e.a.type.scalar, e.type.scalar];
  return each(w, e, [pieces(w, e.a)], ([a], n) => {
    // By bits, so that a subnormal number is true even where arithmetic takes it for 0.
    if (to === 'bool' && from === 'f32') return plain(`${w.use('is_set', n)}(${argument(a!)})`);
    if (from === 'u32' && to === 'f32') return plain(`${w.use('from_uint', n)}(${argument(a!)})`);
    if (to === 'bool') {
      const zero = literal(0, from)!;
      const none = n > 1 ? `${typeText(from, n)}(${zero})` : zero;
      return { text: `${inside(a!, loose + 1)} != ${none}`, level: compare };
    }
    if (from === 'f32')
      return plain(`${w.use(to === 'i32' ? 'to_int' : 'to_uint', n)}(${argument(a!)})`);
    return plain(`${typeText(to, n)}(${argument(a!)})`);
  });
}

/** Two texts combined. */
function combined(w: Writer, op: ReduceOp, type: VType, a: Text, b: Text): Text {
  const row = rowOf(binaryRows, combineKey(op, type.scalar));
  return operate(w, row, op, [a, b], [type, type], type.lanes, false);
}

/** All lanes into one: halves of the vector are combined until one is left. */
function reducePieces(w: Writer, e: ExprOf<'reduce'>): Text {
  const { scalar: type, lanes } = e.a.type;
  let list = vectors(w, e.a, true).slice();
  const width = widthOf(lanes);
  const of = (n: number): VType => ({ scalar: type, lanes: n });
  while (list.length > 1) {
    const half = list.length / 2;
    list = list
      .slice(0, half)
      .map((t, i) => named(w, combined(w, e.op, of(width), t, list[i + half]!), 'r'));
  }
  let t = named(w, list[0]!, 'r');
  if (width === 4)
    t = named(w, combined(w, e.op, of(2), plain(`${t.text}.xy`), plain(`${t.text}.zw`)), 'r');
  return combined(w, e.op, of(1), plain(`${t.text}.x`), plain(`${t.text}.y`));
}

/** Pieces combined in order. A sum of products is left to the driver to fuse: only the schedule makes those. */
function foldPieces(w: Writer, e: ExprOf<'fold'>): Text {
  const { a, op } = e;
  const isOwn = (w.uses.get(a) ?? 0) < 2;
  const product =
    op === 'add' && a.kind === 'binary' && a.op === 'mul' && a.type.scalar === 'f32' && isOwn
      ? a
      : undefined;
  const list = product
    ? binaryPieces(w, product, false).map((t) => whole(t, product.type))
    : vectors(w, a, true);
  const name = w.temp('part');
  w.line(`var ${name} = ${list[0]!.text};`);
  const all: Text = plain(name);
  for (const t of list.slice(1))
    w.line(
      op === 'add' ? `${name} += ${t.text};` : `${name} = ${combined(w, op, e.type, all, t).text};`,
    );
  return all;
}

/** A vector of bytes that lies in memory as words. */
const bytesIn = (e: Expr): ExprOf<'load'> | undefined =>
  e.kind === 'load' && dtypes[e.buffer.dtype].bits === 8 && e.buffer.dtype !== 'bool'
    ? e
    : undefined;

/**
 * Products of small integers, four at a time: as packed bytes where both sides lie in memory as such. Which lane a
 * product is added to is left open by the sums that are made of it.
 */
function dotPieces(w: Writer, e: ExprOf<'dot'>): Text {
  const [a, b] = [bytesIn(e.a), bytesIn(e.b)];
  const sameKind = a && b && a.buffer.dtype === b.buffer.dtype;
  const list: string[] = [];
  if (sameKind && w.module.features.has('packed')) {
    const wa = wordsAt(w, a.buffer, scalar(w, a.index), a.type.lanes, a.align);
    const wb = wordsAt(w, b.buffer, scalar(w, b.index), b.type.lanes, b.align);
    wa.forEach((x, i) => {
      const y = wb[i]!;
      list.push(
        a.buffer.dtype === 'i8'
          ? `dot4I8Packed(${argument(x)}, ${argument(y)})`
          : `i32(dot4U8Packed(${argument(x)}, ${argument(y)}))`,
      );
    });
  } else {
    const [va, vb] = [vectors(w, e.a), vectors(w, e.b)];
    va.forEach((x, i) => list.push(`dot(${argument(x)}, ${argument(vb[i]!)})`));
  }
  const lanes = [0, 1, 2, 3].map((j) => {
    const mine = list.filter((_, i) => i % 4 === j);
    return mine.length ? mine.join(' + ') : '0';
  });
  return plain(`vec4i(${lanes.join(', ')})`);
}
