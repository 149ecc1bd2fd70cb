// Compressing a model: the matrices go through one format, everything else is copied, into a safetensors file that
// describes itself.
import type { FormatRef } from '../../compiler/artifact.ts';
import type { TensorReport } from './convert.ts';
import { transferModel } from './transfer.ts';

export type { TensorReport } from './convert.ts';

export interface CompressRequest {
  /** A safetensors or GGUF file, a folder that holds one, or an index of shards. */
  readonly model: string;
  /** A folder, or a path that ends in .safetensors. */
  readonly output: string;
  readonly format: FormatRef;
  /** Of Quern, for the record. */
  readonly version: string;
  /** Which of the matrices are encoded. */
  selects(name: string): boolean;
  readonly allowNonfinite?: boolean;
  readonly signal?: AbortSignal;
  /** Bytes read so far, of all; the tensor being worked on. */
  onProgress?(done: number, total: number, tensor: string): void;
}

export interface CompressResult {
  /** The safetensors file that was written. */
  readonly path: string;
  readonly tensors: readonly TensorReport[];
  readonly sourceBytes: number;
  readonly bytes: number;
  readonly seconds: number;
}

export async function compressModel(request: CompressRequest): Promise<CompressResult> {
  const { format, selects, model, ...rest } = request;
  const { paths, tensors, sourceBytes, bytes, seconds } = await transferModel({
    ...rest,
    input: model,
    flat: true,
    mustChange: true,
    wish: (name) => (selects(name) ? { kind: 'format', format } : undefined),
  });
  return { path: paths[0]!, tensors, sourceBytes, bytes, seconds };
}
