// Codes of 1, 2, 4 or 8 bits multiplied as words of 16, for targets whose dot product takes words: two neighbouring bytes
// of a packed vector are one word, and the fields in it are never moved to its end. With a word x = sum of n_i * 2^(o_i),
// the part of it below field i + 1 is x & (2^(o_(i+1)) - 1): one operation a field instead of two, none for the last.
// What these parts have of each other is taken off the activations: sum of n_i * a_i is the sum of
// (a_i / 2^(o_i) - a_(i+1) / 2^(o_(i+1))) times part i, all of it times a power of two that makes the factors whole.
// The upper byte, x >> 8, has parts of its own; the lower ones meet it once more in x, which its last factor takes back.
// Words are signed: the layout 'word tile' (packed.ts) stores the topmost field so.
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { Range } from '../loops/ranges.ts';
import type { Lowering } from './lowering.ts';
import type { PackedField } from './packed.ts';

/** Which byte of a word. */
export type Half = 0 | 1;

/** A part of a word and what it is multiplied by: factors of the activations of some of the fields. */
export interface Part {
  readonly from: 'word' | 'upper';
  /** All of it if left out. */
  readonly mask?: number;
  readonly factors: readonly {
    readonly plane: number;
    readonly half: Half;
    readonly factor: number;
  }[];
}

export interface WordRecipe {
  /** Fields of a byte: steps of four elements whose codes share a packed vector. */
  readonly planes: number;
  /** What sums come out times. */
  readonly unit: number;
  readonly parts: readonly Part[];
  /** What a code is more than its stored field, and where that is so: in one byte of each word, one plane of it. */
  readonly more: { readonly plane: number; readonly half: Half; readonly by: number };
}

/** How codes of a field are multiplied in words; undefined where they do not lie in one field of a byte. */
export function recipeOf({
  dtype: d,
  packing,
}: Pick<PackedField, 'dtype' | 'packing'>): WordRecipe | undefined {
  const { steps: count, vectors } = packing;
  if (vectors > 1) return undefined;
  const bits = 8 / count;
  if (bits === 8) {
    const parts: Part[] = [
      {
        from: 'word',
        mask: 255,
        factors: [
          { plane: 0, half: 0, factor: 256 },
          { plane: 0, half: 1, factor: -1 },
        ],
      },
      { from: 'word', factors: [{ plane: 0, half: 1, factor: 1 }] },
    ];
    const more = d === 'i8' ? { plane: 0, half: 0, by: -128 } : { plane: 0, half: 1, by: 128 };
    return { planes: 1, unit: 256, parts, more: more as WordRecipe['more'] };
  }
  const last = count - 1;
  const unit = 2 ** (bits * last);
  const below = (from: Part['from'], half: Half): Part[] =>
    Array.from({ length: last }, (_, i) => ({
      from,
      mask: 2 ** (bits * (i + 1)) - 1,
      factors: [
        { plane: i, half, factor: unit / 2 ** (bits * i) },
        { plane: i + 1, half, factor: -unit / 2 ** (bits * (i + 1)) },
      ],
    }));
  return {
    planes: count,
    unit,
    parts: [
      ...below('word', 0),
      { from: 'word', factors: [{ plane: last, half: 0, factor: 1 }] },
      ...below('upper', 1),
      {
        from: 'upper',
        factors: [
          { plane: last, half: 1, factor: 1 },
          { plane: last, half: 0, factor: -256 },
        ],
      },
    ],
    more: { plane: last, half: 1, by: 2 ** (bits - 1) },
  };
}

/** Whether all factors, and the sums of so many products of a code and an activation, fit their integers. */
export function fitsWords(r: WordRecipe, codes: Range, x: Range, elements: number): boolean {
  const most = Math.max(-x[0], x[1]);
  const largest = Math.max(
    ...r.parts.map((p) => p.factors.reduce((sum, f) => sum + Math.abs(f.factor), 0)),
  );
  const code = Math.max(Math.abs(codes[0]), Math.abs(codes[1]));
  return largest * most < 2 ** 15 && r.unit * code * most * elements < 2 ** 31;
}

/** What the activations of a packed vector are multiplied by: two for each part, the one of each word of a row. */
export function factored(r: WordRecipe, xs: readonly Expr[]): readonly Expr[] {
  return r.parts.flatMap(({ factors }) =>
    [0, 2].map((word) =>
      factors
        .map(({ plane, half, factor }) =>
          L.binary('mul', L.extract(xs[plane]!, word + half), L.i32(factor)),
        )
        .reduce((a, b) => L.binary('add', a, b)),
    ),
  );
}

/** Parts of eight words, each computed where it is used. */
export function partsOf(
  lo: Lowering,
  parts: readonly Part[],
  words: Expr,
): readonly (() => Expr)[] {
  const n = words.type.lanes;
  let upper: Expr | undefined;
  return parts.map(({ from, mask }) => () => {
    if (from === 'upper')
      upper ??= lo.em.bind(L.binary('shr', words, L.constant(8, 'i32', n)), 'upper');
    const whole = from === 'upper' ? upper! : words;
    return mask === undefined ? whole : L.binary('and', whole, L.constant(mask, 'i32', n));
  });
}

/** What is done, in words. */
export function explainWords({ parts }: WordRecipe): string {
  const upper = parts.some((p) => p.from === 'upper') ? 1 : 0;
  const masks = parts.filter((p) => p.mask !== undefined).length;
  return `${masks + upper} operations part ${parts.length} codes`;
}
