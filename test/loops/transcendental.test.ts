import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import { expand } from '../../compiler/loops/expand.ts';
import { nested } from '../../compiler/loops/walk.ts';
import { wasmBackend } from '../../backends/wasm/index.ts';
import { wasmNative } from '../../backends/wasm/instructions.ts';
import { bitsOfF32, f32OfBits } from '../../compiler/ir/dtype.ts';
import type { UnaryName } from '../../compiler/ir/ops.ts';
import {
  binary,
  bounded,
  type Expr,
  type Program,
  type Stmt,
  unary,
} from '../../compiler/loops/loops.ts';
import { computesRelaxed } from '../../runtime/devices/relaxed.ts';
import type { WasmApi } from '../../runtime/platform.ts';
import { skip } from '../support/skip.ts';
import { bytesOf, compileWasm, elementwise, floatsOf, runModule, runWasm } from './programs.ts';

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

type Body = (x: Expr) => Expr;
const programOf = (body: Body): Program => elementwise(['f32'], 'f32', 8, (x) => body(x!));

function evaluated(p: Program, xs: Float32Array): Float32Array {
  const memory = [bytesOf(xs), new Uint8Array(xs.length * 4)];
  evaluate(p, { N: xs.length }, memory);
  return floatsOf(memory[1]!);
}

async function run(op: string, xs: Float32Array, body: Body): Promise<Float32Array> {
  const p = programOf(body);
  const wasm = [bytesOf(xs), new Uint8Array(xs.length * 4)];
  await runWasm(p, { N: xs.length }, wasm);
  const [a, b] = [floatsOf(wasm[1]!), evaluated(expand(p, wasmNative), xs)];
  for (let i = 0; i < xs.length; i++)
    assert.ok(
      Object.is(a[i], b[i]) || (Number.isNaN(a[i]) && Number.isNaN(b[i])),
      `${op}(${xs[i]}): wasm ${a[i]}, evaluator ${b[i]}`,
    );
  return a;
}

/** Where products and sums may be one operation. */
async function runRelaxed(xs: Float32Array, body: Body): Promise<Float32Array> {
  const p = programOf(body);
  const memory = [bytesOf(xs), new Uint8Array(xs.length * 4)];
  const module = await compileWasm(p, { ...wasmBackend.limits, relaxed: true });
  runModule(module, p, { N: xs.length }, memory);
  return floatsOf(memory[1]!);
}

/** Targets that may reorder sums, and so round and scale otherwise. */
const lax = new Set([...wasmNative].filter((k) => k !== 'sums.f32' && k !== 'muladd.f32'));
const api = (globalThis as unknown as { readonly WebAssembly: WasmApi }).WebAssembly;
const isRelaxed = computesRelaxed(api);
if (!isRelaxed) skip('accuracy with relaxed SIMD', 'this host does not compute relaxed SIMD');

/** What each way to compute gives. */
async function waysOf(op: string, xs: Float32Array, body: Body): Promise<readonly Float32Array[]> {
  return [
    await run(op, xs, body),
    evaluated(expand(programOf(body), lax), xs),
    ...(isRelaxed ? [await runRelaxed(xs, body)] : []),
  ];
}

/** Holds every result against the exact one; the worst distance. */
function held(
  what: string,
  xs: Float32Array,
  got: Float32Array,
  exact: (x: number) => number,
  limit: number,
): void {
  let [worst, at] = [0, 0];
  xs.forEach((x, i) => {
    const u = ulps(got[i]!, exact(x));
    if (u > worst) [worst, at] = [u, i];
  });
  if (process.env.VERBOSE) console.log(what, worst, xs[at], got[at], exact(xs[at]!));
  assert.ok(worst <= limit, `${what}(${xs[at]}) = ${got[at]}, not ${exact(xs[at]!)}: ${worst} ulp`);
}

const limits: readonly (readonly [UnaryName, (x: number) => number, number, number])[] = [
  ['exp', Math.exp, 1.25, 110],
  ['exp2', (x) => 2 ** x, 1.25, 155],
  ['log', Math.log, 2, 4],
  ['log2', Math.log2, 2, 4],
  ['tanh', Math.tanh, 3, 12],
];
for (const [op, exact, limit, bound] of limits)
  test(`${op} is within ${limit} ulp everywhere, the same on wasm and in the evaluator`, async () => {
    const xs = samples(6000, bound);
    for (const got of await waysOf(op, xs, (x) => unary(op, x))) held(op, xs, got, exact, limit);
  });

/** Operands of a power that are known to lie somewhere, and what of the general way each spares. */
const ranges: readonly (readonly [lo: number, hi: number])[] = [
  [-Infinity, 0],
  [0, Infinity],
  [-Infinity, 40],
  [-20, Infinity],
  [-60, 80],
  [-104, 0],
  [-1, 1],
  [-Infinity, 100],
  [-200, Infinity],
];
for (const [op, exact] of [
  ['exp', Math.exp],
  ['exp2', (x: number) => 2 ** x],
] as const)
  for (const [lo, hi] of ranges)
    test(`${op} of numbers known to be from ${lo} to ${hi} is as exact`, async () => {
      const edge = [lo, hi, (lo + hi) / 2].filter(Number.isFinite);
      const inside = [...samples(3000, 160), ...edge].filter((x) => !(x < lo || x > hi));
      const xs = Float32Array.from(inside);
      for (const got of await waysOf(op, xs, (x) => unary(op, bounded(x, lo, hi))))
        held(op, xs, got, exact, 1.25);
    });

test('the evaluator refuses a number that is not where it is known to be, and takes a NaN', () => {
  const p = programOf((x) => bounded(x, -1, 2));
  const ok = Float32Array.of(-1, 2, NaN, 0.5, -0, 1, 1, 1, 2);
  assert.equal([...evaluated(p, ok)], [...ok]);
  for (const x of [2.5, -1.5, Infinity])
    assert.throws(() => evaluated(p, Float32Array.of(x)), /neither NaN nor from -1 to 2/);
});

test('a power of a number known to be at most 0 takes 23 vector operations, 14 where two are one', async () => {
  const bodyOf = async (relaxed: boolean): Promise<string> => {
    const p = programOf((x) => unary('exp', bounded(x, -Infinity, 0)));
    const { text } = await wasmBackend.emit(p, { ...wasmBackend.limits, relaxed });
    // Of the first loop, which takes eight numbers a time.
    return text().split('(loop ')[1]!;
  };
  const operations = (text: string): number =>
    [...text.matchAll(/\(([fi]32x4|v128)\.(\w+)/g)].filter(
      ([, , name]) => !/^(load|store|const)/.test(name!),
    ).length / 2;
  assert.is(operations(await bodyOf(false)), 23);
  assert.is(operations(await bodyOf(true)), 14);
});

if (isRelaxed)
  test('with relaxed SIMD an element is the same in a vector and in the tail', async () => {
    for (const op of ['exp', 'exp2', 'log', 'log2', 'tanh', 'sin', 'cos'] as const) {
      const xs = samples(400, 9);
      const all = await runRelaxed(xs, (x) => unary(op, x));
      for (let at = 0; at < 7; at += 1) {
        const alone = xs.slice(40 + at, 47);
        const got = await runRelaxed(alone, (x) => unary(op, x));
        assert.equal([...got], [...all.slice(40 + at, 47)], op);
      }
    }
  });

for (const op of ['sin', 'cos'] as const)
  test(`${op} is within 1e-6 up to 1e4, within [-1, 1] beyond, and NaN for Inf`, async () => {
    const xs = samples(6000, 1e4);
    for (const got of await waysOf(op, xs, (x) => unary(op, x))) {
      let worst = 0;
      xs.forEach((x, i) => {
        const y = got[i]!;
        if (Math.abs(x) <= 1e4) worst = Math.max(worst, Math.abs(y - Math[op](x)));
        else if (Number.isFinite(x)) assert.ok(Math.abs(y) <= 1, `${op}(${x}) = ${y}`);
        else assert.ok(Number.isNaN(y), `${op}(${x}) = ${y}`);
      });
      if (process.env.VERBOSE) console.log(op, worst);
      assert.ok(worst <= 1e-6, `${op}: ${worst}`);
    }
  });

test('signs of zero are kept by sin and tanh', async () => {
  for (const op of ['sin', 'tanh'] as const)
    for (const [y] of await waysOf(op, Float32Array.of(-0), (x) => unary(op, x)))
      assert.ok(Object.is(y, -0), op);
});

test('log2 of every power of two is whole', async () => {
  const xs = Float32Array.from({ length: 277 }, (_, i) => 2 ** (i - 149));
  for (const got of await waysOf('log2', xs, (x) => unary('log2', x)))
    got.forEach((y, i) => {
      assert.is(y, i - 149);
    });
});

test('floor(log2(x)) is right just below powers of two where f32 can say it', async () => {
  const xs = Float32Array.from({ length: 250 }, (_, i) => f32OfBits(bitsOfF32(2 ** (i - 125)) - 1));
  for (const got of await waysOf('log2', xs, (x) => unary('log2', x)))
    got.forEach((y, i) => {
      assert.is(y, Math.fround(Math.log2(xs[i]!)), `log2(${xs[i]})`);
    });
});

test('exp2 of whole numbers is exact', async () => {
  const xs = Float32Array.from({ length: 277 }, (_, i) => i - 149);
  for (const got of await waysOf('exp2', xs, (x) => unary('exp2', x)))
    got.forEach((y, i) => {
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
