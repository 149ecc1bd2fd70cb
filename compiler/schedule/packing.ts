// How codes of up to eight bits share the bytes of a tile (packed.ts): those of a few steps of depth, each a byte a lane,
// lie in fewer vectors of 16 bytes. Widths that divide a byte are fields of it. Of others a byte holds as many whole codes
// as it can, and the bits that are left over in several bytes make up further codes, cut into pieces.
//
// Codes are taken out of their bytes only as far as a product asks: bytes that count 2^exponent times too much, for one
// exponent beside 0, go to a sum of their own, which is shifted right at the end. That is exact.
import { type DType, dtypes } from '../ir/dtype.ts';
import { tileLanes, tileSide } from './spans.ts';

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

/** Elements of depth whose codes share vectors. */
export const depthOfUnit = ({ steps }: Packing): number => tileSide * steps;

/**
 * Codes of widths that do not divide a byte, without a bit left over: the pieces of each code, least significant first, as
 * `vector.at+bits`. The last codes are cut so that few masks and few shifts join them again, of vectors that are near.
 */
const dense: { readonly [bits: number]: string } = {
  5: '0.0+5 1.0+5 2.0+5 3.0+5 4.0+5 1.6+2|0.5+3 3.5+1|1.5+1|2.5+3 3.6+2|4.5+3',
  6: '0.0+6 1.0+6 2.0+6 0.6+2|1.6+2|2.6+2',
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
 * as words (words.ts), each has a field; and so have codes of 3 and 7 bits, which cost more to join than their bytes save.
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

/** How a code is taken out of its bytes, as 2^exponent times what it means: pieces, and a shift down after each. */
export interface Taking {
  readonly exponent: number;
  readonly parts: readonly {
    readonly vector: number;
    readonly mask: number;
    readonly down: number;
  }[];
  /** The place of the code among those of its unit when vectors are used up one after the other. */
  readonly code: number;
}

/**
 * The codes of a unit for a dot product that takes bytes up to `most`, in the order in which they need its vectors, and
 * the exponent of those that are left above the end of their bytes; 0 if there are none.
 */
export function takingsOf(
  packing: Packing,
  most: number,
): { readonly exponent: number; readonly codes: readonly Taking[] } {
  const whole = (pieces: readonly Piece[]): number => pieces.reduce((n, p) => n + p.bits, 0);
  const places = packing.codes
    .map((c) => (c.length > 1 ? 8 - whole(c) : c[0]!.at))
    .filter((at) => at > 0);
  const least = Math.min(...places);
  const fits = places.length > 0 && (2 ** whole(packing.codes[0]!) - 1) * 2 ** least <= most;
  const exponent = fits ? least : 0;
  const codes = packing.codes.map((pieces, code): Taking => {
    const ones = (p: Piece): number => (2 ** p.bits - 1) * 2 ** p.at;
    if (pieces.length === 1) {
      const [p] = pieces as [Piece];
      const own = exponent && Math.floor(p.at / exponent) % 2 ? exponent : 0;
      return {
        exponent: own,
        parts: [{ vector: p.vector, mask: ones(p), down: p.at - own }],
        code,
      };
    }
    // Each piece is as far above its place in the code as it is to go down, together with those that are with it by then.
    const placed = [...pieces].map((p) => ({ p, down: p.at - p.shift - exponent }));
    placed.sort((a, b) => b.down - a.down);
    const parts = placed.map(({ p, down }, i) => ({
      vector: p.vector,
      mask: ones(p),
      down: down - (placed[i + 1]?.down ?? 0),
    }));
    return { exponent, parts, code };
  });
  const last = (t: Taking): number => Math.max(...t.parts.map((p) => p.vector));
  return { exponent, codes: [...codes].sort((a, b) => last(a) - last(b) || a.code - b.code) };
}

/** Operations on a vector of sixteen codes: to take them from their bytes, and their products. */
export function operationsOf(packing: Packing): number {
  const parts = takingsOf(packing, 255).codes.flatMap((t) => t.parts);
  const moved = parts.filter((p) => p.down > 0).length;
  const masked = parts.filter((p) => p.mask < 255).length;
  const joined = parts.length - packing.steps;
  return 1 + (moved + masked + joined) / packing.steps;
}

/** Bytes of it. */
export const bytesOf = ({ vectors, steps }: Packing): number => (tileLanes * vectors) / steps;
