// Where the nearest entry of a table changes. Entries m are products of a sorted table and a unit, as f32 rounds them; of equally
// near ones the first is taken. Between p and its neighbour q, both differences from a number a are exact (Sterbenz: a lies from
// p to q, and neither of these is more than twice the other), or p is 0 and a no closer to q than q / 2: so q is nearer where
// a is beyond the middle of p and q. Farther entries are no nearer, as long as rounding keeps differences apart. All of that
// holds for tables and numbers that are not far larger than the distance of entries.
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';

/** Largest and smallest magnitude of an entry. */
const [mostEntry, leastEntry] = [2 ** 20, 2 ** -20];
/** How much larger than distances entries may be, and numbers than entries. */
const apart = 2 ** 10;
/** Units for which no product is near the ends of f32. */
export const mostUnit = 2 ** 100;
/** Limits up to which comparing with each of them pays. */
const mostLimits = 15;

/** How many units a number may be from 0 so that the middle of entries decides; undefined where that is wrong for a table. */
export function mostUnits(entries: readonly number[]): number | undefined {
  if (entries.length < 2 || entries.length > mostLimits + 1) return undefined;
  const most = Math.max(...entries.map(Math.abs));
  const suits = entries.every((q, i) => {
    const p = entries[i - 1];
    if (q !== 0 && !(Math.abs(q) >= leastEntry && Math.abs(q) <= mostEntry)) return false;
    if (p === undefined || p === 0 || q === 0) return p === undefined || q - p >= most / apart;
    const ratio = q / p;
    return ratio >= 0.5 && ratio <= 2 && q - p >= most / apart;
  });
  return suits ? most * apart : undefined;
}

/** The largest f32 up to the middle of neighbours: a number is beyond the one where it is beyond the other. */
export function limitsBetween(entries: readonly number[]): number[] {
  return entries.slice(1).map((q, i) => {
    const middle = (entries[i]! + q) / 2;
    const near = Math.fround(middle);
    return near <= middle ? near : before(near);
  });
}

/** The next f32 below a number that is not 0. */
function before(x: number): number {
  const bits = new Int32Array(Float32Array.of(x).buffer);
  bits[0]! += x > 0 ? -1 : 1;
  return new Float32Array(bits.buffer)[0]!;
}

/** The same between entries times a unit, above 0, one after the other; what a sum is off by is found by Knuth's two-sum. */
export function eachLimitBetweenProducts(
  entries: readonly number[],
  unit: Expr,
  named: (name: string, value: Expr) => Expr,
  take: (limit: Expr, i: number) => void,
): void {
  const { lanes } = unit.type;
  const all = (x: number, scalar: 'f32' | 'i32' = 'f32'): Expr => L.constant(x, scalar, lanes);
  const product = (t: number): Expr => named('entry', L.binary('mul', unit, all(t)));
  let q = product(entries[0]!);
  entries.slice(1).forEach((entry, i) => {
    const p = q;
    q = product(entry);
    if (entries[i] === 0) return take(L.binary('mul', q, all(0.5)), i);
    const sum = named('sum', L.binary('add', p, q));
    const second = named('second', L.binary('sub', sum, p));
    const first = L.binary('sub', sum, second);
    const lost = L.binary('add', L.binary('sub', p, first), L.binary('sub', q, second));
    const step = L.convert(L.compare('lt', lost, all(0)), 'i32');
    const isNegative = entries[i]! < 0 || entries[i + 1]! < 0;
    const bits = L.bits(L.binary('mul', sum, all(0.5)), 'i32');
    take(L.bits(L.binary(isNegative ? 'add' : 'sub', bits, step), 'f32'), i);
  });
}
