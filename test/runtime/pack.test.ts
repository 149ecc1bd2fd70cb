// Storage bytes of every dtype, against the definitions in compiler/ir/dtype.ts.
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type DType,
  castValue,
  dtypes,
  floatOfBits,
  floatToBits,
  isFloat,
  paddedRow,
  roundToFloat,
  storageBytes,
} from '../../compiler/ir/dtype.ts';
import { firstMisfit, logicalArrayType, pack, unpack } from '../../runtime/pack.ts';

const test = suite('pack');
const all = Object.keys(dtypes) as DType[];
const floats = all.filter((d) => isFloat(d) && d !== 'f32');

/** Storage by the book, bit by bit. */
function slowPack(d: DType, shape: readonly number[], values: readonly number[]): Uint8Array {
  const out = new Uint8Array(storageBytes(d, shape));
  const { bits } = dtypes[d];
  const row = shape.length ? shape[shape.length - 1]! : 1;
  values.forEach((x, i) => {
    const code = isFloat(d) ? floatToBits(d, roundToFloat(d, Math.fround(x))) : x;
    const at = (Math.floor(i / row) * paddedRow(d, row) + (i % row)) * bits;
    for (let b = 0; b < bits; b++)
      if (Math.floor(code / 2 ** b) % 2 !== 0) out[(at + b) >> 3]! |= 1 << ((at + b) & 7);
  });
  return out;
}

const shapes = fc.array(fc.integer({ min: 0, max: 19 }), { maxLength: 3 });
const size = (shape: readonly number[]): number => shape.reduce((p, n) => p * n, 1);

for (const d of all) {
  test(`${d}: storage is what the definition says, and reads back`, () => {
    const { min = -10, max = 10 } = dtypes[d];
    const value = isFloat(d)
      ? fc.oneof(fc.float(), fc.float({ min: -8, max: 8, noNaN: true }))
      : fc.integer({ min, max });
    const tensor = shapes.chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.array(value, { minLength: size(shape), maxLength: size(shape) }),
      ),
    );
    fc.assert(
      fc.property(tensor, ([shape, values]) => {
        const bytes = pack(d, shape, values);
        if (d !== 'f32') {
          // Negative integers wrap to their two's complement.
          const codes = isFloat(d)
            ? values
            : values.map((x) => (x < 0 ? x + 2 ** dtypes[d].bits : x));
          assert.equal(bytes, slowPack(d, shape, codes));
        }
        const back = unpack(d, shape, bytes);
        const want = values.map((x) => (isFloat(d) ? roundToFloat(d, Math.fround(x)) : x));
        assert.instance(back, logicalArrayType(d));
        assert.equal([...back], [...Object.assign(new (logicalArrayType(d))(want.length), want)]);
      }),
      { numRuns: 60 },
    );
  });
}

/** Floats where rounding goes wrong: the grid, the midpoints, and the neighbours of both. */
function* edges(d: DType): Generator<number> {
  const codes = Math.min(2 ** dtypes[d].bits, 65536);
  const step = codes > 4096 ? 7 : 1;
  for (let code = 0; code < codes - 1; code += step) {
    const a = floatOfBits(d, code);
    const b = floatOfBits(d, code + 1);
    for (const x of [a, (a + b) / 2]) {
      if (!Number.isFinite(x)) continue;
      const cell = new Float32Array([x]);
      const bits = new Uint32Array(cell.buffer);
      yield cell[0]!;
      if (x === 0) continue;
      bits[0]!++;
      yield cell[0]!;
      bits[0]! -= 2;
      yield cell[0]!;
    }
  }
  yield* [0, -0, Infinity, -Infinity, NaN, 3.4028234663852886e38, -3.4028234663852886e38];
  yield* [1e-45, -1e-45, 1.1754943508222875e-38, 1.1754942106924411e-38, 2 ** -127, 2 ** -128];
}

for (const d of floats) {
  test(`${d}: rounding agrees with the definition on the grid, its midpoints and their neighbours`, () => {
    const values = [...edges(d)];
    const got = unpack(d, [values.length], pack(d, [values.length], values));
    for (let i = 0; i < values.length; i++) {
      const want = roundToFloat(d, values[i]!);
      if (!Object.is(got[i], want)) assert.unreachable(`${values[i]}: ${got[i]} is not ${want}`);
    }
  });
}

test('floats cast to integers truncate and saturate, and NaN gives 0', () => {
  const values = new Float32Array([1.9, -1.9, 1e9, -1e9, NaN, Infinity, 7]);
  for (const d of ['i4', 'u4', 'i8', 'u8', 'u16', 'i32', 'u32'] as const) {
    const want = [...values].map((x) => castValue('f32', d, x));
    assert.equal([...unpack(d, [7], pack(d, [7], values))], want, d);
  }
});

test('integers cast to narrower integers wrap, and anything but zero is true', () => {
  assert.equal([...unpack('u4', [3], pack('u4', [3], new Int32Array([17, -1, 8])))], [1, 15, 8]);
  assert.equal([...unpack('i8', [2], pack('i8', [2], new Int32Array([200, -129])))], [-56, 127]);
  assert.equal([...unpack('bool', [3], pack('bool', [3], new Int32Array([0, 5, 256])))], [0, 1, 1]);
});

test('bytes at an odd address unpack as well', () => {
  for (const d of ['f16', 'f32', 'u16'] as const) {
    const bytes = pack(d, [3], [1, 2, 3]);
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    assert.equal([...unpack(d, [3], shifted.subarray(1))], [1, 2, 3]);
  }
});

test('a value that an integer dtype cannot hold is found', () => {
  assert.is(firstMisfit('u4', [1, 15, 16]), 16);
  assert.is(firstMisfit('i8', new Int32Array([0, -128])), undefined);
  assert.is(firstMisfit('u8', [1.5]), 1.5);
  assert.ok(Number.isNaN(firstMisfit('i32', [NaN])));
  assert.is(firstMisfit('f16', [1e9]), undefined);
});

test.run();
