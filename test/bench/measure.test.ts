// The benchmarks' own arithmetic: turns, medians, ratios, and that a wrong result is never timed.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Candidate, type Context, contest, errorOf, Missing } from '../../bench/contest.ts';
import { alternate, type Pace, subject } from '../../bench/measure.ts';
import { type CaseResult, median, quantile, ratio, type Timed } from '../../bench/results.ts';

const pace: Pace = { rounds: 3, turn: 0, warm: 0, settle: 0, clock: 'elapsed' };
const timed = (rounds: readonly number[]): Timed => ({
  column: 'quern',
  what: '',
  median: median(rounds),
  p20: 0,
  calls: 1,
  rounds,
});

const test = suite('measuring');

test('quantiles lie between the sorted values', () => {
  assert.is(median([3, 1, 2]), 2);
  assert.is(median([4, 1, 2, 3]), 2.5);
  assert.is(quantile([0, 10, 20, 30, 40, 50], 0.2), 10);
  assert.is(quantile([7], 0.2), 7);
  assert.ok(Number.isNaN(median([])));
});

test('a ratio is the median over rounds, so that drift of the machine cancels', () => {
  // The machine became ten times slower after the first round, for both alike.
  assert.is(ratio(timed([2, 20, 20]), timed([1, 10, 10])), 2);
  assert.is(ratio(timed([6, 6]), timed([3, 2, 1])), 2.5, 'only rounds that both took part in');
});

test('subjects take turns, and every copy is touched before anything is timed', async () => {
  const calls: string[] = [];
  const make = (what: string, copies: number) =>
    subject({ column: 'quern', what, copies, run: (copy) => void calls.push(`${what}${copy}`) });
  const out = await alternate([make('a', 3), make('b', 1)], pace);
  assert.is(calls.join(' '), 'a0 a1 a2 b0 a0 b0 b0 a1 a2 b0');
  assert.equal(
    out.map((t) => t.rounds.length),
    [3, 3],
  );
});

test('a call that says how much work it did counts a unit of it', async () => {
  const wait = () => new Promise<number>((done) => setTimeout(() => done(1000), 20));
  const [one] = await subject({ column: 'quern', what: '', run: wait }).turn(0, 1, 'elapsed');
  assert.ok(one! > 10 && one! < 200, `${one} us a unit`);
});

test('processor time leaves out what a call waits', async () => {
  const wait = () => new Promise<void>((done) => setTimeout(done, 60));
  const work = (): void => {
    const until = process.cpuUsage().user + 20_000;
    while (process.cpuUsage().user < until);
  };
  const one = async (run: () => unknown) =>
    (await subject({ column: 'quern', what: '', run }).turn(0, 1, 'processor'))[0]!;
  const [idle, busy] = [await one(wait), await one(work)];
  assert.ok(idle < 50_000, `waited ${idle} us`);
  assert.ok(busy >= 20_000, `worked ${busy} us`);
});

test('errors are relative to the root mean square of the reference', () => {
  const expected = { at: [0, 2], values: [3, -3] };
  assert.is(errorOf([3, 99, -3], expected), 0);
  assert.is(errorOf([3, 99, -1.5], expected), 0.5);
  assert.ok(Number.isNaN(errorOf([3, 99, Number.NaN], expected)));
  assert.ok(Number.isNaN(errorOf([3], expected)), 'a result that is too short');
  const many = Array.from({ length: 300_000 }, (_, i) => i);
  assert.is(errorOf(many, { at: many, values: many }), 0);
});

function candidate(result: readonly number[], disposed: string[], what = 'it'): Candidate {
  return {
    what,
    copies: 1,
    run: () => {},
    check: {
      result: () => Promise.resolve(result),
      expected: { at: [0], values: [1] },
      tolerance: 0.1,
    },
    dispose: () => void disposed.push(what),
  };
}

async function run(
  entrants: Parameters<typeof contest>[2],
  modes?: Parameters<typeof contest>[3],
  wants = (_: string) => true,
): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  const context: Context = {
    quick: true,
    pace,
    coldBytes: 0,
    peers: false,
    wants,
    report: (r) => void results.push(r),
  };
  await contest(context, 'case', entrants, modes);
  return results;
}

test('a wrong result, one that is no number and a crash fail by name and are not timed', async () => {
  const disposed: string[] = [];
  const [result] = await run([
    { column: 'quern', make: async () => candidate([1.05], disposed, 'right') },
    { column: 'hand', make: async () => candidate([1.2], disposed, 'wrong') },
    { column: 'jax', make: async () => candidate([Number.NaN], disposed, 'nothing') },
    { column: 'tfjs', make: () => Promise.reject(new Error('broken\nat somewhere')) },
    { column: 'gpujs', make: () => Promise.reject(new Missing('not on this machine')) },
  ]);
  assert.equal(
    result!.timed.map((t) => t.column),
    ['quern'],
  );
  assert.equal(
    result!.absent.map((a) => [a.column, a.failed]),
    [
      ['hand', true],
      ['jax', true],
      ['tfjs', true],
      ['gpujs', false],
    ],
  );
  assert.match(result!.absent[0]!.reason, 'wrong result of wrong: off by 0.2');
  assert.is(result!.absent[2]!.reason, 'broken');
  assert.equal(disposed.sort(), ['nothing', 'right', 'wrong']);
});

test('modes choose their entrants, and what nobody wants is not made', async () => {
  const disposed: string[] = [];
  const entrants = [
    { column: 'quern', make: async () => candidate([1], disposed) },
    { column: 'hand', modes: ['hot'], make: async () => candidate([1], disposed) },
  ] as const;
  const columnsOf = (r: CaseResult) => [r.id, ...r.timed.map((t) => t.column)];
  assert.equal((await run(entrants, ['cold', 'hot'])).map(columnsOf), [
    ['case cold', 'quern'],
    ['case hot', 'quern', 'hand'],
  ]);
  disposed.length = 0;
  assert.equal((await run(entrants, ['cold', 'hot'], (id) => id === 'case cold')).map(columnsOf), [
    ['case cold', 'quern'],
  ]);
  assert.is(disposed.length, 1, 'the entrant of the other mode is not even made');
});

test.run();
