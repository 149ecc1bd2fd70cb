import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import { expand } from '../../compiler/loops/expand.ts';
import { nested } from '../../compiler/loops/walk.ts';
import { wasmNative } from '../../backends/wasm/instructions.ts';
import { bitsOfF32, f32OfBits } from '../../compiler/ir/dtype.ts';
import type { UnaryName } from '../../compiler/ir/ops.ts';
import { binary, type Stmt, unary } from '../../compiler/loops/loops.ts';
import { bytesOf, elementwise, floatsOf, runWasm } from './programs.ts';

const test = suite('expanded transcendental functions');

const edges = [
  0,
  -0,
  1,
  -1,
  Infinity,
  -Infinity,
  NaN,
  1e-45,
  -1e-45,
  1.1754942e-38,
  1.17549435e-38,
  3.4028235e38,
  -3.4028235e38,
  0.5,
  2,
  -2,
  0.99999994,
  1.0000001,
  127.99999,
  128,
  -126,
  -149,
  -150,
  -100,
  -103.5,
  88.72284,
  88.72283,
  89,
  100,
  1e4,
  -1e4,
  1.5,
  2.5,
  -0.5,
  3,
  10,
];

/** A stream of f32 covering all magnitudes, and denser where functions bend. */
function samples(n: number, bound: number): Float32Array {
  let seed = 12345;
  const next = (): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    return seed >>> 0;
  };
  return Float32Array.from([
    ...edges,
    ...Array.from({ length: n }, (_, i) =>
      i % 2 ? f32OfBits(next() ^ (next() >>> 7)) : ((next() / 2 ** 32) * 2 - 1) * bound,
    ),
  ]);
}

/** Distance of an f32 from an exact value, in units of the exact value's last place. */
function ulps(got: number, exact: number): number {
  const near = Math.fround(exact);
  if (Object.is(got, near) || (Number.isNaN(got) && Number.isNaN(near))) return 0;
  if (!Number.isFinite(near) || !Number.isFinite(got)) {
    const limit = 3.4028234663852886e38;
    const a = Number.isFinite(got) ? got : Math.sign(got) * limit;
    const b = Number.isFinite(near) ? near : Math.sign(near) * limit;
    return Number.isNaN(got - near) && (Number.isNaN(got) || Number.isNaN(near))
      ? Infinity
      : Math.abs(a - b) / 2 ** 104 + 1;
  }
  if (got === 0 && near === 0) return 1;
  const e = Math.max(Math.floor(Math.log2(Math.abs(exact))), -126);
  return Math.abs(got - exact) / 2 ** (e - 23);
}

async function run(op: UnaryName, xs: Float32Array): Promise<Float32Array> {
  const p = elementwise(['f32'], 'f32', 8, (x) => unary(op, x!));
  const wasm = [bytesOf(xs), new Uint8Array(xs.length * 4)];
  await runWasm(p, { N: xs.length }, wasm);
  const plain = [bytesOf(xs), new Uint8Array(xs.length * 4)];
  evaluate(expand(p, wasmNative), { N: xs.length }, plain);
  const [a, b] = [floatsOf(wasm[1]!), floatsOf(plain[1]!)];
  for (let i = 0; i < xs.length; i++)
    assert.ok(
      Object.is(a[i], b[i]) || (Number.isNaN(a[i]) && Number.isNaN(b[i])),
      `${op}(${xs[i]}): wasm ${a[i]}, evaluator ${b[i]}`,
    );
  return a;
}

const limits: readonly (readonly [UnaryName, (x: number) => number, number, number])[] = [
  ['exp', Math.exp, 2, 110],
  ['exp2', (x) => 2 ** x, 2, 155],
  ['log', Math.log, 2, 4],
  ['log2', Math.log2, 2, 4],
  ['tanh', Math.tanh, 4, 12],
];
for (const [op, exact, limit, bound] of limits)
  test(`${op} is within ${limit} ulp everywhere, the same on wasm and in the evaluator`, async () => {
    const xs = samples(6000, bound);
    const got = await run(op, xs);
    let worst = 0;
    let at = 0;
    xs.forEach((x, i) => {
      const u = ulps(got[i]!, exact(x));
      if (u > worst) [worst, at] = [u, i];
    });
    if (process.env.VERBOSE) console.log(op, worst, xs[at], got[at], exact(xs[at]!));
    assert.ok(worst <= limit, `${op}(${xs[at]}) = ${got[at]}, not ${exact(xs[at]!)}: ${worst} ulp`);
  });

for (const op of ['sin', 'cos'] as const)
  test(`${op} is within 1e-6 up to 1e4, within [-1, 1] beyond, and NaN for Inf`, async () => {
    const xs = samples(6000, 1e4);
    const got = await run(op, xs);
    let worst = 0;
    xs.forEach((x, i) => {
      const y = got[i]!;
      if (Math.abs(x) <= 1e4) worst = Math.max(worst, Math.abs(y - Math[op](x)));
      else if (Number.isFinite(x)) assert.ok(Math.abs(y) <= 1, `${op}(${x}) = ${y}`);
      else assert.ok(Number.isNaN(y), `${op}(${x}) = ${y}`);
    });
    if (process.env.VERBOSE) console.log(op, worst);
    assert.ok(worst <= 1e-6, `${op}: ${worst}`);
  });

test('signs of zero are kept by sin and tanh', async () => {
  for (const op of ['sin', 'tanh'] as const)
    assert.ok(Object.is((await run(op, Float32Array.of(-0)))[0], -0));
});

test('log2 of every power of two is whole', async () => {
  const xs = Float32Array.from({ length: 277 }, (_, i) => 2 ** (i - 149));
  const got = await run('log2', xs);
  got.forEach((y, i) => {
    assert.is(y, i - 149);
  });
});

test('floor(log2(x)) is right just below powers of two where f32 can say it', async () => {
  const xs = Float32Array.from({ length: 250 }, (_, i) => f32OfBits(bitsOfF32(2 ** (i - 125)) - 1));
  const got = await run('log2', xs);
  got.forEach((y, i) => {
    assert.is(y, Math.fround(Math.log2(xs[i]!)), `log2(${xs[i]})`);
  });
});

test('exp2 of whole numbers is exact', async () => {
  const xs = Float32Array.from({ length: 277 }, (_, i) => i - 149);
  (await run('exp2', xs)).forEach((y, i) => {
    assert.is(y, 2 ** (i - 149));
  });
});

test('pow is within 16 ulp, with the special cases of JavaScript', async () => {
  const a = samples(4000, 4);
  const b = Float32Array.from(samples(4000, 40), (y, i) => (i % 5 === 0 ? Math.round(y) : y));
  const pairs = [
    ...edges.flatMap((x) => edges.map((y) => [x, y] as const)),
    ...Array.from(a, (x, i) => [x, b[i]!] as const),
    ...Array.from({ length: 2000 }, (_, i) => [1 + i / 1000, i % 90] as const),
  ];
  const xs = Float32Array.from(pairs, (p) => p[0]);
  const ys = Float32Array.from(pairs, (p) => p[1]);
  const p = elementwise(['f32', 'f32'], 'f32', 4, (x, y) => binary('pow', x!, y!));
  const wasm = [bytesOf(xs), bytesOf(ys), new Uint8Array(xs.length * 4)];
  await runWasm(p, { N: xs.length }, wasm);
  const got = floatsOf(wasm[2]!);
  let worst = 0;
  xs.forEach((x, i) => {
    const exact = x ** ys[i]!;
    const u = ulps(got[i]!, exact);
    worst = Math.max(worst, u);
    assert.ok(u <= 16, `${x} ** ${ys[i]} = ${got[i]}, not ${exact}: ${u} ulp`);
  });
  if (process.env.VERBOSE) console.log('pow', worst);
});

test('what expansion names has a number of its own in the whole program', () => {
  const part = () => elementwise(['f32'], 'f32', 4, (x) => unary('exp', x));
  const [a, b] = [part(), part()];
  // Numbered alike, as are kernels that were lowered after trials that had made as many names.
  const p = {
    ...a,
    kernels: [...a.kernels, ...b.kernels, ...a.kernels.map((k) => ({ ...k, name: 'again' }))],
  };
  const made = (stmts: readonly Stmt[]): number[] =>
    stmts.flatMap((s) => [
      ...(s.kind === 'let' ? [s.var.id] : []),
      ...nested(s).flatMap((inner) => made(inner)),
    ]);
  const ids = expand(p, wasmNative).kernels.flatMap((k) => made(k.body));
  assert.ok(ids.length > 3);
  assert.is(new Set(ids).size, ids.length);
});

test.run();
