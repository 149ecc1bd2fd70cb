// The weights of a model in device memory: matrices as they are stored (encoded, or expanded to f32), vectors as
// f32. A file from anywhere is checked against its own description before anything runs on it.
import type { Device } from '../devices/device.ts';
import { DeviceTensor, EncodedTensor, elements } from '../tensor.ts';
import { ModelError } from './errors.ts';
import type { Weight } from './kernels.ts';
import { FormatShelf, type ModelSource } from './source.ts';

export class Weights {
  readonly #path: string;
  readonly #tensors: ReadonlyMap<string, Weight>;

  constructor(path: string, tensors: ReadonlyMap<string, Weight>) {
    this.#path = path;
    this.#tensors = tensors;
  }

  get bytes(): number {
    return [...this.#tensors.values()].reduce((n, t) => n + t.bytes, 0);
  }
  /** Of the matrices: what a format can change. */
  get bitsPerWeight(): number {
    const matrices = [...this.#tensors.values()].filter((t) => t.shape.length === 2);
    const weights = matrices.reduce((n, t) => n + elements(t.shape), 0);
    return (8 * matrices.reduce((n, t) => n + t.bytes, 0)) / weights;
  }

  #get(name: string, shape: readonly number[]): Weight {
    const t = this.#tensors.get(name);
    if (!t)
      throw new ModelError(
        'Q6003',
        `${this.#path} has no tensor ${name}`,
        'Only models with the tensor names of the sample model run.',
      );
    if (t.shape.length !== shape.length || t.shape.some((n, i) => n !== shape[i]))
      throw new ModelError(
        'Q6004',
        `${this.#path}: ${name} is [${t.shape.join(', ')}], but config.json asks for [${shape.join(', ')}]`,
        'The weights and the config must be of one model.',
      );
    return t;
  }

  matrix(name: string, rows: number, columns: number): Weight {
    return this.#get(name, [rows, columns]);
  }

  vector(name: string, size: number): DeviceTensor {
    const t = this.#get(name, [size]);
    if (t instanceof EncodedTensor)
      throw new ModelError(
        'Q6004',
        `${this.#path}: the vector ${name} is encoded`,
        'Only matrices are.',
      );
    return t;
  }

  dispose(): void {
    for (const t of this.#tensors.values()) t.dispose();
  }
}

/** Reads every tensor of a model; `rename` gives the names by which a runner asks for them. */
export async function readWeights(
  source: ModelSource,
  device: Device,
  rename = (name: string): string => name,
): Promise<Weights> {
  const tensors = new Map<string, Weight>();
  const shelf = new FormatShelf(device);
  try {
    for (const t of source.tensors.values()) {
      if (t.format && t.rows > 0) tensors.set(rename(t.name), await source.encoded(t, shelf));
      else if (t.stored.kind === 'plain' && !['F32', 'F16', 'BF16'].includes(t.stored.dtype))
        throw new ModelError(
          'Q6012',
          `${source.path}: ${t.name} has the dtype ${t.stored.dtype}`,
          'Weights are F32, F16 or BF16, or encoded in a format of Quern.',
        );
      else {
        const data = await source.floats(t, shelf);
        tensors.set(rename(t.name), DeviceTensor.from(device, { data, shape: t.shape }, 'f32'));
      }
    }
    return new Weights(source.path, tensors);
  } catch (e) {
    for (const t of tensors.values()) t.dispose();
    throw e;
  }
}
