// config.json of a llama-style model, read and checked before any weight is touched.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelError } from './errors.ts';

export interface LlamaConfig {
  readonly dim: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  readonly hiddenDim: number;
  readonly vocabulary: number;
  readonly context: number;
  readonly normEps: number;
  readonly ropeTheta: number;
  readonly tiedEmbeddings: boolean;
  readonly bos: number;
  readonly eos: number;
}

type Fields = Readonly<Record<string, unknown>>;

/** Checks the fields of a parsed config.json; `where` names it in errors. */
export function parseConfig(fields: Fields, where: string): LlamaConfig {
  const wrong = (what: string, hint: string): never => {
    throw new ModelError('Q6002', `${where}: ${what}`, hint);
  };
  const number = (key: string, min: number, max: number, integer: boolean): number => {
    const value = fields[key];
    if (
      typeof value !== 'number' ||
      !(value >= min && value <= max) ||
      (integer && !Number.isInteger(value))
    )
      return wrong(
        `\`${key}\` is ${JSON.stringify(value) ?? 'missing'}`,
        `It must be ${integer ? 'a whole' : 'a'} number from ${min} to ${max}.`,
      );
    return value;
  };
  const count = (key: string, max = 1e6) => number(key, 1, max, true);

  if (fields.arch !== 'llama')
    wrong(
      `\`arch\` is ${JSON.stringify(fields.arch) ?? 'missing'}`,
      'Only the architecture "llama" runs.',
    );
  // A model trained for the half-split form would run and give nonsense, so the form must be stated.
  if (typeof fields.rope !== 'string' || !fields.rope.startsWith('interleaved'))
    wrong(
      '`rope` does not say "interleaved"',
      'Only rotary positions on interleaved pairs are supported.',
    );
  if (typeof fields.tied_embeddings !== 'boolean')
    wrong(
      '`tied_embeddings` is not true or false',
      'It says whether the output matrix is the embedding table.',
    );
  const dim = count('dim');
  const heads = count('n_heads', 4096);
  const keyValueHeads = count('n_kv_heads', 4096);
  if (dim % heads || (dim / heads) % 2)
    wrong(
      `\`dim\` ${dim} over ${heads} heads is not an even whole number`,
      'The head size is dim / n_heads.',
    );
  if (heads % keyValueHeads)
    wrong(
      `\`n_heads\` ${heads} is no multiple of \`n_kv_heads\` ${keyValueHeads}`,
      'Heads share key-value heads evenly.',
    );
  const vocabulary = count('vocab_size', 1e7);
  return {
    dim,
    heads,
    keyValueHeads,
    vocabulary,
    headDim: dim / heads,
    layers: count('n_layers', 10_000),
    hiddenDim: count('hidden_dim', 1e7),
    context: count('max_seq_len', 1e7),
    normEps: number('norm_eps', 0, 1, false),
    ropeTheta: number('rope_theta', 1, 1e9, false),
    tiedEmbeddings: fields.tied_embeddings as boolean,
    bos: number('bos_id', 0, vocabulary - 1, true),
    eos: number('eos_id', 0, vocabulary - 1, true),
  };
}

export async function readConfig(folder: string): Promise<LlamaConfig> {
  const path = join(folder, 'config.json');
  let parsed: unknown;
  try {
    parsed = JSON.parse(await readFile(path, 'utf8'));
  } catch (e) {
    throw new ModelError(
      'Q6002',
      `Cannot read ${path}: ${(e as Error).message}`,
      'A model folder must hold its config.json.',
    );
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new ModelError(
      'Q6002',
      `${path} is no JSON object`,
      'See the config.json of the sample model.',
    );
  return parseConfig(parsed as Fields, path);
}
