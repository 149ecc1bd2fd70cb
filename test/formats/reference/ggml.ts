// The ggml types that are tested, their oracles, and the seeded inputs that the digests of ggml's
// own outputs belong to.
import { adversarial, join, weights } from '../samples.ts';
import * as decoders from './decoders.ts';
import type { BlockDecoder, BlockReference } from './reference.ts';
import * as searched from './searched.ts';
import * as simple from './simple.ts';

/** Types whose encoder is a formula. */
export const formulas: Readonly<Record<string, BlockReference>> = simple;
/** Types whose encoder searches, with an oracle of the search. */
export const searches: Readonly<Record<string, BlockReference>> = searched;
/** All types. */
export const all: Readonly<Record<string, BlockDecoder>> = { ...simple, ...searched, ...decoders };

/** Types that look for points of a grid: their encoders take long. */
export const lattices: readonly string[] = [
  'iq1_m',
  'iq1_s',
  'iq2_s',
  'iq2_xs',
  'iq2_xxs',
  'iq3_s',
  'iq3_xxs',
];

/** Columns of the matrices that are encoded with importance weights. */
export const columns = 1024;

/** Edge cases, then weights. */
export function encoderInput(name: string, weighted: boolean): Float32Array {
  const { values } = all[name]!;
  const extreme = name in formulas && !weighted;
  const count = lattices.includes(name) ? 24 : 400;
  return join(adversarial(1, values, { extreme }), weights(2, 256 * count));
}

/**
 * The bytes of an encoder that are compared. Where one of several groups of 32 values is 0, iq3_s
 * of ggml forgets to move on and puts the points of later groups into the wrong place: such blocks
 * are left out.
 */
export function comparable(name: string, x: Float32Array, bytes: Uint8Array): Uint8Array {
  if (name !== 'iq3_s') return bytes;
  const size = all[name]!.bytes;
  const kept: number[] = [];
  for (let block = 0; block < x.length / 256; block++) {
    const groups = Array.from({ length: 8 }, (_, g) =>
      x.subarray(256 * block + 32 * g, 256 * block + 32 * g + 32).some((v) => v !== 0),
    );
    if (groups.includes(true) && groups.includes(false)) continue;
    kept.push(...bytes.subarray(block * size, (block + 1) * size));
  }
  return Uint8Array.from(kept);
}
