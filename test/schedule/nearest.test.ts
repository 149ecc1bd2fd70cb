// The nearest entry of a table: one expression, which goes entry by entry, and by limits between entries for blocks of
// ordinary numbers. The interpreter's codes, also next to the limits and where a unit or a number is none of the ordinary.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { array, DeviceTensor, load } from '../../index.ts';
import { encodeConstant } from '../../compiler/constants.ts';
import { Poly } from '../../compiler/ir/algebra.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import * as L from '../../compiler/loops/loops.ts';
import { limitsBetween, mostUnits } from '../../compiler/schedule/nearest.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { buffer, compileWasm, kernel, program, runModule, store } from '../loops/programs.ts';
import { compiled } from './harness.ts';

const test = suite('the nearest entry of a table');
const folder = mkdtempSync(join(tmpdir(), 'quern-nearest-'));
test.after(() => rmSync(folder, { recursive: true }));

const tables: { readonly [name: string]: readonly number[] } = {
  magnitudes: [0, 1, 2, 3, 4, 6, 8, 12],
  signed: [-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12],
  positive: [0.7, 1.1, 1.3, 2.1],
  two: [0, 1],
  one: [3],
  // Neighbours too unlike, and too near one another.
  steep: [0.25, 1, 5],
  close: [1, 1.0001, 2],
};

const file = join(folder, 'formats.ts');
writeFileSync(
  file,
  `import { abs, amax, amin, argmin, bitcast, broadcastTo, clamp, exponent, exp2, f16, f32, format, group, i32, max, reshape, tensor, u4, u8 } from 'quern';
import type { Tensor } from 'quern';
const near = (entries: number[], scaleOf: (peak: Tensor<f32, []>) => Tensor, turned = false) => format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const unit = scaleOf(amax(abs(x)));
    const at = tensor(entries) * reshape(unit, [-1, 1]);
    const y = reshape(entries[0]! < 0 ? x : abs(x), [32, 1]);
    const q = argmin(abs(turned ? y - at : at - y), 1);
    return { unit, q: u4(x < 0 && q > 0 && entries[0]! >= 0 ? q | 8 : q) };
  },
  decode: ({ unit, q }) => q * unit,
});
const [magnitudes, signed, positive] = [${JSON.stringify(tables.magnitudes)}, ${JSON.stringify(tables.signed)}, ${JSON.stringify(tables.positive)}];
/** Units of all digits, of eleven, powers of two, and such that numbers are far beyond the last entry. */
export const full = near(magnitudes, (p) => p / 12);
export const halves = near(magnitudes, (p) => f16(p / 12));
export const powers = near(magnitudes, (p) => exp2(clamp(exponent(p) - 3, -126, 127)), true);
export const beyond = near(magnitudes, (p) => p / 3000);
export const far = near(magnitudes, (p) => p / 30000);
export const both = near(signed, (p) => p / 11.5);
export const above = near(positive, (p) => p / 2);
export const negative = near(magnitudes, (p) => p / -12);
/** Four units a block, which are at hand only where they are wanted; of few digits, of all, and from the lowest number. */
const grouped = (unitOf: (peak: Tensor) => Tensor) => format({
  block: 64,
  encode(x: Tensor<f32, [64]>) {
    const units = unitOf(amax(abs(group(x, 16)), 1));
    const unit = reshape(broadcastTo(reshape(units, [4, 1]), [4, 16]), [64, 1]);
    const q = argmin(abs(tensor(magnitudes) * unit - reshape(abs(x), [64, 1])), 1);
    return { units, low: amin(group(x, 16), 1), q: u4(x < 0 && q > 0 ? q | 8 : q) };
  },
  decode: ({ units, q }) => reshape(group(q, 16) * reshape(units, [4, 1]), [64]),
});
export const groups = grouped((p) => f32(f16(p / 12)));
export const fullGroups = grouped((p) => p / 12);
export const farGroups = grouped((p) => f32(f16(p / 30000)));
/** As bytes, and without a sign on top. */
export const bytes = format({
  block: 16,
  encode(x: Tensor<f32, [16]>) {
    const unit = amax(abs(x)) / 7;
    const q = argmin(abs(tensor(magnitudes) * unit - reshape(abs(x), [-1, 1])), 1);
    return { unit, q: u8(x > 0 ? q : q + 16) };
  },
  decode: ({ unit, q }) => q * unit,
});
/** What was divided by the unit is compared with the entries themselves. */
export const divided = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const unit = amax(abs(x)) / 12;
    return { unit, q: u4(argmin(abs(reshape(x / unit, [32, 1]) - tensor(signed)), 1)) };
  },
  decode: ({ unit, q }) => q * unit,
});
`,
);
/** Blocks of these go by limits; a quotient below 0 has none, nor has one that is far too small. */
const byLimits = [
  'full',
  'halves',
  'powers',
  'beyond',
  'far',
  'both',
  'above',
  'negative',
  'bytes',
];
const byTest = ['groups', 'fullGroups', 'farGroups'];
const names = [...byLimits, ...byTest, 'divided'];

let state = 7;
const random = (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return (state >>> 0) / 2 ** 32;
};
const ofBits = (u: number): number => new Float32Array(Uint32Array.of(u >>> 0).buffer)[0]!;
const next = (x: number, steps: number): number =>
  ofBits(new Uint32Array(Float32Array.of(x).buffer)[0]! + steps);
const sign = (): number => (random() < 0.5 ? 1 : -1);
const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
const spots = [0, 0.5, 1, 1.5, 2, 2.5, 3.5, 5, 7, 10, 12, 0.9, 1.2, 1.7];

const kinds: { readonly [kind: string]: (i: number) => number } = {
  noise: () => random() * 2 - 1,
  'any bits': () => ofBits(random() * 2 ** 32),
  'next to limits': (i) =>
    i % 32 === 0 ? 12 : sign() * next(Math.fround(pick(spots)), Math.floor(random() * 5) - 2),
  'next to limits of an odd unit': (i) => {
    const unit = Math.fround(0.7 + Math.floor(i / 32) * 0.0317);
    return i % 32 === 0
      ? Math.fround(12 * unit)
      : sign() * next(Math.fround(unit * pick(spots)), Math.floor(random() * 5) - 2);
  },
  'few digits': () => ofBits(((random() * 2 ** 32) & 0x83ff0000) | 0x3c000000),
  zeros: () => (random() < 0.5 ? 0 : -0),
  'some NaN': () => (random() < 0.01 ? NaN : random() - 0.5),
  'some infinities': () => (random() < 0.01 ? sign() * Infinity : random() - 0.5),
  subnormals: () => ofBits(random() * 2 ** 23) * sign(),
  'huge ones': () => (random() - 0.5) * 6e38,
  'tiny ones': () => (random() - 0.5) * 1e-37,
  'large and subnormal': () => (random() < 0.5 ? 1e30 : 1e-42) * (random() - 0.5),
};

for (const width of [64 * 11, 192])
  test(`${width} columns of all kinds of numbers`, async () => {
    const rows = Object.keys(kinds).length;
    const x = new Float32Array(rows * width);
    Object.values(kinds).forEach((f, row) => {
      for (let i = 0; i < width; i += 1) x[row * width + i] = f(i);
    });
    const device = new WasmDevice({ threads: 1 });
    await device.start();
    const own = await load(file, { device, cache: false });
    const reference = await load(file, { device: 'reference', cache: false });
    for (const name of names) {
      const input = DeviceTensor.from(device, array(x, [rows, width]));
      const got = await own.format(name).encode(input);
      const want = await reference.format(name).encode(array(x, [rows, width]));
      for (const [field, tensor] of Object.entries(want.fields)) {
        const expected = [...((await tensor.data()) as Float32Array)];
        const found = [...((await got.fields[field]!.data()) as Float32Array)];
        const per = expected.length / rows;
        const wrong = expected.findIndex((e, i) => !Object.is(e, found[i]));
        const kind = Object.keys(kinds)[Math.floor(wrong / per)];
        assert.is(
          wrong,
          -1,
          `${name}.${field} of ${kind}: ${found[wrong]}, not ${expected[wrong]}`,
        );
      }
    }
    device.close();
  });

for (const name of names)
  test(`${name}: ${name === 'divided' ? 'ranks' : 'limits'} for ordinary blocks`, async () => {
    const text = (await compiled({ file, name: `${name}.encode` })).stage('schedule');
    assert.match(text, /nearest\(/);
    if (byTest.includes(name)) assert.match(text, /build\(reduce_max/);
    const usual = /if usual\S* \{([^}]*)\}/.exec(text)![1]!;
    assert.not.match(usual, /nearest\(/);
    assert.match(
      usual,
      name === 'divided' ? /rank_gt\(/ : /> (tile\(|splat\()(limit|\w+_limits\[)/,
    );
  });

const numbers = [0, -0, 1, -1, 2.5, 1e30, -1e30, 3e38, Infinity, -Infinity, NaN, 1e-40, 0.3, 1e-3];
for (const [name, table] of Object.entries(tables))
  test(`entry by entry as the evaluator does: ${name}`, async () => {
    for (const lanes of [4, 16, 32]) {
      const [x, unit] = [buffer('x', 'f32'), buffer('unit', 'f32')];
      const [wide, codes] = [buffer('wide', 'i32', 'result'), buffer('codes', 'u8', 'result')];
      const size = Poly.of(table.length);
      const t: L.Buffer = { ...buffer('t', 'f32', 'const'), size, data: table };
      const a = L.load(x, L.i32(0), lanes, lanes);
      const one = L.splat(L.load(unit, L.i32(0), 1, 1), lanes);
      const each = L.load(unit, L.i32(0), lanes, lanes);
      const p = program(
        [x, unit, wide, codes, t],
        kernel([
          store(wide, L.i32(0), L.nearest(t, a, each), lanes),
          store(codes, L.i32(0), L.nearest(t, a, one), lanes),
        ]),
      );
      const module = await compileWasm(p);
      const value = fc.oneof(fc.constantFrom(...numbers), fc.float());
      const list = fc.array(value, { minLength: lanes, maxLength: lanes });
      fc.assert(
        fc.property(list, list, (xs, units) => {
          const memory = (): Uint8Array[] => [
            new Uint8Array(Float32Array.from(xs).buffer),
            new Uint8Array(Float32Array.from(units).buffer),
            new Uint8Array(4 * lanes),
            new Uint8Array(lanes),
            encodeConstant('f32', table),
          ];
          const [want, got] = [memory(), memory()];
          evaluate(p, { N: lanes }, want);
          runModule(module, p, { N: lanes }, got);
          assert.equal([...got[2]!], [...want[2]!]);
          assert.equal([...got[3]!], [...want[3]!]);
        }),
        { numRuns: 40 },
      );
    }
  });

test('limits are the last numbers on the lower side of a middle, of tables that allow it', () => {
  assert.equal(limitsBetween([0, 1, 2, 3]), [0.5, 1.5, 2.5]);
  assert.equal(limitsBetween([1, next(1, 1)]), [1]);
  assert.equal(limitsBetween([-next(1, 1), -1]), [-next(1, 1)]);
  assert.is(mostUnits(tables.magnitudes!), 12 * 2 ** 10);
  assert.is(mostUnits(tables.signed!), 12 * 2 ** 10);
  for (const name of ['one', 'steep', 'close']) assert.is(mostUnits(tables[name]!), undefined);
  assert.is(mostUnits([-1, 2]), undefined);
  assert.is(mostUnits(Array.from({ length: 20 }, (_, i) => i)), undefined);
});

test.run();
