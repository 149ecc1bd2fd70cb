// `dot`, `fold` and look-ups in small tables: what the factored sums of matrix products are made of.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import fc from 'fast-check';
import { type DType, dtypes } from '../../compiler/ir/dtype.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import {
  type Buffer,
  type Expr,
  type Program,
  binary,
  constant,
  convert,
  dot,
  fold,
  gather,
  i32,
  load,
  splat,
} from '../../compiler/loops/loops.ts';
import { Poly } from '../../compiler/ir/algebra.ts';
import { encodeConstant } from '../../compiler/constants.ts';
import {
  buffer,
  bytesFor,
  compileWasm,
  kernel,
  program,
  runModule,
  store,
} from '../loops/programs.ts';

const test = suite('dot products and look-ups');

/** Runs one program on the evaluator and on wasm; the module is made once. */
async function agreement(p: Program, n: number): Promise<(inputs: readonly Uint8Array[]) => void> {
  const module = await compileWasm(p);
  return (inputs) => {
    const [expected, got] = [0, 1].map(() =>
      p.buffers.map((b, i) => {
        if (b.role === 'const') return encodeConstant(b.dtype, b.data!);
        return b.role === 'result' ? new Uint8Array(16) : inputs[i]!.slice();
      }),
    );
    evaluate(p, { N: n }, expected!);
    runModule(module, p, { N: n }, got!);
    const at = p.buffers.findIndex((b) => b.role === 'result');
    assert.equal([...got![at]!], [...expected![at]!]);
  };
}

const stored: readonly DType[] = ['u4', 'i4', 'u8', 'i8', 'i16', 'u2', 'i3', 'u6'];
const lanesOf = [16, 32];

for (const a of stored)
  test(`dot of ${a} with every storage type`, async () => {
    for (const b of stored)
      for (const lanes of lanesOf) {
        const x = buffer('x', a);
        const w = buffer('w', b);
        const y = { ...buffer('y', 'i32', 'result'), size: Poly.of(4) };
        // A zero point on one side, as decoders have.
        const shifted = (e: Expr): Expr => binary('sub', e, constant(8, 'i32', lanes));
        const value = dot(load(x, i32(0), lanes, lanes), shifted(load(w, i32(0), lanes, lanes)));
        const p = program([x, w, y], kernel([store(y, i32(0), value, 4)]));
        const check = await agreement(p, lanes);
        fc.assert(
          fc.property(random(a, lanes), random(b, lanes), (u, v) => check([u, v])),
          { numRuns: 3 },
        );
      }
  });

/** Random storage; 16-bit elements stay small, as `dot` asks of its operands and sums. */
const random = (d: DType, n: number): fc.Arbitrary<Uint8Array> => {
  const length = bytesFor(d, n).length;
  const any = fc.uint8Array({ minLength: length, maxLength: length });
  if (dtypes[d].bits < 16) return any;
  return any.map(
    (b) => new Uint8Array(new Int16Array(b.slice().buffer).map((x) => x % 4096).buffer),
  );
};

test('dot with constants and splats', async () => {
  const x = buffer('x', 'u4');
  const y = { ...buffer('y', 'i32', 'result'), size: Poly.of(4) };
  const ones = constant(1, 'i32', 32);
  const nibble = load(x, i32(0), 32, 32);
  for (const other of [ones, splat(load(x, i32(3), 1, 1), 32)]) {
    const p = program([x, y], kernel([store(y, i32(0), dot(nibble, other), 4)]));
    const check = await agreement(p, 32);
    fc.assert(
      fc.property(random('u4', 32), (u) => check([u])),
      { numRuns: 5 },
    );
  }
});

test('fold adds in the order that the loop IR promises', async () => {
  const x = buffer('x', 'f32');
  const y = { ...buffer('y', 'f32', 'result'), size: Poly.of(4) };
  for (const lanes of [8, 32, 64]) {
    const p = program([x, y], kernel([store(y, i32(0), fold(load(x, i32(0), lanes, lanes)), 4)]));
    const values = fc.float32Array({ minLength: lanes, maxLength: lanes, noNaN: true });
    const check = await agreement(p, lanes);
    fc.assert(
      fc.property(values, (v) => check([new Uint8Array(v.slice().buffer)])),
      { numRuns: 10 },
    );
  }
});

for (const dtype of ['f32', 'i8', 'u8'] as const)
  test(`tables of ${dtype} with up to 16 entries are looked up by nibbles`, async () => {
    for (const entries of [16, 9])
      for (const lanes of [16, 32]) {
        const codes = buffer('codes', 'u4');
        const y: Buffer = { ...buffer('y', 'f32', 'result'), size: Poly.of(4) };
        const { min = -1e3 } = dtypes[dtype];
        const data = Array.from({ length: entries }, (_, i) =>
          dtype === 'f32' ? Math.fround(i * 1.7 - 9) : min + i * 7,
        );
        const t: Buffer = { ...buffer('t', dtype, 'const'), size: Poly.of(entries), data };
        const e = gather(t, load(codes, i32(0), lanes, lanes));
        const value = fold(convert(e, 'f32'));
        const p = program([codes, y, t], kernel([store(y, i32(0), value, 4)]));
        const within = random('u4', lanes).map((b) =>
          b.map((x) => Math.min(x >> 4, entries - 1) * 16 + Math.min(x & 15, entries - 1)),
        );
        const check = await agreement(p, lanes);
        fc.assert(
          fc.property(within, (c) => check([c])),
          { numRuns: 8 },
        );
      }
  });

test.run();
