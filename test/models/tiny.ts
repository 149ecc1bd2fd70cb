// Tiny models for tests: random weights in the sample model's layout, and safetensors files of any tensors.
import { copyFile, mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type FileDType, SafetensorsWriter } from '../../runtime/files/safetensors.ts';

export const sampleModel = fileURLToPath(
  new URL('../../examples/models/verse-4m', import.meta.url),
);
export const sharedModel = fileURLToPath(
  new URL('../../../shared/models/verse-4m', import.meta.url),
);

export const temporaryFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'quern-test-'));

export interface TestTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | Uint8Array | Uint16Array | Int32Array;
  /** F32 unless given. */
  readonly dtype?: FileDType;
}

export async function writeTensors(path: string, tensors: readonly TestTensor[]): Promise<void> {
  const plans = tensors.map(({ name, shape, dtype = 'F32' }) => ({ name, shape, dtype }));
  const writer = await SafetensorsWriter.create(path, plans);
  for (const { name, data } of tensors)
    await writer.append(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  await writer.finish();
}

/** Numbers in [-1, 1) that are the same in every run. */
export function randomValues(count: number, seed: number): Float32Array {
  let x = seed * 2654435761 + 1;
  return Float32Array.from({ length: count }, () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return x / 2 ** 31;
  });
}

export const tinyConfig = {
  arch: 'llama',
  dim: 64,
  n_layers: 2,
  n_heads: 4,
  n_kv_heads: 2,
  hidden_dim: 96,
  vocab_size: 2048,
  max_seq_len: 32,
  norm_eps: 1e-5,
  rope_theta: 10000,
  rope: 'interleaved pairs',
  tied_embeddings: true,
  bos_id: 0,
  eos_id: 0,
};

export function tinyTensors(): TestTensor[] {
  const { dim, n_layers, n_heads, n_kv_heads, hidden_dim, vocab_size } = tinyConfig;
  const kv = (dim / n_heads) * n_kv_heads;
  let seed = 0;
  const matrix = (name: string, n: number, k: number): TestTensor => {
    seed += 1;
    return { name, shape: [n, k], data: randomValues(n * k, seed).map((x) => x * 0.3) };
  };
  const ones = (name: string): TestTensor => ({
    name,
    shape: [dim],
    data: new Float32Array(dim).fill(1),
  });
  const layers = Array.from({ length: n_layers }, (_, i) => {
    const name = (part: string) => `layers.${i}.${part}.weight`;
    return [
      ones(name('attention_norm')),
      ones(name('ffn_norm')),
      matrix(name('attention.wq'), dim, dim),
      matrix(name('attention.wk'), kv, dim),
      matrix(name('attention.wv'), kv, dim),
      matrix(name('attention.wo'), dim, dim),
      matrix(name('feed_forward.w1'), hidden_dim, dim),
      matrix(name('feed_forward.w3'), hidden_dim, dim),
      matrix(name('feed_forward.w2'), dim, hidden_dim),
    ];
  });
  return [matrix('tok_embeddings.weight', vocab_size, dim), ones('norm.weight'), ...layers.flat()];
}

/** A folder with config, tokenizer (the sample model's) and weights. */
export async function writeTinyModel(
  folder: string,
  tensors = tinyTensors(),
  config: object = tinyConfig,
): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeTensors(join(folder, 'model.safetensors'), tensors);
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await copyFile(join(sampleModel, 'tokenizer.json'), join(folder, 'tokenizer.json'));
  return folder;
}
