// Who meets where. WGSL lets the threads of a group meet only where all of them provably are; what a schedule knows to be
// the same in all of them may be no more than a value read from memory. Conditions of that kind are agreed upon first.
import { nested } from '../../compiler/loops/walk.ts';
import { type Expr, operands, type Stmt } from '../../compiler/loops/loops.ts';
import type { Writer } from './writer.ts';

/** Whether members of a team meet in these statements. */
export const meets = (list: readonly Stmt[]): boolean =>
  list.some((s) => s.kind === 'barrier' || s.kind === 'combine' || nested(s).some(meets));

/**
 * Whether members of a team may hand each other something in memory of the device: a buffer that the launch writes and reads,
 * or writes more than once, in several places or again after they have met.
 */
export function meetInStorage(body: readonly Stmt[]): boolean {
  const read = new Set<number>();
  const stores = new Map<number, number>();
  const expr = (e: Expr): void => {
    if (e.kind === 'load' || e.kind === 'gather') read.add(e.buffer.id);
    operands(e).forEach(expr);
  };
  const visit = (list: readonly Stmt[], again: boolean): void => {
    for (const s of list) {
      if ('value' in s) expr(s.value);
      if (s.kind === 'for') [s.start, s.end].forEach(expr);
      if (s.kind === 'while' || s.kind === 'if') expr(s.cond);
      if (s.kind === 'store') {
        expr(s.index);
        const { id, role } = s.buffer;
        if (role !== 'group' && role !== 'thread')
          stores.set(id, (stores.get(id) ?? 0) + (again ? 2 : 1));
      }
      const repeats = s.kind === 'while' || (s.kind === 'for' && !s.on && !isOnce(s));
      for (const inner of nested(s)) visit(inner, again || (repeats && nested(s).some(meets)));
    }
  };
  visit(body, false);
  return [...stores].some(([id, count]) => count > 1 || read.has(id));
}

/** Whether a loop has one iteration at most. */
const isOnce = ({ start, end, step }: Extract<Stmt, { kind: 'for' }>): boolean =>
  start.kind === 'const' && end.kind === 'const' && end.value - start.value <= step;

/** Whether WGSL can see that the value is the same in all threads of the group. */
export function isUniform(w: Writer, e: Expr): boolean {
  switch (e.kind) {
    case 'const':
    case 'dim':
      return true;
    case 'var':
      return w.uniform.has(e.var.id);
    case 'load':
    case 'gather': {
      const binding = w.module.layout.bindings.find((b) =>
        b.buffers.some((x) => x.id === e.buffer.id),
      );
      return binding?.written === false && isUniform(w, e.index);
    }
    default:
      return operands(e).every((o) => isUniform(w, o));
  }
}

/** A scalar on which the threads of the group agree, as text. */
export function agreed(w: Writer, text: string, type: 'i32' | 'bool'): string {
  w.module.functions.set(
    'agree',
    `/* What the first thread has, for all of them: threads may only meet where they provably agree. */
fn agree(value: i32, member: u32) -> i32 {
  if (member == 0u) { agreed = value; }
  return workgroupUniformLoad(&agreed);
}`,
  );
  w.share('agreed', 4, () => 'var<workgroup> agreed: i32;');
  return type === 'bool' ? `agree(i32(${text}), member) != 0` : `agree(${text}, member)`;
}
