// Goals and tables, computed from runs that are made up here.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { groups, idsOf } from '../../bench/cases/index.ts';
import { startFacts } from '../../bench/cases/overhead.ts';
import { plainModes, plainName } from '../../bench/cases/plain.ts';
import { type Goal, goals, verdict } from '../../bench/goals.ts';
import { absences, goalTable, report, short, updatePage } from '../../bench/report.ts';
import type { CaseResult, Column, Run, Timed } from '../../bench/results.ts';

const timed = (column: Column, us: number, more: Partial<Timed> = {}): Timed => ({
  column,
  what: column,
  median: us,
  p20: us,
  calls: 3,
  rounds: [us, us, us],
  ...more,
});

const runOf = (cases: readonly CaseResult[], more: Partial<Run> = {}): Run => ({
  date: '2026-01-02',
  commit: 'abcdef0',
  machine: { processor: 'a processor', cores: 2, memoryGiB: 24, system: 'Linux', load: 0 },
  versions: { Node: 'v24.0.0' },
  quick: false,
  clock: 'elapsed',
  only: [],
  seconds: 60,
  cases,
  ...more,
});

const test = suite('report of the benchmarks');

test('verdicts take the worst of the figures, in the direction of the goal', () => {
  const goal = (better: 'higher' | 'lower', must: number, aim: number): Goal => ({
    what: '',
    against: '',
    must,
    aim,
    better,
    unit: 'x',
    figures: () => [],
  });
  const of = (g: Goal, ...values: (number | undefined)[]) =>
    verdict(
      g,
      values.map((value) => ({ where: '', value })),
    );
  const up = goal('higher', 0.85, 1.05);
  assert.is(of(up, 1.1, 1.05), 'aim');
  assert.is(of(up, 1.1, 0.9), 'must');
  assert.is(of(up, 1.1, 0.84), 'MISSED');
  assert.is(of(up, 1.1, undefined), 'aim');
  assert.is(of(up, undefined), 'not measured');
  assert.is(of(up), 'not measured');
  const down = goal('lower', 0.8, 0.6);
  assert.is(of(down, 0.6), 'aim');
  assert.is(of(down, 0.7), 'must');
  assert.is(of(down, 0.81), 'MISSED');
});

/** Every case of a full run, in which every subject takes a microsecond. */
async function evenRun(): Promise<Run> {
  const columns: Column[] = [
    ...([
      'quern',
      'own',
      'f32',
      'dense',
      'single',
      'plain',
      'hand',
      'ortWeb',
      'ortWeb8',
      'ortNode',
    ] as const),
    ...(['read', 'dot', 'madd'] as const),
  ];
  const ids = (await Promise.all(groups(false).map((g) => idsOf(g, false)))).flat();
  const plain = plainModes.map((m) => `${plainName(4096, 4096)} ${m}`);
  const facts = Object.fromEntries(Object.values(startFacts).map((name) => [name, 1]));
  return runOf(
    [...ids, ...plain].map((id) => ({
      id,
      timed: columns.map((c) => timed(c, 1, { bytes: 1, ops: 1 })),
      absent: [],
      facts: { ...facts, relaxed: 1 },
    })),
  );
}

test('every goal finds its cases among those of a full run', async () => {
  const run = await evenRun();
  const ids = run.cases.map((c) => c.id);
  assert.is(new Set(ids).size, ids.length, 'no id twice');
  for (const goal of goals) {
    const figures = goal.figures(run);
    assert.ok(figures.length > 0, goal.what);
    for (const f of figures) assert.type(f.value, 'number', `${goal.what} ${f.where}: ${f.why}`);
  }
  const gemv = goals.find((g) => g.what === 'q4_0 GEMV, cold')!;
  assert.equal(
    gemv.figures(run).map((f) => f.where),
    ['4096x4096', '11008x4096', '4096x14336'],
  );
});

const gemvId = 'gemv q4_0 4096x4096 cold';

test('the faster road counts, and a peer that is missing gives its reason', () => {
  const run = runOf([
    {
      id: gemvId,
      timed: [timed('q8', 10), timed('f32', 20), timed('hand', 12), timed('ortWeb', 450)],
      absent: [{ column: 'ortNode', reason: 'no binary for this system', failed: false }],
    },
  ]);
  const of = (against: string) =>
    goals.find((g) => g.what.startsWith('q4_0 GEMV') && g.against === against)!;
  assert.equal(of('the hand-written kernel').figures(run), [{ where: '4096x4096', value: 1.2 }]);
  assert.equal(of('ort-web, same format').figures(run), [{ where: '4096x4096', value: 45 }]);
  assert.equal(of('ort-node').figures(run), [
    { where: '4096x4096', why: 'no binary for this system' },
  ]);
  assert.equal(of('ort-web, its int8 path').figures(run), [
    { where: '4096x4096', why: 'ort-web int8 took no part' },
  ]);
  const text = report(run);
  assert.match(text, /^gemv q4_0 4096x4096 cold +8-bit +10\.0 .* 2\.00 +1\.20 +45\.0 +absent/m);
  assert.match(text, /^absent: ort-node \(gemv q4_0 4096x4096 cold\): no binary for this system$/m);
});

test('a variant that has no relaxed instruction is no measurement of one', () => {
  const plain = goals.find((g) => g.what.startsWith('plain SIMD128'))!;
  const run = (relaxed: number) =>
    runOf([
      {
        id: 'plain gemv q4_0 4096x4096 cold',
        timed: [timed('quern', 10), timed('plain', 14)],
        absent: [],
        facts: { relaxed },
      },
    ]);
  assert.is(plain.figures(run(1))[0]!.value, 1.4);
  assert.is(plain.figures(run(0))[0]!.value, undefined);
});

test('failures stand in the table and below it, once a reason', () => {
  const absent = [{ column: 'jax', reason: 'wrong result', failed: true }] as const;
  const run = runOf([
    { id: gemvId, timed: [timed('q8', 10)], absent },
    { id: 'gemv q4_0 4096x4096 hot', timed: [timed('q8', 10)], absent },
  ]);
  assert.equal(absences(run), [
    `FAILED: jax-js (${gemvId}, gemv q4_0 4096x4096 hot): wrong result`,
  ]);
  assert.match(report(run), /^gemv q4_0 4096x4096 hot .*FAILED/m);
});

test('the report says how well the results fit their references', () => {
  const checked = { error: 0.01, tolerance: 0.04 };
  const run = runOf([
    {
      id: gemvId,
      timed: [timed('q8', 10, checked), timed('hand', 5, checked), timed('read', 1)],
      absent: [],
    },
  ]);
  assert.match(report(run), '2 results were held against their references: at most 25 % of');
});

test('a run of some cases shows their goals only', () => {
  const run = runOf(
    [
      {
        id: 'encode q8_0',
        timed: [timed('quern', 10, { bytes: 1 }), timed('read', 5, { bytes: 1 })],
        absent: [],
      },
    ],
    { only: ['encode'] },
  );
  const lines = goalTable(run).split('\n');
  assert.is(lines.length, 2, goalTable(run));
  assert.match(lines[1]!, /encode q8_0.*0\.50.*aim/);
});

test('a trial and a busy machine are called so', () => {
  const busy = runOf([], { quick: true });
  const machine = { ...busy.machine, load: 1.5 };
  assert.match(report({ ...busy, machine }), 'NOT QUIET');
  assert.not.match(report(busy), 'NOT QUIET');
  assert.match(report(busy), 'QUICK TRIAL');
  assert.not.match(report(runOf([])), 'QUICK TRIAL');
});

test('the page keeps what stands outside of the marks, and a page without them is an error', () => {
  const begin =
    '<!-- Generated by `npm run bench -- --write`; what stands between the marks is replaced. -->';
  const end = '<!-- End of the generated part. -->';
  const page = `# Performance\n\n${begin}\nreplaced\n${end}\n\nNotes.\n`;
  const once = updatePage(page, runOf([]));
  assert.ok(once.startsWith(`# Performance\n\n${begin}\n`) && once.endsWith(`${end}\n\nNotes.\n`));
  assert.match(once, '2026-01-02, commit abcdef0');
  assert.not.match(once, 'replaced\n');
  assert.is(updatePage(once, runOf([])), once);
  assert.throws(() => updatePage('# Performance\n', runOf([])), /no generated part/);
  assert.throws(() => updatePage(`${end}\n${begin}\n`, runOf([])), /no generated part/);
});

test('figures have two or three digits', () => {
  assert.equal([1234, 12.34, 1.234, 0.1234, 0.01234].map(short), [
    '1234',
    '12.3',
    '1.23',
    '0.12',
    '0.012',
  ]);
});

test('a second reader and what was noted of the machine stand below the table', () => {
  const reading = { bytes: 16_000_000 };
  const threads: CaseResult = {
    id: 'threads q4_0 M=1 4096x4096 cold',
    timed: [
      timed('single', 300),
      timed('quern', 200),
      timed('read', 320, reading),
      timed('reader', 400, reading),
    ],
    absent: [],
    notes: ['far apart'],
  };
  const text = report(runOf([threads, { ...threads, id: 'threads hot', timed: [], notes: [] }]));
  const line = `${threads.id}: two threads that only read reach 1.25 of what one does; far apart`;
  assert.ok(text.split('\n').includes(line), text);
  assert.not.match(text, /threads hot:/);
});

test.run();
