// How codes of up to eight bits share the bytes of a tile (packed.ts): those of a few steps of depth, each a byte a lane,
// lie in fewer vectors of 16 bytes. Widths that divide a byte are fields of it. Of others a byte holds as many whole codes
// as it can, and the bits that are left over in several bytes make up further codes, cut into pieces.
//
// A piece is multiplied where it is, under a mask, if the target's dot product takes it: it then counts 2^exponent times
// too much. Products go from the largest exponent down to 0, the sums shifted right in between, which is exact.
import { type DType, dtypes } from '../ir/dtype.ts';
import { tileSide } from './spans.ts';

/** Bits `shift` .. `shift + bits - 1` of a code, from bit `at` on of the bytes of a vector. */
export interface Piece {
  readonly vector: number;
  readonly at: number;
  readonly bits: number;
  readonly shift: number;
}

export interface Packing {
  /** Vectors that hold the codes of so many steps. */
  readonly vectors: number;
  readonly steps: number;
  /** The pieces of the code of each step. */
  readonly codes: readonly (readonly Piece[])[];
}

/** The power of two that products of a piece count too much where it is. */
export const exponentOf = (p: Piece): number => p.at - p.shift;

/** Elements of depth whose codes share vectors. */
export const depthOfUnit = ({ steps }: Packing): number => tileSide * steps;

/**
 * Codes of widths that do not divide a byte, without a bit left over: the pieces of each code, least significant first, as
 * `vector.at+bits`. Of all ways to cut the last codes from what the others leave over these have the fewest exponents.
 */
const dense: { readonly [bits: number]: string } = {
  3: '0.0+3 0.3+3 1.0+3 1.3+3 2.0+3 2.3+3 0.6+2|1.7+1 1.6+1|2.6+2',
  5: '0.0+5 1.3+5 2.0+5 3.3+5 4.0+5 1.1+2|0.5+3 1.0+1|3.2+1|2.5+3 3.0+2|4.5+3',
  6: '0.2+6 1.0+6 2.0+6 0.0+2|1.6+2|2.6+2',
};

function parsed(text: string): Packing {
  const codes = text.split(' ').map((code) => {
    let shift = 0;
    return code.split('|').map((piece): Piece => {
      const [vector, at, bits] = piece.split(/[.+]/).map(Number) as [number, number, number];
      shift += bits;
      return { vector, at, bits, shift: shift - bits };
    });
  });
  const vectors = 1 + Math.max(...codes.flat().map((p) => p.vector));
  return { vectors, steps: codes.length, codes };
}

/** Every code in one field: of the width itself, or of the next one that divides a byte. */
function fields(bits: number): Packing {
  const width = [1, 2, 4, 8].find((w) => w >= bits)!;
  const steps = 8 / width;
  const code = (i: number): Piece => ({ vector: 0, at: i * width, bits, shift: 0 });
  return { vectors: 1, steps, codes: Array.from({ length: steps }, (_, i) => [code(i)]) };
}

const known = new Map<string, Packing>();

/**
 * The packing of an integer dtype of up to 8 bits whose rows are a multiple of `depth` long. Where codes are multiplied
 * as words (words.ts), each has a field; and so have codes of 7 bits, where an eighth of the bytes costs more than it saves.
 */
export function packingOf(d: DType, depth: number, words: boolean): Packing {
  const { bits } = dtypes[d];
  const text = words ? undefined : dense[bits];
  const key = text ?? `${bits}`;
  const found = known.get(key) ?? (text ? parsed(text) : fields(bits));
  known.set(key, found);
  return depth % depthOfUnit(found) === 0 || !text ? found : packingOf(d, depth, true);
}

/** Equal texts are equal packings. */
export const packingText = ({ vectors, codes }: Packing): string =>
  `${vectors}: ${codes.map((c) => c.map((p) => `${p.vector}.${p.at}+${p.bits}`).join('|')).join(' ')}`;
