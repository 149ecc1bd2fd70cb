// The weights of a model in device memory: matrices as they are stored (encoded, or expanded to f32), vectors as
// f32. A file from anywhere is checked against its own description before anything runs on it.
import { resolve } from 'node:path';
import type { FormatRef } from '../../compiler/artifact.ts';
import type { Device } from '../devices/device.ts';
import { type SafetensorsReader, openSafetensors, storedAs } from '../files/safetensors.ts';
import type { FormatHandle } from '../formats.ts';
import { formatFromRef } from '../load.ts';
import { DeviceTensor, EncodedTensor, elements, formatKey } from '../tensor.ts';
import {
  type Archive,
  type ArchivedTensor,
  archiveKey,
  fieldTensor,
  parseArchive,
} from './archive.ts';
import { ModelError } from './errors.ts';
import type { Weight } from './kernels.ts';
import { folderOf } from './output.ts';

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

/** Reads every tensor of a model, compressed by Quern or not. */
export async function readWeights(path: string, device: Device): Promise<Weights> {
  const folder = resolve(await folderOf(path));
  const reader = await openSafetensors(path);
  const tensors = new Map<string, Weight>();
  try {
    const text = reader.metadata[archiveKey];
    const archive: Archive =
      text === undefined ? { version: 1, quern: '', tensors: {} } : parseArchive(text, path);
    const formats = new Map<string, FormatHandle>();
    const fields = new Set<string>();
    for (const [name, t] of Object.entries(archive.tensors)) {
      const ref = resolveRef(t.format, folder);
      const key = formatKey(ref);
      const format = formats.get(key) ?? (await formatFromRef(ref, { device }));
      formats.set(key, format);
      tensors.set(name, await readEncoded(reader, name, t, format));
      for (const f of Object.keys(t.fields)) fields.add(fieldTensor(name, f));
    }
    for (const { name, dtype, shape } of reader.tensors.values()) {
      if (fields.has(name)) continue;
      if (!['F32', 'F16', 'BF16'].includes(dtype))
        throw new ModelError(
          'Q6012',
          `${path}: ${name} has the dtype ${dtype}`,
          'Weights are F32, F16 or BF16, or compressed by Quern.',
        );
      tensors.set(
        name,
        DeviceTensor.from(device, { data: await reader.readRows(name), shape }, 'f32'),
      );
    }
    return new Weights(path, tensors);
  } catch (e) {
    for (const t of tensors.values()) t.dispose();
    throw e;
  } finally {
    await reader.close();
  }
}

/** A user's format file is named relative to the archive. */
const resolveRef = (ref: FormatRef, folder: string): FormatRef =>
  ref.file.startsWith('quern/') ? ref : { ...ref, file: resolve(folder, ref.file) };

async function readEncoded(
  reader: SafetensorsReader,
  name: string,
  t: ArchivedTensor,
  format: FormatHandle,
): Promise<EncodedTensor> {
  const bytes: Record<string, Uint8Array> = {};
  for (const [field, { dtype, shape }] of Object.entries(t.fields)) {
    const entry = reader.info(fieldTensor(name, field));
    const wanted = storedAs(dtype, shape);
    if (entry.dtype !== wanted.dtype || entry.shape.join() !== wanted.shape.join())
      throw new ModelError(
        'Q6008',
        `${reader.path}: ${entry.name} is ${entry.dtype}[${entry.shape.join(', ')}], but its description says ${wanted.dtype}[${wanted.shape.join(', ')}]`,
        'Compress the model again.',
      );
    bytes[field] = await reader.readBytes(entry.name);
  }
  return format.assemble(t.shape, bytes);
}
