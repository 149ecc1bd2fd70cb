// The entry of a table nearest to a number, one entry after the other.
import { type Buffer, constant, type Expr, splat } from '../loops.ts';
import { abs, add, asInt, lt, max, min, mul, pick, type Scope, sub } from './arith.ts';

/**
 * Distances have no sign, so that their bits are ordered as they are. Moved up by this much they stay below the sign bit, but
 * for those of NaN, which become the least numbers; all NaN are made alike, as the first of them counts.
 */
const [moved, leastNumber] = [0x7fffff, -1];

/** The first entry of the least distance |entry * unit - a|, or of the first that is NaN. */
export function nearestEntry(s: Scope, { data }: Buffer, a: Expr, unit: Expr): Expr {
  const { lanes } = a.type;
  const x = s.bind(a);
  const u = unit.kind === 'splat' ? splat(s.bind(unit.a), lanes) : s.bind(unit);
  const product = (entry: number, i: number): Expr =>
    u.kind === 'splat' && i < mostKept ? splat(mul(u.a, entry), lanes) : mul(u, entry);
  const distance = (entry: number, i: number): Expr => {
    const off = abs(sub(product(Math.fround(entry), i), x));
    return s.bind(max(add(asInt(off), moved), leastNumber));
  };
  return data!.slice(1).reduce<{ index: Expr; best: Expr }>(
    ({ index, best }, entry, i) => {
      const next = distance(entry, i + 1);
      const isNearer = lt(next, best);
      return {
        index: s.bind(pick(isNearer, constant(i + 1, 'i32', lanes), index)),
        best: s.bind(min(best, next)),
      };
    },
    { index: constant(0, 'i32', lanes), best: distance(data![0]!, 0) },
  ).index;
}

/** Products that are made once where they are the same in all lanes; the others would want registers for a long time. */
const mostKept = 2;
