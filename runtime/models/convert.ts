// From a model file to a model file, tensor by tensor: numbers are encoded, encoded tensors are decoded and encoded
// anew, and what keeps its format is copied. Everything is planned first and then flows through in slabs of rows, so
// that memory is bounded by a slab, or by one matrix for a format with fields that are stored once a tensor.
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { FormatRef } from '../../compiler/artifact.ts';
import { device as openDevice } from '../devices/index.ts';
import type { Device } from '../devices/device.ts';
import { QuernError } from '../errors.ts';
import { ggmlTypes } from '../files/gguf/types.ts';
import type { Metadata } from '../files/gguf/values.ts';
import { type FileDType, fileDTypes, toFloats } from '../files/safetensors.ts';
import { type PlannedFile, StreamedOutput } from '../files/streamed.ts';
import type { FieldLayout, FormatHandle } from '../formats.ts';
import { load } from '../load.ts';
import { pack } from '../pack.ts';
import { scope } from '../scope.ts';
import { DeviceTensor, type EncodedTensor, elements, formatKey } from '../tensor.ts';
import { fieldTensor } from './archive.ts';
import {
  type Companion,
  type OutputTensor,
  type Target,
  bytesOf,
  ggmlOfFormat,
  kindOf,
  piecesOf,
  planFiles,
} from './container.ts';
import { ModelError } from './errors.ts';
import { FormatShelf, type ModelSource, type ModelTensor, rowUnit, slabRows } from './source.ts';

/** What is asked for a tensor: a format, numbers of a dtype, or nothing but its place in the new file. */
export type Wish =
  | { readonly kind: 'keep' }
  | { readonly kind: 'plain'; readonly dtype: FileDType }
  | { readonly kind: 'format'; readonly format: FormatRef };

export interface ConvertRequest {
  readonly source: ModelSource;
  /** A path that ends in .safetensors or .gguf. Its folder exists. */
  readonly output: string;
  wish(tensor: ModelTensor): Wish;
  /** Name of a tensor in the output; its own unless given. */
  rename?(name: string): string;
  readonly notes?: { readonly [key: string]: string };
  readonly metadata?: Metadata;
  readonly companions?: readonly Companion[];
  readonly shardBytes?: number;
  readonly allowNonfinite?: boolean;
  readonly resume?: boolean;
  /** Of Quern, for the record. */
  readonly version: string;
  readonly signal?: AbortSignal;
  /** Keep what is done when the work is interrupted, so that it can be resumed. */
  readonly keepOnAbort?: boolean;
  /** Bytes read so far, of all; the tensor being worked on. */
  onProgress?(done: number, total: number, tensor: string): void;
  /** Rows before and after, as f32: for reports. Slows the work down. */
  onRows?(tensor: ModelTensor, firstRow: number, before: Float32Array, after: Float32Array): void;
}

export interface TensorReport {
  /** In the output. */
  readonly name: string;
  /** Its name in the source. */
  readonly source: string;
  readonly shape: readonly number[];
  readonly elements: number;
  /** As stored in the source. */
  readonly dtype: string;
  readonly sourceBytes: number;
  readonly bytes: number;
  readonly bitsPerWeight: number;
  /** As stored in the output. */
  readonly stored: string;
  /** Of an encoded matrix; copied tensors have none of the following. */
  readonly format?: FormatRef;
  readonly relativeError?: number;
  readonly squaredError?: number;
  readonly squaredNorm?: number;
  readonly seconds: number;
}

export interface ConvertResult {
  /** The files that were written. */
  readonly paths: readonly string[];
  readonly tensors: readonly TensorReport[];
  /** Tensors that an earlier run had finished. */
  readonly resumed: number;
  readonly sourceBytes: number;
  readonly bytes: number;
  readonly seconds: number;
}

/** Rows of a slab are chosen to fill about this many bytes as f32. */
const SLAB_BYTES = 8 * 2 ** 20;

interface Distance {
  distance(x: DeviceTensor, w: EncodedTensor): Promise<{ error: DeviceTensor; norm: DeviceTensor }>;
}

interface Planned {
  readonly from: ModelTensor;
  readonly to: OutputTensor;
  /** Rows that can be handled apart. */
  readonly unit: number;
  /** The format that is encoded in, if any. */
  readonly format?: FormatHandle;
}

export async function convertModel(request: ConvertRequest): Promise<ConvertResult> {
  const start = performance.now();
  const { source, output, version } = request;
  const device = await openDevice();
  const shelf = new FormatShelf(device);
  const planned: Planned[] = [];
  for (const t of source.tensors.values()) planned.push(await plan(request, t, shelf));
  const files = planFiles({
    path: output,
    tensors: planned.map((p) => p.to),
    companions: request.companions ?? [],
    shardBytes: request.shardBytes ?? Infinity,
    version,
    notes: request.notes ?? source.notes,
    metadata: request.metadata ?? source.gguf ?? new Map(),
  });
  const key = await keyOf(request, files, planned);
  const out = await StreamedOutput.create(files, { key, resume: request.resume ?? false });
  try {
    const writer = await Writer.open(request, device, shelf, out);
    const reports = await writer.all(planned);
    await out.finish();
    return {
      paths: files.map((f) => f.path),
      tensors: reports,
      resumed: out.finished.length,
      sourceBytes: reports.reduce((n, t) => n + t.sourceBytes, 0),
      bytes: reports.reduce((n, t) => n + t.bytes, 0),
      seconds: (performance.now() - start) / 1000,
    };
  } catch (e) {
    // A full disk can be emptied, an interrupted run continued; anything else would fail again.
    const again =
      request.signal?.aborted === true || (e instanceof QuernError && e.code === 'Q6107');
    await out.abort({ keep: again && request.keepOnAbort === true });
    throw e;
  }
}

/** Decides what becomes of a tensor; an error that names it if that cannot be. */
async function plan(
  { output, wish, rename, source }: ConvertRequest,
  t: ModelTensor,
  shelf: FormatShelf,
): Promise<Planned> {
  const name = rename?.(t.name) ?? t.name;
  const asked = wish(t);
  const gguf = kindOf(output) === 'gguf';
  const made = async (target: Target, format?: FormatHandle): Promise<Planned> => {
    const layouts: (readonly FieldLayout[])[] = [];
    if (t.format && t.rows > 0 && target.kind !== 'ggml')
      layouts.push(await (await source.formatOf(t, shelf)).layout([t.rows, t.columns]));
    if (format) layouts.push(await layoutOf(t, format));
    const unit = rowUnit(t.rows, layouts);
    return {
      from: t,
      to: { name, shape: t.shape, target },
      unit,
      ...(format ? { format } : {}),
    };
  };
  if (asked.kind === 'plain') return made({ kind: 'plain', dtype: asked.dtype });
  const { stored } = t;
  if (asked.kind === 'keep') {
    if (stored.kind === 'plain') return made(stored);
    if (stored.kind === 'ggml' && gguf) return made({ kind: 'ggml', type: stored.type });
  }
  const ref = asked.kind === 'format' ? asked.format : t.format!;
  const format = asked.kind === 'format' ? await shelf.get(ref) : await source.formatOf(t, shelf);
  if (!gguf)
    return made({ kind: 'fields', format: ref, layout: await layoutOf(t, format) }, format);
  const type = ggmlOfFormat(ref);
  if (type === undefined)
    throw new ModelError(
      'Q6014',
      `GGUF has no type for the format ${ref.name} of ${t.name}`,
      `Types of GGUF are ${ggmlNames()}; or write a .safetensors file.`,
    );
  await layoutOf(t, format);
  return made({ kind: 'ggml', type }, format);
}

const ggmlNames = (): string =>
  Object.values(ggmlTypes)
    .flatMap((t) => t.format ?? [])
    .join(' ');

/** The fields of a matrix; an error that names it if the format does not fit. */
async function layoutOf(t: ModelTensor, format: FormatHandle): Promise<readonly FieldLayout[]> {
  try {
    return await format.layout([t.rows, t.columns]);
  } catch (e) {
    if (!(e instanceof QuernError) || e.code !== 'Q5006') throw e;
    throw new ModelError(
      'Q6007',
      `Tensor ${t.name} [${t.shape.join(', ')}] does not fit the format: ${e.explanation.message.replace(/^[^:]*: /, '')}`,
      `Leave it as it is with --skip '${t.name}', or choose a format with a smaller block.`,
    );
  }
}

/** Identity of the work: what is read, what is made of it, and by which version. */
async function keyOf(
  { source, version, allowNonfinite }: ConvertRequest,
  files: readonly PlannedFile[],
  planned: readonly Planned[],
): Promise<string> {
  const hash = createHash('sha256');
  const add = (...parts: (string | Uint8Array)[]): void => {
    for (const p of parts) hash.update(`${p.length}:`).update(p);
  };
  add(version, String(allowNonfinite === true));
  for (const f of source.files) {
    const { size, mtimeMs } = await stat(f);
    add(f, String(size), String(mtimeMs));
  }
  for (const f of files) add(f.path, f.head, JSON.stringify(f.pieces));
  const own = new Set<string>();
  for (const { from, to, format } of planned) {
    add(from.name, from.label, to.name, format ? formatKey(format.ref) : '');
    for (const ref of [from.format, format?.ref])
      if (ref && !ref.file.startsWith('quern/')) own.add(ref.file);
  }
  for (const file of [...own].sort()) add(await readFile(file));
  return hash.digest('hex');
}

class Writer {
  readonly #request: ConvertRequest;
  readonly #device: Device;
  readonly #shelf: FormatShelf;
  readonly #out: StreamedOutput;
  readonly #measure: Distance;
  readonly #warm = new Set<string>();
  #done = 0;
  #total = 0;

  private constructor(
    request: ConvertRequest,
    device: Device,
    shelf: FormatShelf,
    out: StreamedOutput,
    measure: Distance,
  ) {
    this.#request = request;
    this.#device = device;
    this.#shelf = shelf;
    this.#out = out;
    this.#measure = measure;
  }

  static async open(
    request: ConvertRequest,
    device: Device,
    shelf: FormatShelf,
    out: StreamedOutput,
  ): Promise<Writer> {
    const url = new URL('../../ops/measure.ts', import.meta.url);
    const measure = await load(url, { device });
    return new Writer(request, device, shelf, out, measure as unknown as Distance);
  }

  async all(planned: readonly Planned[]): Promise<TensorReport[]> {
    this.#total = planned.reduce((n, p) => n + p.from.bytes, 0);
    const before = new Map(this.#out.finished.map((f) => [f.part, f.record as TensorReport]));
    const reports: TensorReport[] = [];
    for (const p of planned) {
      const known = before.get(p.to.name);
      if (known) this.#done += p.from.bytes;
      const report = known ?? (await this.#one(p));
      if (!known)
        await this.#out.commit(
          p.to.name,
          piecesOf(p.to).map((x) => x.name),
          report,
        );
      reports.push(report);
    }
    return reports;
  }

  #step(t: ModelTensor, bytes: number): void {
    this.#request.signal?.throwIfAborted();
    this.#done += bytes;
    this.#request.onProgress?.(this.#done, this.#total, t.name);
  }

  async #one(p: Planned): Promise<TensorReport> {
    const { from: t, to, format } = p;
    this.#step(t, 0);
    // Compiled beforehand, so that the speeds reported are those of running the kernels.
    if (format && t.bytes > 0) await this.#warmUp(p, format);
    const start = performance.now();
    const sums = { error: 0, norm: 0 };
    const rows = slabRows(Math.max(1, t.columns), p.unit, SLAB_BYTES);
    if (t.bytes > 0)
      for (let at = 0; at < t.rows; at += rows) {
        const end = Math.min(t.rows, at + rows);
        await scope(() => this.#slab(p, at, end, sums));
        this.#step(t, ((end - at) * t.bytes) / t.rows);
      }
    const bytes = bytesOf(to);
    const n = elements(t.shape);
    const { target } = to;
    // What keeps its format has no error to speak of.
    const changed = format !== undefined && !sameFormat(t, format);
    return {
      name: to.name,
      source: t.name,
      shape: t.shape,
      elements: n,
      dtype: t.label,
      stored:
        target.kind === 'plain'
          ? target.dtype
          : target.kind === 'ggml'
            ? ggmlTypes[target.type]!.name
            : target.format.name,
      sourceBytes: t.bytes,
      bytes,
      bitsPerWeight: n ? (8 * bytes) / n : 0,
      ...(changed || (target.kind === 'plain' && target.dtype !== t.label)
        ? {
            ...(format ? { format: format.ref } : {}),
            squaredError: sums.error,
            squaredNorm: sums.norm,
            relativeError: Math.sqrt(sums.norm === 0 ? sums.error : sums.error / sums.norm),
          }
        : {}),
      seconds: (performance.now() - start) / 1000,
    };
  }

  async #warmUp({ from: t, unit }: Planned, format: FormatHandle): Promise<void> {
    const key = formatKey(format.ref);
    if (this.#warm.has(key) || sameFormat(t, format)) return;
    this.#warm.add(key);
    await scope(async () => {
      const shape = [Math.min(unit, 64), t.columns];
      // A format that needs the whole matrix at once may not be tried on a few rows of it.
      if (unit > 64) return;
      const data = new Float32Array(elements(shape));
      const x = DeviceTensor.from(this.#device, { data, shape });
      await this.#measure.distance(x, await format.encode(x));
    });
  }

  async #slab(p: Planned, from: number, to: number, sums: { error: number; norm: number }) {
    const { from: t, to: made, format } = p;
    const { source, onRows } = this.#request;
    const { name, target } = made;
    if (target.kind === 'plain') {
      const same = t.stored.kind === 'plain' && t.stored.dtype === target.dtype;
      if (same) return this.#out.append(name, await source.bytes(t, from, to));
      const x = await source.floats(t, this.#shelf, from, to);
      const bytes = packPlain(t, target.dtype, x);
      await this.#out.append(name, bytes);
      // The bytes are written, so their buffer is free to be looked at as numbers.
      const back = toFloats(target.dtype, bytes);
      addDistance(x, back, sums);
      onRows?.(t, from, x, back);
      return;
    }
    if (target.kind === 'ggml' && !format)
      return this.#out.append(name, await source.bytes(t, from, to));
    if (sameFormat(t, format!)) {
      const w = await source.encoded(t, this.#shelf, from, to);
      return this.#append(p, w);
    }
    const data = await source.floats(t, this.#shelf, from, to);
    const x = DeviceTensor.from(this.#device, { data, shape: [to - from, t.columns] });
    const w = await format!.encode(x);
    const { error, norm } = await this.#measure.distance(x, w);
    const norms = await norm.data();
    // A row's norm is not finite when a weight is not (or is beyond 1e19): only then look at each.
    if (!this.#request.allowNonfinite && !norms.every(Number.isFinite))
      requireFinite(t, data, from);
    for (const e of await error.data()) sums.error += e;
    for (const e of norms) sums.norm += e;
    if (onRows) onRows(t, from, data, (await (await format!.decode(w)).data()) as Float32Array);
    return this.#append(p, w);
  }

  /** Rows of an encoded tensor, as the output stores them. */
  async #append({ to, format }: Planned, w: EncodedTensor): Promise<void> {
    if (to.target.kind === 'fields') {
      for (const [field, part] of Object.entries(w.fields))
        await this.#out.append(fieldTensor(to.name, field), await part.raw());
      return;
    }
    const packed = await format!.pack(w);
    if (!(packed instanceof Uint8Array)) throw new Error(`${format!.name} packs into planes`);
    await this.#out.append(to.name, packed);
  }
}

const sameFormat = (t: ModelTensor, format: FormatHandle): boolean =>
  t.format !== undefined && formatKey(t.format) === formatKey(format.ref);

/** Numbers as a file holds them. */
function packPlain(t: ModelTensor, dtype: FileDType, x: Float32Array): Uint8Array {
  const info = fileDTypes[dtype];
  if ('dtype' in info) return pack(info.dtype, [x.length], x);
  if (dtype === 'F64') return new Uint8Array(Float64Array.from(x).buffer);
  throw new ModelError('Q6014', `${t.name} cannot be stored as ${dtype}`, 'Use F32, F16 or BF16.');
}

function addDistance(
  x: Float32Array,
  y: Float32Array,
  sums: { error: number; norm: number },
): void {
  for (let i = 0; i < x.length; i++) {
    const a = x[i]!;
    const d = a - y[i]!;
    sums.error += d * d;
    sums.norm += a * a;
  }
}

function requireFinite(t: ModelTensor, values: Float32Array, firstRow: number): void {
  const i = values.findIndex((x) => !Number.isFinite(x));
  if (i < 0) return;
  throw new ModelError(
    'Q6006',
    `Tensor ${t.name} holds ${values[i]} at [${firstRow + Math.floor(i / t.columns)}, ${i % t.columns}]`,
    `Leave it as it is with --skip '${t.name}', or encode what the format makes of it with --allow-nonfinite.`,
  );
}
