// Iterations that overlap: the first part of the next one runs before the last part of this one, so that what ends the
// first part (a reduction across lanes, a division) is there when it is wanted and the processor need not wait for it.
// `for i: head(i); tail(i)` becomes `head(first); for i but the last: head(i + step), tail(i); tail(last)`.
// Iterations are independent; what the tail wants from the head is carried in variables, one vector register each.

import type { Expr, Stmt } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { effectsOf, type ForLoop } from '../loops/parallel.ts';
import { Copy, type NewVar } from './copies.ts';
import { costOf } from './cost.ts';

/** Instructions of an iteration beyond which the processor does not see the next one while it waits. */
const mostInstructions = 2000;
/** Vectors that may be carried: the registers have more to do. */
const mostCarried = 4;

/** The loop with overlapping iterations, or why they do not overlap. */
export function overlap(loop: ForLoop, newVar: NewVar): Stmt[] | string {
  if (loop.parallel) return 'workers share the loop';
  const cut = cutOf(loop.body);
  const [head, tail] = [loop.body.slice(0, cut), loop.body.slice(cut)];
  if (!tail.length || !head.some(combinesLanes)) return 'nothing waits for a reduction';
  const [first, last] = [costOf(head), costOf(tail)];
  if (first + last > mostInstructions) return 'an iteration is long';
  if (first > 4 * last) return 'little is left after the last reduction';
  const [a, b] = [effectsOf(head), effectsOf(tail)];
  for (const id of a.writes)
    if (b.reads.has(id) || b.writes.has(id)) return 'its parts share a buffer';
  for (const id of b.writes) if (a.reads.has(id)) return 'its parts share a buffer';
  const indices = indicesOf(head);
  const made = effectsOf(indices).declares;
  const wanted = new Set(usesOf(tail));
  const carried = head.flatMap((s) =>
    (s.kind === 'let' || s.kind === 'local') && wanted.has(s.var.id) && !made.has(s.var.id)
      ? [s.var]
      : [],
  );
  if (carried.some((v) => v.type.lanes > 4)) return 'its parts share a long vector';
  if (carried.length > mostCarried) return 'its parts share many values';

  const { start, end, step } = loop;
  const stop = newVar('stop', L.vtype('i32'));
  const i = newVar(loop.var.name, loop.var.type);
  const kept = carried.map((v) => newVar(v.name, v.type));
  const final = L.variable(stop);
  const keep = new Map(carried.map((v, c) => [v.id, L.variable(kept[c]!)] as const));
  /** A part at an iteration, in variables of its own; what it knows of the other part is in `known`. */
  const at = (list: readonly Stmt[], index: Expr, known: ReadonlyMap<number, Expr>): Copy => {
    const copy = new Copy(newVar, new Map([...known, [loop.var.id, index]]));
    copy.list(list);
    return copy;
  };
  const early = at(head, start, new Map());
  const next = at(head, L.binary('add', L.variable(i), L.i32(step)), new Map());
  const body = (index: Expr): readonly Stmt[] => at([...indices, ...tail], index, keep).out;
  const whole: Stmt[] = [
    { kind: 'let', var: stop, value: L.binary('sub', end, L.i32(step)) },
    ...early.out,
    ...carried.map((v, c): Stmt => ({ kind: 'local', var: kept[c]!, value: early.of(v) })),
    {
      ...loop,
      var: i,
      end: final,
      body: [
        ...next.out,
        ...body(L.variable(i)),
        ...carried.map((v, c): Stmt => ({ kind: 'set', var: kept[c]!, value: next.of(v) })),
      ],
    },
    ...body(final),
  ];
  if (start.kind === 'const' && end.kind === 'const' && end.value >= start.value + step)
    return whole;
  const some = L.compare('le', L.binary('add', start, L.i32(step)), end);
  return [{ kind: 'if', cond: some, then: whole, else: [] }];
}

/** Where the longest run of long vectors, named or stored, of loops and branches at the end starts. */
export function cutOf(list: readonly Stmt[]): number {
  let cut = list.length;
  while (cut > 0) {
    const s = list[cut - 1]!;
    const isLong = (s.kind === 'store' || s.kind === 'let') && s.value.type.lanes > 4;
    if (s.kind !== 'for' && s.kind !== 'if' && !isLong) break;
    cut -= 1;
  }
  return cut;
}

function has(e: Expr, is: (e: Expr) => boolean): boolean {
  return is(e) || L.operands(e).some((o) => has(o, is));
}
const combinesLanes = (s: Stmt): boolean =>
  (s.kind === 'let' || s.kind === 'local' || s.kind === 'store') &&
  has(s.value, (e) => e.kind === 'reduce' || e.kind === 'peak');

/** Integers made of the counter and of what is outside: as cheap to compute again as to keep. */
function indicesOf(list: readonly Stmt[]): Stmt[] {
  const inside = effectsOf(list).declares;
  return list.filter((s) => {
    if (s.kind !== 'let' || s.value.type.scalar !== 'i32' || s.value.type.lanes !== 1) return false;
    const other = (e: Expr): boolean =>
      e.kind === 'var' ? inside.has(e.var.id) : !arithmetic.has(e.kind);
    if (has(s.value, other)) return false;
    inside.delete(s.var.id);
    return true;
  });
}
const arithmetic: ReadonlySet<L.ExprKind> = new Set(['const', 'dim', 'binary']);

function usesOf(list: readonly Stmt[]): number[] {
  const out: number[] = [];
  new Copy(
    (name, type) => ({ id: -1, name, type }),
    new Map(),
    (v) => out.push(v.id),
  ).list(list);
  return out;
}
