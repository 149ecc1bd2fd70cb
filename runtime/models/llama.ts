// A llama-style transformer on top of compiled kernels: weights stay resident, a layer is a dozen kernel calls, all layers
// are one chain, and nothing here knows what format a weight is stored in.
import { chain } from '../chain.ts';
import type { Device } from '../devices/device.ts';
import { type DeviceName, device as openDevice } from '../devices/index.ts';
import { scope } from '../scope.ts';
import { DeviceTensor, EncodedTensor } from '../tensor.ts';
import { type LlamaConfig, readConfig } from './config.ts';
import { ModelError } from './errors.ts';
import { configOfGguf, tokenizerOfGguf } from './gguf-model.ts';
import { type Activations, type Layers, type Weight, loadLayers } from './kernels.ts';
import { renamed } from './names.ts';
import { folderOf } from './output.ts';
import { sampleToken, uniformDraw } from './sample.ts';
import { type ModelSource, openModel } from './source.ts';
import { type Tokenizer, readTokenizer, tokenizerOf } from './tokenizer.ts';
import { type Weights, readWeights } from './weights.ts';
import type { Window } from './windows.ts';
import { yieldToHost } from './yield.ts';

interface Layer {
  readonly attentionNorm: DeviceTensor;
  readonly wq: Weight;
  readonly wk: Weight;
  readonly wv: Weight;
  readonly wo: Weight;
  readonly ffnNorm: DeviceTensor;
  readonly w1: Weight;
  readonly w2: Weight;
  readonly w3: Weight;
}

type EncodedLayer = {
  readonly [K in keyof Layer]: Layer[K] extends DeviceTensor ? DeviceTensor : EncodedTensor;
};
/** The layer, if all its matrices are encoded. */
function encodedLayer(layer: Layer): EncodedLayer | undefined {
  const { wq, wk, wv, wo, w1, w2, w3 } = layer;
  const isEncoded = [wq, wk, wv, wo, w1, w2, w3].every((w) => w instanceof EncodedTensor);
  return isEncoded ? (layer as EncodedLayer) : undefined;
}

/** Keys and values of the positions seen so far: [context, width] tensors, filled from the front. */
interface Cache {
  readonly keys: readonly DeviceTensor[];
  readonly values: readonly DeviceTensor[];
}

export interface GenerateOptions {
  /** Tokens to generate. */
  readonly count: number;
  /** 0, the default, takes the most likely token. */
  readonly temperature?: number;
  readonly seed?: number;
}

/** Told of what goes into matrices: their names, and the input that they share. */
export type Observer = (weights: readonly string[], input: DeviceTensor) => Promise<void>;

export class Llama {
  readonly config: LlamaConfig;
  readonly tokenizer: Tokenizer;
  readonly device: Device;
  /** Of the weights, as they are held in memory. */
  readonly bytes: number;
  readonly bitsPerWeight: number;
  readonly #layers: readonly Layer[];
  readonly #embedding: Weight;
  readonly #output: Weight;
  readonly #norm: DeviceTensor;
  readonly #ops: Layers;
  readonly #weights: Weights;

  constructor(
    config: LlamaConfig,
    tokenizer: Tokenizer,
    device: Device,
    ops: Layers,
    weights: Weights,
  ) {
    this.config = config;
    this.tokenizer = tokenizer;
    this.device = device;
    this.bytes = weights.bytes;
    this.bitsPerWeight = weights.bitsPerWeight;
    this.#ops = ops;
    this.#weights = weights;
    const { dim, hiddenDim, headDim, keyValueHeads, vocabulary } = config;
    const keyWidth = headDim * keyValueHeads;
    this.#embedding = weights.matrix('tok_embeddings.weight', vocabulary, dim);
    this.#output = config.tiedEmbeddings
      ? this.#embedding
      : weights.matrix('output.weight', vocabulary, dim);
    this.#norm = weights.vector('norm.weight', dim);
    this.#layers = Array.from({ length: config.layers }, (_, i) => {
      const name = (part: string) => `layers.${i}.${part}.weight`;
      return {
        attentionNorm: weights.vector(name('attention_norm'), dim),
        wq: weights.matrix(name('attention.wq'), dim, dim),
        wk: weights.matrix(name('attention.wk'), keyWidth, dim),
        wv: weights.matrix(name('attention.wv'), keyWidth, dim),
        wo: weights.matrix(name('attention.wo'), dim, dim),
        ffnNorm: weights.vector(name('ffn_norm'), dim),
        w1: weights.matrix(name('feed_forward.w1'), hiddenDim, dim),
        w2: weights.matrix(name('feed_forward.w2'), dim, hiddenDim),
        w3: weights.matrix(name('feed_forward.w3'), hiddenDim, dim),
      };
    });
  }

  /** Cross-entropy of each target of a window, in nats. */
  async losses({ inputs, targets }: Window, observe?: Observer): Promise<Float32Array> {
    const ids = { data: targets, shape: [targets.length] };
    return scope(async () => {
      const losses = await chain(async () => {
        const hidden = await this.#hidden(inputs, 0, undefined, observe);
        const logits = await this.#ops.linear(hidden, this.#output);
        return this.#ops.crossEntropy(logits, ids);
      });
      return (await losses.data()) as Float32Array;
    });
  }

  /** Continues a prompt; ends early at the model's end token or when its context is full. */
  async *generate(prompt: string, options: GenerateOptions): AsyncGenerator<number> {
    const { bos, eos, context } = this.config;
    const { count, temperature = 0, seed = 0 } = options;
    const start = [bos, ...this.tokenizer.encode(prompt)];
    if (start.length > context)
      throw new ModelError(
        'Q6009',
        `The prompt has ${start.length} tokens; the model's context holds ${context}`,
        'Shorten the prompt.',
      );
    const cache = this.#newCache();
    try {
      let position = 0;
      let next: readonly number[] = start;
      for (let step = 0; step < count && position + next.length <= context; step += 1) {
        await yieldToHost();
        const id = await this.#next(next, position, cache, temperature, uniformDraw(seed, step));
        if (id === eos) return;
        yield id;
        position += next.length;
        next = [id];
      }
    } finally {
      for (const t of [...cache.keys, ...cache.values]) t.dispose();
    }
  }

  dispose(): void {
    this.#weights.dispose();
  }

  #newCache(): Cache {
    const { context, headDim, keyValueHeads, layers } = this.config;
    const shape = [context, headDim * keyValueHeads];
    const make = () =>
      Array.from({ length: layers }, () => DeviceTensor.empty(this.device, 'f32', shape));
    return { keys: make(), values: make() };
  }

  #next(
    ids: readonly number[],
    start: number,
    cache: Cache,
    temperature: number,
    u: number,
  ): Promise<number> {
    return scope(async () => {
      const made = await chain(async () => {
        const last = await this.#ops.lastRow(await this.#hidden(ids, start, cache));
        const logits = await this.#ops.linear(last, this.#output);
        return temperature === 0 ? this.#ops.greedy(logits) : logits;
      });
      const values = await made.data();
      return temperature === 0 ? values[0]! : sampleToken(values, temperature, u);
    });
  }

  /** The normalised output of the last layer for tokens at positions start, start + 1, ... */
  async #hidden(
    ids: ArrayLike<number>,
    start: number,
    cache?: Cache,
    observe?: Observer,
  ): Promise<DeviceTensor> {
    const ops = this.#ops;
    const { normEps } = this.config;
    const rows = { data: Int32Array.from(ids), shape: [ids.length] };
    let x = await ops.embed(this.#embedding, rows);
    for (const [i, layer] of this.#layers.entries()) {
      const encoded = encodedLayer(layer);
      if (!observe && encoded) {
        x = await scope(() => this.#layer(x, encoded, i, start, cache));
        continue;
      }
      x = await scope(async () => {
        const see = async (parts: readonly string[], input: DeviceTensor) =>
          observe?.(
            parts.map((p) => `layers.${i}.${p}.weight`),
            input,
          );
        const entering = await ops.rmsnorm(x, layer.attentionNorm, normEps);
        await see(['attention.wq', 'attention.wk', 'attention.wv'], entering);
        const mixed = await this.#attention(entering, i, start, cache);
        await see(['attention.wo'], mixed);
        const middle = await ops.linearAdd(mixed, layer.wo, x);
        const normed = await ops.rmsnorm(middle, layer.ffnNorm, normEps);
        await see(['feed_forward.w1', 'feed_forward.w3'], normed);
        const inner = await ops.swiglu(normed, layer.w1, layer.w3);
        await see(['feed_forward.w2'], inner);
        return ops.linearAdd(inner, layer.w2, middle);
      });
    }
    return ops.rmsnorm(x, this.#norm, normEps);
  }

  /** A layer in three calls, with the cache between the first two. */
  async #layer(
    x: DeviceTensor,
    layer: EncodedLayer,
    index: number,
    start: number,
    cache?: Cache,
  ): Promise<DeviceTensor> {
    const { headDim, heads, keyValueHeads, ropeTheta, normEps } = this.config;
    const { attentionNorm, wq, wk, wv, wo, ffnNorm, w1, w2, w3 } = layer;
    const groups = heads / keyValueHeads;
    const { layerIn, layerOut } = this.#ops.whole;
    const made = await layerIn(
      x,
      attentionNorm,
      wq,
      wk,
      wv,
      start,
      normEps,
      headDim,
      groups,
      ropeTheta,
    );
    const [k, v] = this.#remember(made.k, made.v, index, start, cache);
    const mixed = await this.#ops.attention(made.q, k, v, start, headDim);
    return layerOut(mixed, x, wo, ffnNorm, w1, w3, w2, normEps);
  }

  /** Keys and values of all positions so far. */
  #remember(
    k: DeviceTensor,
    v: DeviceTensor,
    index: number,
    start: number,
    cache?: Cache,
  ): readonly [DeviceTensor, DeviceTensor] {
    if (!cache) return [k, v];
    const seen = start + k.shape[0]!;
    cache.keys[index]!.write(start, k);
    cache.values[index]!.write(start, v);
    return [cache.keys[index]!.view(seen), cache.values[index]!.view(seen)];
  }

  async #attention(
    x: DeviceTensor,
    index: number,
    start: number,
    cache?: Cache,
  ): Promise<DeviceTensor> {
    const ops = this.#ops;
    const { headDim, heads, keyValueHeads, ropeTheta } = this.config;
    const { wq, wk, wv } = this.#layers[index]!;
    const groups = heads / keyValueHeads;
    const q = await ops.ropeQueries(await ops.linear(x, wq), start, headDim, groups, ropeTheta);
    const own = await ops.ropeKeys(await ops.linear(x, wk), start, headDim, ropeTheta);
    const [k, v] = this.#remember(own, await ops.linear(x, wv), index, start, cache);
    return ops.attention(q, k, v, start, headDim);
  }
}

export interface LoadLlamaOptions {
  readonly device?: DeviceName;
  /** 'q8' rounds the input of encoded weights to 8 bits, 32 values a scale; 'f32', the default, does not. */
  readonly activations?: Activations;
}

/** Config, tokenizer and tensors of a model, from whatever file holds them. */
export interface OpenedModel {
  readonly config: LlamaConfig;
  readonly tokenizer: Tokenizer;
  readonly source: ModelSource;
}

/** Opens a GGUF file, or a folder or .safetensors file with config.json and tokenizer.json beside it. */
export async function openLlama(path: string): Promise<OpenedModel> {
  const source = await openModel(path);
  const { gguf } = source;
  try {
    if (gguf)
      return {
        config: configOfGguf(gguf, source.tensors.keys(), source.path),
        tokenizer: await tokenizerOf(`of ${source.path}`, () => tokenizerOfGguf(gguf, source.path)),
        source,
      };
    const folder = await folderOf(path);
    return {
      config: await readConfig(folder),
      tokenizer: await readTokenizer(folder),
      source,
    };
  } catch (e) {
    await source.close();
    throw e;
  }
}

/** Loads a model: whatever openLlama takes. */
export async function loadLlama(path: string, options: LoadLlamaOptions = {}): Promise<Llama> {
  const { config, tokenizer, source } = await openLlama(path);
  let weights: Weights | undefined;
  try {
    const device = await openDevice(options.device);
    const ops = await loadLayers({ device }, options.activations);
    weights = await readWeights(
      source,
      device,
      source.gguf ? (name) => renamed(name, 'gguf', 'plain') : undefined,
    );
    return new Llama(config, tokenizer, device, ops, weights);
  } catch (e) {
    weights?.dispose();
    throw e;
  } finally {
    await source.close();
  }
}
