// Loops over the same elements become one, with the numbers of the loops one after the other: whatever they read, write and
// sum up, and wherever they meet in memory.
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Poly } from '../../compiler/ir/algebra.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import * as L from '../../compiler/loops/loops.ts';
import { verifyProgram } from '../../compiler/loops/verifier.ts';
import { mergeLoops } from '../../compiler/schedule/merge.ts';
import { buffer, kernel, newVar, program, store } from '../loops/programs.ts';
import { compiled } from './harness.ts';

const test = suite('loops that follow one another');
const size = 96;
const temps = ['a', 'b', 'c'].map((name) => ({
  ...buffer(name, 'f32', 'temp'),
  size: Poly.of(size),
}));
const bytes = { ...buffer('bytes', 'i8', 'temp'), size: Poly.of(size) };
const input = { ...buffer('x', 'f32'), size: Poly.of(size) };
const results = ['y', 'z'].map((name) => ({
  ...buffer(name, 'f32', 'result'),
  size: Poly.of(size),
}));
const places = [...temps, bytes, input, ...results];

interface Step {
  readonly count: number;
  readonly step: number;
  readonly lanes: number;
  readonly ops: readonly {
    readonly from: number;
    readonly other: number;
    readonly to: number;
    readonly at: number;
    readonly put: number;
    readonly sums: boolean;
    readonly invariant: boolean;
  }[];
}
const steps = fc.array(
  fc.record({
    count: fc.constantFrom(8, 8, 8, 8, 8, 8, 7),
    step: fc.constantFrom(1, 1, 1, 1, 1, 2),
    lanes: fc.constantFrom(1, 4, 4),
    ops: fc.array(
      fc.record({
        from: fc.nat(4),
        other: fc.nat(4),
        to: fc.nat(5),
        at: fc.constantFrom(0, 0, 0, 0, 4, 1),
        put: fc.constantFrom(0, 0, 0, 0, 4, 1),
        sums: fc.boolean(),
        invariant: fc.boolean(),
      }),
      { minLength: 1, maxLength: 3 },
    ),
  }),
  { minLength: 2, maxLength: 6 },
);

/** The loops that the steps say, their sums stored after them. */
function statements(all: readonly Step[]): L.Stmt[] {
  const targets = [...temps, bytes, ...results];
  return all.flatMap(({ count, step, lanes, ops }, k): L.Stmt[] => {
    const i = newVar(`i${k}`, 'i32');
    const sum = newVar(`sum${k}`, 'f32', lanes);
    const place = newVar(`at${k}`, 'i32');
    const body: L.Stmt[] = [
      { kind: 'let', var: place, value: L.binary('mul', L.variable(i), L.i32(4)) },
    ];
    for (const { from, other, to, at, put, sums, invariant } of ops) {
      const read = (b: number, offset: number): L.Expr => {
        const where = L.binary('add', L.variable(place), L.i32(offset));
        const source = [...temps, bytes, input][b]!;
        const e = L.load(source, invariant && offset ? L.i32(offset) : where, lanes, 1);
        return e.type.scalar === 'f32' ? e : L.convert(e, 'f32');
      };
      const v = newVar('v', 'f32', lanes);
      const value = L.binary('sub', read(from, at), read(other, 0));
      body.push({ kind: 'let', var: v, value });
      const next = L.binary('add', L.variable(sum), L.variable(v));
      if (sums) body.push({ kind: 'set', var: sum, value: next });
      const target = targets[to]!;
      const half = L.binary('mul', L.variable(v), L.constant(0.5, 'f32', lanes));
      const stored = target.dtype === 'i8' ? L.convert(half, 'i32') : half;
      body.push(store(target, L.binary('add', L.variable(place), L.i32(put)), stored));
    }
    const loop: L.Stmt = {
      kind: 'for',
      var: i,
      start: L.i32(0),
      end: L.i32(count),
      step,
      parallel: false,
      body,
    };
    return [
      { kind: 'local', var: sum, value: L.constant(0, 'f32', lanes) },
      loop,
      store(results[k % 2]!, L.i32(64 + 4 * k), L.variable(sum)),
    ];
  });
}

test('the numbers are those of the loops apart', () => {
  let merged = 0;
  fc.assert(
    fc.property(steps, fc.infiniteStream(fc.integer({ min: -40, max: 40 })), (all, numbers) => {
      const list = statements(all);
      const isOwn = (b: L.Buffer): boolean => b.role === 'temp';
      const made = mergeLoops(list, isOwn, (name, type) => newVar(name, type.scalar, type.lanes));
      merged += Number(made !== list);
      const [apart, together] = [list, made].map((body) => program(places, kernel(body)));
      assert.equal(verifyProgram(together!), []);
      const data = Float32Array.from({ length: size }, () => numbers.next().value as number);
      const run = (p: L.Program): number[][] => {
        const memory = p.buffers.map((b) =>
          b === input ? new Uint8Array(data.slice().buffer) : new Uint8Array(4 * size),
        );
        evaluate(p, { N: size }, memory);
        return p.buffers.flatMap((b, k) => (b.role === 'result' ? [[...memory[k]!]] : []));
      };
      assert.equal(run(together!), run(apart!));
    }),
    { numRuns: 300 },
  );
  assert.ok(merged > 30, `${merged} merged`);
});

test('the sums of a search run in one loop, and what they share is neither stored nor read twice', async () => {
  for (const [name, loops] of [
    ['q4_K', 2],
    ['q6_K', 1],
  ] as const) {
    const file = new URL('../../ops/formats/index.ts', import.meta.url).pathname;
    const text = (await compiled({ file, name: `${name}.encode` })).stage('schedule');
    const search = /for step\S* in [^\n]*\n([\s\S]*?)\n {8}\}/.exec(text)![1]!;
    const inner = search.match(/ for i\S* in 0\.\.\d+ step 1 \{[^}]*\}/g)!;
    assert.is(inner.length, loops);
    for (const body of inner) {
      const loads = [...body.matchAll(/: f32x\d+ = (\w+\[[^\]]*\])/g)].map((m) => m[1]);
      assert.is(new Set(loads).size, loads.length);
    }
  }
});

test.run();
