// How many entries of a sorted table a value has reached: by byte look-ups on wasm, by comparisons elsewhere, as the
// evaluator counts.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wasmNative } from '../../backends/wasm/instructions.ts';
import { encodeConstant } from '../../compiler/constants.ts';
import { Poly } from '../../compiler/ir/algebra.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import { expand } from '../../compiler/loops/expand.ts';
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

const test = suite('ranks in a table');

const tables: Readonly<Record<string, readonly number[]>> = {
  'evenly spaced': Array.from({ length: 15 }, (_, i) => i - 7.5),
  'a codebook': [
    -0.848, -0.611, -0.46, -0.34, -0.235, -0.138, -0.0455, 0.0398, 0.12, 0.204, 0.292, 0.389, 0.502,
    0.643, 0.861,
  ],
  integers: [-231, -187, -148, -114, -84, -57, -32, -9, 14, 38, 63, 91, 122, 158, 202],
  'very unlike distances': [-1e6, -1e-6, 0, 1e-6, 2e-6, 1, 1e6],
  'two entries': [-0.25, 0.75],
  'one entry': [3],
  'thirty-one': Array.from({ length: 31 }, (_, i) => (i - 15) * 0.37),
  forty: Array.from({ length: 40 }, (_, i) => i),
};

/** Every entry, its neighbours among the floats, what lies between, and what is beyond. */
function probes(table: readonly number[], lanes: number): Float32Array[] {
  const near = table.flatMap((t) => {
    const bits = new Int32Array(Float32Array.of(t).buffer);
    const step = (n: number): number => new Float32Array(Int32Array.of(bits[0]! + n).buffer)[0]!;
    return [t, step(1), step(-1), t + 0.01, t * 1.1];
  });
  const all = [...near, 0, -0, 1e30, -1e30, Infinity, -Infinity, NaN, 1e-30];
  for (let i = 0; i < 200; i += 1) all.push(Math.sin(i * 7.31) * 1.2 * Math.abs(table.at(-1)!));
  while (all.length % lanes !== 0) all.push(0);
  const data = Float32Array.from(all);
  return Array.from({ length: data.length / lanes }, (_, i) =>
    data.slice(i * lanes, (i + 1) * lanes),
  );
}

for (const [name, table] of Object.entries(tables))
  test(`${name}: entries, their neighbours, infinities and NaN`, async () => {
    for (const lanes of [8, 16, 32])
      for (const strict of [true, false]) {
        const x = buffer('x', 'f32');
        const t: L.Buffer = {
          ...buffer('t', 'f32', 'const'),
          size: Poly.of(table.length),
          data: table,
        };
        const [wide, codes] = [buffer('wide', 'i32', 'result'), buffer('codes', 'u8', 'result')];
        const rank = L.rank(t, L.load(x, L.i32(0), lanes, lanes), strict);
        const masked = L.binary('and', rank, L.constant(15, 'i32', lanes));
        const p = program(
          [x, wide, codes, t],
          kernel([store(wide, L.i32(0), rank, lanes), store(codes, L.i32(0), masked, lanes)]),
        );
        const module = await compileWasm(p);
        const plain = expand(p, new Set([...wasmNative].filter((k) => k !== 'rank.f32')));
        for (const v of probes(table, lanes)) {
          const memory = (): Uint8Array[] =>
            p.buffers.map((b, i) => {
              if (b.role === 'const') return encodeConstant(b.dtype, b.data!);
              return i === 0
                ? new Uint8Array(v.slice().buffer)
                : new Uint8Array(bytesFor(b.dtype, lanes));
            });
          const [want, got, apart] = [memory(), memory(), memory()];
          evaluate(p, { N: lanes }, want);
          runModule(module, p, { N: lanes }, got);
          evaluate(plain, { N: lanes }, apart);
          for (const i of [1, 2]) {
            assert.equal([...got[i]!], [...want[i]!], `${name} on wasm: ${v}`);
            assert.equal([...apart[i]!], [...want[i]!], `${name} by comparisons: ${v}`);
          }
        }
      }
  });

test('whole numbers of 16 bits decide where they can', async () => {
  const scaled: readonly (readonly number[])[] = [
    tables['a codebook']!.map((t) => t * 32768),
    tables.integers!.map((t) => t * 128),
    [-32766.5, -300.25, -0.5, 12000, 32766],
    [0, 5000],
    [100, 101.5, 20000],
    Array.from({ length: 31 }, (_, i) => (i - 15.5) * 2048 + 3),
  ];
  const limit = 40000;
  for (const data of scaled)
    for (const strict of [true, false]) {
      const lanes = 32;
      const x = buffer('x', 'f32');
      const t: L.Buffer = { ...buffer('t', 'f32', 'const'), size: Poly.of(data.length), data };
      const codes = buffer('codes', 'u8', 'result');
      const value = L.within(L.load(x, L.i32(0), lanes, lanes), -limit, limit);
      const p = program(
        [x, codes, t],
        kernel([store(codes, L.i32(0), L.rank(t, value, strict), lanes)]),
      );
      const module = await compileWasm(p);
      const whole = data.flatMap((e) => [-1, 0, 1, 0.5, -0.5].map((step) => Math.trunc(e) + step));
      const ends = [limit, -limit, 32767, 32768, -32768, -32769, 0, -0, 2047.5, 2048, -2048, 1e-40];
      for (const v of probes([...data, ...whole, ...ends], lanes)) {
        const near = v.map((y) => (Math.abs(y) <= limit ? y : limit));
        const memory = (): Uint8Array[] =>
          p.buffers.map((b, i) =>
            b.role === 'const'
              ? encodeConstant(b.dtype, b.data!)
              : i === 0
                ? new Uint8Array(near.slice().buffer)
                : new Uint8Array(lanes),
          );
        const [want, got] = [memory(), memory()];
        evaluate(p, { N: lanes }, want);
        runModule(module, p, { N: lanes }, got);
        assert.equal([...got[1]!], [...want[1]!], `${data} of ${near}`);
      }
    }
});

test('what a rank is of may be made by the statement before it, and read after it', async () => {
  const table = tables['a codebook']!;
  const x = buffer('x', 'f32');
  const t: L.Buffer = { ...buffer('t', 'f32', 'const'), size: Poly.of(table.length), data: table };
  const entries = [-100, -60, -3, 0, 7, 50, 90, 127, 1, 2, 3, 4, 5, 6, 8, 9];
  const levels: L.Buffer = { ...buffer('l', 'i8', 'const'), size: Poly.of(16), data: entries };
  const codes = buffer('codes', 'u4', 'result');
  const part = { ...buffer('part', 'f32', 'result'), size: Poly.of(4) };
  const all = L.load(x, L.i32(0), 32, 32);
  const [v, r, p] = [newVar('v', 'f32', 32), newVar('r', 'i32', 32), newVar('p', 'f32', 4)];
  const level = L.convert(L.gather(levels, L.variable(r)), 'f32');
  const body: L.Stmt[] = [
    { kind: 'let', var: v, value: L.binary('mul', all, L.constant(0.25, 'f32', 32)) },
    { kind: 'let', var: r, value: L.rank(t, L.binary('add', L.variable(v), L.variable(v)), true) },
    { kind: 'let', var: p, value: L.fold(L.binary('mul', level, L.variable(v))) },
    store(codes, L.i32(0), L.variable(r), 32),
    store(part, L.i32(0), L.variable(p), 4),
  ];
  const all4 = program([x, codes, part, t, levels], kernel(body));
  const module = await compileWasm(all4);
  const data = Float32Array.from({ length: 32 }, (_, i) => Math.sin(i * 3.7) * 2);
  const [want, got] = [0, 1].map(() =>
    all4.buffers.map((b, i) => {
      if (b.role === 'const') return encodeConstant(b.dtype, b.data!);
      return i === 0 ? new Uint8Array(data.slice().buffer) : new Uint8Array(16);
    }),
  );
  evaluate(all4, { N: 32 }, want!);
  runModule(module, all4, { N: 32 }, got!);
  for (const i of [1, 2]) assert.equal([...got![i]!], [...want![i]!], all4.buffers[i]!.name);
});

test.run();
