// The tables of a run, as text: the same for the terminal and for docs/performance.md.
import { stripVTControlCharacters } from 'node:util';
import { table } from '../cli/table.ts';
import { type Figure, type Goal, goals, notPart, verdict } from './goals.ts';
import {
  type Absent,
  type CaseResult,
  type Column,
  columns,
  find,
  quern,
  type Run,
  ratio,
  type Timed,
} from './results.ts';

/** Two or three digits that mean something. */
export const short = (x: number): string =>
  x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x >= 0.1 ? x.toFixed(2) : x.toPrecision(2);

/** Peers, a column each. */
const peers = ['hand', 'ortWeb', 'ortWeb8', 'ortNode', 'jax', 'tfjs', 'gpujs'] as const;
/** Quern's own: at most one of them is in a case. */
const baselines = ['own', 'apart', 'dense', 'single', 'jit', 'plain'] as const;
const limits = ['read', 'copy', 'dot', 'madd'] as const;

const roadNames: { readonly [C in Column]?: string } = { q8: '8-bit', f32: 'f32' };
const otherRoad = (c: CaseResult, t: Timed): Timed | undefined =>
  find(c, t.column === 'q8' ? 'f32' : 'q8');

/** Operations a byte above which a kernel is judged by its operations. */
const DENSE = 16;

function rate(c: CaseResult, { bytes = 0, ops = 0, median }: Timed): string {
  if (find(c, 'dot') || find(c, 'madd') || ops > DENSE * bytes)
    return `${short(ops / median / 1000)} GOP/s`;
  return bytes ? `${short(bytes / median / 1000)} GB/s` : '';
}

/** Share of what the engine can do at most. */
function limitShare(c: CaseResult, own: Timed): string {
  const limit = limits.map((l) => find(c, l)).find((t) => t !== undefined);
  if (!limit) return '';
  const [a, b] = limit.bytes ? [own.bytes, limit.bytes] : [own.ops, limit.ops];
  return `${(((100 * a!) / b!) * ratio(limit, own)).toFixed(0)} % ${limit.column}`;
}

function cell(c: CaseResult, own: Timed, column: Column): string {
  const t = find(c, column);
  if (t) return short(ratio(t, own));
  const absent = c.absent.find((a) => a.column === column);
  return absent ? (absent.failed ? 'FAILED' : 'absent') : '';
}

function row(c: CaseResult): string[] {
  const own = quern(c);
  if (!own)
    return [c.id, c.absent.some((a) => a.failed) ? 'FAILED' : 'absent', ...Array(13).fill('')];
  const other = otherRoad(c, own);
  const base = baselines.map((b) => find(c, b)).find((t) => t !== undefined);
  return [
    c.id,
    roadNames[own.column] ?? '',
    short(own.median),
    short(own.p20),
    rate(c, own),
    other ? short(ratio(other, own)) : '',
    base ? `${columns[base.column]}: ${short(ratio(base, own))}` : '',
    ...peers.map((p) => cell(c, own, p)),
    limitShare(c, own),
  ];
}

const heads = [
  'case',
  'road',
  'us',
  'p20',
  'rate',
  'other road',
  'own baseline',
  ...peers.map((p) => columns[p]),
  'of the limit',
];

/** One line a case: Quern's time, and the time of each other subject over it. */
export const ratioTable = (run: Run): string =>
  table(
    heads,
    `ll${'r'.repeat(heads.length - 2)}`,
    run.cases.filter((c) => !c.facts || c.timed.length).map(row),
  );

const inUnit = (value: number, { unit }: Goal): string => `${short(value)}${unit}`;

function measured(goal: Goal, figures: readonly Figure[]): string {
  const values = figures.filter((f) => f.value !== undefined);
  return values.map((f) => inUnit(f.value!, goal)).join(' / ');
}

/** Reasons of figures that are not there, each once. */
const reasons = (figures: readonly Figure[]): string => {
  const missing = figures.filter((f) => f.value === undefined);
  return [...new Set(missing.map((f) => f.why ?? ''))].join('; ');
};

export function goalTable(run: Run): string {
  const rows = goals.flatMap((goal) => {
    const figures = goal.figures(run);
    // A run of some cases has something to say about their goals only.
    if (run.only.length > 0 && figures.every((f) => f.why === notPart)) return [];
    const given = verdict(goal, figures);
    const sign = goal.better === 'lower' ? '<= ' : '';
    const cells = [
      goal.what,
      goal.against,
      sign + inUnit(goal.must, goal),
      sign + inUnit(goal.aim, goal),
      measured(goal, figures),
      given,
      reasons(figures),
    ];
    return [cells];
  });
  return table(['goal', 'against', 'must', 'aim', 'measured', 'verdict', ''], 'llrrrll', rows);
}

/** Why columns are absent, each reason once with the cases it holds for. */
export function absences(run: Run): string[] {
  const found = new Map<string, { readonly absent: Absent; readonly ids: string[] }>();
  for (const c of run.cases)
    for (const absent of c.absent) {
      const key = `${absent.column} ${absent.reason}`;
      const entry = found.get(key) ?? { absent, ids: [] };
      entry.ids.push(c.id);
      found.set(key, entry);
    }
  return [...found.values()].map(({ absent, ids }) => {
    const where = ids.length > 3 ? `${ids.length} cases` : ids.join(', ');
    return `${absent.failed ? 'FAILED' : 'absent'}: ${columns[absent.column]} (${where}): ${absent.reason}`;
  });
}

/** How well the results fit their references; the ones that did not are among the failures. */
function checked(run: Run): string[] {
  const all = run.cases.flatMap((c) => c.timed).filter((t) => t.tolerance !== undefined);
  const off = Math.max(0, ...all.map((t) => (t.tolerance ? t.error! / t.tolerance : 0)));
  if (all.length === 0) return [];
  return [
    `${all.length} results were held against their references: at most ${(100 * off).toFixed(0)} % of the error that their precision allows`,
  ];
}

const facts = (run: Run): string[] =>
  run.cases.flatMap((c) => {
    const all = Object.entries(c.facts ?? {}).filter(([name]) => name !== 'relaxed');
    return all.length ? [`${c.id}: ${all.map(([k, v]) => `${k} ${short(v)} ms`).join(', ')}`] : [];
  });

/** What was noted beside the figures, and what a second thread is worth to one that does nothing but read. */
const notes = (run: Run): string[] =>
  run.cases.flatMap((c) => {
    const [alone, both] = [find(c, 'reader'), find(c, 'read')];
    const gain = alone && both ? (ratio(alone, both) * both.bytes!) / alone.bytes! : undefined;
    const read = gain ? [`two threads that only read reach ${short(gain)} of what one does`] : [];
    const lines = [...read, ...(c.notes ?? [])];
    return lines.length ? [`${c.id}: ${lines.join('; ')}`] : [];
  });

export function header(run: Run): string[] {
  const { machine: m, versions } = run;
  const lines = [
    `${run.date}, commit ${run.commit}, ${run.seconds.toFixed(0)} s${run.only.length ? `, only ${run.only.join(', ')}` : ''}`,
    `${m.processor}, ${m.cores} cores, ${m.memoryGiB.toFixed(0)} GiB, ${m.system}, load before the run ${m.load.toFixed(2)}`,
    Object.entries(versions)
      .map(([name, v]) => `${name} ${v}`)
      .join(', '),
  ];
  if (m.load > m.cores / 2) lines.push('THE MACHINE WAS NOT QUIET when the run began.');
  if (run.clock === 'processor') lines.push('PROCESSOR TIME, not elapsed time.');
  if (run.quick)
    lines.push('A QUICK TRIAL: small operands and short turns. These are no measurements.');
  return lines;
}

/** Everything that is printed, without colours. */
export function report(run: Run): string {
  const parts = [
    header(run).join('\n'),
    ratioTable(run),
    'Ratios are the time of the subject over the time of Quern (above 1 Quern is faster), of its faster road where there are two;',
    'the medians of rounds in which all take turns. One thread; "absent" and "FAILED" are explained below.',
    [...checked(run), ...facts(run), ...notes(run), ...absences(run)].join('\n'),
    goalTable(run),
  ];
  const text = stripVTControlCharacters(parts.filter((p) => p !== '').join('\n\n'));
  return text
    .replaceAll(/ +$/gm, '')
    .replace('faster road where there are two;\n\n', 'faster road where there are two;\n');
}

const BEGIN =
  '<!-- Generated by `npm run bench -- --write`; what stands between the marks is replaced. -->';
const END = '<!-- End of the generated part. -->';

/** The page with the run in place of the one that was in it. */
export function updatePage(page: string, run: Run): string {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin)
    throw new Error(`the page has no generated part: a line ${BEGIN} and, below, a line ${END}`);
  const generated = `${BEGIN}\n\n\`\`\`\n${report(run)}\n\`\`\`\n\n`;
  return page.slice(0, begin) + generated + page.slice(end);
}
