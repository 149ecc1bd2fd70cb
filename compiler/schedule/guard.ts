// The nearest entries of a table by limits between them (nearest.ts), where a block has several units, or its largest magnitude is
// not at hand: right before they are wanted, one test says whether the limits tell. Units with few digits only, for which the
// limits are exact products: scales are stored in formats that have no more.
import type { Expr, Stmt, Var } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { Copy, type NewVar } from './copies.ts';
import { mostUnits } from './nearest.ts';

/** Lanes from which on the test pays. */
const leastLanes = 8;
/** Digits that products of units may need besides those of a unit. */
const mostDigits = 12;
/** Units are at most this, and at least its reciprocal: no product is near the ends of f32. */
const mostUnit = 2 ** 60;

/** The statements with a test in front of each such choice, and a copy of what follows for either outcome. */
export function guardNearest(list: readonly Stmt[], newVar: NewVar): readonly Stmt[] {
  const at = list.findIndex((s) => s.kind === 'let' && isOfOneUnit(s.value));
  const rest = list.slice(at);
  if (at >= 0 && rest.every((s) => s.kind === 'let' || s.kind === 'store')) {
    const made = guarded(rest, newVar);
    if (made) return [...list.slice(0, at), ...made];
  }
  return list.map((s) => (s.kind === 'for' ? { ...s, body: guardNearest(s.body, newVar) } : s));
}

const isOfOneUnit = (e: Expr): e is L.ExprOf<'nearest'> =>
  e.kind === 'nearest' && e.unit.kind === 'splat' && e.type.lanes >= leastLanes;

function guarded(list: readonly Stmt[], newVar: NewVar): Stmt[] | undefined {
  const [first, ...rest] = list as [Extract<Stmt, { kind: 'let' }>, ...Stmt[]];
  const e = first.value as L.ExprOf<'nearest'>;
  const entries = e.buffer.data!.map(Math.fround);
  const most = mostUnits(entries);
  const middles = entries.slice(1).map((q, i) => (entries[i]! + q) / 2);
  const digits = Math.max(...[...entries, ...middles].map(digitsOf));
  if (most === undefined || digits > mostDigits) return undefined;
  const out: Stmt[] = [];
  const named = (name: string, value: Expr, to = out): Expr => {
    const v = newVar(name, value.type);
    to.push({ kind: 'let', var: v, value });
    return L.variable(v);
  };
  const unit = named('unit', (e.unit as L.ExprOf<'splat'>).a);
  const { lanes } = e.type;
  const size = e.a.kind === 'unary' && e.a.op === 'abs' ? e.a : L.unary('abs', e.a);
  const bound = L.splat(L.binary('mul', unit, L.constant(most, 'f32')), lanes);
  const lowest = L.binary('and', L.bits(unit, 'i32'), L.i32(2 ** digits - 1));
  const tests = [
    L.compare('ge', unit, L.constant(1 / mostUnit, 'f32')),
    L.compare('le', unit, L.constant(mostUnit, 'f32')),
    L.compare('eq', lowest, L.i32(0)),
    L.reduce('and', L.compare('le', size, bound)),
  ];
  const usual = named(
    'usual',
    tests.reduce((a, b) => L.binary('and', a, b)),
  );
  const then: Stmt[] = [];
  const count = middles.reduce<Expr>(
    (sum, middle) => {
      const product = L.binary('mul', L.splat(unit, 4), L.constant(middle, 'f32', 4));
      const limit = L.tile(named('limit', product, then), lanes);
      return L.binary('add', sum, L.convert(L.compare('gt', e.a, limit), 'i32'));
    },
    L.constant(0, 'i32', lanes),
  );
  then.push({ ...first, value: count }, ...rest);
  const known = new Map<number, Expr>();
  const other = new Copy((name, type): Var => newVar(name, type), known);
  other.list([{ ...first, value: { ...e, unit: L.splat(unit, lanes) } }, ...rest]);
  return [...out, { kind: 'if', cond: usual, then, else: other.out }];
}

/** Binary digits of a number, from the first to the last that is not 0. */
function digitsOf(x: number): number {
  let whole = Math.abs(x);
  if (whole === 0) return 0;
  while (!Number.isInteger(whole)) whole *= 2;
  while (whole % 2 === 0) whole /= 2;
  return Math.floor(Math.log2(whole)) + 1;
}
