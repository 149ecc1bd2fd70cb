// Every text that the project's own programs give for CUDA, by family: the conformance cases, the library's formats, its
// contractions and layers, and its published systems. What goes through nvcc as a whole.
import { fileURLToPath } from 'node:url';
import { cudaBackend } from '../../backends/cuda/index.ts';
import type { Json } from '../../compiler/artifact.ts';
import { CompileError } from '../../compiler/diagnostics/diagnostic.ts';
import { type CompileRequest, compile, describe, type SourceHost } from '../../compiler/index.ts';
import { type Case, hostOf, requestOf, sourceOf } from '../conformance/case.ts';
import { controlCases } from '../conformance/control.ts';
import { elementwiseCases } from '../conformance/elementwise.ts';
import { libraryCases } from '../conformance/library.ts';
import { matmulCases, reductionCases } from '../conformance/reductions.ts';
import { updateCases } from '../conformance/updates.ts';
import { viewCases } from '../conformance/views.ts';
import { layerCalls } from './library.ts';

export interface Program {
  readonly name: string;
  readonly request: Omit<CompileRequest, 'target'>;
  readonly host?: SourceHost;
}
export type Families = { readonly [family: string]: readonly Program[] };

const path = (file: string): string => fileURLToPath(new URL(`../../ops/${file}`, import.meta.url));
const library = { formats: 'quern/formats', systems: 'quern/systems', sparse: 'quern/sparse' };
const files = { formats: path('formats/index.ts'), systems: path('systems/index.ts') };
const layers = path('llama.ts');
const plain = { file: library.formats, name: 'q4_0' };

const caseOf = (c: Case): Program => ({
  name: c.name,
  request: requestOf('kernel'),
  host: hostOf(sourceOf(c)),
});

export const formats = describe(files.formats).exports.filter((e) => e.kind === 'format');
const functions = formats.flatMap(({ name, hasLayout }) =>
  (hasLayout ? ['encode', 'decode', 'pack', 'unpack'] : ['encode', 'decode']).map(
    (f): Program => ({
      name: `${name}.${f}`,
      request: { file: library.formats, name: `${name}.${f}` },
    }),
  ),
);
const linear = formats.flatMap(({ name }): Program[] => {
  const formats = [{ file: library.formats, name }];
  return [
    { name: `linear in ${name}`, request: { file: layers, name: 'linear', formats } },
    { name: `embed in ${name}`, request: { file: layers, name: 'embed', formats } },
  ];
});
const dense: Program[] = layerCalls().map(({ name, request }) => ({ name, request }));

/**
 * What parameters of systems that are no tensors are given, by the name of the parameter; by the name of the kernel where
 * the parameter is a record of options.
 */
const statics: { readonly [name: string]: Json } = {
  ...{ bins: 32, bits: 4, xBits: 4, wBits: 3, residual: 3, levels: 4, rank: 4, rounds: 5, k: 3 },
  ...{ headDim: 32, group: 32, outliers: 1, keep: 16, theta: 10000, of: 'channels', m: 2 },
  ...{ along: 'tokens', isPlain: false, count: 8, axis: 0, sinks: 1 },
  ...{ lqLora: { rank: 3 }, squeeze: { bits: 3 }, vptq: { v: 2, bits: 4 } },
  ...{ questEncode: { levels: 16 } },
};
const systems = describe(files.systems).exports.flatMap((e): Program[] => {
  // Functions of tensors of any shape are parts of programs.
  if (e.kind !== 'kernel' || e.params.some((p) => 'open' in p && p.open)) return [];
  const given = e.params.map((p): Json | undefined => {
    if (p.kind !== 'static' || p.optional) return undefined;
    const value = statics[p.name] ?? statics[e.name];
    if (value === undefined)
      throw new Error(`${e.name}: test/cuda/corpus.ts has no value for ${p.name}`);
    return value;
  });
  const request = {
    file: library.systems,
    name: e.name,
    ...(given.some((x) => x !== undefined) ? { statics: given } : {}),
    formats: e.formatParams.map(() => plain),
  };
  return [{ name: e.name, request }];
});

export const families: Families = {
  elementwise: elementwiseCases.map(caseOf),
  reductions: reductionCases.map(caseOf),
  contractions: matmulCases.map(caseOf),
  views: viewCases.map(caseOf),
  'control flow': controlCases.map(caseOf),
  updates: updateCases.map(caseOf),
  'arrays, transforms, linear algebra': libraryCases.map(caseOf),
  'functions of formats': functions,
  'products of formats': linear,
  'layers of a model': dense,
  systems,
};

export interface Text {
  readonly family: string;
  /** Programs that give it: the first one. */
  readonly name: string;
  readonly text: string;
}
export interface Corpus {
  readonly texts: readonly Text[];
  /** Programs that the compiler refuses for CUDA, with its reason. */
  readonly refused: readonly string[];
}

/** The texts of programs for an architecture, each once; what `isWanted` says no to is not compiled. */
export async function corpus(
  preset: string,
  isWanted: (family: string, index: number) => boolean = () => true,
): Promise<Corpus> {
  const texts = new Map<string, Text>();
  const refused: string[] = [];
  for (const [family, programs] of Object.entries(families))
    for (const [i, { name, request, host }] of programs.entries()) {
      if (!isWanted(family, i)) continue;
      try {
        const { artifact } = await compile({ ...request, preset, target: 'cuda' }, host);
        const text = new TextDecoder().decode(artifact.code);
        if (artifact.manifest.launches!.length && !texts.has(text))
          texts.set(text, { family, name, text });
      } catch (e) {
        // Q4001 names an op that the target has no way to run; anything else is a fault.
        if (!(e instanceof CompileError) || e.diagnostics.some((d) => d.code !== 'Q4001'))
          throw new Error(`${name}: ${(e as Error).message}`, { cause: e });
        refused.push(`${name}: ${e.diagnostics[0]!.message}`);
      }
    }
  return { texts: [...texts.values()], refused };
}

export const presets = Object.keys(cudaBackend.presets!);
