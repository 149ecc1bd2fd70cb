// Loops over extents and parts of them: nests, and loops in vectors with what whole vectors leave.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, Poly, provablyBelow } from '../ir/algebra.ts';
import type { Expr, Spread } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { sharedVectors } from './gpu/vectors.ts';
import type { Lowering } from './lowering.ts';

/**
 * Nested loops, one index an axis, over parts of those that have a range; only the outermost may be parallel, only the
 * innermost shared by a team.
 */
export function nest(
  lo: Lowering,
  extents: readonly Dim[],
  body: (ids: readonly Poly[]) => void,
  parallel = false,
  lastOn?: Spread,
  ranges: readonly (Range | undefined)[] = [],
): void {
  const go = (ids: readonly Poly[], outermost: boolean): void => {
    const extent = extents[ids.length];
    if (extent === undefined) return body(ids);
    if (extent.constant === 1) return go([...ids, Poly.of(0)], outermost);
    const on = ids.length === extents.length - 1 ? lastOn : undefined;
    const { from, to } = ranges[ids.length] ?? {};
    const each = (i: Poly): void => go([...ids, i], false);
    if (from && isOnly(from, to!, extent)) return go([...ids, from], outermost);
    loop(lo, extent, 1, parallel && outermost, each, from, undefined, on, to);
  };
  go([], true);
}

/** Whether a range has one index, which is known to be on the axis. */
export const isOnly = (from: Poly, to: Poly, extent: Dim): boolean =>
  to.sub(from).constant === 1 && provablyBelow(from, extent);

/** A part of an extent: its ends, of which the second is outside. */
export interface Range {
  readonly from: Poly;
  readonly to: Poly;
  /** What lies between. Left out where whole steps of the extent end at both ends, or at its own end. */
  readonly length?: Poly;
}

/** One loop of full steps from 0, or over a part of the extent; the index handed on is the element number. */
export function loop(
  lo: Lowering,
  extent: Dim,
  step: number,
  parallel: boolean,
  body: (i: Poly) => void,
  from: Poly = Poly.of(0),
  name = 'i',
  on?: Spread,
  to: Poly = extent,
): void {
  const { em } = lo;
  const start = em.index(from);
  const end = em.index(to);
  const v = em.newVar(name, L.vtype('i32'), em.depth + 1);
  if (on) em.extents.set(v.id, extent);
  // The index is step * a counter, so that divisions by a block that the step fills resolve.
  const stmts = em.scope(() => {
    const stepped = step > 1 && from.multiple() % step === 0;
    const i = stepped
      ? Poly.atom(em.counter(v, step, floorDiv(extent, step))).mul(step)
      : Poly.atom(em.atom(v, extent));
    if (on && lo.team) lo.team.within(on, em.depth, () => body(i));
    else body(i);
  });
  em.push({ kind: 'for', var: v, start, end, step, parallel, ...(on ? { on } : {}), body: stmts });
}

/** A power of two up to 256 that fills whole vectors and divides the extent for certain. */
export function outerBlock(extent: Dim, lanes: number): number {
  let g = 256;
  while (g > lanes && extent.multiple() % g !== 0) g /= 2;
  return g;
}

const hasLoad = (e: Expr): boolean =>
  e.kind === 'load' || e.kind === 'gather' || L.operands(e).some(hasLoad);

/**
 * Full vectors, then those of the `shorter` widths, then scalars, where the extent may leave some. A part of the extent
 * starts at whole vectors.
 */
export function vectorLoop(
  lo: Lowering,
  extent: Dim,
  lanes: number,
  body: (k: Poly, lanes: number) => void,
  parallel = false,
  on?: Spread,
  range: Range = { from: Poly.of(0), to: extent },
  shorter: readonly number[] = [],
): void {
  const { em } = lo;
  const { from, to } = range;
  const length = range.length ?? extent;
  const c = extent.constant;
  const lane = Poly.atom(lo.lane(lanes));
  if (on) return sharedVectors(lo, extent, lanes, body, on);
  const group = outerBlock(extent, lanes);
  // A single element is no loop.
  if (c === 1 && !parallel && !lo.limits.gpu) return body(Poly.of(0), 1);
  if (lanes === 1) {
    const plain = (): void =>
      loop(lo, extent, 1, parallel, (i) => body(i, 1), from, 'k', undefined, to);
    if (!lo.limits.gpu?.single || group === 1 || c === group) return plain();
    // What belongs to a block is read once, and places within it need no division.
    return loop(lo, extent.over(group)!, 1, parallel, (b) => {
      const each = (j: Poly): void => body(b.mul(group).add(j), 1);
      loop(lo, Poly.of(group), 1, false, each, Poly.of(0), 'j');
    });
  }
  if (length.constant === lanes) return body(from.add(lane), lanes);
  const nested = (): void =>
    loop(
      lo,
      extent,
      group,
      parallel,
      (i) => {
        loop(
          lo,
          Poly.of(group / lanes),
          1,
          false,
          (j) => body(i.add(j.mul(lanes)).add(lane), lanes),
          Poly.of(0),
          'j',
        );
      },
      from,
      'k',
      undefined,
      to,
    );
  // Two loops pay where something belongs to a super-block only: its scales are then read once.
  const pays =
    group > lanes &&
    from.multiple() % group === 0 &&
    length.multiple() % group === 0 &&
    em.trial((stmts) => {
      nested();
      const outer = stmts().find((s) => s.kind === 'for');
      return outer?.kind === 'for' && outer.body.some((s) => s.kind === 'let' && hasLoad(s.value));
    });
  if (pays) return nested();
  loop(lo, extent, lanes, parallel, (i) => body(i.add(lane), lanes), from, 'k', undefined, to);
  if (length.multiple() % lanes === 0) return;
  // What is left goes by shorter and shorter vectors.
  let done = lanes;
  for (const n of [...shorter, 1]) {
    const left = restOf(lo, to, done, from);
    const at = (i: Poly): Poly => (n === 1 ? i : i.add(Poly.atom(lo.lane(n))));
    loop(lo, extent, n, false, (i) => body(at(i), n), left, 'k', undefined, to);
    done = n;
  }
}

/** Where whole steps of a loop end that starts at `from`. */
export function restOf({ em }: Lowering, to: Poly, step: number, from = Poly.of(0)): Poly {
  const isStep = from.multiple() % step === 0;
  const end = isStep ? to : to.sub(from);
  const steps = L.binary('mul', em.quotient(em.index(end), L.i32(step)), L.i32(step));
  const rest = em.bind(isStep ? steps : L.binary('add', steps, em.index(from)), 'rest');
  if (rest.kind === 'var') return Poly.atom(em.atom(rest.var));
  if (rest.kind === 'const') return Poly.of(rest.value);
  throw new Error('the start of a tail is not bound');
}
