// Vectors over two axes at once: 16 lanes that are four rows by four elements of depth, row after row. A value that
// moves along one of the axes only is computed in four lanes and spread where it meets the other.
import type { Atom } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';

/** Which lanes a value moves with: those of a plain vector, or one or both axes of a tile. */
export type Span = 'none' | 'flat' | 'rows' | 'depth' | 'tile';

export const tileSide = 4;
export const tileLanes = tileSide * tileSide;

/** Numbers the rows of a tile, and the elements within a row. */
export const rowLane: Atom = { key: 'lane:row', kind: 'lane', extent: Poly.of(tileSide) };
export const depthLane: Atom = { key: 'lane:depth', kind: 'lane', extent: Poly.of(tileSide) };

/** Thrown where a value cannot be computed in a tile: the schedule that asked for it takes another way. */
export class NoTile extends Error {}

export function joinSpans(a: Span, b: Span): Span {
  if (a === b || b === 'none') return a;
  if (a === 'none') return b;
  if (a === 'flat' || b === 'flat') throw new NoTile('a plain vector within a tile');
  return 'tile';
}

/** Lanes of a value with this span, where a full vector has `lanes`. */
export const spanLanes = (s: Span, lanes: number): number =>
  s === 'none' ? 1 : s === 'rows' || s === 'depth' ? tileSide : lanes;
