// Bounds of index arithmetic: what is said to lie below a limit does, for all dims and loop variables, and addresses that
// split a loop variable into a quotient and a remainder are seen to stay in their axes.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Atom, floorDiv, modulo, Poly, provablyBelow } from '../../compiler/ir/algebra.ts';

const test = suite('algebra of indices');

const heads = Poly.dim('heads');
const loopOver = (key: string, extent: Poly): Poly => Poly.atom({ key, kind: 'var', extent });

test('the remainder of a loop variable stays below the divisor', () => {
  const item = loopOver('item', heads.mul(4));
  assert.equal(modulo(item, 4).bounds(), [0, 3]);
  assert.equal(modulo(item, 4).mul(8).add(5).bounds(), [5, 29]);
});

test('vectors of whole strides stay within an extent of which they are a part', () => {
  const lane = Poly.atom({ key: 'lane', kind: 'lane', extent: Poly.of(16) });
  for (const [extent, spare] of [
    [heads, 0],
    [heads.mul(4), 0],
    [heads.mul(4).add(2), 2],
  ] as const) {
    const last = loopOver('many', floorDiv(extent, 16)).mul(16).add(lane).add(spare);
    assert.ok(provablyBelow(last, extent), `${extent}`);
    assert.not.ok(provablyBelow(last.add(1), extent), `${extent}`);
  }
});

/** Values for all atoms, or undefined where a loop has no iteration. */
function sampled(p: Poly, dims: number, picks: readonly number[]): number | undefined {
  const chosen = new Map<string, number>();
  let isEmpty = false;
  const value = (a: Atom): number => {
    if (a.kind === 'dim') return dims;
    const extent = a.extent!.evaluate(value);
    if (extent === 0) isEmpty = true;
    const known = chosen.get(a.key) ?? picks[chosen.size % picks.length]! % Math.max(extent, 1);
    chosen.set(a.key, known);
    return known;
  };
  const at = p.evaluate(value);
  return isEmpty ? undefined : at;
}

test('what is proved holds for any values', () => {
  const small = fc.integer({ min: 1, max: 6 });
  fc.assert(
    fc.property(
      fc.record({ times: small, plus: fc.integer({ min: 0, max: 5 }), part: small, width: small }),
      fc.record({ by: small, shift: fc.integer({ min: 0, max: 3 }), limit: small, more: small }),
      fc.integer({ min: 1, max: 9 }),
      fc.array(fc.nat(), { minLength: 4, maxLength: 4 }),
      (a, b, dims, picks) => {
        const extent = heads.mul(a.times).add(a.plus);
        const lane = Poly.atom({ key: 'lane', kind: 'lane', extent: Poly.of(a.width) });
        const i = loopOver('i', floorDiv(extent, a.part)).mul(a.width).add(lane);
        const all = [i, floorDiv(i.add(b.shift), b.by), modulo(i.add(b.shift), b.by).mul(b.more)];
        for (const p of all)
          for (const limit of [extent, heads.mul(b.limit), heads.mul(b.limit).add(b.more)]) {
            const at = sampled(p, dims, picks);
            if (at === undefined) continue;
            const top = limit.evaluate(() => dims);
            if (provablyBelow(p, limit)) assert.ok(at < top, `${p} = ${at}, below ${limit}`);
            const [low, high] = p.bounds();
            assert.ok(low <= at && at <= high, `${p} = ${at} within [${low}, ${high}]`);
          }
      },
    ),
    { numRuns: 400 },
  );
});

test.run();
