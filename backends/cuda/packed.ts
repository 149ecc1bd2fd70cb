// Vectors of small integers as packed bytes, four to a word: what __dp4a multiplies. Bytes are made out of the words in
// memory, without taking elements apart: nibbles spread by byte permutation, tables of 16 looked up the same way.
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Expr, ExprOf } from '../../compiler/loops/loops.ts';
import { scalar } from './expressions.ts';
import { loadWords } from './memory.ts';
import type { Writer } from './writer.ts';

/** Word `i`, of four lanes. */
export type Words = (i: string) => string;
type Bounds = readonly [number, number];

/** Both operands of a dot as packed bytes, if all of their elements fit bytes of one kind. */
export function packedDot(
  w: Writer,
  e: ExprOf<'dot'>,
): { a: Words; b: Words; sign: boolean } | undefined {
  const [a, b] = [boundsOf(e.a), boundsOf(e.b)];
  if (!a || !b) return undefined;
  const fit = ([lo, hi]: Bounds): boolean =>
    Math.min(a[0], b[0]) >= lo && Math.max(a[1], b[1]) <= hi;
  const sign = fit([-128, 127]);
  if ((!sign && !fit([0, 255])) || !isPackable(e.a) || !isPackable(e.b)) return undefined;
  return { a: words(w, e.a), b: words(w, e.b), sign };
}

/** Integers of a byte with a sign, packed; undefined where they are made otherwise. */
export function packedBytes(w: Writer, e: Expr): Words | undefined {
  const bounds = boundsOf(e);
  if (!bounds || bounds[0] < -128 || bounds[1] > 127 || !isPackable(e)) return undefined;
  return words(w, e);
}

/** Looked-up small integers as packed bytes with a sign; undefined where the elements are anything else. */
export function packedTable(w: Writer, e: Expr): Words | undefined {
  const bounds = boundsOf(e);
  if (!bounds || bounds[0] < -128 || bounds[1] > 127) return undefined;
  return looksUp(e) && isPackable(e) ? words(w, e) : undefined;
}
const looksUp = (e: Expr): boolean =>
  e.kind === 'gather' || (e.kind === 'binary' && (looksUp(e.a) || looksUp(e.b)));

/** Bounds of the elements; undefined where they are not known. */
function boundsOf(e: Expr): Bounds | undefined {
  switch (e.kind) {
    case 'const':
      return [e.value, e.value];
    case 'splat':
      return boundsOf(e.a);
    case 'load': {
      const { kind, bits, min, max } = dtypes[e.buffer.dtype];
      return kind === 'float' || bits > 8 ? undefined : [min!, max!];
    }
    case 'gather': {
      const { data, dtype } = e.buffer;
      if (!data?.length || dtypes[dtype].kind === 'float') return undefined;
      return [Math.min(...data), Math.max(...data)];
    }
    case 'binary': {
      const [a, b] = [boundsOf(e.a), boundsOf(e.b)];
      if (!a || !b) return undefined;
      if (e.op === 'add') return [a[0] + b[0], a[1] + b[1]];
      if (e.op === 'sub') return [a[0] - b[1], a[1] - b[0]];
      return undefined;
    }
    default:
      return undefined;
  }
}

/** Sums may wrap on the way: modulo 256 the bytes of the result are right all the same. */
function isPackable(e: Expr): boolean {
  switch (e.kind) {
    case 'const':
    case 'splat':
      return true;
    case 'load': {
      const { bits } = dtypes[e.buffer.dtype];
      const bytes = (n: number): boolean => (n * bits) % 32 === 0;
      return (
        (bits === 8 || bits === 4 || bits === 2) && bytes(e.type.lanes) && e.type.lanes % 4 === 0
      );
    }
    case 'gather':
      return tableIndex(e) !== undefined;
    case 'binary':
      return isPackable(e.a) && isPackable(e.b);
    default:
      return false;
  }
}

/** The nibbles that number the entries of a table of 16 or fewer. */
function tableIndex(e: ExprOf<'gather'>): ExprOf<'load'> | undefined {
  const { data } = e.buffer;
  if (!data || data.length > 16 || e.index.kind !== 'load') return undefined;
  return e.index.buffer.dtype === 'u4' && isPackable(e.index) ? e.index : undefined;
}

function words(w: Writer, e: Expr): Words {
  switch (e.kind) {
    case 'const':
      return () => word(Array.from({ length: 4 }, () => e.value));
    case 'splat': {
      const at = w.temp('bytes');
      w.line(`const unsigned ${at} = (${scalar(w, e.a)} & 255) * 0x01010101u;`);
      return () => at;
    }
    case 'load': {
      const { bits, kind } = dtypes[e.buffer.dtype];
      const raw = loadWords(w, e);
      if (bits === 8) return (i) => `${raw}[${i}]`;
      w.use(bits === 4 ? 'nibbles' : 'crumbs');
      const spread = bits === 4 ? 'nibble_bytes' : 'crumb_bytes';
      const unsigned: Words = (i) => `${spread}(${raw}, ${i})`;
      if (kind !== 'int') return unsigned;
      // The sign bit moved up and taken away again: (q ^ s) - s.
      w.use('bytes');
      const s = word(Array.from({ length: 4 }, () => 2 ** (bits - 1)));
      return (i) => `sub_bytes(${unsigned(i)} ^ ${s}, ${s})`;
    }
    case 'gather': {
      w.use('table_bytes');
      const raw = loadWords(w, tableIndex(e)!);
      const entries = [...e.buffer.data!, ...Array.from({ length: 16 }, () => 0)];
      const table = [0, 4, 8, 12].map((i) => word(entries.slice(i, i + 4)));
      return (i) => `table_bytes(${raw}, ${i}, ${table.join(', ')})`;
    }
    case 'binary': {
      w.use('bytes');
      const [a, b] = [words(w, e.a), words(w, e.b)];
      return (i) => `${e.op}_bytes(${a(i)}, ${b(i)})`;
    }
    default:
      throw new Error(`${e.kind} is not packable`);
  }
}

/** Four bytes as a literal, the first one lowest. */
export const word = (bytes: readonly number[]): string =>
  `0x${bytes
    .reduceRight((n, b) => n * 256 + (b & 255), 0)
    .toString(16)
    .padStart(8, '0')}u`;
