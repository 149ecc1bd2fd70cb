// Names of addresses: an index that only ever leads to one buffer is named after it, so that a reader sees what it counts.
import { nested } from '../../compiler/loops/walk.ts';
import {
  type Buffer,
  type Expr,
  operands,
  type Stmt,
  type Var,
} from '../../compiler/loops/loops.ts';

/** Where a variable is used: in the index of a buffer, in the value of another variable, or anywhere else. */
interface Uses {
  readonly buffers: Set<Buffer>;
  readonly lets: Set<number>;
  elsewhere: boolean;
}

/** Names that the variables of a kernel's addresses would better have, by variable. */
export function addressNames(body: readonly Stmt[]): ReadonlyMap<number, string> {
  const plain = new Map<number, Var>();
  const uses = new Map<number, Uses>();
  const usesOf = (id: number): Uses => {
    let u = uses.get(id);
    if (!u) {
      u = { buffers: new Set(), lets: new Set(), elsewhere: false };
      uses.set(id, u);
    }
    return u;
  };
  /** `into`: the buffer in whose index the expression stands, or the variable that it is the value of. */
  const expr = (e: Expr, into: Buffer | number | undefined): void => {
    if (e.kind === 'var') {
      const u = usesOf(e.var.id);
      if (into === undefined) u.elsewhere = true;
      else if (typeof into === 'number') u.lets.add(into);
      else u.buffers.add(into);
    }
    const inner = e.kind === 'load' || e.kind === 'gather' ? e.buffer : into;
    for (const o of operands(e)) expr(o, inner);
  };
  const visit = (s: Stmt): void => {
    if (s.kind === 'let' && s.var.name === 'i' && s.var.type.scalar === 'i32') {
      plain.set(s.var.id, s.var);
      expr(s.value, s.var.id);
    } else if ('value' in s) expr(s.value, undefined);
    if (s.kind === 'store') expr(s.index, s.buffer);
    if (s.kind === 'for') for (const e of [s.start, s.end]) expr(e, undefined);
    if (s.kind === 'while' || s.kind === 'if') expr(s.cond, undefined);
    for (const inner of nested(s)) inner.forEach(visit);
  };
  body.forEach(visit);
  const known = new Map<number, Buffer | undefined>();
  const ownerOf = (id: number): Buffer | undefined => {
    if (known.has(id)) return known.get(id);
    known.set(id, undefined);
    const u = usesOf(id);
    const all = new Set<Buffer | undefined>([...u.buffers, ...[...u.lets].map(ownerOf)]);
    const [one] = all;
    const owner = u.elsewhere || all.size !== 1 ? undefined : one;
    known.set(id, owner);
    return owner;
  };
  const out = new Map<number, string>();
  for (const id of plain.keys()) {
    const owner = ownerOf(id);
    if (owner) out.set(id, `${owner.name.split('.').at(-1)}_at`);
  }
  return out;
}
