// Hot loops keep to the vector registers of the machine: the emitted code of products is looked at, with resident weights
// and with f32, for one row of activations and for many, in all variants.
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type CompileRequest, compile } from '../../compiler/index.ts';
import type { FormatRef } from '../../compiler/artifact.ts';
import type { Limits } from '../../compiler/limits.ts';
import { liveVectors } from '../support/live-vectors.ts';

const test = suite('registers of hot loops');
const file = fileURLToPath(new URL('../resident/kernel.ts', import.meta.url));
const shipped = (name: string, ...args: FormatRef['args'] & {}): FormatRef =>
  args.length ? { file: 'quern/formats', name, args } : { file: 'quern/formats', name };

const formats: readonly FormatRef[] = [
  ...['q4_0', 'q5_0', 'q8_0', 'q2_K', 'q4_K', 'q5_K', 'q6_K'].map((n) => shipped(n)),
  ...['iq4_nl', 'mxfp4', 'nf4', 'nvfp4_modelopt', 'tq2_0'].map((n) => shipped(n)),
  shipped('uniform', { bits: 2, group: 32, symmetric: true }),
  ...[2, 3, 4, 5].map((bits) => shipped('uniform', { bits, group: 128 })),
  { file, name: 'quarters' },
];
const titleOf = ({ name, args }: FormatRef): string =>
  args ? `${name}(${JSON.stringify(args[0])})` : name;

/** Vector registers of SSE and AVX, and those that V8 leaves to the code; Arm has twice as many. */
const [registers, free] = [16, 15];

interface Variant {
  readonly limits: Partial<Limits>;
  /** What the loops that matter have: products of integers, and of floats. */
  readonly dot: RegExp;
  readonly madd: RegExp;
}
const variants: Readonly<Record<string, Variant>> = {
  'with unsigned bytes': {
    limits: { relaxed: true, unsignedDot: true },
    dot: /relaxed_dot/,
    madd: /relaxed_madd/,
  },
  'with 7 bits': {
    limits: { relaxed: true, unsignedDot: false },
    dot: /relaxed_dot/,
    madd: /relaxed_madd/,
  },
  'without relaxed SIMD': { limits: {}, dot: /i32x4\.dot_i16x8/, madd: /f32x4\.mul/ },
};

async function textOf(request: Omit<CompileRequest, 'target'>): Promise<string> {
  const { stages } = await compile({ ...request, target: 'wasm', trace: true });
  return stages.find((s) => s.name === 'wasm')!.text;
}

for (const ref of formats)
  for (const [which, { limits, dot }] of Object.entries(variants))
    test(`products with ${titleOf(ref)} keep to ${free} vectors, ${which}`, async () => {
      const request = {
        file,
        name: 'linear',
        formats: [ref],
        limits,
        resident: 'compact',
      } as const;
      const counts = liveVectors(await textOf(request), dot);
      // Tiles of three rows of activations, one row, four far-apart groups, one group.
      assert.ok(counts.length >= 4, `${counts.length} loops`);
      assert.ok(Math.max(...counts) <= free, `live vectors: ${counts.join(', ')}`);
    });

for (const [which, { limits, madd }] of Object.entries(variants))
  test(`products of f32 keep to ${registers} vectors, ${which}`, async () => {
    const counts = liveVectors(await textOf({ file, name: 'dense', limits }), madd);
    assert.ok(counts.length >= 4, `${counts.length} loops`);
    assert.ok(Math.max(...counts) <= registers, `live vectors: ${counts.join(', ')}`);
  });

const attention = fileURLToPath(new URL('../../bench/kernels.ts', import.meta.url));
for (const bits of [2, 4])
  for (const [which, { limits, dot }] of Object.entries(variants))
    test(`attention over ${bits} bits keeps to ${free} vectors, ${which}`, async () => {
      const cache = shipped('uniform', { bits, group: 32 });
      const statics = [undefined, undefined, undefined, 128];
      const request = { file: attention, name: 'attentionQ8', formats: [cache, cache], statics };
      const counts = liveVectors(await textOf({ ...request, limits }), dot);
      // For keys and for values: zero points, four query heads, one.
      assert.ok(counts.length >= 6, `${counts.length} loops`);
      assert.ok(Math.max(...counts) <= free, `live vectors: ${counts.join(', ')}`);
    });

test('vectors are counted as they are used', () => {
  const loop = (body: string): string =>
    `(module (func $f (param $p i32) (local $a v128) (local $b v128) (local $c v128) (loop $l ${body} (br_if $l (local.get $p)))))`;
  const load = '(v128.load (local.get $p))';
  // a is carried around the loop; b ends at its one use.
  const sum = `(local.set $b ${load}) (local.set $a (i32x4.add (local.get $a) (local.get $b)))`;
  assert.equal(liveVectors(loop(sum), /add/), [2]);
  // What lies on the stack counts, and so do values that wait there.
  const deep = `(local.set $a (i32x4.add (i32x4.mul ${load} ${load}) (i32x4.mul ${load} ${load})))`;
  assert.equal(liveVectors(loop(deep), /add/), [3]);
  const both = `(local.set $b ${load}) (local.set $c ${load})
    (local.set $a (i32x4.add (local.get $a) (i32x4.mul (local.get $b) (local.get $c))))`;
  assert.equal(liveVectors(loop(both), /add/), [3]);
  assert.equal(liveVectors(loop(both), /swizzle/), []);
});

test('branches and scalars count too', () => {
  const loop = (body: string): string =>
    `(module (func $f (param $p i32) (local $a v128) (local $b v128) (local $s f32) (loop $l ${body} (br_if $l (local.get $p)))))`;
  const load = '(v128.load (local.get $p))';
  // What only one arm sets is wanted in front of the branch by the other.
  const branch = `(local.set $a ${load}) (local.set $b ${load})
    (if (local.get $p) (then (local.set $a (local.get $b))))
    (v128.store (local.get $p) (i32x4.add (local.get $a) (local.get $b)))`;
  assert.equal(liveVectors(loop(branch), /add/), [2]);
  // f32 scalars lie in the same registers.
  const scalar = `(local.set $s (f32.load (local.get $p))) (local.set $a ${load})
    (v128.store (local.get $p) (f32x4.mul (local.get $a) (f32x4.splat (local.get $s))))`;
  assert.equal(liveVectors(loop(scalar), /mul/), [2]);
  // A constant that the loop only reads takes a register all the while, one that is loaded only where it is used.
  const sum = `(local.set $b ${load}) (local.set $b (i32x4.mul (local.get $b) ${load}))`;
  const kept = `${sum} (v128.store (local.get $p) (i32x4.add (local.get $b) (local.get $a)))`;
  assert.equal(liveVectors(loop(kept), /add/), [3]);
  const loaded = `${sum} (v128.store (local.get $p) (i32x4.add (local.get $b) ${load}))`;
  assert.equal(liveVectors(loop(loaded), /add/), [2]);
});

test.run();
