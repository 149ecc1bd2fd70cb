// Scratch memory of kernels on a GPU: a tensor that one iteration makes for itself must not be seen by the others.
// Small ones of literal size become memory of the thread, or of the group; the others become slices of one buffer,
// numbered by the iterations around.
import { floorDiv, Poly } from '../../ir/algebra.ts';
import { dtypes } from '../../ir/dtype.ts';
import type { Buffer, Expr, Stmt } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import { rewriteStmts } from '../../loops/rewrite.ts';
import type { Lowering } from '../lowering.ts';

/** Memory of a thread: of one buffer, and of all of a kernel (WGSL ends at 8 KiB). */
const privateBytes = 2048;
const privateTotal = 6 * 1024;
/** Most memory of a group, where the target has more. */
const sharedBytes = 16 * 1024;
/** Slices start on a multiple of this many elements. */
const sliceAlign = 64;

/** Whose a temp is: each thread's, or each team's. */
export type Owner = 'thread' | 'threads' | 'lanes';

/** Emits a kernel's statements into scope 0 and settles where its scratch lives. */
export function withScratch(lo: Lowering, emit: () => void): void {
  const { em } = lo;
  const owners = new Map<number, Owner>();
  em.onTemp = (b) => owners.set(b.id, lo.team?.shares(em.depth) ? lo.team.level : 'thread');
  try {
    emit();
  } finally {
    em.onTemp = undefined;
    lo.team = undefined;
  }
  const list = em.scopes[0]!.stmts;
  const made = em.buffers.filter((b) => owners.has(b.id) && b.role === 'temp');
  let shared = 0;
  let own = 0;
  const most = Math.min(sharedBytes, lo.limits.scratchBytes);
  for (const b of made) {
    const owner = owners.get(b.id)!;
    const bytes = Math.ceil(((b.size.constant ?? Infinity) * dtypes[b.dtype].bits) / 8);
    if (owner === 'thread' && bytes <= privateBytes && own + bytes <= privateTotal) {
      setRole(b, 'thread');
      own += bytes;
    } else if (owner === 'threads' && shared + bytes <= most) {
      setRole(b, 'group');
      shared += bytes;
    } else {
      const { lets, body } = slice(lo, b, owner, list.slice());
      list.splice(0, list.length, ...lets, ...body);
    }
  }
}

const setRole = (b: Buffer, role: Buffer['role']): void => {
  (b as { role: Buffer['role'] }).role = role;
};

/** Every access to `b` moves to the slice of the iteration; the buffer grows to hold all slices. */
function slice(
  lo: Lowering,
  b: Buffer,
  owner: Owner,
  list: readonly Stmt[],
): { lets: Stmt[]; body: Stmt[] } {
  const { em } = lo;
  const size = floorDiv(b.size.add(sliceAlign - 1), sliceAlign).mul(sliceAlign);
  // The slice's length, computed in front of everything.
  const lets: Stmt[] = [];
  const whole = em.scopes;
  em.scopes = [{ stmts: lets, memo: new Map() }];
  const step = em.index(size);
  em.scopes = whole;
  let slices = Poly.of(1);
  const inside = (body: readonly Stmt[], number: Expr | undefined, count: Poly): Stmt[] =>
    body.map((s): Stmt => {
      if (
        s.kind !== 'for' ||
        !s.on ||
        (owner !== 'thread' && (s.on === 'threads' || s.on === 'lanes'))
      )
        return rewriteStmts([s], {
          at: (buffer, index, align) => moved(buffer, index, align, number),
          nested: (inner) => inside(inner, number, count),
        })[0]!;
      const mine = L.variable(s.var);
      const total = count.mul(em.extents.get(s.var.id)!);
      const numbered = number ? L.binary('add', L.binary('mul', number, s.end), mine) : mine;
      slices = total;
      return { ...s, body: inside(s.body, numbered, total) };
    });
  const moved = (buffer: Buffer, index: Expr, align: number, number: Expr | undefined) =>
    buffer.id !== b.id || !number
      ? { index, align }
      : {
          index: L.binary('add', L.binary('mul', number, step), index),
          align: Math.min(align, sliceAlign),
        };
  const body = inside(list, undefined, Poly.of(1));
  (b as { size: Poly }).size = size.mul(slices);
  return { lets, body };
}
