import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type DType, dtypes, scalarOf } from '../../compiler/ir/dtype.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import {
  type Buffer,
  type Program,
  type Stmt,
  binary,
  dimExpr,
  gather,
  i32,
  laneIds,
  load,
  splat,
} from '../../compiler/loops/loops.ts';
import {
  type WasmModule,
  buffer,
  bytesFor,
  compileWasm,
  kernel,
  loop,
  program,
  runModule,
  store,
} from '../loops/programs.ts';

const test = suite('storage of every dtype on wasm');
const all = Object.keys(dtypes) as DType[];

/** Elements that fill whole bytes. */
const whole = (d: DType): number => {
  let n = 1;
  while ((n * dtypes[d].bits) % 8) n *= 2;
  return n;
};

/** Bools are 0 or 1 in storage. */
function randomBytes(d: DType, n: number, seed: number): Uint8Array {
  let s = seed;
  const out = bytesFor(d, n);
  out.forEach((_, i) => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    out[i] = d === 'bool' ? (s >>> 20) & 1 : s >>> 20;
  });
  return out;
}

const wide = { f32: 'f32', i32: 'i32', u32: 'u32', bool: 'bool' } as const;

/** A copy from `from` to `to`, `lanes` at a time, starting `shift` elements into both. */
function copy(from: DType, to: DType, lanes: number, shift: number, align: number): Program {
  const [x, y] = [buffer('x', from), buffer('y', to, 'result')];
  const n = dimExpr('N');
  const at = (b: Buffer, i: ReturnType<typeof i32>, count: number, a: number): Stmt =>
    store(y, binary('add', i, i32(shift)), load(b, binary('add', i, i32(shift)), count, a), a);
  return program(
    [x, y],
    kernel([
      loop('i', i32(0), n, lanes, (i) => [at(x, i, lanes, align)]),
      loop('t', binary('and', n, i32(-lanes)), n, 1, (i) => [at(x, i, 1, 1)]),
    ]),
  );
}

const modules = new Map<string, { p: Program; module: WasmModule }>();
async function compiled(key: string, make: () => Program) {
  let found = modules.get(key);
  if (!found) {
    const p = make();
    found = { p, module: await compileWasm(p) };
    modules.set(key, found);
  }
  return found;
}

function compareRuns(
  { p, module }: { p: Program; module: WasmModule },
  n: number,
  buffers: readonly Uint8Array[],
): void {
  const expected = buffers.map((b) => b.slice());
  const got = buffers.map((b) => b.slice());
  evaluate(p, { N: n }, expected);
  runModule(module, p, { N: n }, got);
  got.forEach((b, i) => {
    assert.equal(b, expected[i], p.buffers[i]!.name);
  });
}

/** NaN has many patterns, so the top exponent bit of floats is cleared: their codes are all finite. */
function finiteCodes(d: DType, bytes: Uint8Array): Uint8Array {
  const { bits, kind } = dtypes[d];
  if (kind !== 'float' || bits < 8) return bytes;
  const width = bits / 8;
  return bytes.map((x, i) => (i % width === width - 1 ? x & 0x3f : x));
}

for (const d of all)
  test(`${d}: loads and stores agree with the evaluator at every lane count, start and tail`, async () => {
    const w = wide[scalarOf(d)];
    const group = whole(d);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(1, 2, 4, 8, 16, 32, 64),
        fc.constantFrom(0, 1, 2, 3),
        fc.integer({ min: 0, max: 70 }),
        fc.integer(),
        async (lanes, groups, n, seed) => {
          const vector = lanes === 1 || (lanes * dtypes[d].bits) % 8 === 0;
          const step = vector ? lanes : group * 8;
          const shift = lanes === 1 ? groups : groups * group;
          const align = lanes === 1 ? 1 : Math.min(group, step);
          const count = n + shift;
          const padded = Math.ceil(count / 8) * 8;
          const input = finiteCodes(d, randomBytes(d, padded, seed));
          const load = await compiled(`${d} ${step} ${shift} in`, () =>
            copy(d, w, step, shift, align),
          );
          compareRuns(load, n, [input, randomBytes(w, padded, seed + 1)]);
          const values = finiteCodes(w, randomBytes(w, padded, seed + 2));
          const put = await compiled(`${d} ${step} ${shift} out`, () =>
            copy(w, d, step, shift, align),
          );
          compareRuns(put, n, [values, randomBytes(d, padded, seed + 3)]);
        },
      ),
      { numRuns: 40 },
    );
  });

test('vectors that fill no whole number of bytes are stored and loaded alone', async () => {
  for (const d of ['u1', 'u3', 'i5', 'u7', 'i2', 'i6'] as const)
    for (const lanes of [2, 4]) {
      const [x, y] = [buffer('x', d), buffer('y', d, 'result')];
      const p = program([x, y], kernel([store(y, i32(8), load(x, i32(16), lanes, 8), 8)]));
      compareRuns(await compiled(`${d} ${lanes} part`, () => p), 0, [
        randomBytes(d, 32, 5),
        randomBytes(d, 32, 6),
      ]);
    }
});

test('gather reads any element of any dtype', async () => {
  for (const d of all)
    for (const lanes of [2, 4, 16]) {
      const w = wide[scalarOf(d)];
      const [x, y] = [buffer('x', d), buffer('y', w, 'result')];
      const index = binary(
        'rem',
        binary('mul', laneIds(lanes), splat(i32(7), lanes)),
        splat(i32(23), lanes),
      );
      const p = program([x, y], kernel([store(y, i32(0), gather(x, index), 1)]));
      const input = finiteCodes(d, randomBytes(d, 24, 9));
      compareRuns(await compiled(`${d} ${lanes} gather`, () => p), 0, [input, bytesFor(w, lanes)]);
    }
});

test('reading outside of a buffer throws in the evaluator', () => {
  const [x, y] = [buffer('x', 'u4'), buffer('y', 'i32', 'result')];
  const p = program([x, y], kernel([store(y, i32(0), load(x, i32(8), 4, 2))]));
  assert.throws(
    () => evaluate(p, {}, [new Uint8Array(5), new Uint8Array(16)]),
    /element 10 of x, which has 10/,
  );
});

test.run();
