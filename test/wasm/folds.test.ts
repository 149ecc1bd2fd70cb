// Folds that run chunk by chunk with their neighbours, four reductions at once, and the narrow stores and bounds of
// encoders, held against the evaluator.
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Poly } from '../../compiler/ir/algebra.ts';
import { type DType, dtypes } from '../../compiler/ir/dtype.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import * as L from '../../compiler/loops/loops.ts';
import {
  buffer,
  bytesFor,
  compileWasm,
  kernel,
  newVar,
  program,
  runModule,
  store,
} from '../loops/programs.ts';

const test = suite('folds and narrow stores');
const edges = [0, -0, 0.5, -0.5, 1.5, 2.5, -3.5, 7.499, 8.5, 15.5, 126.5, 127.5, -128.5, 1e9, -1e9];
const special = [NaN, Infinity, -Infinity];

/** Runs a program over one f32 input on the evaluator and on wasm: the results have the same bytes. */
async function agree(p: L.Program, x: Float32Array, what: string): Promise<void> {
  const module = await compileWasm(p);
  const [expected, got] = [0, 1].map(() =>
    p.buffers.map((b, i) =>
      i === 0 ? new Uint8Array(x.slice().buffer) : new Uint8Array(bytesFor(b.dtype, x.length)),
    ),
  );
  evaluate(p, { N: x.length }, expected!);
  runModule(module, p, { N: x.length }, got!);
  p.buffers.forEach((b, i) => {
    if (i > 0) assert.equal([...got![i]!], [...expected![i]!], `${what}: ${b.name}`);
  });
}

const mixed = (n: number, values: readonly number[] = [...edges, ...special]): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => values[(i * 7) % values.length]!);
const four = (b: L.Buffer): L.Buffer => ({ ...b, size: Poly.of(4) });

test('extremes of floats: zeros of both signs, infinities and NaN wherever they are', async () => {
  for (const op of ['min', 'max'] as const)
    for (const lanes of [8, 16, 32]) {
      const x = { ...buffer('x', 'f32'), size: Poly.of(lanes) };
      const [alone, within] = ['alone', 'within'].map((n) => four(buffer(n, 'f32', 'result')));
      const [v, best] = [newVar('v', 'f32', 4), newVar('best', 'f32', 4)];
      const all = L.load(x, L.i32(0), lanes, lanes);
      const fold = L.fold(all, op);
      const p = program(
        [x, alone!, within!],
        kernel([
          { kind: 'local', var: best, value: L.constant(-0, 'f32', 4) },
          { kind: 'let', var: v, value: L.unary('neg', fold) },
          { kind: 'set', var: best, value: L.binary(op, L.variable(best), L.fold(all, op)) },
          store(alone!, L.i32(0), L.variable(v), 4),
          store(within!, L.i32(0), L.variable(best), 4),
        ]),
      );
      const module = await compileWasm(p);
      const number = fc.oneof(
        fc.constantFrom(0, -0, 0, -0, 1, -1, Infinity, -Infinity, NaN, 3e38, -3e38, 1e-45),
        fc.constantFrom(0, -0),
        fc.float(),
      );
      fc.assert(
        fc.property(fc.array(number, { minLength: lanes, maxLength: lanes }), (xs) => {
          const [want, got] = [0, 1].map(() => [
            new Uint8Array(Float32Array.from(xs).buffer),
            new Uint8Array(16),
            new Uint8Array(16),
          ]);
          evaluate(p, { N: lanes }, want!);
          runModule(module, p, { N: lanes }, got!);
          for (const i of [1, 2]) {
            const [w, g] = [want, got].map((m) => [...new Float32Array(m![i]!.buffer)]);
            w!.forEach((y, j) => assert.ok(Object.is(y, g![j]), `${op} of ${xs}: ${g}, not ${w}`));
          }
        }),
        { numRuns: 150 },
      );
    }
});

for (const op of ['add', 'min', 'max'] as const)
  test(`several folds by ${op} run with the statements around them`, async () => {
    const x = buffer('x', 'f32');
    const y = buffer('y', 'f32', 'result');
    const [p, q, r] = ['p', 'q', 'r'].map((n) => four(buffer(n, 'f32', 'result')));
    for (const lanes of [8, 32]) {
      const all = L.load(x, L.i32(0), lanes, lanes);
      const twice = newVar('twice', 'f32', lanes);
      const [a, b] = [newVar('a', 'f32', 4), newVar('b', 'f32', 4)];
      const body: L.Stmt[] = [
        { kind: 'local', var: b, value: L.constant(3, 'f32', 4) },
        { kind: 'let', var: twice, value: L.binary('add', all, all) },
        { kind: 'let', var: a, value: L.fold(L.variable(twice), op) },
        {
          kind: 'set',
          var: b,
          value: L.binary(op, L.variable(b), L.fold(L.binary('mul', L.variable(twice), all), op)),
        },
        store(y, L.i32(0), L.variable(twice), lanes),
        store(p!, L.i32(0), L.variable(a), 4),
        store(q!, L.i32(0), L.variable(b), 4),
        store(r!, L.i32(0), L.fold(L.unary('neg', all), op), 4),
      ];
      await agree(program([x, y, p!, q!, r!], kernel(body)), mixed(lanes, edges), `${lanes} lanes`);
    }
  });

test('a fold on top of a sum may read that sum', async () => {
  const x = buffer('x', 'f32');
  const p = four(buffer('p', 'f32', 'result'));
  const acc = newVar('acc', 'f32', 4);
  const all = L.load(x, L.i32(0), 16, 16);
  const first = L.splat(L.extract(L.variable(acc), 1), 16);
  const body: L.Stmt[] = [
    { kind: 'local', var: acc, value: L.load(x, L.i32(2), 4, 1) },
    {
      kind: 'set',
      var: acc,
      value: L.binary('add', L.variable(acc), L.fold(L.binary('mul', all, first))),
    },
    store(p, L.i32(0), L.variable(acc), 4),
  ];
  await agree(program([x, p], kernel(body)), mixed(16, edges.slice(0, 12)), 'sum');
});

test('four reductions at once are those that stand alone', async () => {
  const x = buffer('x', 'f32');
  for (const op of ['add', 'min', 'max'] as const) {
    const [y, z] = ['y', 'z'].map((n) => four(buffer(n, 'f32', 'result')));
    const parts = [0, 4, 8, 12].map((i) => L.reduce(op, L.load(x, L.i32(i), 4, 4)));
    const body = [
      store(y!, L.i32(0), L.build(parts), 4),
      ...parts.map((e, i) => store(z!, L.i32(i), e)),
    ];
    const p = program([x, y!, z!], kernel(body));
    await agree(p, mixed(16, [...edges.slice(0, 13), Infinity]), op);
  }
});

test('a lane spread over a vector is that lane', async () => {
  const x = buffer('x', 'f32');
  const y = buffer('y', 'f32', 'result');
  for (const lane of [0, 1, 3, 6]) {
    const e = L.splat(L.extract(L.load(x, L.i32(0), 8, 8), lane), 16);
    await agree(program([x, y], kernel([store(y, L.i32(0), e, 16)])), mixed(16), `lane ${lane}`);
  }
});

const narrow = (Object.keys(dtypes) as DType[]).filter(
  (d) => (dtypes[d].kind === 'int' || dtypes[d].kind === 'uint') && dtypes[d].bits <= 16,
);
for (const d of narrow)
  test(`floats forced into ${d} and stored there`, async () => {
    const { min, max } = dtypes[d];
    const values = [...edges, ...special, min!, max!, max! + 0.75, min! - 0.75, max! - 0.5];
    for (const lanes of [8, 16, 32, 64]) {
      const x = buffer('x', 'f32');
      const y = buffer('y', d, 'result');
      const limit = (n: number): L.Expr => L.constant(n, 'f32', lanes);
      const all = L.load(x, L.i32(0), lanes, lanes);
      for (const e of [all, L.unary('trunc', all), L.unary('roundHalfAway', all)]) {
        const forced = L.binary('max', L.binary('min', e, limit(max!)), limit(min!));
        const body = [store(y, L.i32(0), L.convert(forced, 'i32'), lanes)];
        await agree(program([x, y], kernel(body)), mixed(lanes, values), `${lanes} lanes`);
      }
    }
  });

test('min and max by a literal keep NaN and the sign of zero', async () => {
  for (const limit of [0, -0, 15, -2.5, Infinity])
    for (const op of ['min', 'max'] as const) {
      const x = buffer('x', 'f32');
      const y = buffer('y', 'f32', 'result');
      const all = L.load(x, L.i32(0), 32, 32);
      const e = L.binary(op, all, L.constant(limit, 'f32', 32));
      const p = program([x, y], kernel([store(y, L.i32(0), e, 32)]));
      await agree(p, mixed(32, [...edges, Infinity, -Infinity]), `${op} ${limit}`);
      const nan = L.convert(L.unary('isnan', e), 'f32');
      await agree(program([x, y], kernel([store(y, L.i32(0), nan, 32)])), mixed(32), 'NaN');
    }
});

test('hits are counted and marked whatever side the ones are on', async () => {
  const x = buffer('x', 'f32');
  const y = buffer('y', 'i32', 'result');
  const all = L.load(x, L.i32(0), 16, 16);
  const hit = L.compare('gt', all, L.constant(1, 'f32', 16));
  const ids = L.laneIds(16);
  for (const e of [
    L.binary('add', ids, L.convert(hit, 'i32')),
    L.select(hit, L.constant(-1, 'i32', 16), ids),
    L.select(hit, ids, L.constant(-1, 'i32', 16)),
  ])
    await agree(program([x, y], kernel([store(y, L.i32(0), e, 16)])), mixed(16), e.kind);
});

test('sixteen bytes that get a sign before they are stored', async () => {
  const [x, codes, signed] = [buffer('x', 'f32'), buffer('codes', 'u8'), buffer('signed', 'i8')];
  const v = newVar('v', 'i32', 16);
  const by24 = (op: 'shl' | 'shr', e: L.Expr): L.Expr => L.binary(op, e, L.constant(24, 'i32', 16));
  const list: L.Stmt[] = [
    store(codes, L.i32(0), L.convert(L.load(x, L.i32(0), 16, 1), 'i32')),
    { kind: 'let', var: v, value: L.load(codes, L.i32(0), 16, 1) },
    store(signed, L.i32(0), by24('shr', by24('shl', L.variable(v)))),
  ];
  const values = Float32Array.from({ length: 16 }, (_, i) => i * 17);
  await agree(program([x, codes, signed], kernel(list)), values, 'bytes');
});

test.run();
