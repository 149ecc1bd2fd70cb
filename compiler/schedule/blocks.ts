// The loop over the blocks of a map, four blocks at a time where that costs less: see jam.ts. The choice is made by
// counting the instructions of both ways.
import { Poly } from '../ir/algebra.ts';
import type { Buffer, Expr, Stmt } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { effectsOf, type ForLoop } from '../loops/parallel.ts';
import { costOf } from './cost.ts';
import type { NewVar } from './copies.ts';
import { guardNearest } from './guard.ts';
import { jam, jamWidth } from './jam.ts';
import type { Lowering } from './lowering.ts';
import { mergeLoops } from './merge.ts';
import { overlap } from './overlap.ts';
import { chosen, usualCase } from './usual.ts';

/** Part of the cost that four iterations together must save. */
const worthwhile = 0.97;

/**
 * Rewrites the last statement of the open scope, a nest of `depth` loops whose iterations are independent, so
 * that the innermost takes four iterations at a time. Temps that are not `outer` were made for an iteration.
 */
export function blocksTogether(lo: Lowering, depth: number, outer: ReadonlySet<Buffer>): void {
  if (lo.limits.gpu) return;
  const { stmts } = lo.em.scopes.at(-1)!;
  const last = stmts.at(-1);
  if (depth === 0 || last?.kind !== 'for') return;
  stmts.splice(-1, 1, ...innermost(lo, last, depth, outer));
}

function innermost(lo: Lowering, loop: ForLoop, depth: number, outer: ReadonlySet<Buffer>): Stmt[] {
  if (depth === 1) return together(lo, loop, outer);
  const inner = loop.body.at(-1);
  if (inner?.kind !== 'for') return [loop];
  return [
    { ...loop, body: [...loop.body.slice(0, -1), ...innermost(lo, inner, depth - 1, outer)] },
  ];
}

function together(lo: Lowering, separate: ForLoop, outer: ReadonlySet<Buffer>): Stmt[] {
  const { em } = lo;
  const isOwn = (b: Buffer): boolean => b.role === 'temp' && !outer.has(b);
  const newVar: NewVar = (name, type) => em.newVar(name, type);
  const loop = { ...separate, body: mergeLoops(separate.body, isOwn, newVar) };
  const { reads, writes } = effectsOf([loop]);
  const isLeft = (b: Buffer): boolean => !isOwn(b) || reads.has(b.id) || writes.has(b.id);
  em.buffers.splice(0, em.buffers.length, ...em.buffers.filter(isLeft));
  const { start, end } = loop;
  const count = countOf(start, end);
  if (count !== undefined && count < jamWidth) {
    lo.note(`blocks one at a time: there are fewer than ${jamWidth}`);
    return [loop];
  }
  const hasRest = count === undefined || count % jamWidth !== 0;
  const buffers = em.buffers.length;
  const made = jam(loop, {
    hasRest,
    variable: newVar,
    isOwn,
    twin: (b, times = 1, dtype = b.dtype) => em.newBuffer(b.name, dtype, 'temp', b.size.mul(times)),
  });
  if (typeof made === 'string') {
    em.buffers.length = buffers;
    lo.note(`blocks one at a time: ${made}`);
    return overlapping(lo, inCases(lo, loop).loop);
  }
  const one = em.trial(() => inCases(lo, loop).cost);
  const jammed = inCases(lo, made);
  const each = jammed.cost / jamWidth;
  const counts = `about ${Math.round(each)} instructions a block, ${Math.round(one)} one at a time`;
  if (each > one * worthwhile) {
    em.buffers.length = buffers;
    lo.note(`blocks one at a time: four together would not be cheaper (${counts})`);
    return overlapping(lo, inCases(lo, loop).loop);
  }
  lo.note(`four blocks at a time: ${counts}`);
  if (jammed.loop !== made)
    lo.note('blocks of ordinary numbers go by shorter code: their ranges are known');
  if (count === jamWidth) return [jammed.loop];
  if (!hasRest) return overlapping(lo, jammed.loop);
  const length = L.binary('sub', end, start);
  const four = L.binary('mul', L.binary('shr', length, L.i32(2)), L.i32(jamWidth));
  const whole = L.binary('add', start, four);
  const rest = em.newVar('rest', L.vtype('i32'));
  return [
    { kind: 'let', var: rest, value: whole },
    ...overlapping(lo, { ...jammed.loop, end: L.variable(rest) }),
    { ...loop, start: L.variable(rest) },
  ];
}

/** How often a loop with a step of one runs, where that is known: to an end so much beyond the start, or to a constant. */
function countOf(start: Expr, end: Expr): number | undefined {
  if (start.kind === 'const') return end.kind === 'const' ? end.value - start.value : undefined;
  const isBeyond = start.kind === 'var' && end.kind === 'binary' && end.op === 'add';
  if (!isBeyond || end.a.kind !== 'var' || end.a.var !== start.var) return undefined;
  return end.b.kind === 'const' ? end.b.value : undefined;
}

/** The loop with the usual case of its iterations apart, where that is shorter, and what an iteration then costs. */
function inCases(lo: Lowering, loop: ForLoop): { readonly loop: ForLoop; readonly cost: number } {
  const { em } = lo;
  const fresh = {
    variable: (name: string, type: L.VType) => em.newVar(name, type),
    table: (like: Buffer, data: readonly number[]) =>
      em.newBuffer(like.name, like.dtype, 'const', like.size, data),
    scratch: (name: string, size: number) => em.newBuffer(name, 'f32', 'temp', Poly.of(size)),
  };
  const cases = usualCase(loop.body, fresh);
  if (!cases) return { loop, cost: costOf(loop.body) };
  const cost = costOf(cases.head) + costOf(cases.usual);
  return { loop: { ...loop, body: chosen(cases, fresh) }, cost };
}

/** Lets iterations overlap where one waits for what it combines across lanes. */
function overlapping(lo: Lowering, plain: ForLoop): Stmt[] {
  const newVar: NewVar = (name, type) => lo.em.newVar(name, type);
  const loop = { ...plain, body: guardNearest(plain.body, newVar) };
  const made = overlap(loop, newVar);
  if (typeof made === 'string') {
    lo.note(`iterations do not overlap: ${made}`);
    return [loop];
  }
  lo.note('iterations overlap: the next one starts before this one writes its long vectors');
  return made;
}
