// Packing: what a warp's products multiply, made out of values. Halves of small integers come from the words in memory
// without a conversion: bits set below those of a large number are that number plus the integer, and the rest is one
// operation on two halves at a time.
import { dtypes, floatToBits, roundToFloat } from '../../compiler/ir/dtype.ts';
import type { Expr, ExprOf, Packed, Stmt } from '../../compiler/loops/loops.ts';
import { vector } from './expressions.ts';
import { address, loadWords } from './memory.ts';
import { packedBytes, word } from './packed.ts';
import { fault, type Writer } from './writer.ts';

type Pack = Extract<Stmt, { kind: 'pack' }>;

export function pack(w: Writer, s: Pack): void {
  const { value, var: v } = s;
  const name = w.variable(v);
  const words = v.type.lanes;
  const into = (word: (i: string) => string): void => {
    w.line(`${w.declaration(v.type, name)};`);
    w.lanes(words, `${name}[l] = (int)${word('l')};`);
  };
  if (s.dtype === 'i8') {
    const bytes = packedBytes(w, value);
    if (bytes) return into(bytes);
    w.use('bytes_of');
    const at = vector(w, value);
    return into((i) => `bytes_of(${[0, 1, 2, 3].map((j) => at(`(4 * ${i} + ${j})`)).join(', ')})`);
  }
  if (value.kind === 'load' && value.buffer.dtype === s.dtype) {
    const raw = loadWords(w, value);
    if (!s.paired) return into((i) => `${raw}[${i}]`);
    w.use('paired');
    const half = words / 2;
    return into((i) => `paired(${raw}, ${i}, ${half})`);
  }
  const { dtype } = s;
  const table = tableOf(value, dtype);
  if (table && words === 4 && !s.paired) {
    const raw = loadWords(w, table.load);
    const bytes = (shift: number): string[] =>
      [0, 4, 8, 12].map((i) =>
        word([0, 1, 2, 3].map((j) => ((table.entries[i + j] ?? 0) >> shift) & 255)),
      );
    const low = bytes(0);
    const isHigh = low.every((x) => x === word([0, 0, 0, 0]));
    const part = isHigh ? 'table_high' : 'table_halves';
    w.use(part);
    w.line(`${w.declaration(v.type, name)};`);
    const list = [...bytes(8), ...(isHigh ? [] : low)];
    w.line(`${part}(${name}, ${raw}[0], ${list.join(', ')});`);
    return;
  }
  if (value.kind === 'convert' && value.a.type.scalar === 'i32') {
    const nibbles = dtype === 'f16' || dtype === 'bf16' ? nibblesOf(value.a) : undefined;
    if (nibbles && words === 4) {
      const part = `nibble_${dtype}` as const;
      w.use(part);
      const raw = loadWords(w, nibbles.load);
      w.line(`${w.declaration(v.type, name)};`);
      w.line(`${part}<${s.paired}, ${nibbles.less}>(${name}, ${raw}[0]);`);
      return;
    }
    const bytes = packedBytes(w, value.a);
    if (bytes) {
      const part = `byte_${dtype}` as const;
      w.use(part);
      const at = w.temp('bytes');
      w.line(`unsigned ${at}[${words / 2}];`);
      w.lanes(words / 2, `${at}[l] = ${bytes('l')};`);
      if (!s.paired) return into((i) => `${part}(${at}[${i} / 2], ${i} % 2 ? 0x4342u : 0x4140u)`);
      // Elements i and i + words: of two words where there are four or more.
      w.use('paired_bytes');
      return into((i) => `${part}(paired_bytes(${at}, ${i}, ${words}), 0x4140u)`);
    }
  }
  const at = vector(w, value, false);
  const two = (i: string): string =>
    s.paired
      ? `${at(i)}, ${at(`(${i} + ${words})`)}`
      : `${at(`(2 * ${i})`)}, ${at(`(2 * ${i} + 1)`)}`;
  w.use(dtype === 'f16' ? 'halves_f16' : 'halves_bf16');
  into((i) => `halves_${dtype}(${two(i)})`);
}

/** Numbers that eight nibbles pick from a table: the bits of its entries. */
function tableOf(
  value: Expr,
  dtype: Packed,
): { readonly load: ExprOf<'load'>; readonly entries: readonly number[] } | undefined {
  const e = value.kind === 'convert' ? value.a : value;
  if (e.kind !== 'gather' || e.type.lanes !== 8) return undefined;
  const { index, buffer } = e;
  if (!buffer.data || buffer.data.length > 16) return undefined;
  if (index.kind !== 'load' || index.buffer.dtype !== 'u4') return undefined;
  return {
    load: index,
    entries: buffer.data.map((x) => floatToBits(dtype, roundToFloat(dtype, Math.fround(x)))),
  };
}

/** Nibbles less a literal; the sign of one is flipped and taken away again. */
function nibblesOf(e: Expr): { readonly load: ExprOf<'load'>; readonly less: number } | undefined {
  const constant = (x: Expr): number =>
    x.kind === 'const'
      ? x.value
      : x.kind === 'splat' && x.a.kind === 'const'
        ? x.a.value
        : Number.NaN;
  if (e.kind === 'load')
    return e.buffer.dtype === 'u4' && e.type.lanes === 8 ? { load: e, less: 0 } : undefined;
  if (e.kind !== 'binary' || (e.op !== 'sub' && e.op !== 'add')) return undefined;
  const less = constant(e.b) * (e.op === 'sub' ? 1 : -1);
  const inner = less >= 0 && less < 64 ? nibblesOf(e.a) : undefined;
  return inner && inner.less === 0 ? { load: inner.load, less } : undefined;
}

export function product(w: Writer, s: Extract<Stmt, { kind: 'product' }>): void {
  const part = `product_${s.dtype}` as const;
  w.use(part);
  const name = (e: Expr): string => {
    if (e.kind !== 'var') throw fault('an operand of a product has no name');
    return w.variable(e.var);
  };
  const list = [w.variable(s.var), ...s.a.map(name), name(s.b)];
  w.line(`${part}(${list.join(', ')});`);
}

export function copy(
  w: Writer,
  s: Extract<Stmt, { kind: 'copy' }>,
  text: (e: Expr) => string,
): void {
  w.use('copy_async');
  const { bits } = dtypes[s.to.dtype];
  const bytes = (s.count * bits) / 8;
  const [to, from] = [address(w, s.to, text(s.at)), address(w, s.from, text(s.index))];
  const valid = s.valid ? `, ${text(s.valid)} * ${bits} / 8` : '';
  w.line(`copy_async<${bytes}>(${to}, ${from}${valid});`);
}
