// Which iterations of a shared loop a worker takes, and in which order. Workers run one after the other here, in this
// thread: a loop that others had begun is one whose counters do not start at zero.
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wasmBackend } from '../../backends/wasm/index.ts';
import { parseProgram } from '../../compiler/loops/parser.ts';

const test = suite('the chunks of a shared loop');

/** y[i] is the turn at which iteration i ran, and 0 if it did not. */
const source = (from: number, step: number): string => `program "p" (N) {
  buffer count: i32[1] result
  buffer y: i32[N] result
  kernel "k" by "rows" {
    for i in ${from}..N step ${step} parallel {
      count[0] = count[0] + 1
      y[i] = count[0]
    }
  }
}
`;

interface Api {
  readonly Memory: new (d: {
    initial: number;
    maximum: number;
    shared: boolean;
  }) => {
    readonly buffer: ArrayBuffer;
  };
  readonly Module: new (code: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: object,
  ) => { readonly exports: { readonly run: (...args: number[]) => void } };
}
const api = (globalThis as unknown as { WebAssembly: Api }).WebAssembly;

/** Addresses of the sync area and the buffers, and where the counters of the first loop lie in the area. */
const [sync, count, y, counters] = [1024, 4096, 8192, 128];

type Workers = (order: readonly number[], taken?: readonly number[]) => readonly number[];

/** Runs workers of so many in an order, after so many steps of each region were taken by others; gives y. */
async function loopOf(n: number, from = 0, step = 1): Promise<(workers: number) => Workers> {
  const program = parseProgram(source(from, step));
  const { threads } = await wasmBackend.emit(program, wasmBackend.limits, { threads: true });
  const memory = new api.Memory({ initial: 2, maximum: 65536, shared: true });
  const module = new api.Module(threads!.code);
  const { run } = new api.Instance(module, { env: { memory } }).exports;
  const words = new Int32Array(memory.buffer);
  return (workers) =>
    (order, taken = []) => {
      words.fill(0);
      words.set(taken, (sync + counters) / 4);
      for (const w of order) run(w, workers, sync, count, y, n);
      return [...words.subarray(y / 4, y / 4 + n)];
    };
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
/** The first steps of the regions of `steps` steps, and their end. */
const bordersOf = (steps: number, regions: number): number[] =>
  upTo(regions + 1).map((r) => Math.floor(steps / regions) * r + Math.min(r, steps % regions));

test('every iteration runs once, whoever comes first, for any number of workers and steps', async () => {
  const places = { from: fc.integer({ min: 0, max: 3 }), step: fc.integer({ min: 1, max: 5 }) };
  const sizes = { workers: fc.integer({ min: 1, max: 40 }), n: fc.integer({ min: 0, max: 700 }) };
  const property = fc.asyncProperty(
    fc.record({ ...places, ...sizes, first: fc.nat() }),
    async ({ from, step, workers, n, first }) => {
      const order = upTo(workers).map((w) => (first + w) % workers);
      const turns = (await loopOf(n, from, step))(workers)(order);
      const steps = Math.max(0, Math.floor((n - from) / step));
      const ran = upTo(n).filter((i) => turns[i] !== 0);
      assert.equal(
        ran,
        upTo(steps).map((i) => from + i * step),
      );
      assert.equal(
        ran.map((i) => turns[i]!).sort((a, b) => a - b),
        upTo(steps).map((i) => i + 1),
      );
    },
  );
  await fc.assert(property, { numRuns: 60 });
});

test('a worker walks through its own region in a row, then through those of the workers after it', async () => {
  const run = await loopOf(100);
  for (const [workers, worker] of [
    [2, 0],
    [2, 1],
    [3, 1],
    [7, 6],
  ] as const) {
    const borders = bordersOf(100, workers);
    const expected: number[] = [];
    for (const r of upTo(workers).map((i) => (worker + i) % workers))
      for (let i = borders[r]!; i < borders[r + 1]!; i += 1) expected.push(i);
    const turns = run(workers)([worker]);
    assert.equal(
      upTo(100).sort((a, b) => turns[a]! - turns[b]!),
      expected,
      `worker ${worker} of ${workers}`,
    );
  }
});

test('what others have taken stays theirs', async () => {
  const taken = [10, 33, 0];
  const borders = bordersOf(100, 3);
  const turns = (await loopOf(100))(3)([1], taken);
  const theirs = upTo(100).filter((i) =>
    taken.some((n, r) => i >= borders[r]! && i < borders[r]! + n),
  );
  assert.equal(
    upTo(100).filter((i) => turns[i] === 0),
    theirs,
  );
});

test('more workers than a loop has regions share them', async () => {
  // Worker 17 begins in the second of 16 regions.
  const turns = (await loopOf(160))(20)([17]);
  assert.is(turns.indexOf(1), 10);
});

test.run();
