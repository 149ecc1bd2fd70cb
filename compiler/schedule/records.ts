// Records: the fields of resident weights side by side in memory. What belongs to the same run of depth of the same
// four rows lies together, block constants in front of the codes, so that a kernel walks one stream of memory a
// group of rows with one pointer, whatever number of fields the format has.
//
// [rows / 4][depth / period of the outermost level] records. A level is a run of depth with constants of its own:
// a block of it holds those, then the blocks of the next level; the innermost holds the vectors of the codes, and
// constants of shorter runs one after the other.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, modulo, type Poly, Poly as P } from '../ir/algebra.ts';
import { type DType, dtypes } from '../ir/dtype.ts';
import type { Derived } from './derived.ts';
import { depthOf, isTile, type PackedLayout, rowDType } from './packed.ts';
import { depthOfUnit, type Packing } from './packing.ts';
import { tileLanes, tileSide } from './spans.ts';

/** A field as it is stored logically, `[rows, ...]`, and how its elements are laid out. */
export interface RecordField {
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  readonly layout: PackedLayout;
  /** What codes are stored plus, and how they share bytes. */
  readonly bias: number;
  readonly packing: Packing;
  /** What is stored in place of its elements. */
  readonly derived?: Derived | undefined;
}

export interface RecordPart extends RecordField {
  /** Elements of depth that share one of its elements; 1 for codes. */
  readonly period: number;
  /** Level whose blocks hold it, and the bytes in front of it there. */
  readonly level: number;
  readonly offset: number;
}

/** A level: its blocks take `size` bytes for `period` elements of depth, `head` of them before the next level's. */
interface Level {
  readonly period: number;
  readonly head: number;
  readonly size: number;
}

export interface RecordLayout {
  readonly rows: Dim;
  readonly depth: Dim;
  readonly levels: readonly Level[];
  readonly parts: readonly RecordPart[];
}

/** Runs of depth longer than that have arrays of their own. */
const longest = 1024;

/** Elements of depth that one element of a field stands for, where that is a literal power of two. */
export function periodOf(depth: Dim, field: RecordField): number | undefined {
  const own = depthOf(field.shape);
  for (let p = 1; p <= longest; p *= 2) if (own.mul(p).equals(depth)) return p;
  return undefined;
}

const rowBytes = (f: RecordField): number =>
  (tileSide * dtypes[rowDType(f.dtype, f.layout, f.derived)!].bits) / 8;
const codeBytes = ({ packing }: RecordField, depth: number): number =>
  (depth / depthOfUnit(packing)) * tileLanes * packing.vectors;

/**
 * The record of fields with equal rows; undefined where their runs do not fit into each other. Whoever decides for it
 * knows that the longest run divides the depth.
 */
export function recordOf(fields: readonly RecordField[]): RecordLayout | undefined {
  const codes = fields.filter((f) => isTile(f.layout));
  const [first] = codes;
  if (!first) return undefined;
  const depth = depthOf(first.shape);
  const rows = first.shape[0]!;
  const periods = fields.map((f) => periodOf(depth, f));
  if (periods.some((p) => p === undefined) || fields.some((f) => !f.shape[0]!.equals(rows)))
    return undefined;
  if (codes.some((f) => !depthOf(f.shape).equals(depth))) return undefined;
  const constants = periods.filter((_, i) => !isTile(fields[i]!.layout)) as number[];
  const leaf = Math.max(
    ...codes.map((f) => depthOfUnit(f.packing)),
    Math.min(...constants, longest),
  );
  const runs = [...new Set([leaf, ...constants.filter((p) => p > leaf)])].sort((a, b) => b - a);
  const start = constants.length ? runs : [depthOfUnit(first.packing)];
  return layOut(rows, depth, start, fields, periods as number[]);
}

function layOut(
  rows: Dim,
  depth: Dim,
  runs: readonly number[],
  fields: readonly RecordField[],
  periods: readonly number[],
): RecordLayout {
  const parts: (RecordPart | undefined)[] = fields.map(() => undefined);
  const heads = runs.map((run, level) => {
    const isLeaf = level === runs.length - 1;
    let at = 0;
    fields.forEach((f, i) => {
      const period = periods[i]!;
      if (isTile(f.layout) || (isLeaf ? period > run : period !== run)) return;
      parts[i] = { ...f, period, level, offset: at };
      at += rowBytes(f) * (run / period);
    });
    if (isLeaf)
      fields.forEach((f, i) => {
        if (!isTile(f.layout)) return;
        parts[i] = { ...f, period: 1, level, offset: at };
        at += codeBytes(f, run);
      });
    return at;
  });
  const levels: Level[] = [];
  for (let i = runs.length - 1; i >= 0; i -= 1) {
    const inner = levels[0];
    const size = heads[i]! + (inner ? (runs[i]! / runs[i + 1]!) * inner.size : 0);
    levels.unshift({ period: runs[i]!, head: heads[i]!, size });
  }
  return { rows, depth, levels, parts: parts as RecordPart[] };
}

const word = 4;

export const recordBytes = (r: RecordLayout): Dim => {
  const [outer] = r.levels as [Level, ...Level[]];
  return floorDiv(r.rows.add(tileSide - 1), tileSide)
    .mul(r.depth.over(outer.period)!)
    .mul(outer.size);
};

/** Where the block of a level is that holds element `l` of depth of a group of rows, in words of four bytes. */
export function blockWord(r: RecordLayout, level: number, group: Poly, l: Poly): Poly {
  let within = l;
  let at = P.of(0);
  r.levels.slice(0, level + 1).forEach(({ period, size }, i) => {
    const outer = r.levels[i - 1];
    const index = floorDiv(within, period);
    const blocks = i === 0 ? group.mul(r.depth.over(period)!).add(index) : index;
    at = at.add(blocks.mul(size / word)).add((outer?.head ?? 0) / word);
    within = modulo(within, period);
  });
  return at;
}

/** Position of element `l` of depth within its block of a level. */
export const inBlock = (r: RecordLayout, level: number, l: Poly): Poly =>
  modulo(l, r.levels[level]!.period);
