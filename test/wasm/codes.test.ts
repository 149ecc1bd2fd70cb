// Floats made of narrow codes: by tables, under an exponent, and as factors that stay where they are in their words. All
// are exact, so that results have the evaluator's bytes.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wasmBackend } from '../../backends/wasm/index.ts';
import { Poly } from '../../compiler/ir/algebra.ts';
import { type DType, dtypes } from '../../compiler/ir/dtype.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import * as L from '../../compiler/loops/loops.ts';
import { computesRelaxed } from '../../runtime/devices/relaxed.ts';
import type { WasmApi } from '../../runtime/platform.ts';
import {
  buffer,
  bytesFor,
  compileWasm,
  kernel,
  loop,
  newVar,
  program,
  runModule,
  store,
} from '../loops/programs.ts';
import { skip } from '../support/skip.ts';

const test = suite('floats made of codes');
const api = (globalThis as unknown as { readonly WebAssembly: WasmApi }).WebAssembly;
const hosts = computesRelaxed(api) ? [false, true] : [false];
if (hosts.length === 1)
  skip('floats of codes with relaxed SIMD', 'this host does not compute relaxed SIMD');
const widths = [1, 2, 3, 4, 5, 6, 7, 8];
const codes: readonly DType[] = [
  ...widths.map((n) => `u${n}` as DType),
  ...widths.slice(1).map((n) => `i${n}` as DType),
];
const longest = 64;
const count = 3 * longest;

/** Every code there is, and then some in no order. */
function everyCode(d: DType, seed: number): Uint8Array {
  const { bits } = dtypes[d];
  const out = bytesFor(d, count);
  let s = seed;
  const put = (i: number, code: number): void => {
    for (let b = 0; b < bits; b += 1)
      if (code & (1 << b)) out[(i * bits + b) >> 3]! |= 1 << ((i * bits + b) & 7);
  };
  for (let i = 0; i < count; i += 1) {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    put(i, i < 2 ** bits ? i : s >>> 20);
  }
  return out;
}

/** The evaluator's bytes and those of the module, of programs whose last buffer is the result. */
async function agree(p: L.Program, inputs: readonly Uint8Array[], what: string): Promise<void> {
  const result = (): Uint8Array => new Uint8Array(4 * count);
  const expected = [...inputs, result()];
  evaluate(p, { N: count }, expected);
  for (const relaxed of hosts) {
    const got = [...inputs.map((b) => b.slice()), result()];
    const module = await compileWasm(p, { ...wasmBackend.limits, relaxed });
    runModule(module, p, { N: count }, got);
    assert.equal([...got.at(-1)!], [...expected.at(-1)!], `${what}${relaxed ? ', relaxed' : ''}`);
  }
}

/** y[i] = f(x[i]) for vectors of codes that start at `shift`. */
function mapped(
  d: DType,
  lanes: number,
  shift: number,
  f: (code: L.Expr, scalar: L.Expr) => L.Expr,
  tables: readonly L.Buffer[] = [],
): L.Program {
  const [x, z, y] = [buffer('x', d), buffer('z', 'u8'), buffer('y', 'f32', 'result')];
  const end = L.binary('sub', L.dimExpr('N'), L.i32(shift));
  return program(
    [x, z, ...tables, y],
    kernel([
      loop('i', L.i32(0), end, lanes, (i) => {
        const at = L.binary('add', i, L.i32(shift));
        return [
          store(y, i, f(L.load(x, at, lanes, Math.min(lanes, 8)), L.load(z, L.i32(0), 1, 1))),
        ];
      }),
    ]),
  );
}

const table = (data: readonly number[], dtype: DType = 'f32'): L.Buffer => ({
  ...buffer('table', dtype, 'const'),
  size: Poly.of(data.length),
  data,
});
const constant = (x: number, n: number): L.Expr => L.constant(x, 'i32', n);
const bytesOfTable = (b: L.Buffer): Uint8Array =>
  b.dtype === 'f32'
    ? new Uint8Array(Float32Array.from(b.data!).buffer)
    : Uint8Array.from(b.data!, (x) => x & 255);

for (const d of codes)
  test(`${d}: codes, less zero points, become the floats that they mean`, async () => {
    for (const lanes of [16, 32, 64])
      for (const [shift, zero] of [
        [0, 3],
        [8, -7],
        [24, 8],
      ] as const) {
        const inputs = [everyCode(d, lanes + shift), Uint8Array.of(11)];
        const f32 = (e: L.Expr): L.Expr => L.convert(e, 'f32');
        const cases: readonly ((code: L.Expr, z: L.Expr) => L.Expr)[] = [
          (q) => f32(q),
          (q) => f32(L.binary('sub', q, constant(zero, lanes))),
          (q) => f32(L.binary('add', q, constant(zero, lanes))),
          (q, z) => f32(L.binary('sub', q, L.splat(z, lanes))),
          (q) => L.unary('neg', f32(L.binary('mul', q, q))),
          (q) =>
            L.select(
              L.compare('gt', q, constant(1, lanes)),
              L.constant(-0, 'f32', lanes),
              L.binary('mul', f32(q), L.constant(0.3, 'f32', lanes)),
            ),
        ];
        for (const [i, f] of cases.entries())
          await agree(mapped(d, lanes, shift, f), inputs, `${i}, ${lanes} lanes from ${shift}`);
      }
  });

for (const bits of [1, 2, 3, 4])
  test(`any table of ${2 ** bits} floats or bytes is looked up bit by bit`, async () => {
    const float = fc.oneof(
      fc.float({ noNaN: true }),
      fc.integer({ min: -300, max: 300 }),
      fc.constantFrom(-0, Infinity, -Infinity, 1e-40),
    );
    const size = { minLength: 2 ** bits, maxLength: 2 ** bits };
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.array(float, size).map((data) => table(data)),
          fc.array(fc.integer({ min: -128, max: 127 }), size).map((data) => table(data, 'i8')),
        ),
        fc.constantFrom(16, 32, 64),
        async (t, lanes) => {
          const look = (q: L.Expr): L.Expr => L.convert(L.gather(t, q), 'f32');
          const p = mapped(`u${bits}` as DType, lanes, 8, look, [t]);
          const input = everyCode(`u${bits}` as DType, lanes);
          await agree(p, [input, Uint8Array.of(0), bytesOfTable(t)], t.dtype);
        },
      ),
      { numRuns: 12 },
    );
  });

test('fields of bytes are looked up like codes', async () => {
  const t = table(Array.from({ length: 16 }, (_, i) => 1 / (i - 7.5)));
  for (const field of [
    (q: L.Expr) => L.binary('and', q, constant(15, q.type.lanes)),
    (q: L.Expr) => L.binary('shr', q, constant(4, q.type.lanes)),
    (q: L.Expr) =>
      L.binary('and', L.binary('shr', q, constant(2, q.type.lanes)), constant(7, q.type.lanes)),
  ])
    await agree(
      mapped('u8', 32, 0, (q) => L.gather(t, field(q)), [t]),
      [everyCode('u8', 5), Uint8Array.of(0), bytesOfTable(t)],
      'field',
    );
});

test('4-bit floats are decoded at every width', async () => {
  for (const lanes of [2, 4, 8, 16, 32]) {
    const inputs = [everyCode('f4e2m1', 3), Uint8Array.of(0)];
    await agree(
      mapped('f4e2m1', lanes, 8, (q) => q),
      inputs,
      `${lanes} lanes`,
    );
    const computed = (q: L.Expr): L.Expr =>
      L.decodeBits('f4e2m1', L.binary('xor', q, constant(5, lanes)));
    await agree(mapped('u4', lanes, 8, computed), inputs, `${lanes} lanes, computed`);
  }
});

for (const d of codes)
  test(`sums of products with ${d} codes are exact where their numbers are whole`, async () => {
    for (const lanes of [16, 32, 64]) {
      const x = buffer('x', 'f32');
      const rows = [buffer('a', d), buffer('b', d)];
      const y = buffer('y', 'f32', 'result');
      const accs = rows.map((b) => newVar(b.name, 'f32', 4));
      const end = L.binary('sub', L.dimExpr('N'), L.i32(8));
      const zero = L.constant(0, 'f32', lanes);
      const p = program(
        [x, ...rows, y],
        kernel([
          ...accs.map((v): L.Stmt => ({ kind: 'local', var: v, value: L.constant(0, 'f32', 4) })),
          loop('i', L.i32(0), end, lanes, (i) =>
            rows.map((b, j): L.Stmt => {
              const codes = L.load(b, L.binary('add', i, L.i32(8)), lanes, 8);
              const products = L.mulAdd(L.load(x, i, lanes, 1), L.convert(codes, 'f32'), zero);
              const scale = L.constant(j + 0.5, 'f32', 4);
              const value = L.mulAdd(L.fold(products), scale, L.variable(accs[j]!));
              return { kind: 'set', var: accs[j]!, value };
            }),
          ),
          ...accs.map((v, j) => store(y, L.i32(4 * j), L.variable(v), 4)),
        ]),
      );
      const factors = Float32Array.from({ length: count }, (_, i) => ((i * 37) % 41) - 20);
      const inputs = [new Uint8Array(factors.buffer), everyCode(d, 1), everyCode(d, 2)];
      await agree(p, inputs, `${lanes} lanes`);
    }
  });

test.run();
