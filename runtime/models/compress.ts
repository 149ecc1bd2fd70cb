// Compressing a model file: the matrices go through a format a slab of rows at a time, everything else is copied.
// Memory is bounded by a slab (decoded and encoded) and the encoded form of the largest matrix; a format with
// fields that are stored once a tensor needs the whole matrix at once.
import type { FormatRef } from '../../compiler/artifact.ts';
import { device as openDevice } from '../devices/index.ts';
import type { Device } from '../devices/device.ts';
import { QuernError } from '../errors.ts';
import { type SafetensorsReader, type TensorEntry, openSafetensors } from '../files/safetensors.ts';
import type { FieldLayout, FormatHandle } from '../formats.ts';
import { formatFromRef, load } from '../load.ts';
import { scope } from '../scope.ts';
import { DeviceTensor, type EncodedTensor, elements } from '../tensor.ts';
import { fieldTensor } from './archive.ts';
import { ModelError } from './errors.ts';
import { type OutputPlan, folderOf, writeModel } from './output.ts';

export interface CompressRequest {
  /** A safetensors file, a folder that holds one, or an index of shards. */
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

export interface TensorReport {
  readonly name: string;
  readonly shape: readonly number[];
  readonly elements: number;
  /** As stored in the source. */
  readonly dtype: string;
  readonly sourceBytes: number;
  readonly bytes: number;
  readonly bitsPerWeight: number;
  /** Of an encoded matrix; copied tensors have none of the following. */
  readonly format?: FormatRef;
  readonly relativeError?: number;
  readonly squaredError?: number;
  readonly squaredNorm?: number;
  readonly seconds: number;
}

export interface CompressResult {
  /** The safetensors file that was written. */
  readonly path: string;
  readonly tensors: readonly TensorReport[];
  readonly sourceBytes: number;
  readonly bytes: number;
  readonly seconds: number;
}

const encodable = ['F64', 'F32', 'F16', 'BF16'];

/** Rows of a slab are chosen to fill about this many bytes as f32. */
const slabBytes = 16 * 2 ** 20;

interface Distance {
  distance(x: DeviceTensor, w: EncodedTensor): Promise<{ error: DeviceTensor; norm: DeviceTensor }>;
}

export async function compressModel(request: CompressRequest): Promise<CompressResult> {
  const start = performance.now();
  await folderOf(request.model);
  const source = await openSafetensors(request.model);
  const all = [...source.tensors.values()];
  try {
    const encoder = await Encoder.open(request.format);
    const layouts = new Map<string, readonly FieldLayout[]>();
    for (const t of all)
      if (
        t.shape.length === 2 &&
        t.bytes > 0 &&
        encodable.includes(t.dtype) &&
        request.selects(t.name)
      )
        layouts.set(t.name, await encoder.layout(t));
    if (!layouts.size)
      throw new ModelError(
        'Q6011',
        `No tensor of ${request.model} is to be encoded`,
        'Matrices with two axes of floats are; look at --only and --skip.',
      );
    await encoder.warmUp([...layouts.values()][0]!, all.find((t) => layouts.has(t.name))!);
    const tensors: TensorReport[] = [];
    const total = all.reduce((n, t) => n + t.bytes, 0);
    let done = 0;
    const plan: OutputPlan = { ...request, tensors: all, layouts };
    const path = await writeModel(plan, async (append) => {
      for (const t of all) {
        const layout = layouts.get(t.name);
        const began = performance.now();
        const step = (bytes: number) => {
          request.signal?.throwIfAborted();
          done += bytes;
          request.onProgress?.(done, total, t.name);
        };
        step(0);
        const made = layout
          ? await encoder.encode(source, t, layout, append, step, request.allowNonfinite ?? false)
          : await copy(source, t, append, step);
        const seconds = (performance.now() - began) / 1000;
        const n = elements(t.shape);
        tensors.push({
          name: t.name,
          shape: t.shape,
          elements: n,
          dtype: t.dtype,
          sourceBytes: t.bytes,
          bitsPerWeight: n ? (8 * made.bytes) / n : 0,
          seconds,
          ...made,
        });
      }
    });
    const bytes = tensors.reduce((n, t) => n + t.bytes, 0);
    return {
      path,
      tensors,
      sourceBytes: total,
      bytes,
      seconds: (performance.now() - start) / 1000,
    };
  } finally {
    await source.close();
  }
}

/** Appends bytes to a tensor of the output. */
type Append = (name: string, bytes: Uint8Array) => Promise<void>;
type Step = (bytes: number) => void;

async function copy(source: SafetensorsReader, t: TensorEntry, append: Append, step: Step) {
  for await (const chunk of source.chunks(t.name)) {
    await append(t.name, chunk);
    step(chunk.length);
  }
  return { bytes: t.bytes };
}

/** One format on one device. */
class Encoder {
  readonly #format: FormatHandle;
  readonly #measure: Distance;
  readonly #device: Device;

  private constructor(format: FormatHandle, measure: Distance, device: Device) {
    this.#format = format;
    this.#measure = measure;
    this.#device = device;
  }

  static async open(ref: FormatRef): Promise<Encoder> {
    const device = await openDevice();
    const measure = await load(new URL('../../ops/measure.ts', import.meta.url), { device });
    return new Encoder(
      await formatFromRef(ref, { device }),
      measure as unknown as Distance,
      device,
    );
  }

  /** The fields of a matrix; an error that names it if the format does not fit. */
  async layout(t: TensorEntry): Promise<readonly FieldLayout[]> {
    try {
      return await this.#format.layout(t.shape);
    } catch (e) {
      if (!(e instanceof QuernError) || e.code !== 'Q5006') throw e;
      throw new ModelError(
        'Q6007',
        `Tensor ${t.name} [${t.shape.join(', ')}] does not fit the format: ${e.explanation.message.replace(/^[^:]*: /, '')}`,
        `Leave it as it is with --skip '${t.name}', or choose a format with a smaller block.`,
      );
    }
  }

  /** Compiles the kernels, so that the speeds reported are those of running them. */
  async warmUp(layout: readonly FieldLayout[], { shape }: TensorEntry): Promise<void> {
    const [n, k] = shape as [number, number];
    const rows = blockRows(n, layout);
    await scope(async () => {
      const x = DeviceTensor.from(this.#device, {
        data: new Float32Array(rows * k),
        shape: [rows, k],
      });
      await this.#measure.distance(x, await this.#format.encode(x));
    });
  }

  async encode(
    source: SafetensorsReader,
    t: TensorEntry,
    layout: readonly FieldLayout[],
    append: Append,
    step: Step,
    allowNonfinite: boolean,
  ) {
    const [n, k] = t.shape as [number, number];
    const whole = layout.some((f) => f.level === 'tensor');
    const rows = whole ? n : slabRows(n, k, layout);
    const parts = new Map<string, Uint8Array[]>(layout.map((f) => [f.name, []]));
    let squaredError = 0;
    let squaredNorm = 0;
    for (let at = 0; at < n; at += rows) {
      const count = Math.min(rows, n - at);
      await scope(async () => {
        const values = await source.readRows(t.name, at, at + count);
        const x = DeviceTensor.from(this.#device, { data: values, shape: [count, k] });
        const w = await this.#format.encode(x);
        const { error, norm } = await this.#measure.distance(x, w);
        const norms = await norm.data();
        // A row's norm is not finite when a weight is not (or is beyond 1e19): only then look at each.
        if (!allowNonfinite && !norms.every(Number.isFinite)) requireFinite(t, values, at);
        for (const e of await error.data()) squaredError += e;
        for (const e of norms) squaredNorm += e;
        for (const [name, field] of Object.entries(w.fields))
          parts.get(name)!.push(await field.raw());
      });
      step((count * t.bytes) / n);
    }
    for (const [name, chunks] of parts)
      for (const c of chunks) await append(fieldTensor(t.name, name), c);
    return {
      bytes: layout.reduce((sum, f) => sum + f.bytes, 0),
      format: this.#format.ref,
      squaredError,
      squaredNorm,
      relativeError:
        squaredNorm === 0 ? Math.sqrt(squaredError) : Math.sqrt(squaredError / squaredNorm),
    };
  }
}

/** Rows of the matrix that a block covers: its block-level fields have that many times fewer. */
const blockRows = (n: number, layout: readonly FieldLayout[]): number =>
  Math.max(1, ...layout.filter((f) => f.level === 'block').map((f) => n / f.shape[0]!));

/** Rows of a slab: whole blocks of rows. */
function slabRows(n: number, k: number, layout: readonly FieldLayout[]): number {
  const least = blockRows(n, layout);
  return least * Math.max(1, Math.floor(slabBytes / (4 * k * least)));
}

function requireFinite(t: TensorEntry, values: Float32Array, firstRow: number): void {
  const i = values.findIndex((x) => !Number.isFinite(x));
  if (i < 0) return;
  const k = t.shape[1]!;
  throw new ModelError(
    'Q6006',
    `Tensor ${t.name} holds ${values[i]} at [${firstRow + Math.floor(i / k)}, ${i % k}]`,
    `Leave it as it is with --skip '${t.name}', or encode what the format makes of it with --allow-nonfinite.`,
  );
}
