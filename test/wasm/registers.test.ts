// Hot loops keep to the vector registers of the machine: the emitted code of the kernels on resident weights is looked
// at, those for one row of activations and those for many.
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../compiler/index.ts';
import type { FormatRef } from '../../compiler/artifact.ts';
import { liveVectors } from '../support/live-vectors.ts';

const test = suite('registers of hot loops');
const file = fileURLToPath(new URL('../resident/kernel.ts', import.meta.url));
const shipped = (name: string, ...args: FormatRef['args'] & {}): FormatRef =>
  args.length ? { file: 'quern/formats', name, args } : { file: 'quern/formats', name };

const formats: readonly FormatRef[] = [
  ...['q4_0', 'q5_0', 'q8_0', 'q4_K', 'q6_K', 'iq4_nl', 'mxfp4', 'nf4', 'nvfp4_modelopt'].map((n) =>
    shipped(n),
  ),
  shipped('tq2_0'),
  shipped('uniform', { bits: 2, group: 32, symmetric: true }),
  ...[3, 4, 5].map((bits) => shipped('uniform', { bits, group: 128 })),
  { file, name: 'quarters' },
];
const titleOf = ({ name, args }: FormatRef): string =>
  args ? `${name}(${JSON.stringify(args[0])})` : name;
/** Vector registers of SSE and AVX; Arm has twice as many. */
const registers = 16;
/** What is beyond them, and why: each is a number to bring down, not to raise. */
const beyond = (ref: FormatRef, unsignedDot: boolean): number => {
  // Signed bytes that meet magnitudes and sign masks: a mask, and the codes with bits flipped.
  if (!unsignedDot) return 2;
  // Minima with constants of their own in each block are summed beside the sums of codes.
  return ref.name === 'q4_K' ? 1 : 0;
};

async function textOf(ref: FormatRef, unsignedDot: boolean): Promise<string> {
  const { stages } = await compile({
    file,
    name: 'linear',
    formats: [ref],
    target: 'wasm',
    limits: { relaxed: true, unsignedDot },
    resident: 'compact',
    trace: true,
  });
  return stages.find((s) => s.name === 'wasm')!.text;
}

for (const ref of formats)
  for (const unsignedDot of [true, false]) {
    const most = registers + beyond(ref, unsignedDot);
    test(`${titleOf(ref)} keeps to ${most} vectors, ${unsignedDot ? 'with' : 'without'} unsigned bytes`, async () => {
      const counts = liveVectors(await textOf(ref, unsignedDot), /relaxed_dot/);
      // Tiles of three rows of activations, one row, four far-apart groups, one group.
      assert.ok(counts.length >= 4, `${counts.length} loops`);
      assert.ok(Math.max(...counts) <= most, `live vectors: ${counts.join(', ')}`);
    });
  }

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

test.run();
