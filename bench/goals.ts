// What the project sets itself: each goal as a figure that is computed from one run, the least it must be and what it aims at.
import { attentionBits, attentionCase, attentionGroups } from './cases/attention.ts';
import { modelCase } from './cases/model.ts';
import { compileCase, startCase, startFacts } from './cases/overhead.ts';
import { dfloatCase } from './cases/systems.ts';
import {
  type CaseResult,
  type Column,
  columns,
  find,
  quern,
  type Run,
  ratio,
  type Timed,
} from './results.ts';

export interface Figure {
  /** The shape, or what else tells apart the figures of a goal; empty for the only one. */
  readonly where: string;
  readonly value?: number;
  /** Why there is no value. */
  readonly why?: string;
}

export interface Goal {
  readonly what: string;
  readonly against: string;
  readonly must: number;
  readonly aim: number;
  readonly better: 'higher' | 'lower';
  readonly unit: string;
  figures(run: Run): readonly Figure[];
}

/** Why there is no figure of a case that was not asked for. */
export const notPart = 'not part of this run';

export type Verdict = 'aim' | 'must' | 'MISSED' | 'not measured';

/** The worst of the figures there are. */
export function verdict({ must, aim, better }: Goal, figures: readonly Figure[]): Verdict {
  const values = figures.flatMap((f) => (f.value === undefined ? [] : [f.value]));
  if (values.length === 0) return 'not measured';
  const reached = (line: number) =>
    values.every((v) => (better === 'higher' ? v >= line : v <= line));
  return reached(aim) ? 'aim' : reached(must) ? 'must' : 'MISSED';
}

/** A figure of one case; undefined, with a reason, where a subject is not there. */
type Measure = (c: CaseResult) => number | { readonly lacks: Column };

function figure(where: string, c: CaseResult | undefined, measure: Measure): Figure {
  if (!c) return { where, why: notPart };
  const value = measure(c);
  if (typeof value === 'number') return { where, value };
  const absent = c.absent.find((a) => a.column === value.lacks);
  return { where, why: absent?.reason ?? `${columns[value.lacks]} took no part` };
}

/** The shapes of weights that a run has cases of, the one that goals are set for first. */
export function shapesIn(run: Run): string[] {
  const found = run.cases.flatMap((c) => /^gem[vm] .*?(\d+x\d+)/.exec(c.id)?.[1] ?? []);
  return [...new Set(found)];
}

const caseOf = (run: Run, id: string): CaseResult | undefined => run.cases.find((c) => c.id === id);
const perShape =
  (id: (shape: string) => string, measure: Measure) =>
  (run: Run): Figure[] =>
    shapesIn(run).map((shape) => figure(shape, caseOf(run, id(shape)), measure));
/** Of all cases whose id starts so; the rest of the id says where. */
const starting =
  (start: string, measure: Measure) =>
  (run: Run): Figure[] => {
    const found = run.cases.filter((c) => c.id.startsWith(start));
    if (found.length === 0) return [{ where: '', why: notPart }];
    return found.map((c) => figure(c.id.slice(start.length).trim(), c, measure));
  };

/** A function of Quern's time and another subject's. */
const between =
  (column: Column, f: (own: Timed, other: Timed) => number): Measure =>
  (c) => {
    const [own, other] = [quern(c), find(c, column)];
    if (!own) return { lacks: c.absent.some((a) => a.column === 'q8') ? 'q8' : 'quern' };
    return other ? f(own, other) : { lacks: column };
  };
/** How many times faster Quern is. */
const faster = (column: Column): Measure => between(column, (own, other) => ratio(other, own));
/** Quern's bytes a second over another's. */
const bytesPerSecond = (column: Column): Measure =>
  between(column, (own, other) => ratio(other, own) * (own.bytes! / other.bytes!));
const operationsPerSecond = (column: Column): Measure =>
  between(column, (own, other) => ratio(other, own) * (own.ops! / other.ops!));

const times = { better: 'higher', unit: 'x' } as const;
const share = { better: 'higher', unit: '' } as const;

const gemv = (label: string, mode: string) => (shape: string) => `gemv ${label} ${shape} ${mode}`;
const gemm = (label: string, m: number) => (shape: string) => `gemm ${label} M=${m} ${shape}`;

const formats = ['q4_K', 'iq4_nl', 'mxfp4', 'nvfp4', 'nf4', 'uniform3', 'uniform4', 'uniform5'];

const handWritten = (['q4_0', 'q8_0'] as const).flatMap((label) =>
  ['cold', 'hot'].map(
    (mode): Goal => ({
      what: `${label} GEMV, ${mode}`,
      against: 'the hand-written kernel',
      must: 0.85,
      aim: 1.05,
      ...times,
      figures: perShape(gemv(label, mode), faster('hand')),
    }),
  ),
);

const encoders = [
  { label: 'q8_0', must: 0.35, aim: 0.5 },
  { label: 'q4_0', must: 0.35, aim: 0.5 },
  { label: 'nf4', must: 0.25, aim: 0.4 },
].map(
  ({ label, must, aim }): Goal => ({
    what: `encode ${label}, streaming`,
    against: 'bytes/s of the stream read',
    must,
    aim,
    ...share,
    figures: starting(`encode ${label}`, bytesPerSecond('read')),
  }),
);

const searches = ['q4_K', 'iq4_nl'].map(
  (label): Goal => ({
    what: `encode ${label} (search)`,
    against: 'f32 read',
    must: 0.15,
    aim: 0.6,
    better: 'higher',
    unit: ' GB/s',
    figures: starting(`encode ${label}`, (c) => {
      const own = quern(c);
      return own ? own.bytes! / own.median / 1000 : { lacks: 'quern' };
    }),
  }),
);

const dfloat: Goal = {
  what: 'DFloat11 decoding, one thread',
  against: 'bf16 written',
  must: 0.4,
  aim: 0.8,
  better: 'higher',
  unit: ' GB/s',
  figures: starting(dfloatCase, (c) => {
    const own = quern(c);
    return own ? own.bytes! / own.median / 1000 : { lacks: 'quern' };
  }),
};

const starts = [
  { name: startFacts.first, limit: 2000 },
  { name: startFacts.cached, limit: 300 },
  { name: startFacts.call, limit: 0.05 },
].map(
  ({ name, limit }): Goal => ({
    what: name,
    against: '',
    must: limit,
    aim: limit,
    better: 'lower',
    unit: ' ms',
    figures: starting(startCase, (c) => c.facts?.[name] ?? { lacks: 'quern' }),
  }),
);

/** Compared with itself, a variant says nothing: the newer engine must have taken another. */
const plainOverRelaxed = (run: Run): Figure[] =>
  starting(
    'plain gemv q4_0',
    between('plain', (own, plain) => ratio(plain, own)),
  )(run).map((f) => {
    const c = run.cases.find((x) => x.id === `plain gemv q4_0 ${f.where}`);
    if (f.value === undefined || c?.facts?.relaxed === 1) return f;
    return { where: f.where, why: 'the kernel has no relaxed instruction' };
  });

export const goals: readonly Goal[] = [
  ...handWritten,
  ...formats.map(
    (label): Goal => ({
      what: `${label} GEMV, bytes/s`,
      against: 'own q4_0',
      must: 0.7,
      aim: 0.95,
      ...share,
      figures: perShape(gemv(label, 'cold'), bytesPerSecond('own')),
    }),
  ),
  {
    what: 'a made-up format, outside the project, bytes/s',
    against: 'own q4_0',
    must: 0.7,
    aim: 0.9,
    ...share,
    figures: perShape(gemv('made-up', 'cold'), bytesPerSecond('own')),
  },
  {
    what: '2-bit GEMV, time',
    against: 'own q4_0',
    must: 0.8,
    aim: 0.6,
    better: 'lower',
    unit: '',
    figures: perShape(
      gemv('2-bit', 'cold'),
      between('own', (own, other) => ratio(own, other)),
    ),
  },
  {
    what: 'q4_0 GEMV, f32 road',
    against: 'own dense f32',
    must: 1,
    aim: 1.5,
    ...times,
    figures: perShape(gemv('q4_0', 'cold'), (c) => {
      const [own, other] = [find(c, 'f32'), find(c, 'dense')];
      if (!own) return { lacks: 'f32' };
      return other ? ratio(other, own) : { lacks: 'dense' };
    }),
  },
  {
    what: 'q4_0 GEMV',
    against: 'ort-web, same format',
    must: 40,
    aim: 90,
    ...times,
    figures: perShape(gemv('q4_0', 'cold'), faster('ortWeb')),
  },
  {
    what: 'q4_0 GEMV',
    against: 'ort-web, its int8 path',
    must: 4.5,
    aim: 8,
    ...times,
    figures: perShape(gemv('q4_0', 'cold'), faster('ortWeb8')),
  },
  {
    what: 'q4_0 GEMV, cold',
    against: 'ort-node',
    must: 1.2,
    aim: 1.6,
    ...times,
    figures: perShape(gemv('q4_0', 'cold'), faster('ortNode')),
  },
  ...['q4_0', 'q8_0'].map(
    (label): Goal => ({
      what: `${label} GEMM, M = 128`,
      against: "the engine's dot peak",
      must: 0.5,
      aim: 0.8,
      ...share,
      figures: perShape(gemm(label, 128), operationsPerSecond('dot')),
    }),
  ),
  ...[
    { m: 16, must: 10, aim: 25 },
    { m: 128, must: 4, aim: 10 },
  ].map(
    ({ m, must, aim }): Goal => ({
      what: `q4_0 GEMM, M = ${m}`,
      against: 'ort-web, same format',
      must,
      aim,
      ...times,
      figures: perShape(gemm('q4_0', m), faster('ortWeb')),
    }),
  ),
  {
    what: 'plain SIMD128 GEMV (Node 20), time',
    against: 'the relaxed variant',
    must: 1.6,
    aim: 1.3,
    better: 'lower',
    unit: '',
    figures: plainOverRelaxed,
  },
  {
    what: 'second thread',
    against: 'one thread',
    must: 1.5,
    aim: 1.9,
    ...times,
    figures: starting('threads q4_0', faster('single')),
  },
  ...encoders,
  ...searches,
  dfloat,
  ...attentionGroups.flatMap((groups) =>
    attentionBits.map(
      (bits): Goal => ({
        what: `attention, KIVI-like ${bits}-bit cache, ${groups} to a head`,
        against: 'own f32 attention',
        must: 2,
        aim: 4,
        ...times,
        figures: starting(attentionCase(bits, groups), faster('dense')),
      }),
    ),
  ),
  {
    what: 'f32 GEMM, M = 128',
    against: 'ort-web',
    must: 1.2,
    aim: 2,
    ...times,
    figures: perShape(gemm('f32', 128), faster('ortWeb')),
  },
  {
    what: 'verse-4m decode, q4_0, tokens/s',
    against: 'f32, same runtime',
    must: 1.5,
    aim: 3,
    ...times,
    figures: starting(modelCase, faster('dense')),
  },
  {
    what: 'compile of one kernel, warm, the slowest',
    against: '',
    must: 150,
    aim: 150,
    better: 'lower',
    unit: ' ms',
    figures: starting(compileCase, (c) => {
      const all = Object.values(c.facts ?? {});
      return all.length > 0 ? Math.max(...all) : { lacks: 'quern' };
    }),
  },
  ...starts,
];
