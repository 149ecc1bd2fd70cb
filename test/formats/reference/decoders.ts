// Oracles of the decoders of ggml types whose encoders search: one element at a time, from the
// place of its bits. Their encoders are compared with ggml's own bytes, by digest.
import {
  grid1024,
  grid2048,
  grid256,
  grid512,
  octal256,
  octal512,
} from '../../../ops/formats/grids.ts';
import { f, fromHalf, getHalf } from './half.ts';
import { iq4Values, sixBits } from './places.ts';
import type { BlockDecoder } from './reference.ts';

/** `count` bits, at most 17, from bit `from` of bytes that start at `base`, lowest first. */
function bits(bytes: Uint8Array, base: number, from: number, count: number): number {
  const at = base + (from >> 3);
  const word = bytes[at]! | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
  return (word >> (from & 7)) & (2 ** count - 1);
}

/** Two bits of element i, four elements a byte that lie 32 apart. */
const pairAt = (bytes: Uint8Array, base: number, i: number): number =>
  (bytes[base + 32 * (i >> 7) + (i & 31)]! >> (2 * ((i >> 5) & 3))) & 3;
/** Bit of element i, eight elements a byte that lie 32 apart. */
const planeAt = (bytes: Uint8Array, base: number, i: number): number =>
  (bytes[base + (i & 31)]! >> (i >> 5)) & 1;

const superblock = (
  bytes: number,
  half: number | readonly number[],
  element: (b: Uint8Array, i: number) => number,
): BlockDecoder => ({
  values: 256,
  bytes,
  halves: typeof half === 'number' ? [half] : half,
  decodeBlock(b, y) {
    for (let i = 0; i < 256; i++) y[i] = element(b, i);
  },
});

export const q2_K = superblock(84, [80, 82], (b, i) => {
  const pair = b[i >> 4]!;
  const scale = f(getHalf(b, 80) * (pair & 15));
  return f(f(scale * pairAt(b, 16, i)) - f(getHalf(b, 82) * (pair >> 4)));
});

export const q3_K = superblock(110, 108, (b, i) => {
  const j = i >> 4;
  const low = bits(b, 96 + (j & 7), 4 * (j >> 3), 4);
  const high = bits(b, 104 + (j & 3), 2 * (j >> 2), 2);
  const code = pairAt(b, 32, i) + 4 * planeAt(b, 0, i);
  return f(f(getHalf(b, 108) * (low + 16 * high - 32)) * (code - 4));
});

export const q5_K = superblock(176, [0, 2], (b, i) => {
  const [scale, min] = sixBits(b, 4, i >> 5);
  const nibble = (b[48 + 32 * (i >> 6) + (i & 31)]! >> (4 * ((i >> 5) & 1))) & 15;
  const code = nibble + 16 * planeAt(b, 16, i);
  return f(f(f(getHalf(b, 0) * scale) * code) - f(getHalf(b, 2) * min));
});

export const iq4_xs = superblock(136, 0, (b, i) => {
  const j = i >> 5;
  const scale = bits(b, 4, 4 * j, 4) + 16 * bits(b, 2, 2 * j, 2) - 32;
  const byte = b[8 + 16 * j + (i & 15)]!;
  const level = iq4Values[i & 16 ? byte >> 4 : byte & 15]!;
  return f(f(getHalf(b, 0) * scale) * level);
});

/** Coordinate c of a point of a grid with `width` bits each. */
const coordinate = (grid: readonly number[], index: number, c: number, width: number): number =>
  (grid[index]! >> (width * c)) & (2 ** width - 1);

/** Sign of value c of 8 from 7 bits; the eighth makes the number of minus signs even. */
function evenSign(code: number, c: number): number {
  let ones = 0;
  for (let i = 0; i < 7; i++) ones += (code >> i) & 1;
  const minus = c < 7 ? (code >> c) & 1 : ones % 2;
  return minus ? -1 : 1;
}
const sign = (byte: number, c: number): number => ((byte >> c) & 1 ? -1 : 1);
const eighths = [8, 25, 43];
const quarters = [4, 12, 20, 28, 36, 44, 52, 62];

export const iq2_xxs = superblock(66, 0, (b, i) => {
  const base = 2 + 8 * (i >> 5);
  const part = (i >> 3) & 3;
  const scale = f(f(getHalf(b, 0) * (0.5 + bits(b, base + 4, 28, 4))) * 0.25);
  const magnitude = eighths[coordinate(grid256, b[base + part]!, i & 7, 2)]!;
  return f(scale * magnitude) * evenSign(bits(b, base + 4, 7 * part, 7), i & 7);
});

export const iq2_xs = superblock(74, 0, (b, i) => {
  const base = 2 + 2 * (i >> 3);
  const scale = f(f(getHalf(b, 0) * (0.5 + bits(b, 66, 4 * (i >> 4), 4))) * 0.25);
  const magnitude = eighths[coordinate(grid512, bits(b, base, 0, 9), i & 7, 2)]!;
  return f(scale * magnitude) * evenSign(bits(b, base, 9, 7), i & 7);
});

export const iq2_s = superblock(82, 0, (b, i) => {
  const j = i >> 3;
  const scale = f(f(getHalf(b, 0) * (0.5 + bits(b, 74, 4 * (i >> 4), 4))) * 0.25);
  const index = b[2 + j]! + 256 * bits(b, 66, 2 * j, 2);
  return f(scale * eighths[coordinate(grid1024, index, i & 7, 2)]!) * sign(b[34 + j]!, i & 7);
});

export const iq3_xxs = superblock(98, 0, (b, i) => {
  const word = 66 + 4 * (i >> 5);
  const scale = f(f(getHalf(b, 0) * (0.5 + bits(b, word, 28, 4))) * 0.5);
  const magnitude = quarters[coordinate(octal256, b[2 + (i >> 2)]!, i & 3, 3)]!;
  return f(scale * magnitude) * evenSign(bits(b, word, 7 * ((i >> 3) & 3), 7), i & 7);
});

export const iq3_s = superblock(110, 0, (b, i) => {
  const j = i >> 2;
  const scale = f(getHalf(b, 0) * (1 + 2 * bits(b, 106, 4 * (i >> 5), 4)));
  const index = b[2 + j]! + 256 * bits(b, 66, j, 1);
  const magnitude = 2 * coordinate(octal512, index, i & 3, 3) + 1;
  return f(scale * magnitude) * sign(b[74 + (i >> 3)]!, i & 7);
});

export const iq1_s = superblock(50, 0, (b, i) => {
  const word = 34 + 2 * (i >> 5);
  const scale = f(getHalf(b, 0) * (2 * bits(b, word, 12, 3) + 1));
  const index = b[2 + (i >> 3)]! + 256 * bits(b, word, 3 * ((i >> 3) & 3), 3);
  const shift = bits(b, word, 15, 1) ? -0.125 : 0.125;
  return f(scale * (coordinate(grid2048, index, i & 7, 2) - 1 + shift));
});

export const iq1_m: BlockDecoder = {
  ...superblock(56, [], (b, i) => {
    let half = 0;
    for (let part = 0; part < 4; part++) half += bits(b, 48 + 2 * part, 12, 4) * 16 ** part;
    const j = i >> 4;
    const scale = f(fromHalf(half) * (2 * bits(b, 48 + 2 * (j >> 2), 3 * (j & 3), 3) + 1));
    const nibble = bits(b, 32, 4 * (i >> 3), 4);
    const index = b[i >> 3]! + 256 * (nibble & 7);
    const shift = nibble & 8 ? -0.125 : 0.125;
    return f(scale * (coordinate(grid2048, index, i & 7, 2) - 1 + shift));
  }),
  removeNaN(bytes) {
    bytes[55]! &= 0xef;
  },
};
