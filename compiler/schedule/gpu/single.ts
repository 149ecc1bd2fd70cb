// Targets that compute each element of a tensor on its own: a loop on the grid a result, whose iteration computes one
// element and stores it at its own number. What goes from one element to the next cannot be said there.
import { Poly, product } from '../../ir/algebra.ts';
import { CompileError, diagnostic } from '../../diagnostics/diagnostic.ts';
import type { Op, Region, Value } from '../../ir/ir.ts';
import { walk } from '../../ir/ir.ts';
import type { Buffer, Expr } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import { paddedRow } from '../emitter.ts';
import type { ScheduleRule } from '../lower.ts';
import type { Lowering } from '../lowering.ts';
import { loop } from '../nests.ts';
import { storeAt } from '../regions.ts';
import { isControl, soleMap } from '../rules.ts';
import { indicesOf } from './share.ts';

export const singleRules: readonly ScheduleRule[] = [
  {
    name: 'elements',
    apply: (lo, region, out) => {
      const map = soleMap(region);
      check(lo, region, map);
      region.yields.forEach((v, i) => {
        storeEach(lo, v, out[i]!, (ids) => {
          if (!map) return lo.emit(v, ids, 1);
          const { length } = map.attrs.dims;
          const body = map.regions[0]!.yields[i]!;
          return lo.inside(map, ids.slice(0, length), () => lo.emit(body, ids.slice(length), 1));
        });
      });
      return true;
    },
  },
];

/** Names the first op that needs memory or statements of its own. */
function check(lo: Lowering, region: Region, root: Op | undefined): void {
  walk(region, (op) => {
    const several = op.name === 'map' && op !== root && op.results.length > 1;
    if (!isControl(op) && !several) return;
    const { target } = lo.limits;
    throw new CompileError([
      diagnostic('Q4001', op.span, {
        op: several ? 'map with several results inside of another op' : op.name,
        dtype: op.results[0]!.type.dtype,
        target,
        instead: `On ${target} each element is computed on its own, without memory: use device('wasm') or 'webgpu'.`,
      }),
    ]);
  });
}

/** A loop over all stored elements: those that fill up the rows of sub-byte types repeat the last of the row. */
function storeEach(
  lo: Lowering,
  v: Value,
  buffer: Buffer,
  element: (ids: readonly Poly[]) => Expr,
): void {
  const { em } = lo;
  const shape = v.type.shape.length ? v.type.shape : [Poly.of(1)];
  const last = shape.at(-1)!;
  const stored = [...shape.slice(0, -1), paddedRow(buffer.dtype, last)];
  const size = product(stored);
  const body = (at: Poly): void => {
    const ids = indicesOf(lo, at, stored);
    if (!stored.at(-1)!.equals(last)) {
      const top = L.binary('min', em.index(ids.at(-1)!), em.index(last.sub(1)));
      ids[ids.length - 1] = em.asIndex(top, last);
    }
    storeAt(lo, buffer, [size], [at], element(v.type.shape.length ? ids : []), 1);
  };
  loop(lo, size, 1, true, body, Poly.of(0), 'at', 'grid');
}
