// Blocks of ordinary numbers go by shorter code, which knows the ranges; all others by the general one. The bytes are the
// interpreter's in any case, next to the places where a code changes, and wherever a range could be left.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { array, DeviceTensor, load } from '../../index.ts';
import { computesRelaxed } from '../../runtime/devices/relaxed.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import type { WasmApi } from '../../runtime/platform.ts';
import { skip } from '../support/skip.ts';
import { compiled } from './harness.ts';

const test = suite('the usual case of a block');
const folder = mkdtempSync(join(tmpdir(), 'quern-usual-'));
test.after(() => rmSync(folder, { recursive: true }));

const file = join(folder, 'formats.ts');
writeFileSync(
  file,
  `import { abs, amax, argmax, at, clamp, f16, floor, format, i8, range, reshape, roundHalfAway, round, sum, tensor, u4, u8 } from 'quern';
import type { Tensor, f32 } from 'quern';
const nearest = (limit: number) => format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = amax(abs(x)) / limit;
    return { d, q: i8(clamp(roundHalfAway(x * (d === 0 ? 0 : 1 / d)), -limit, limit)) };
  },
  decode: ({ d, q }) => q * d,
});
/** The largest magnitude on 127, and on a number that leaves room. */
export const full = nearest(127);
export const small = nearest(100);
/** Codes beyond the bounds are cut: the largest magnitude is on 160. */
export const over = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = amax(abs(x)) / 160;
    return { d, q: i8(clamp(roundHalfAway(x * (1 / d)), -127, 127)) };
  },
  decode: ({ d, q }) => q * d,
});
/** Half to even, and down. */
export const even = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = amax(abs(x)) / 90;
    return { d, q: i8(round(x * (1 / d))) };
  },
  decode: ({ d, q }) => q * d,
});
/** Of numbers that are computed, and lie in no memory. */
export const computed = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const y = x * (x + 0.75);
    const d = amax(abs(y)) * (1 / 127);
    return { d, q: i8(round(y * (d === 0 ? 0 : 1 / d))) };
  },
  decode: ({ d, q }) => q * d,
});
export const down = format({
  block: 64,
  encode(x: Tensor<f32, [64]>) {
    const peak = at(x, argmax(abs(x)));
    const d = peak / -100;
    return { d, q: u8(floor(x / d) + 100) };
  },
  decode: ({ d, q }) => (q - 100) * d,
});
export const signed = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = at(x, argmax(abs(x))) / -8;
    return { d: f16(d), q: u4(x * (d === 0 ? 0 : 1 / d) + 8.5) };
  },
  decode: ({ d, q }) => (q - 8) * d,
});
const ranked = (block: number, entries: number[]) => format({
  block,
  encode(x: Tensor<f32>) {
    const most = amax(abs(x));
    return { most, q: u4(sum(reshape(x * (1 / most), [-1, 1]) > tensor(entries), 1)) };
  },
  decode: ({ most, q }) => q * most,
});
export const quantiles = ranked(64, [-0.848, -0.61, -0.46, -0.34, -0.235, -0.138, -0.0455, 0.0398, 0.12, 0.2035, 0.292, 0.389, 0.5, 0.643, 0.861]);
/** Too close for a bucket each, an entry that is 0, and entries at the ends. */
export const close = ranked(32, [-0.5, -0.499, 0.3, 0.301]);
export const zero = ranked(32, [-0.25, 0, 0.25, 0.75]);
export const ends = ranked(32, [-1, -0.5, 0.5, 1]);
`,
);
const names = [
  'full',
  'small',
  'over',
  'even',
  'computed',
  'down',
  'signed',
  'quantiles',
  'close',
  'zero',
  'ends',
];
/** Those of which nothing can be said: a range that bounds cut, an entry that no product with a power of two leaves. */
const general = ['zero'];

let state = 1;
const random = (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return (state >>> 0) / 2 ** 32;
};
const ofBits = (u: number): number => new Float32Array(Uint32Array.of(u >>> 0).buffer)[0]!;
const next = (x: number, steps: number): number =>
  ofBits(new Uint32Array(Float32Array.of(x).buffer)[0]! + steps);
const columns = 64 * 19;
const spot = [-0.848, -0.61, -0.235, -0.0455, 0.0398, 0.2035, 0.5, 0.861, 1, 0.25, 0.75, -0.5, 0.3];

/** One row a kind of numbers. */
const kinds: { readonly [kind: string]: (i: number) => number } = {
  noise: () => random() * 2 - 1,
  'any bits': () => ofBits(random() * 2 ** 32),
  'halves below a whole largest': (i) =>
    i % 32 === 0 ? 127 : Math.round((random() - 0.5) * 508) / 2,
  'halves below 100': (i) => (i % 32 === 5 ? -100 : Math.round((random() - 0.5) * 400) / 2),
  'next to halves': (i) =>
    i % 32 === 0
      ? 127
      : next(Math.round((random() - 0.5) * 252) + 0.5, Math.floor(random() * 5) - 2),
  'next to thresholds': (i) =>
    i % 32 === 0 ? 1 : next(Math.fround(spot[i % spot.length]!), Math.floor(random() * 5) - 2),
  'one magnitude': () => (random() < 0.5 ? 3 : -3),
  zeros: () => (random() < 0.5 ? 0 : -0),
  'zeros in between': (i) => (Math.floor(i / 32) % 3 ? 0 : random() - 0.5),
  'some NaN': () => (random() < 0.01 ? NaN : random() - 0.5),
  'some infinities': () => (random() < 0.01 ? (random() - 0.5) * Infinity : random() - 0.5),
  subnormals: () => ofBits(random() * 2 ** 23) * (random() < 0.5 ? 1 : -1),
  'huge ones': () => (random() - 0.5) * 6e38,
  'tiny ones': () => (random() - 0.5) * 1e-37,
  'large and subnormal': () => (random() < 0.5 ? 1e30 : 1e-42) * (random() - 0.5),
  'few digits': () => ofBits(((random() * 2 ** 32) & 0x83ff0000) | 0x3c000000),
};

const data = new Float32Array(Object.keys(kinds).length * columns);
Object.values(kinds).forEach((f, row) => {
  for (let i = 0; i < columns; i += 1) data[row * columns + i] = f(i);
});

const api = (globalThis as unknown as { readonly WebAssembly: WasmApi }).WebAssembly;
const hosts = computesRelaxed(api) ? [false, true] : [false];
if (hosts.length === 1) skip('with relaxed SIMD', 'this host does not compute relaxed SIMD');
for (const relaxed of hosts)
  for (const width of [columns, 64 * 3])
    test(`${width} columns of all kinds of numbers${relaxed ? ', with relaxed SIMD' : ''}`, async () => {
      const rows = Object.keys(kinds).length;
      const x = Float32Array.from(
        { length: rows * width },
        (_, i) => data[Math.floor(i / width) * columns + (i % width)]!,
      );
      const device = new WasmDevice({ threads: 1, relaxed });
      await device.start();
      const [own, reference] = [
        await load(file, { device, cache: false }),
        await load(file, { device: 'reference', cache: false }),
      ];
      for (const name of names) {
        const got = await own
          .format(name)
          .encode(DeviceTensor.from(device, array(x, [rows, width])));
        const want = await reference.format(name).encode(array(x, [rows, width]));
        for (const [field, tensor] of Object.entries(want.fields)) {
          const expected = [...((await tensor.data()) as Float32Array)];
          const found = [...((await got.fields[field]!.data()) as Float32Array)];
          const per = expected.length / rows;
          const wrong = expected.findIndex((e, i) => !Object.is(e, found[i]));
          const kind = Object.keys(kinds)[Math.floor(wrong / per)];
          const what = `${name}.${field} of ${kind}: ${found[wrong]}, not ${expected[wrong]}`;
          assert.is(wrong, -1, what);
        }
      }
      device.close();
    });

for (const name of names)
  test(`${name}: ${general.includes(name) ? 'one code for all blocks' : 'a code of its own'}`, async () => {
    const c = await compiled({ file, name: `${name}.encode` });
    assert.is(/within\(/.test(c.stage('schedule')), !general.includes(name));
  });

test('bounds that a range does not keep stay', async () => {
  const usual = async (name: string): Promise<string> =>
    /if usual\S* \{([^}]*)\}/.exec(
      (await compiled({ file, name: `${name}.encode` })).stage('schedule'),
    )![1]!;
  assert.not.match(await usual('full'), /min\(|max\(/);
  assert.match(await usual('over'), /min\(/);
});

test.run();
