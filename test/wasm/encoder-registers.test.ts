// Encoders, what goes along rows, and attention keep to the vector registers of the machine, as products do
// (registers.test.ts): constants that are too many for them are loaded, and so is what was read and is wanted much later.
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FormatRef } from '../../compiler/artifact.ts';
import { type CompileRequest, compile } from '../../compiler/index.ts';
import type { Limits } from '../../compiler/limits.ts';
import { liveVectors } from '../support/live-vectors.ts';

const test = suite('registers of encoders and rows');

/** Vector registers that V8 leaves to the code. */
const free = 15;
const variants: Readonly<Record<string, Partial<Limits>>> = {
  'with unsigned bytes': { relaxed: true, unsignedDot: true },
  'with 7 bits': { relaxed: true, unsignedDot: false },
  'without relaxed SIMD': {},
};

type Request = Omit<CompileRequest, 'target' | 'limits'>;
const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const encoder = (name: string, args: object[] = []): Request => ({
  file: 'quern/formats',
  name: `${name}.encode`,
  ...(args.length ? { formatArgs: args as NonNullable<Request['formatArgs']> } : {}),
});
const row = (name: string): Request => ({ file: path('bench/row-kernels.ts'), name });
const uniform = (bits: number, symmetric: boolean): FormatRef => ({
  file: 'quern/formats',
  name: 'uniform',
  args: [{ bits, group: 32, symmetric }],
});
const cache = (name: string, format?: FormatRef): Request => ({
  file: path('bench/kernels.ts'),
  name,
  statics: [null, null, null, 128],
  ...(format ? { formats: [format, format] } : {}),
});

const kernels: Readonly<Record<string, Request>> = {
  ...Object.fromEntries(
    ['q8_0', 'q4_0', 'q4_1', 'q5_0', 'q5_1', 'nf4', 'mxfp4', 'nvfp4', 'q4_K', 'q6_K', 'iq4_nl'].map(
      (name) => [`the encoder of ${name}`, encoder(name)],
    ),
  ),
  ...Object.fromEntries(
    [2, 3, 4, 5, 8].map((bits) => [
      `the encoder of uniform grids of ${bits} bits`,
      encoder('uniform', [{ bits }]),
    ]),
  ),
  'the encoder of symmetric grids': encoder('uniform', [{ bits: 4, symmetric: true }]),
  ...Object.fromEntries(
    ['rowSum', 'rowMax', 'rowArgmax', 'columnSum', 'columnMax', 'variance', 'moments']
      .concat(['softmax', 'logSoftmax', 'crossEntropy', 'rmsNorm', 'layerNorm', 'silu', 'gelu'])
      .map((name) => [name, row(name)]),
  ),
  'attention on f32': cache('attention'),
  'attention on a cache of 4 bits': cache('attentionEncoded', uniform(4, false)),
  'attention on a cache of 2 bits': cache('attentionEncoded', uniform(2, false)),
  'attention in integers': cache('attentionQ8', uniform(4, true)),
  'causal attention': {
    file: path('ops/llama.ts'),
    name: 'attention',
    statics: [null, null, null, null, 128],
  },
};

for (const [name, request] of Object.entries(kernels))
  for (const [which, limits] of Object.entries(variants))
    test(`${name} keeps to ${free} vectors, ${which}`, async () => {
      const { stages } = await compile({ ...request, limits, target: 'wasm', trace: true });
      const text = stages.find((s) => s.name === 'wasm')!.text;
      const counts = liveVectors(text, /^(v128|[if]\d+x\d+)\./);
      assert.ok(counts.length >= 1, `${counts.length} loops`);
      assert.ok(Math.max(...counts) <= free, `live vectors: ${counts.join(', ')}`);
    });

test.run();
