// Short loops with a step after another, as sums in order are: four iterations at a time, and what is left without a loop.
import type { Expr, Stmt } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import type { ForLoop } from '../loops/parallel.ts';
import { withOperands } from '../loops/rewrite.ts';
import { Copy, type NewVar } from './copies.ts';

const together = 4;
/** Iterations from which on it pays, and statements of one up to which. */
const [leastIterations, mostStatements] = [8, 8];

/** The statements, or nothing where the loop is none of these. */
export function unrolled(loop: ForLoop, newVar: NewVar): Stmt[] | undefined {
  const { start, end, step, body } = loop;
  if (start.kind !== 'const' || end.kind !== 'const' || step !== 1 || loop.parallel)
    return undefined;
  const count = end.value - start.value;
  const isShort = body.every((s) => s.kind === 'let' || s.kind === 'set' || s.kind === 'store');
  if (count < leastIterations || body.length > mostStatements || !isShort) return undefined;
  const at = (index: L.Expr): readonly Stmt[] => {
    const copy = new Copy(newVar, new Map([[loop.var.id, index]]));
    copy.list(body);
    return copy.out.map(summed);
  };
  const whole = start.value + count - (count % together);
  const v = newVar(loop.var.name, loop.var.type);
  const index = (by: number): L.Expr => L.binary('add', L.variable(v), L.i32(by));
  const rest = Array.from({ length: count % together }, (_, i) => L.i32(whole + i));
  return [
    {
      ...loop,
      var: v,
      end: L.i32(whole),
      step: together,
      body: Array.from({ length: together }, (_, i) => at(index(i))).flat(),
    },
    ...rest.flatMap(at),
  ];
}

/**
 * All iterations of a loop with literal bounds whose body only names and adds up values, one after the other: what its
 * variable takes part in is known then, and integers in places need no names.
 */
export function straight(loop: ForLoop, newVar: NewVar): Stmt[] {
  const { start, end, step, body } = loop;
  if (start.kind !== 'const' || end.kind !== 'const') throw new Error('a loop of unknown length');
  const out: Stmt[] = [];
  for (let i = start.value; i < end.value; i += step) {
    const known = new Map<number, Expr>([[loop.var.id, L.i32(i)]]);
    const made = new Map<Expr, Expr>();
    const x = (e: Expr): Expr => {
      const own = e.kind === 'var' ? known.get(e.var.id) : undefined;
      const done = own ?? made.get(e) ?? constantLast(withOperands(e, x));
      made.set(e, done);
      return done;
    };
    for (const s of body) {
      if (s.kind === 'set') out.push({ ...s, value: x(s.value) });
      else if (s.kind === 'let') {
        const value = x(s.value);
        const { scalar, lanes } = value.type;
        if (scalar === 'i32' && lanes === 1) {
          known.set(s.var.id, value);
          continue;
        }
        const v = newVar(s.var.name, s.var.type);
        out.push({ ...s, var: v, value });
        known.set(s.var.id, L.variable(v));
      } else throw new Error(`a straight line of ${s.kind}`);
    }
  }
  return out;
}

/** Indices with what is constant in them at the end, where an access takes it for nothing. */
function summed(s: Stmt): Stmt {
  const made = new Map<Expr, Expr>();
  const x = (e: Expr): Expr => {
    let out = made.get(e);
    if (!out) {
      out = constantLast(withOperands(e, x));
      made.set(e, out);
    }
    return out;
  };
  if (s.kind === 'store') return { ...s, index: x(s.index), value: x(s.value) };
  return s.kind === 'let' || s.kind === 'set' ? { ...s, value: x(s.value) } : s;
}

/** Of operands that are so already. */
function constantLast(x: Expr): Expr {
  if (x.kind !== 'binary' || x.type.scalar !== 'i32' || x.type.lanes !== 1) return x;
  const { op, a, b } = x;
  if (b.kind !== 'const') return x;
  const inner = a.kind === 'binary' && a.op === 'add' && a.b.kind === 'const' ? a : undefined;
  if (op === 'add' && inner) return L.binary('add', inner.a, L.binary('add', inner.b, b));
  if (op === 'mul' && inner)
    return L.binary('add', L.binary('mul', inner.a, b), L.binary('mul', inner.b, b));
  return L.binary(op, a, b);
}
