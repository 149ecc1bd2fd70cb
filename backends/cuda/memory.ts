// Loads and stores. Vectors move in the widest pieces that their alignment allows, up to 16 bytes, and are taken
// apart in registers; elements narrower than a byte are shifted out of words.
import { type DType, dtypes } from '../../compiler/ir/dtype.ts';
import type { Buffer, ExprOf } from '../../compiler/loops/loops.ts';
import { scalar } from './expressions.ts';
import { isPacked, memoryType } from './types.ts';
import type { Writer } from './writer.ts';

const isSigned = (d: DType): boolean => dtypes[d].kind === 'int';

/** Bits without a sign, as the value of an element. */
function widen(d: DType, unsigned: string): string {
  const { bits } = dtypes[d];
  return isSigned(d) ? `((int)(${unsigned} << ${32 - bits}) >> ${32 - bits})` : `(int)${unsigned}`;
}

/** Element `at` of a buffer, as a value. */
export function loadElement(w: Writer, b: Buffer, at: string): string {
  const p = w.buffer(b);
  if (isPacked(b.dtype)) {
    w.use('bits');
    return widen(b.dtype, `bits<${dtypes[b.dtype].bits}>(${p}, ${at})`);
  }
  return readAs(w, b.dtype, `${p}[${at}]`);
}

/** An element as it is in memory, as a value. */
function readAs(w: Writer, d: DType, stored: string): string {
  if (d === 'f16') {
    w.use('fp16');
    return `__half2float(${stored})`;
  }
  if (d === 'bool') return `(${stored} != 0)`;
  return dtypes[d].bits < 32 ? `(int)${stored}` : stored;
}

/** A value as it is in memory. */
function storedOf(w: Writer, d: DType, value: string): string {
  if (d === 'f16') {
    w.use('fp16');
    return `__float2half_rn(${value})`;
  }
  return dtypes[d].bits < 32 ? `(${memoryType(d)})(${value})` : value;
}

/** Bytes that certainly divide the address of a vector; storage itself starts on 16. */
const alignedTo = (d: DType, align: number): number => {
  const bytes = (align * dtypes[d].bits) / 8;
  for (const n of [16, 8, 4, 2]) if (bytes % n === 0) return n;
  return 1;
};

const pieces = [
  [16, 'uint4'],
  [8, 'uint2'],
  [4, 'unsigned'],
  [2, 'unsigned short'],
  [1, 'unsigned char'],
] as const;
/** A copy in the widest pieces that divide the bytes and their alignment. */
function copy(bytes: number, align: number, to: string, from: string): string {
  const [size, type] = pieces.find(([n]) => bytes % n === 0 && align % n === 0)!;
  return `copy<${type}, ${bytes / size}>(${to}, ${from});`;
}

export const address = (w: Writer, b: Buffer, at: string): string =>
  isPacked(b.dtype)
    ? `${w.buffer(b)} + (size_t)(${at}) * ${dtypes[b.dtype].bits} / 8`
    : `${w.buffer(b)} + ${at}`;

/** A vector in registers: the text of the value of lane `l`. */
export interface Loaded {
  value(l: string): string;
  /** Of packed elements, their bits without a sign. */
  bits?(l: string): string;
}

/** Reads a vector into registers. */
export function loadVector(w: Writer, b: Buffer, at: string, lanes: number, align: number): Loaded {
  const d = b.dtype;
  const { bits } = dtypes[d];
  const bytes = (lanes * bits) / 8;
  const name = w.temp(`${b.name.split('.').at(-1)}_raw`);
  const type = isPacked(d) ? 'unsigned' : memoryType(d);
  const count = isPacked(d) ? Math.ceil(bytes / 4) : lanes;
  if (d === 'f16') w.use('fp16');
  w.use('copy');
  w.line(`alignas(16) ${type} ${name}[${count}];`);
  w.line(copy(bytes, alignedTo(d, align), name, address(w, b, at)));
  if (!isPacked(d)) return { value: (l) => readAs(w, d, `${name}[${l}]`) };
  const raw = (l: string): string => wordBits(w, name, bits, l);
  return { value: (l) => widen(d, raw(l)), bits: raw };
}

/** Reads a vector as words, for those who take it apart themselves; gives the name of the array. */
export function loadWords(w: Writer, e: ExprOf<'load'>): string {
  const { buffer, align } = e;
  const bytes = (e.type.lanes * dtypes[buffer.dtype].bits) / 8;
  const name = w.temp(`${buffer.name.split('.').at(-1)}_words`);
  const at = scalar(w, e.index);
  w.use('copy');
  w.line(`alignas(16) unsigned ${name}[${bytes / 4}];`);
  w.line(copy(bytes, alignedTo(buffer.dtype, align), name, address(w, buffer, at)));
  return name;
}

/** Reads a vector whose elements are values as they are into an array. */
export function loadInto(
  w: Writer,
  to: string,
  b: Buffer,
  at: string,
  lanes: number,
  align: number,
): void {
  w.use('copy');
  w.line(copy(lanes * 4, alignedTo(b.dtype, align), to, address(w, b, at)));
}
export function storeFrom(
  w: Writer,
  from: string,
  b: Buffer,
  at: string,
  lanes: number,
  align: number,
): void {
  w.use('copy');
  w.line(copy(lanes * 4, alignedTo(b.dtype, align), address(w, b, at), from));
}

function wordBits(w: Writer, name: string, bits: number, l: string): string {
  if (32 % bits === 0) {
    const per = 32 / bits;
    return `(${name}[${l} / ${per}] >> ${l} % ${per} * ${bits} & ${2 ** bits - 1})`;
  }
  w.use('word_bits');
  return `word_bits<${bits}>(${name}, ${l})`;
}

export function storeElement(w: Writer, b: Buffer, at: string, value: string): void {
  if (isPacked(b.dtype)) {
    w.use('put_bits');
    w.line(`put_bits<${dtypes[b.dtype].bits}>(${w.buffer(b)}, ${at}, ${value});`);
  } else w.line(`${w.buffer(b)}[${at}] = ${storedOf(w, b.dtype, value)};`);
}

/** Writes a vector: `value` gives lane `l`. */
export function storeVector(
  w: Writer,
  b: Buffer,
  at: string,
  lanes: number,
  align: number,
  value: (l: string) => string,
): void {
  const d = b.dtype;
  const { bits } = dtypes[d];
  const bytes = (lanes * bits) / 8;
  const name = w.temp(`${b.name.split('.').at(-1)}_out`);
  w.use('copy');
  if (isPacked(d)) {
    w.line(`alignas(16) unsigned ${name}[${Math.ceil(bytes / 4)}] = {};`);
    w.use('put_word_bits');
    w.lanes(lanes, `put_word_bits<${bits}>(${name}, l, ${value('l')});`);
  } else {
    w.line(`alignas(16) ${memoryType(d)} ${name}[${lanes}];`);
    w.lanes(lanes, `${name}[l] = ${storedOf(w, d, value('l'))};`);
  }
  w.line(copy(bytes, alignedTo(d, align), address(w, b, at), name));
}
