import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wasmNative } from '../../backends/wasm/instructions.ts';
import type { DType, Scalar } from '../../compiler/ir/dtype.ts';
import type { BinaryName, CompareName, UnaryName } from '../../compiler/ir/ops.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import type { Native, OpKey } from '../../compiler/loops/expansions.ts';
import { expand } from '../../compiler/loops/expand.ts';
import {
  type Expr,
  type Program,
  binary,
  bits,
  compare,
  constant,
  convert,
  select,
  splat,
  unary,
} from '../../compiler/loops/loops.ts';
import { bytesOf, elementwise, floatsOf, intsOf, runWasm } from './programs.ts';

const test = suite('arithmetic on wasm against the evaluator');

const floats = Float32Array.from([
  0,
  -0,
  0.25,
  -0.25,
  0.5,
  -0.5,
  0.49999997,
  -0.49999997,
  0.50000006,
  -0.50000006,
  1,
  -1,
  1.5,
  -1.5,
  2.5,
  -2.5,
  3.5,
  7,
  -7,
  8388607.5,
  -8388607.5,
  8388609,
  16777216,
  2147483648,
  -2147483648,
  4294967296,
  1e10,
  -1e10,
  3.4e38,
  1e-45,
  -1e-45,
  1e-40,
  1.17549435e-38,
  Infinity,
  -Infinity,
  NaN,
  0.1,
  3.3,
  -123.456,
  255,
  256,
  1e-10,
]);
const ints = Int32Array.from([
  0, 1, -1, 2, -2, 3, 7, -7, 8, 31, 32, 33, 100, -100, 255, 65535, 65536, 16777215, 16777217,
  33554431, 0x7fffffff, -0x80000000, -0x7fffffff, 0x55555555, 0x0f0f0f0f, 1000000007,
]);

interface Kind {
  readonly dtype: DType;
  readonly scalar: Scalar;
  readonly bytes: Uint8Array;
}
const f32: Kind = { dtype: 'f32', scalar: 'f32', bytes: bytesOf(floats) };
const i32: Kind = { dtype: 'i32', scalar: 'i32', bytes: bytesOf(ints) };
const u32: Kind = { dtype: 'u32', scalar: 'u32', bytes: bytesOf(ints) };
const storageOf = (s: Scalar): DType => (s === 'bool' ? 'bool' : s);

/** All pairs of the numbers of a kind, as two buffers. */
function pairs({ bytes }: Kind): readonly [Uint8Array, Uint8Array, number] {
  const xs = intsOf(bytes);
  const n = xs.length;
  const a = Int32Array.from({ length: n * n }, (_, i) => xs[Math.floor(i / n)]!);
  const b = Int32Array.from({ length: n * n }, (_, i) => xs[i % n]!);
  return [bytesOf(a), bytesOf(b), n * n];
}

async function agree(p: Program, inputs: readonly Uint8Array[], n: number): Promise<void> {
  const out = p.buffers.at(-1)!.dtype;
  const size = out === 'bool' ? n : n * 4;
  const expected = [...inputs.map((x) => x.slice()), new Uint8Array(size)];
  evaluate(p, { N: n }, expected);
  const got = [...inputs.map((x) => x.slice()), new Uint8Array(size)];
  await runWasm(p, { N: n }, got);
  const [g, e] = [got.at(-1)!, expected.at(-1)!];
  for (let i = 0; i < n; i++) {
    const text = (x: Uint8Array): string =>
      x.length === n ? `${x[i]}` : `${floatsOf(x)[i]} / ${intsOf(x)[i]}`;
    const inOf = inputs.map(text).join(' and ');
    if (out === 'f32') {
      const [x, y] = [floatsOf(g)[i]!, floatsOf(e)[i]!];
      assert.ok(Object.is(x, y) || (Number.isNaN(x) && Number.isNaN(y)), `${inOf}: ${x}, not ${y}`);
    } else assert.is(g[i * (size / n)], e[i * (size / n)], inOf);
    if (out !== 'f32' && size > n) assert.is(intsOf(g)[i], intsOf(e)[i], inOf);
  }
}

const rounding: readonly UnaryName[] = [
  'floor',
  'ceil',
  'trunc',
  'round',
  'roundHalfAway',
  'roundHalfUp',
];
const unaries: readonly (readonly [Kind, readonly UnaryName[]])[] = [
  [f32, [...rounding, 'neg', 'abs', 'sign', 'sqrt', 'exponent', 'isnan']],
  [i32, [...rounding, 'neg', 'abs', 'sign', 'not', 'popcount', 'exponent', 'isnan']],
  [u32, [...rounding, 'neg', 'abs', 'sign', 'not', 'popcount', 'exponent', 'isnan']],
];
for (const [kind, names] of unaries)
  for (const op of names)
    test(`${op} of ${kind.scalar}`, async () => {
      const out = storageOf(unary(op, constant(0, kind.scalar)).type.scalar);
      const p = elementwise([kind.dtype], out, 4, (x) => unary(op, x!));
      await agree(p, [kind.bytes], kind.bytes.length / 4);
    });

const arithmetic: readonly BinaryName[] = ['add', 'sub', 'mul', 'div', 'min', 'max'];
const whole: readonly BinaryName[] = [...arithmetic, 'rem', 'and', 'or', 'xor', 'shl', 'shr'];
const compares: readonly CompareName[] = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'];
const binaries: readonly (readonly [Kind, readonly BinaryName[]])[] = [
  [f32, arithmetic],
  [i32, whole],
  [u32, whole],
];
for (const [kind, names] of binaries) {
  for (const op of names)
    test(`${op} of ${kind.scalar}, vectors and scalars`, async () => {
      const [a, b, n] = pairs(kind);
      for (const lanes of [1, 8])
        await agree(
          elementwise([kind.dtype, kind.dtype], kind.dtype, lanes, (x, y) => binary(op, x!, y!)),
          [a, b],
          n,
        );
    });
  for (const op of compares)
    test(`${op} of ${kind.scalar}`, async () => {
      const [a, b, n] = pairs(kind);
      const f = (x?: Expr, y?: Expr): Expr => compare(op, x!, y!);
      await agree(elementwise([kind.dtype, kind.dtype], 'bool', 8, f), [a, b], n);
    });
  for (const c of [-8, -1, 0, 1, 3, 8, 1024])
    if (kind !== f32)
      test(`div and rem of ${kind.scalar} by ${c}`, async () => {
        for (const op of ['div', 'rem'] as const)
          for (const lanes of [1, 4]) {
            const f = (x?: Expr): Expr => binary(op, x!, constant(c, kind.scalar, x!.type.lanes));
            const n = kind.bytes.length / 4;
            await agree(elementwise([kind.dtype], kind.dtype, lanes, f), [kind.bytes], n);
          }
      });
  for (const to of ['f32', 'i32', 'u32', 'bool'] as const)
    test(`converting ${kind.scalar} to ${to}`, async () => {
      const f = (x?: Expr): Expr => convert(x!, to);
      await agree(
        elementwise([kind.dtype], storageOf(to), 4, f),
        [kind.bytes],
        kind.bytes.length / 4,
      );
    });
}

test('shifts by one count for all lanes', async () => {
  for (const op of ['shl', 'shr'] as const)
    for (const kind of [i32, u32])
      for (const count of [0, 1, 7, 31, 33]) {
        const f = (x?: Expr): Expr =>
          binary(op, x!, splat(constant(count, kind.scalar), x!.type.lanes));
        await agree(elementwise([kind.dtype], kind.dtype, 8, f), [kind.bytes], ints.length);
      }
});

test('bools combine, negate, select and convert as 0 and 1', async () => {
  const bools = Uint8Array.from({ length: 50 }, (_, i) => ((i * i) % 3) & 1);
  const other = Uint8Array.from({ length: 50 }, (_, i) => i & 1);
  for (const op of ['and', 'or', 'xor'] as const)
    await agree(
      elementwise(['bool', 'bool'], 'bool', 8, (x, y) => binary(op, x!, y!)),
      [bools, other],
      50,
    );
  for (const op of compares)
    await agree(
      elementwise(['bool', 'bool'], 'bool', 8, (x, y) => compare(op, x!, y!)),
      [bools, other],
      50,
    );
  await agree(
    elementwise(['bool'], 'bool', 8, (x) => unary('not', x!)),
    [bools],
    50,
  );
  for (const s of ['f32', 'i32', 'u32'] as const)
    await agree(
      elementwise(['bool'], s, 8, (x) => convert(x!, s)),
      [bools],
      50,
    );
  for (const [a, b] of [
    [0, 1],
    [1, 0],
    [-0, 2],
    [3, -0],
  ] as const)
    await agree(
      elementwise(['bool'], 'f32', 8, (x) =>
        select(x!, constant(a, 'f32', x!.type.lanes), constant(b, 'f32', x!.type.lanes)),
      ),
      [bools],
      50,
    );
});

test('bits of f32 and back are unchanged', async () => {
  const f = (x?: Expr): Expr =>
    bits(binary('xor', bits(x!, 'i32'), constant(-0x80000000, 'i32', x!.type.lanes)), 'f32');
  await agree(elementwise(['f32'], 'f32', 4, f), [f32.bytes], floats.length);
});

test('f32 remainder is exact while the quotient is below 2^24', async () => {
  const xs: number[] = [];
  const ys: number[] = [];
  let seed = 7;
  const next = (): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) | 0;
    return seed / 2 ** 31;
  };
  for (let i = 0; i < 20000; i++) {
    const b = Math.fround(next() * 2 ** Math.round(next() * 30));
    const a = Math.fround(b * next() * 2 ** Math.round(next() * 12 + 11));
    if (Math.abs(a / b) < 2 ** 24) {
      xs.push(a);
      ys.push(b);
    }
  }
  for (const [a, b] of [
    [5, 3],
    [-5, 3],
    [5, -3],
    [6, 3],
    [-6, 3],
    [0, 1],
    [-0, 1],
    [1, 0],
    [Infinity, 2],
    [2, Infinity],
    [NaN, 1],
    [1, NaN],
    [7.5, 0.1],
    [-1, Infinity],
  ] as const) {
    xs.push(a);
    ys.push(b);
  }
  const p = elementwise(['f32', 'f32'], 'f32', 4, (x, y) => binary('rem', x!, y!));
  await agree(p, [bytesOf(Float32Array.from(xs)), bytesOf(Float32Array.from(ys))], xs.length);
});

test('expansions that wasm does not need are right as well', async () => {
  const lacking: Native = new Set(
    [...wasmNative].filter((k: OpKey) => !/^(round|popcount|abs)\./.test(k) || k === 'abs.f32'),
  );
  const check = (kind: Kind, op: UnaryName): void => {
    const out = storageOf(unary(op, constant(0, kind.scalar)).type.scalar);
    const p = elementwise([kind.dtype], out, 4, (x) => unary(op, x!));
    const n = kind.bytes.length / 4;
    const [a, b] = [p, expand(p, lacking)].map((q) => {
      const buffers = [kind.bytes.slice(), new Uint8Array(n * 4)];
      evaluate(q, { N: n }, buffers);
      return buffers[1]!;
    });
    assert.equal(a, b, `${op} of ${kind.scalar}`);
  };
  check(f32, 'round');
  check(i32, 'popcount');
  check(u32, 'popcount');
  check(i32, 'abs');
});

test.run();
