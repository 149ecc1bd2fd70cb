// How codes share bytes: every bit of every byte is used once, and every code is whole.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type DType, dtypes } from '../../compiler/ir/dtype.ts';
import { depthOfUnit, packingOf, packingText, takingsOf } from '../../compiler/schedule/packing.ts';

const test = suite('packing of codes');
const all: readonly DType[] = ['u1', 'u2', 'u3', 'u4', 'u5', 'u6', 'u7', 'u8', 'i3', 'i5', 'i8'];
const onesOf = (bits: number, at: number): number => (2 ** bits - 1) << at;

for (const d of all)
  for (const words of [false, true])
    test(`codes of ${d} are whole and have bits of their own${words ? ', in words' : ''}`, () => {
      const { vectors, steps, codes } = packingOf(d, 32, words);
      assert.is(codes.length, steps);
      const used = new Array<number>(vectors).fill(0);
      for (const pieces of codes) {
        let code = 0;
        for (const p of pieces) {
          assert.is(used[p.vector]! & onesOf(p.bits, p.at), 0, 'a bit with two owners');
          used[p.vector]! |= onesOf(p.bits, p.at);
          code |= onesOf(p.bits, p.shift);
          assert.ok(p.at + p.bits <= 8);
        }
        assert.is(code, onesOf(dtypes[d].bits, 0));
        assert.is(
          pieces.reduce((n, p) => n + p.bits, 0),
          dtypes[d].bits,
        );
      }
      if (words) assert.is(vectors, 1);
      else if (dtypes[d].bits % 4 !== 3) assert.equal(used, new Array<number>(vectors).fill(255));
    });

for (const d of all)
  for (const most of [127, 255])
    test(`codes of ${d} come from their bytes, ${most} at most`, () => {
      const packing = packingOf(d, 32, false);
      const { exponent, codes } = takingsOf(packing, most);
      assert.is(codes.length, packing.steps);
      // Bits that belong to other codes are set, and must not get in.
      for (const { code, exponent: own, parts } of codes)
        for (let value = 0; value < 2 ** dtypes[d].bits; value += 1) {
          const bytes = new Array<number>(packing.vectors).fill(255);
          for (const p of packing.codes[code]!) {
            bytes[p.vector]! &= ~onesOf(p.bits, p.at);
            bytes[p.vector]! |= ((value >> p.shift) & onesOf(p.bits, 0)) << p.at;
          }
          const taken = parts.reduce((sum, p) => (sum | (bytes[p.vector]! & p.mask)) >> p.down, 0);
          assert.is(taken, value * 2 ** own);
          assert.ok(taken <= most || dtypes[d].bits === 8);
          assert.ok(own === 0 || own === exponent);
        }
    });

test('units that do not divide the depth give way to fields', () => {
  assert.is(depthOfUnit(packingOf('u5', 32, false)), 32);
  assert.is(packingText(packingOf('u5', 16, false)), packingText(packingOf('u5', 16, true)));
  assert.is(packingOf('u6', 16, false).vectors, 3);
});

test.run();
