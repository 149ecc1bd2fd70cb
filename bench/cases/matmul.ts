// Matrix products of one shape: every format as GEMV, and q4_0, q8_0 and f32 with 16 and 128 rows of activations, against the peers.

import type { DeviceTensor, EncodedTensor } from '../../index.ts';
import { type Context, contest, type Entrant } from '../contest.ts';
import { madeUpFormat } from '../made-up.ts';
import { Product, type Source } from '../product.ts';
import { gpujs, jax, tfjs } from '../subjects/dense-peers.ts';
import { handDense, handGemm, handGemv } from '../subjects/hand.ts';
import { peakLimit, readLimit } from '../subjects/limits.ts';
import { ortDense, ortInt8, ortSameFormat } from '../subjects/ort.ts';
import {
  type Copies,
  type FormatName,
  finish,
  productCandidate,
  Quern,
  type Road,
} from '../subjects/quern.ts';
import { type PlainFields, type Stored, Weights } from './weights.ts';

/** Formats that peers have too. */
interface Shared extends FormatName {
  readonly label: string;
  readonly fields: PlainFields;
}
const q4_0: Shared = {
  label: 'q4_0',
  name: 'q4_0',
  fields: { bits: 4, codes: 'q', scales: 'd' },
};
const q8_0: Shared = {
  label: 'q8_0',
  name: 'q8_0',
  fields: { bits: 8, codes: 'q', scales: 'd' },
};
const twoBits: Shared = {
  label: '2-bit',
  name: 'uniform',
  args: [{ bits: 2, group: 32, symmetric: true }],
  fields: { bits: 2, codes: 'q', scales: 'scale', offset: 2 },
};

const uniform = (bits: number): FormatName & { readonly label: string } => ({
  label: `uniform${bits}`,
  name: 'uniform',
  args: [{ bits, group: 128 }],
});
const named = (name: string) => ({ label: name, name });
/** Held against q4_0, by bytes a second. */
export const ownFormats = [
  ...['q4_K', 'q6_K', 'iq4_nl', 'mxfp4', 'nf4', 'tq2_0'].map(named),
  { label: 'nvfp4', name: 'nvfp4_modelopt' },
  ...[3, 4, 5].map(uniform),
];
export const madeUpLabel = 'made-up';

const plain = ({ name, args, file }: FormatName): FormatName => ({
  name,
  ...(args ? { args } : {}),
  ...(file ? { file } : {}),
});

/** Nothing is opened before a case is wanted. */
export async function matmulCases(
  context: Context,
  n: number,
  k: number,
  scope: Scope = 'all',
): Promise<void> {
  const shape = `${n}x${k}`;
  const gemv = (label: string): string => `gemv ${label} ${shape}`;
  const gemm = (label: string, m: number): string => `gemm ${label} M=${m} ${shape}`;
  let opened: Promise<Shape> | undefined;
  const open = (): Promise<Shape> => {
    opened ??= openShape(context, n, k, scope);
    return opened;
  };

  for (const f of [q4_0, q8_0]) {
    const entrants = async () => gemvEntrants(context, await open(), f);
    await lazily(context, gemv(f.label), entrants, ['cold', 'hot']);
  }
  await lazily(context, gemv(twoBits.label), async () => twoBitEntrants(context, await open()), [
    'cold',
    'hot',
  ]);
  await (await opened)?.weights.forget(plain(twoBits));
  await lazily(context, gemv('f32'), async () => denseEntrants(context, await open(), 1), ['cold']);

  const madeUp = madeUpFormat();
  try {
    const { file, name } = madeUp;
    for (const f of [...ownFormats, { label: madeUpLabel, name, file }]) {
      const entrants = async () => formatEntrants(await open(), plain(f));
      await lazily(context, gemv(f.label), entrants, ['cold']);
      await (await opened)?.weights.forget(plain(f));
    }
  } finally {
    madeUp.remove();
  }

  for (const m of [16, 128]) {
    for (const f of [q4_0, q8_0])
      await lazily(context, gemm(f.label, m), async () =>
        gemmEntrants(context, await open(), f, m),
      );
    await lazily(context, gemm('f32', m), async () => denseEntrants(context, await open(), m));
  }
  (await opened)?.quern.close();
}

/** Contest whose entrants are prepared only if one of its cases is asked for. */
async function lazily(
  context: Context,
  name: string,
  entrants: () => Promise<readonly Entrant[]>,
  modes: readonly ('cold' | 'hot' | '')[] = [''],
): Promise<void> {
  const wanted = modes.filter((m) => context.wants(m ? `${name} ${m}` : name));
  if (wanted.length > 0) await contest(context, name, await entrants(), modes);
}

/** Everybody; or only those that goals are set against, so that further shapes do not take as long. */
export type Scope = 'all' | 'goals';

interface Shape {
  readonly scope: Scope;
  readonly quern: Quern;
  readonly product: Product;
  readonly weights: Weights;
}

async function openShape(context: Context, n: number, k: number, scope: Scope): Promise<Shape> {
  const quern = await Quern.open();
  const product = new Product(n, k);
  return { scope, quern, product, weights: new Weights(context, quern, product) };
}

/** With many rows of activations arithmetic decides, not where the weights come from. */
const copiesAt = (m: number): number => (m === 1 ? Number.POSITIVE_INFINITY : m < 64 ? 2 : 1);

const fewer = <T extends DeviceTensor | EncodedTensor>(all: Copies<T>, m: number): Copies<T> => ({
  ...all,
  list: all.list.slice(0, copiesAt(m)),
});

const sourceOf = ({ weights }: Shape, stored: () => Promise<Stored>, m: number): Source =>
  weights.source(async () => (await stored()).meant, copiesAt(m));

function roadEntrants(s: Shape, format: FormatName, source: Source, m: number): Entrant[] {
  return (['q8', 'f32'] as const).map((road: Road) => ({
    column: road,
    make: async () => {
      const { copies } = await s.weights.stored(format);
      const want = await source.expected(m);
      return productCandidate(s.quern, s.product, m, fewer(copies, m), road, want);
    },
  }));
}

/** The same runtime, in two steps: decode all weights to f32, then multiply those. */
function apartEntrant(s: Shape, name: FormatName, source: Source, m: number): Entrant {
  return {
    column: 'apart',
    make: async () => {
      const { copies } = await s.weights.stored(name);
      const format = await s.quern.format(name);
      const { product: p, quern } = s;
      const x = quern.tensor(p.x(m), [m, p.k]);
      const run = async (copy: number): Promise<DeviceTensor> => {
        const w = await format.decode(copies.list[copy]!);
        const y = (await quern.kernels.dense(x, w)) as DeviceTensor;
        w.dispose();
        return y;
      };
      return {
        what: 'decode, then dense',
        copies: 2,
        bytes: copies.bytes,
        ops: p.ops(m),
        run: (copy) => run(copy).then(finish),
        check: {
          result: async () => {
            const y = await run(0);
            const data = (await y.data()) as Float32Array;
            y.dispose();
            return data;
          },
          expected: await source.expected(m),
          tolerance: 1e-4,
        },
        dispose: () => x.dispose(),
      };
    },
  };
}

const codesOf = (s: Shape, f: Shared) => async () =>
  (await s.weights.stored(plain(f))).codes(f.fields);

/** They multiply f32, whatever the format of the case. */
const arrayLibraries = (source: Source, m: number): Entrant[] => [
  jax(source, m),
  tfjs(source, m),
  ...(m <= 16 ? [gpujs(source, m)] : []),
];

function gemvEntrants(context: Context, s: Shape, f: Shared): Entrant[] {
  const source = sourceOf(s, () => s.weights.stored(plain(f)), 1);
  const codes = codesOf(s, f);
  const own = roadEntrants(s, plain(f), source, 1);
  const peers = [
    ortSameFormat('ortWeb', source, 1, codes),
    ortInt8(source, 1),
    ortSameFormat('ortNode', source, 1, codes),
    ...(s.scope === 'all' ? arrayLibraries(source, 1) : []),
  ];
  return [
    ...own,
    ...(s.scope === 'all' ? [apartEntrant(s, plain(f), source, 1)] : []),
    ...(f === q4_0
      ? [{ ...ownDense(s, 1), column: 'dense' as const, modes: ['cold' as const] }]
      : []),
    ...handGemv(source, codes),
    ...(context.peers ? peers : []),
    readLimit(context.coldBytes),
  ];
}

function twoBitEntrants(context: Context, s: Shape): Entrant[] {
  const source = sourceOf(s, () => s.weights.stored(plain(twoBits)), 1);
  const codes = codesOf(s, twoBits);
  const peers = [
    ortSameFormat('ortWeb', source, 1, codes),
    ortSameFormat('ortNode', source, 1, codes),
  ];
  return [
    ...roadEntrants(s, plain(twoBits), source, 1),
    ownEntrant(s),
    ...handGemv(source, codes),
    ...(context.peers ? peers : []),
  ];
}

/** q4_0 on the road of 8-bit activations, as what other formats are held against. */
function ownEntrant(s: Shape): Entrant {
  const source = sourceOf(s, () => s.weights.stored(plain(q4_0)), 1);
  return { ...roadEntrants(s, plain(q4_0), source, 1)[0]!, column: 'own' };
}

function formatEntrants(s: Shape, format: FormatName): Entrant[] {
  const source = sourceOf(s, () => s.weights.stored(format), 1);
  return [...roadEntrants(s, format, source, 1), ownEntrant(s)];
}

function gemmEntrants(context: Context, s: Shape, f: Shared, m: number): Entrant[] {
  const source = sourceOf(s, () => s.weights.stored(plain(f)), m);
  const codes = codesOf(s, f);
  const peers = [
    ortSameFormat('ortWeb', source, m, codes),
    ortInt8(source, m),
    ortSameFormat('ortNode', source, m, codes),
  ];
  return [
    ...roadEntrants(s, plain(f), source, m),
    ...(s.scope === 'all' ? [apartEntrant(s, plain(f), source, m)] : []),
    handGemm(source, m, codes),
    ...(context.peers ? peers : []),
    peakLimit('dot'),
  ];
}

const denseSource = ({ weights, product }: Shape, m: number): Source =>
  weights.source(() => Promise.resolve(product.weights), copiesAt(m));

/** Weights that are f32 already. */
function ownDense(s: Shape, m: number): Entrant {
  const { product, quern, weights } = s;
  return {
    column: 'f32',
    make: async () => {
      const want = await denseSource(s, m).expected(m);
      return productCandidate(quern, product, m, fewer(await weights.dense(), m), 'f32', want);
    },
  };
}

function denseEntrants(context: Context, s: Shape, m: number): Entrant[] {
  const source = denseSource(s, m);
  const peers = [
    ortDense('ortWeb', source, m),
    ortDense('ortNode', source, m),
    ...(s.scope === 'all' ? arrayLibraries(source, m) : []),
  ];
  const limit = m === 1 ? readLimit(context.coldBytes) : peakLimit('madd');
  return [ownDense(s, m), handDense(source, m), ...(context.peers ? peers : []), limit];
}
