// How a kernel is laid out on a GPU: an ordered list of rules by iteration space, as on the CPU. Each emits loops on
// the grid, on groups or on warps; the last rule runs anything, in one group.

import { Poly, product } from '../../ir/algebra.ts';
import { dtypes } from '../../ir/dtype.ts';
import type { Op, Region, Value } from '../../ir/ir.ts';
import { walk } from '../../ir/ir.ts';
import { ops } from '../../ir/ops.ts';
import { nested } from '../../loops/walk.ts';
import { type Buffer, type Expr, operands, type Stmt } from '../../loops/loops.ts';
import type { ScheduleRule } from '../lower.ts';
import type { Lowering } from '../lowering.ts';
import { lowerInto, mapBody, storeAt, storeTensor } from '../regions.ts';
import { isControl, soleMap, soleOp } from '../rules.ts';
import { sortInto } from '../sorting.ts';
import { lowerGemv } from './gemv.ts';
import { withScratch } from './scratch.ts';
import { combines, flat, mapElements, sharesBytes, storeElements, storeRow } from './share.ts';
import { TeamState } from './team.ts';

/** Elements that one thread handles alone in an iteration of a map; more are work for a group. */
const threadElements = 1024;

/** Whether an iteration is too much for one thread: it holds tensors of sizes not known, or big ones. */
function isHeavy(region: Region): boolean {
  let heavy = false;
  walk(region, (op) => {
    for (const v of [...op.results, ...op.operands])
      if (
        ops[op.name].kind === 'reduce' ||
        ops[op.name].kind === 'contract' ||
        op.results.includes(v)
      )
        if ((product(v.type.shape).constant ?? Infinity) > threadElements) heavy = true;
  });
  return heavy;
}

const reductionsOf = (region: Region): Op[] =>
  region.ops.filter(
    (o) =>
      ops[o.name].kind === 'reduce' ||
      ops[o.name].kind === 'contract' ||
      (o.name === 'map' && reductionsOf(o.regions[0]!).length > 0),
  );

/** A loop inside of the loops that the team shares: work that each thread does for itself. */
const repeats = (list: readonly Stmt[], shared: boolean): boolean =>
  list.some(
    (s) =>
      (s.kind === 'for' && shared) ||
      nested(s).some((inner) => repeats(inner, shared || (s.kind === 'for' && s.on === 'threads'))),
  );

export const gpuRules: readonly ScheduleRule[] = [
  {
    name: 'map',
    apply: (lo, region, out) => {
      const op = soleMap(region);
      if (!op) return false;
      withScratch(lo, () => {
        if (sharesBytes(op) || !isHeavy(op.regions[0]!)) return mapElements(lo, op, out, 'grid');
        lo.team = new TeamState('threads');
        flat(lo, op.attrs.dims, 'groups', (ids) => mapBody(lo, op, ids, out));
      });
      return true;
    },
  },
  {
    name: 'sort',
    apply: (lo, region, out) => {
      const op = soleOp(region, 'sort');
      if (!op) return false;
      withScratch(lo, () => sortInto(lo, op, out, true, 'grid'));
      return true;
    },
  },
  {
    name: 'gemv',
    apply: (lo, region, out) => {
      const [root] = region.yields;
      if (region.yields.length !== 1 || region.ops.some(isControl)) return false;
      let done = false;
      withScratch(lo, () => {
        done = lowerGemv(lo, root!, out[0]!);
      });
      return done;
    },
  },
  {
    name: 'rows',
    apply: (lo, region, out) => {
      const [root] = region.yields;
      if (region.yields.length !== 1 || region.ops.some(isControl)) return false;
      withScratch(lo, () => lowerRows(lo, region, root!, out[0]!));
      return true;
    },
  },
  {
    name: 'sequential',
    apply: (lo, region, out) => {
      withScratch(lo, () => {
        lo.team = new TeamState('threads');
        flat(lo, [Poly.of(1)], 'groups', () => {
          lowerInto(lo, region, out);
        });
      });
      return true;
    },
  },
];

/** Elementwise: a thread an element or a few. With reductions: a group a row, or a warp an element. */
function lowerRows(lo: Lowering, region: Region, root: Value, buffer: Buffer): void {
  const { em } = lo;
  const { shape } = root.type;
  const reductions = reductionsOf(region).filter((o) =>
    o.operands.some((v) => (product(v.type.shape).constant ?? Infinity) > threadElements / 16),
  );
  if (reductions.length === 0) return storeElements(lo, root, buffer, [], shape, 'grid');
  const byGroup = (): void => {
    lo.team = new TeamState('threads');
    const outer = shape.slice(0, -1);
    flat(lo, outer.length ? outer : [Poly.of(1)], 'groups', (ids) => {
      if (shape.length === 0) storeTensor(lo, root, buffer, [], shape, false);
      else storeRow(lo, root, buffer, [], shape, outer.length ? ids : [], 'threads');
    });
  };
  const suits = em.trial((stmts) => {
    byGroup();
    const list = stmts();
    return shape.length === 0 || (combines(list) && !repeats(list, false));
  });
  lo.team = undefined;
  if (suits) return byGroup();
  // A reduction an element: along memory by a warp, across it by a thread.
  const byWarp = (): void => {
    lo.team = new TeamState('lanes');
    flat(lo, shape, 'warps', (ids) => {
      const value = em.bind(lo.emit(root, ids, 1), 'value');
      flat(lo, [Poly.of(1)], 'lanes', () => storeAt(lo, buffer, shape, ids, value, 1));
    });
  };
  const along =
    dtypes[buffer.dtype].bits % 8 === 0 &&
    em.trial((stmts) => {
      byWarp();
      return some(stmts(), isWide) && !some(stmts(), isScattered);
    });
  lo.team = undefined;
  if (along) byWarp();
  else storeElements(lo, root, buffer, [], shape, 'grid');
}

const isWide = (e: Expr): boolean =>
  (e.kind === 'load' && e.type.lanes > 1) || operands(e).some(isWide);
const isScattered = (e: Expr): boolean =>
  (e.kind === 'gather' && e.buffer.role !== 'const') || operands(e).some(isScattered);
const some = (list: readonly Stmt[], test: (e: Expr) => boolean): boolean =>
  list.some((s) => ('value' in s && test(s.value)) || nested(s).some((inner) => some(inner, test)));
