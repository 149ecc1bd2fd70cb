// Scratch of an iteration that is only read and written an element at a time. Iterations that run together (jam.ts) keep
// its elements side by side, so that what four scalars were is one vector; a single number needs no memory at all.
import { type DType, dtypes, scalarOf } from '../ir/dtype.ts';
import type { Buffer, Expr, Stmt, Var } from '../loops/loops.ts';
import { intRange } from '../loops/ranges.ts';
import { eachStmt, expressionsOf, onceEach } from '../loops/walk.ts';

export interface Elementwise {
  readonly buffer: Buffer;
  /** A variable, or memory of this dtype: small integers that cannot wrap are kept as i32. */
  readonly as: 'cell' | DType;
}

/** The buffers among those that `isOwn` says of, of at most `most` elements. */
export function elementwise(
  body: readonly Stmt[],
  isOwn: (b: Buffer) => boolean,
  most: number,
): Elementwise[] {
  const found = new Map<number, Buffer>();
  const others = new Set<number>();
  /** Where a stored number may be one that the dtype does not hold. */
  const wraps = new Set<number>();
  const lets = new Map<number, Expr>();
  const defined = (v: Var): Expr | undefined => lets.get(v.id);
  const see = (b: Buffer, lanes: number, stored?: Expr): void => {
    if (!isOwn(b)) return;
    const { bits, min, max } = dtypes[b.dtype];
    const [lo, hi] = stored?.type.scalar === 'i32' ? intRange(stored, defined) : [0, Infinity];
    if (stored && !(lo >= (min ?? Infinity) && hi <= (max ?? -Infinity))) wraps.add(b.id);
    const plain = lanes === 1 && bits % 8 === 0;
    if (!plain || (b.size.constant ?? Infinity) > most) others.add(b.id);
    else found.set(b.id, b);
  };
  eachAccess(body, see, (v, e) => lets.set(v.id, e));
  return [...found.values()]
    .filter((b) => !others.has(b.id))
    .map((buffer) => {
      const { dtype, size, id } = buffer;
      const scalar = scalarOf(dtype);
      if (size.constant === 1 && (dtypes[dtype].bits === 32 || scalar === 'bool'))
        return { buffer, as: 'cell' };
      return { buffer, as: scalar !== 'i32' || wraps.has(id) ? dtype : 'i32' };
    });
}

/** Every load and store of a list of statements, with the lanes that it takes; of a gather, more than one. */
function eachAccess(
  list: readonly Stmt[],
  see: (b: Buffer, lanes: number, stored?: Expr) => void,
  bound: (v: Var, e: Expr) => void,
): void {
  const expr = onceEach((e) => {
    if (e.kind === 'load') see(e.buffer, e.type.lanes);
    if (e.kind === 'gather') see(e.buffer, 2);
  });
  eachStmt(list, (s) => {
    if (s.kind === 'let') bound(s.var, s.value);
    if (s.kind === 'store') see(s.buffer, s.value.type.lanes, s.value);
    if (s.kind === 'copy') {
      see(s.to, 2);
      see(s.from, 2);
    }
    expressionsOf(s).forEach(expr);
  });
}
