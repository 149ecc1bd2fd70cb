import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type DType,
  bitsOfF32,
  dtypes,
  f32OfBits,
  floatOfBits,
  floatToBits,
  roundToFloat,
} from '../../compiler/ir/dtype.ts';
import { decodeBits, encodeBits, roundTo } from '../../compiler/loops/loops.ts';
import { bytesFor, bytesOf, elementwise, floatsOf, intsOf, runWasm } from './programs.ts';

const test = suite('small floats on wasm');
const small = (Object.keys(dtypes) as DType[]).filter((d) => dtypes[d].minifloat);

const same = (a: number, b: number): boolean =>
  Object.is(a, b) || (Number.isNaN(a) && Number.isNaN(b));

/** Every value of the type, the midpoints between neighbours, and the f32 on both sides of each. */
function interesting(d: DType): Float32Array {
  const values = Array.from({ length: 2 ** dtypes[d].bits }, (_, c) => floatOfBits(d, c))
    .filter((x) => Number.isFinite(x) && x >= 0)
    .sort((a, b) => a - b);
  const out: number[] = [NaN, Infinity, 3.4028234663852886e38, 1e-45, 1e-40, 2 ** -126];
  values.forEach((x, i) => {
    const step = i ? x - values[i - 1]! : x;
    for (const y of [x, Math.fround(x + step / 2), Math.fround(x - step / 2)]) {
      const u = bitsOfF32(Math.fround(y));
      out.push(y, f32OfBits(u + 1), ...(u > 0 ? [f32OfBits(u - 1)] : []));
    }
  });
  return Float32Array.from(out.flatMap((x) => [x, -x]));
}

for (const d of small) {
  test(`${d}: every code decodes to its value`, async () => {
    const codes = Int32Array.from({ length: 2 ** dtypes[d].bits }, (_, i) => i);
    const p = elementwise(['i32'], 'f32', 8, (x) => decodeBits(d, x!));
    const out = [bytesOf(codes), new Uint8Array(codes.length * 4)];
    await runWasm(p, { N: codes.length }, out);
    floatsOf(out[1]!).forEach((x, c) => {
      assert.ok(same(x, floatOfBits(d, c)), `code ${c}: ${x}, not ${floatOfBits(d, c)}`);
    });
  });

  test(`${d}: rounds values, midpoints and their neighbours as roundToFloat`, async () => {
    const xs = interesting(d);
    const p = elementwise(['f32'], 'f32', 8, (x) => roundTo(d, x!));
    const out = [bytesOf(xs), new Uint8Array(xs.length * 4)];
    await runWasm(p, { N: xs.length }, out);
    floatsOf(out[1]!).forEach((y, i) => {
      assert.ok(same(y, roundToFloat(d, xs[i]!)), `${xs[i]}: ${y}, not ${roundToFloat(d, xs[i]!)}`);
    });
  });

  test(`${d}: encodes what is on the grid as floatToBits`, async () => {
    const xs = Float32Array.from(interesting(d), (x) => roundToFloat(d, x));
    const p = elementwise(['f32'], 'i32', 4, (x) => encodeBits(d, x!));
    const out = [bytesOf(xs), new Uint8Array(xs.length * 4)];
    await runWasm(p, { N: xs.length }, out);
    intsOf(out[1]!).forEach((c, i) => {
      assert.is(c, floatToBits(d, xs[i]!), `${xs[i]}: ${c}, not ${floatToBits(d, xs[i]!)}`);
    });
  });

  test(`${d}: storing rounds and encodes, loading decodes`, async () => {
    const xs = interesting(d);
    const stored = bytesFor(d, xs.length);
    const write = elementwise(['f32'], d, 8, (x) => x!);
    const bits = [bytesOf(xs), stored];
    await runWasm(write, { N: xs.length }, bits);
    const read = elementwise([d], 'f32', 16, (x) => x!);
    const back = [bits[1]!, new Uint8Array(xs.length * 4)];
    await runWasm(read, { N: xs.length }, back);
    floatsOf(back[1]!).forEach((y, i) => {
      assert.ok(same(y, roundToFloat(d, xs[i]!)), `${xs[i]}: ${y}, not ${roundToFloat(d, xs[i]!)}`);
    });
  });
}

test.run();
