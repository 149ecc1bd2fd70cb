// A llama in GGUF: its shapes and its tokenizer as metadata (keys of ggml's docs/gguf.md), to and from the config.json
// and tokenizer.json that lie beside a safetensors model.
import {
  type GgufValue,
  type Metadata,
  boolValue,
  numberOf,
  numberValue,
  numbersOf,
  numbersValue,
  stringOf,
  stringValue,
  stringsOf,
  stringsValue,
} from '../files/gguf/values.ts';
import { type LlamaConfig, parseConfig } from './config.ts';
import { ModelError } from './errors.ts';

/** The whole tokenizer.json, as the specification provides for it: what llama.cpp's own keys leave out is here. */
const WHOLE_TOKENIZER = 'tokenizer.huggingface.json';

const tokenTypes = { normal: 1, control: 3, userDefined: 4 } as const;

const wrong = (message: string, hint: string): never => {
  throw new ModelError('Q6017', message, hint);
};

interface TokenizerJson {
  readonly added_tokens?: readonly {
    readonly id: number;
    readonly content: string;
    readonly special: boolean;
  }[];
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: {
    readonly type?: unknown;
    readonly use_regex?: unknown;
    readonly add_prefix_space?: unknown;
  };
  readonly model?: {
    readonly type?: unknown;
    readonly vocab?: { readonly [token: string]: number };
    readonly merges?: readonly (string | readonly [string, string])[];
  };
}

/** Metadata of a model with this config; with a tokenizer, `tokenizerText` is its tokenizer.json. */
export function ggufMetadata(
  config: LlamaConfig,
  name: string,
  tokenizerText: string | undefined,
): Map<string, GgufValue> {
  const u32 = (x: number) => numberValue('u32', x);
  const f32 = (x: number) => numberValue('f32', x);
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', stringValue('llama')],
    ['general.name', stringValue(name)],
    ['general.quantization_version', u32(2)],
    ['llama.vocab_size', u32(config.vocabulary)],
    ['llama.context_length', u32(config.context)],
    ['llama.embedding_length', u32(config.dim)],
    ['llama.block_count', u32(config.layers)],
    ['llama.feed_forward_length', u32(config.hiddenDim)],
    ['llama.attention.head_count', u32(config.heads)],
    ['llama.attention.head_count_kv', u32(config.keyValueHeads)],
    ['llama.attention.layer_norm_rms_epsilon', f32(config.normEps)],
    ['llama.rope.dimension_count', u32(config.headDim)],
    ['llama.rope.freq_base', f32(config.ropeTheta)],
  ]);
  if (tokenizerText === undefined) return metadata;
  for (const [k, v] of tokenizerKeys(tokenizerText, config)) metadata.set(k, v);
  return metadata;
}

function tokenizerKeys(text: string, config: LlamaConfig): [string, GgufValue][] {
  const json = JSON.parse(text) as TokenizerJson;
  const { model, pre_tokenizer: pre } = json;
  // llama.cpp names pre-tokenizers; a name that does not fit would give other tokens without a word.
  if (
    model?.type !== 'BPE' ||
    !model.vocab ||
    !model.merges ||
    json.normalizer != null ||
    pre?.type !== 'ByteLevel' ||
    pre.use_regex === false ||
    pre.add_prefix_space === true
  )
    return wrong(
      'The tokenizer.json is no byte-level BPE with the pattern of GPT-2',
      'Only that kind can be written to GGUF so far.',
    );
  const tokens: string[] = new Array(config.vocabulary).fill('');
  const types: number[] = new Array(config.vocabulary).fill(tokenTypes.normal);
  for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token;
  for (const t of json.added_tokens ?? []) {
    tokens[t.id] = t.content;
    types[t.id] = t.special ? tokenTypes.control : tokenTypes.userDefined;
  }
  const hole = tokens.indexOf('');
  if (hole >= 0 || tokens.length !== config.vocabulary)
    wrong(
      `The tokenizer has ${hole >= 0 ? `no token ${hole}` : `${tokens.length} tokens`}, the model has ${config.vocabulary}`,
      'The tokenizer and the config must be of one model.',
    );
  const merges = model.merges.map((m) => (typeof m === 'string' ? m : m.join(' ')));
  return [
    ['tokenizer.ggml.model', stringValue('gpt2')],
    ['tokenizer.ggml.pre', stringValue('gpt-2')],
    ['tokenizer.ggml.tokens', stringsValue(tokens)],
    ['tokenizer.ggml.token_type', numbersValue('i32', types)],
    ['tokenizer.ggml.merges', stringsValue(merges)],
    ['tokenizer.ggml.bos_token_id', numberValue('u32', config.bos)],
    ['tokenizer.ggml.eos_token_id', numberValue('u32', config.eos)],
    ['tokenizer.ggml.add_bos_token', boolValue(true)],
    ['tokenizer.ggml.add_eos_token', boolValue(false)],
    [WHOLE_TOKENIZER, stringValue(text)],
  ];
}

/** The config.json that a GGUF file stands for, in the form of the sample model. */
export function configFields(
  metadata: Metadata,
  tensors: Iterable<string>,
  where: string,
): Readonly<Record<string, unknown>> {
  const architecture = stringOf(metadata.get('general.architecture'));
  if (architecture !== 'llama')
    return wrong(
      `${where} has the architecture ${JSON.stringify(architecture) ?? 'none'}`,
      'Only the architecture "llama" runs.',
    );
  const number = (key: string): number | undefined => numberOf(metadata.get(key));
  const of = (key: string): number | undefined => number(`llama.${key}`);
  const dim = of('embedding_length');
  const heads = of('attention.head_count');
  const turned = of('rope.dimension_count');
  if (turned !== undefined && dim !== undefined && heads && turned !== dim / heads)
    wrong(
      `${where}: llama.rope.dimension_count is ${turned}, and heads have ${dim / heads} dims`,
      'Only rotary positions over whole heads are supported.',
    );
  const scaling = stringOf(metadata.get('llama.rope.scaling.type'));
  if (scaling !== undefined && scaling !== 'none')
    wrong(`${where} scales its rotary positions (${scaling})`, 'That is not supported.');
  const tokens = stringsOf(metadata.get('tokenizer.ggml.tokens'))?.length;
  return {
    arch: 'llama',
    dim,
    n_layers: of('block_count'),
    n_heads: heads,
    n_kv_heads: of('attention.head_count_kv') ?? heads,
    hidden_dim: of('feed_forward_length'),
    vocab_size: of('vocab_size') ?? tokens,
    max_seq_len: of('context_length'),
    // Both are held as f32, and these decimals are what was meant.
    norm_eps: decimal(of('attention.layer_norm_rms_epsilon')),
    rope_theta: decimal(of('rope.freq_base') ?? 10000),
    rope: 'interleaved pairs',
    tied_embeddings: ![...tensors].includes('output.weight'),
    bos_id: number('tokenizer.ggml.bos_token_id'),
    eos_id: number('tokenizer.ggml.eos_token_id'),
  };
}

/** The shortest decimal that is this f32. */
function decimal(x: number | undefined): number | undefined {
  if (x === undefined || !Number.isFinite(x)) return x;
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(x.toPrecision(digits));
    if (Math.fround(short) === x) return short;
  }
  return x;
}

export const configOfGguf = (
  metadata: Metadata,
  tensors: Iterable<string>,
  where: string,
): LlamaConfig => parseConfig(configFields(metadata, tensors, where), where);

/** The tokenizer.json that a GGUF file holds, or that its tokens and merges make. */
export function tokenizerOfGguf(metadata: Metadata, where: string): string {
  const whole = stringOf(metadata.get(WHOLE_TOKENIZER));
  if (whole !== undefined) return whole;
  const tokens = stringsOf(metadata.get('tokenizer.ggml.tokens'));
  const merges = stringsOf(metadata.get('tokenizer.ggml.merges'));
  const model = stringOf(metadata.get('tokenizer.ggml.model'));
  const pre = stringOf(metadata.get('tokenizer.ggml.pre'));
  if (!tokens || !merges || model !== 'gpt2' || pre !== 'gpt-2')
    return wrong(
      `${where} has a tokenizer of kind ${JSON.stringify(model)}, ${JSON.stringify(pre)}`,
      `Only byte-level BPE with the pattern of GPT-2 is read from GGUF, or ${WHOLE_TOKENIZER}.`,
    );
  const kinds = numbersOf(metadata.get('tokenizer.ggml.token_type')) ?? [];
  const special = (i: number) => kinds[i] === tokenTypes.control;
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };
  return JSON.stringify({
    version: '1.0',
    added_tokens: tokens.flatMap((content, id) =>
      special(id) || kinds[id] === tokenTypes.userDefined
        ? [
            {
              id,
              content,
              special: special(id),
              normalized: false,
              lstrip: false,
              rstrip: false,
              single_word: false,
            },
          ]
        : [],
    ),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((t, i) => [t, i])), merges },
  });
}
