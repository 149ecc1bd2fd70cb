// The element of the largest magnitude: by both ends of the numbers where that tells, else one by one. The first of equal
// ones counts, as the evaluator says, and the first NaN.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Poly } from '../../compiler/ir/algebra.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import * as L from '../../compiler/loops/loops.ts';
import {
  buffer,
  compileWasm,
  kernel,
  newVar,
  program,
  runModule,
  store,
} from '../loops/programs.ts';

const test = suite('elements of the largest magnitude');

const edges = [0, -0, 1, -1, 1, 3e38, -3e38, 1e-45, -1e-45, Infinity, -Infinity, NaN, 7.5, -7.5];

/** Blocks of noise, of one sign, of equal magnitudes, of zeros, of edges, and noise with one NaN or infinity. */
function blocks(size: number): Float32Array[] {
  const noise = (i: number): number => Math.sin(i * 12.9898) * 3;
  const kinds: ((i: number) => number)[] = [
    noise,
    (i) => Math.abs(noise(i)),
    (i) => -Math.abs(noise(i)),
    (i) => (i % 3 === 1 ? -2 : 2),
    (i) => (i % 3 === 1 ? 2 : -2),
    (i) => (i % 2 ? -0 : 0),
    () => -5,
    (i) => edges[(i * 5) % edges.length]!,
    (i) => (i % size === 9 ? NaN : noise(i)),
    (i) => (i % size === size - 1 ? -Infinity : i % size === 3 ? Infinity : noise(i)),
    (i) => (i % size === 4 ? 100 : i % size === 11 ? -100 : noise(i)),
    (i) => noise(i) * 1e-45,
  ];
  return kinds.map((f, k) => Float32Array.from({ length: size }, (_, i) => f(i + 31 * k)));
}

for (const size of [16, 32, 64])
  test(`of blocks of ${size}, alone and four together`, async () => {
    const x = buffer('x', 'f32');
    const y = { ...buffer('y', 'f32', 'result'), size: Poly.of(8) };
    const at = (i: number): L.Expr => L.load(x, L.i32(i * size), size, size);
    const [named, one] = [newVar('block', 'f32', size), newVar('one', 'f32')];
    const p = program(
      [x, y],
      kernel([
        store(y, L.i32(0), L.build([0, 1, 2, 3].map((i) => L.peak(at(i)))), 4),
        { kind: 'let', var: named, value: at(2) },
        { kind: 'let', var: one, value: L.peak(L.variable(named)) },
        store(y, L.i32(4), L.variable(one)),
        store(y, L.i32(5), L.peak(at(3))),
      ]),
    );
    const module = await compileWasm(p);
    const all = blocks(size);
    for (let i = 0; i < all.length; i += 1) {
      const data = new Float32Array(4 * size);
      [0, 1, 5, 7].forEach((step, j) => data.set(all[(i + step) % all.length]!, j * size));
      const [want, got] = [0, 1].map(() => [
        new Uint8Array(data.slice().buffer),
        new Uint8Array(32),
      ]) as [Uint8Array[], Uint8Array[]];
      evaluate(p, { N: 4 * size }, want);
      runModule(module, p, { N: 4 * size }, got);
      const numbers = (b: Uint8Array): number[] => [...new Float32Array(b.slice().buffer)];
      assert.equal(numbers(got[1]!), numbers(want[1]!), `kinds from ${i} on`);
    }
  });

test.run();
