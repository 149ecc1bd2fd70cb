// A loop over vectors of an axis whose iterations a team shares: neighbours take neighbouring vectors, so that the
// loads of a warp lie side by side. The elements that fill no vector are shared one by one.

import type { Dim } from '../../ir/algebra.ts';
import { floorDiv, Poly } from '../../ir/algebra.ts';
import type { Spread } from '../../loops/loops.ts';
import type { Lowering } from '../lowering.ts';
import { loop } from '../nests.ts';
import { flat } from './share.ts';

export function sharedVectors(
  lo: Lowering,
  extent: Dim,
  lanes: number,
  body: (k: Poly, lanes: number) => void,
  on: Spread,
): void {
  const { em } = lo;
  if (lanes === 1) return loop(lo, extent, 1, false, (i) => body(i, 1), Poly.of(0), 'k', on);
  const lane = Poly.atom(lo.lane(lanes));
  // In blocks of a power of two, so that what belongs to a block is found by algebra.
  let block = 256;
  while (block > lanes && extent.multiple() % block !== 0) block /= 2;
  if (block > lanes)
    return flat(lo, [extent.over(block)!, Poly.of(block / lanes)], on, ([b, part]) => {
      body(b!.mul(block).add(part!.mul(lanes)).add(lane), lanes);
    });
  loop(lo, extent, lanes, false, (i) => body(i.add(lane), lanes), Poly.of(0), 'k', on);
  if (extent.multiple() % lanes === 0) return;
  const rest = em.bind(em.index(floorDiv(extent, lanes).mul(lanes)), 'rest');
  if (rest.kind !== 'var' && rest.kind !== 'const')
    throw new Error('the start of a tail is not bound');
  const from = rest.kind === 'var' ? Poly.atom(em.atom(rest.var)) : Poly.of(rest.value);
  loop(lo, extent, 1, false, (i) => body(i, 1), from, 'k', on);
}
